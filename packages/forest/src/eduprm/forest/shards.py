"""Forests on disk: Parquet files, written whole or not at all, the same bytes for the same frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from eduprm.core.files import atomic_write

from .errors import ForestError, place_of
from .validate import validate_forest

_ROW_GROUP_ROWS = 65_536


def write_table(df: pl.DataFrame, path: str | Path) -> Path:
    """Write any frame as Parquet, atomically; equal frames give equal bytes (with one version of polars).

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pl.read_parquet(write_table(pl.DataFrame({"a": [1]}), f"{folder}/t.parquet")).height
        1
    """
    # gathered, so that memory layout does not show in the file: polars 2.1 cuts the pages of a float list column
    # otherwise when the frame is a slice of a larger one, and rechunk leaves such a slice as it is
    fresh = df[np.arange(df.height)]
    with atomic_write(path) as temporary:
        fresh.write_parquet(temporary, compression="zstd", row_group_size=_ROW_GROUP_ROWS, statistics=True)
    return Path(path)


def write_shard(df: pl.DataFrame, folder: str | Path, name: str) -> Path:
    """Validate a forest and write it to ``folder/name.parquet``; returns that path.

    Args:
        df: a forest, labelled or not, of whole trees.
        folder: made if it is not there.
        name: a plain file name, with or without ``.parquet``.

    Errors: ForestError for a broken forest (nothing is written), ValueError for a name that is not plain.

    Examples:
        >>> import tempfile
        >>> from eduprm.forest import NODE_SCHEMA
        >>> frame = pl.DataFrame([["p", "edu", 0, None, [5], [-0.5], [0.7], "4", "stop"]], schema=NODE_SCHEMA,
        ...     orient="row")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     read_forest(write_shard(frame, folder, "0000")).equals(frame)
        True
    """
    if not name or name.startswith(".") or Path(name).name != name:
        raise ValueError(f"expected a plain file name for a shard, got {name!r}")
    return write_table(validate_forest(df), Path(folder) / f"{name.removesuffix('.parquet')}.parquet")


def shard_files(path: str | Path) -> list[Path]:
    """The file itself, or the folder's ``*.parquet`` in order of name, hidden ones left out.

    Errors: ForestError when there is no such path, or no such file in the folder.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ForestError("expected a Parquet file or a folder of them, got no such path", file=path)
    files = sorted(file for file in path.glob("*.parquet") if not file.name.startswith("."))
    if not files:
        raise ForestError("expected *.parquet files in this folder, got none", file=path)
    return files


def read_forest(path: str | Path, *, labelled: bool | None = None) -> pl.DataFrame:
    """Read and validate a forest from one file or from all ``*.parquet`` of a folder, in order of name.

    ``labelled`` is that of validate_forest. Errors: ForestError that names the file: not Parquet, not a forest,
    other columns than the first file, or a tree that another file holds as well.
    """
    files = shard_files(path)
    frames: list[pl.DataFrame] = []
    for file in files:
        frames.append(_read_checked(file, labelled=labelled))
        _check_alike(files[0], frames[0].schema, file, frames[-1].schema)
    _check_distinct(files, frames)
    return pl.concat([frame.select(frames[0].columns) for frame in frames], rechunk=True)


def scan_forest(path: str | Path) -> pl.LazyFrame:
    """A lazy frame over the same files, read only as far as needed and not validated."""
    return pl.concat([pl.scan_parquet(file, glob=False) for file in shard_files(path)])


def _read_checked(file: Path, *, labelled: bool | None) -> pl.DataFrame:
    try:
        df = pl.read_parquet(file, glob=False)
    except (
        pl.exceptions.PolarsError,
        pl.exceptions.PanicException,
        OSError,
    ) as error:  # it panics at damaged bytes
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ForestError(
            f"expected a Parquet file, got one that cannot be read ({reason})", file=file
        ) from error
    try:
        return validate_forest(df, labelled=labelled)
    except ForestError as error:
        raise error.in_file(file) from None


def _check_alike(first: Path, wanted: pl.Schema, file: Path, got: pl.Schema) -> None:
    """Columns of a forest's files are the same, in any order."""
    if set(wanted) != set(got):
        why = f"expected the columns of {first.name} ({', '.join(wanted)}), got {', '.join(got)}"
        raise ForestError(why, file=file)
    for name, dtype in wanted.items():
        if got[name] != dtype:
            raise ForestError(
                f"expected type {dtype} as in {first.name}, got {got[name]}", column=name, file=file
            )


def _check_distinct(files: list[Path], frames: list[pl.DataFrame]) -> None:
    """Within a file validation has seen to it; across files a tree must not come twice either."""
    seen: dict[tuple[str, str], Path] = {}
    for file, df in zip(files, frames, strict=True):
        roots = df.with_row_index("row").filter(pl.col("node_id") == 0).select("row", "problem_id", "tree")
        for row, problem_id, tree in roots.iter_rows():
            first = seen.setdefault((problem_id, tree), file)
            if first != file:
                why = f"expected each tree in one file, got one that {first.name} holds too"
                raise ForestError(why, column="tree", place=place_of(df, row), file=file)
