"""Files that are either whole or not there: written beside their place, synced, then renamed over it.

It knows the file system and nothing of what is written. A writer killed at any moment leaves at most a hidden
temporary (``.name.tmp-…``), which no reader of this package looks at and ``sweep_temporaries`` removes.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_MARK = ".tmp-"


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
        _sync(temporary)
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise
    _sync(path.parent)  # the rename itself must outlive a power cut


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


def sweep_temporaries(folder: str | Path) -> int:
    """Remove what killed writers left in a folder; returns how many. Call it while nobody writes there.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = (Path(folder) / ".a.parquet.tmp-12-ab").write_bytes(b"half")
        ...     sweep_temporaries(folder)
        1
    """
    left = [file for file in Path(folder).glob(f".*{_MARK}*") if file.is_file()]
    for file in left:
        file.unlink()
    return len(left)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
