"""Files as streams of bytes, plain or compressed: gzip and Zstandard, told by their first bytes."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, cast

Compression = Literal["gzip", "zstd"]

SUFFIXES: dict[str, Compression] = {".gz": "gzip", ".zst": "zstd"}
"""Endings that such files usually have."""

_MAGIC: dict[Compression, bytes] = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd"}
_OTHERS = {b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"PK\x03\x04": "zip", b"7z\xbc\xaf": "7z"}


class CompressionError(ValueError):
    """The compressed data are broken, cut off, or of a kind that is not read here; one line says so."""


def compression_of(start: bytes) -> Compression | None:
    """The compression that a file's first six bytes show; None for plain data.

    Raises:
        CompressionError: compressed in a way that is not read here.

    Examples:
        >>> compression_of(b"{}"), compression_of(b"\\x1f\\x8b\\x08\\x00")
        (None, 'gzip')
    """
    for magic, name in _OTHERS.items():
        if start.startswith(magic):
            raise CompressionError(f"is compressed as {name}; unpack it first (gzip and Zstandard are read)")
    return next((kind for kind, magic in _MAGIC.items() if start.startswith(magic)), None)


def plain_name(path: Path) -> Path:
    """A path without the ending of a compression.

    Examples:
        >>> plain_name(Path("a/rows.jsonl.gz")).name
        'rows.jsonl'
    """
    return path.with_suffix("") if path.suffix in SUFFIXES else path


@contextmanager
def open_plain(path: Path) -> Iterator[BinaryIO]:
    """The file's bytes, unpacked where it is compressed; read forwards only.

    Raises:
        CompressionError: here or while reading: broken or cut off, of another kind, or zstd without pyarrow.
        OSError: as `open` does.
    """
    with path.open("rb") as file:
        kind = compression_of(file.read(6))
        file.seek(0)
        try:
            if kind is None:
                yield file
            elif kind == "gzip":
                with gzip.GzipFile(fileobj=file) as unpacked:
                    yield cast(BinaryIO, unpacked)
            else:
                with io.BufferedReader(_zstd(path), 1 << 20) as buffered:
                    yield cast(BinaryIO, buffered)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise CompressionError(f"is broken or cut off gzip ({error}); pack it again") from None
        except OSError as error:
            if kind != "zstd" or error.errno is not None:
                raise
            raise CompressionError(f"is broken or cut off Zstandard ({error}); pack it again") from None


def _zstd(path: Path) -> io.RawIOBase:
    try:
        import pyarrow as pa
    except ImportError:
        raise CompressionError(
            "is compressed as Zstandard, which needs the package pyarrow: install eduprm-core[zstd], or unpack it"
        ) from None
    return cast(io.RawIOBase, pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"))
