"""Files that are either whole or not there: written beside their place, synced, then renamed over it; and a lock.

A writer killed at any moment leaves at most a hidden temporary (``.name.tmp-…``), which no reader of this package
looks at. `locked` keeps a second process out of a folder and removes such temporaries from it.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from shutil import rmtree
from typing import Any

from eduprm.core.errors import UsageError

_MARK = ".tmp-"
_LOCK = ".lock"


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Give the block a temporary *path* in the same folder; at the block's end it becomes ``path``.

    Folders on the way are made. When the block raises, the temporary is removed and ``path`` stays as it was.
    The temporary's name does not end in the suffix of ``path``: a writer that guesses the format from the name
    (matplotlib's savefig) must be told the format.

    Errors: whatever the block or the file system raises; FileNotFoundError when the block wrote nothing.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with atomic_write(Path(folder) / "a.txt") as temporary:
        ...         _ = temporary.write_text("whole")
        ...     [file.name for file in Path(folder).iterdir()]
        ['a.txt']
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}{_MARK}{os.getpid()}-{secrets.token_hex(4)}"
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise
    sync(path.parent)  # the rename itself must outlive a power cut


def atomic_write_bytes(path: str | Path, data: bytes) -> Path:
    """Write all bytes or nothing; returns the path.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     atomic_write_bytes(Path(folder) / "metrics.json", b"{}").read_bytes()
        b'{}'
    """
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)
    return Path(path)


def write_json_lines(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Replace a file by one JSON object a row, at once or not at all.

    Half a surrogate pair, which a text of a model may hold, is written as it is.

    Examples:
        >>> import tempfile
        >>> write_json_lines(tempfile.mkdtemp() + "/new/rows.jsonl", [{"a": 1}, {"a": "é"}]).read_text("utf-8")
        '{"a": 1}\\n{"a": "é"}\\n'
    """
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return atomic_write_bytes(path, lines.encode("utf-8", "surrogatepass"))


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file's bytes, read in parts."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sweep_temporaries(folder: str | Path) -> int:
    """Remove what killed writers left in a folder and below it; returns how many. Call it while nobody writes there.

    Folders below that `locked` works in are left alone: another process may be writing there.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = (Path(folder) / ".a.parquet.tmp-12-ab").write_bytes(b"half")
        ...     sweep_temporaries(folder)
        1
    """
    swept = 0
    for place, below, files in os.walk(folder):
        if _LOCK in files and Path(place) != Path(folder):
            below.clear()
            continue
        for name in files:
            if name.startswith(".") and _MARK in name:
                Path(place, name).unlink()
                swept += 1
    return swept


def remove_folder(path: str | Path) -> None:
    """Take a folder away at once: renamed to a temporary, then emptied; a kill leaves no half of it under its name.

    What cannot be removed stays as that temporary, for `sweep_beside`.
    """
    path = Path(path)
    gone = path.with_name(f".{path.name}{_MARK}{os.getpid()}-{secrets.token_hex(4)}")
    with suppress(FileNotFoundError):
        os.replace(path, gone)
        rmtree(gone, ignore_errors=True)


def sweep_beside(path: str | Path, endings: Iterable[str] = ("",)) -> int:
    """Remove what killed writers of a file or folder, and of those named after it, left beside it; returns how many.

    Call it while nobody else writes them. `endings` are put behind the file's name.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = (Path(folder) / ".a.jsonl.html.tmp-12-ab").write_bytes(b"half")
        ...     sweep_beside(Path(folder) / "a.jsonl", [".html"])
        1
    """
    path, swept = Path(path), 0
    for ending in endings:
        for left in path.parent.glob(f".{escape(path.name + ending)}{_MARK}*"):
            if left.is_dir():
                rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)
            swept += 1
    return swept


@contextmanager
def locked(folder: Path, flag: str) -> Iterator[None]:
    """Make a folder, keep other processes out of it during the block, and remove what killed ones left half written.

    Args:
        folder: where this process writes. A killed process gives its lock back by itself.
        flag: the setting that names the folder, for messages.

    Raises:
        UsageError: the folder cannot be written, or another process is at work there.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, locked(Path(folder), "--run"):
        ...     with locked(Path(folder), "--run"):
        ...         pass
        Traceback (most recent call last):
        eduprm.core.errors.UsageError: --run: another process is working in ...; wait for it, or choose another place
    """
    import fcntl  # not on every system

    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = (folder / _LOCK).open("wb")
    except OSError as error:
        raise UsageError(
            f"{flag}: cannot write in {folder} ({error.strerror}); choose another place"
        ) from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(
                f"{flag}: another process is working in {folder}; wait for it, or choose another place"
            ) from None
        sweep_temporaries(folder)
        yield


def sync(path: Path) -> None:
    """Have a file's content, or a folder's names, on the disk before going on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
