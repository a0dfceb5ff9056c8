"""Tell a fault of the disk from a fault of the program, whoever raised it.

Libraries written in C and Rust raise errors of their own for a full disk (safetensors, sqlite, polars, matplotlib), so
the operating system's words in the text count, not only the type.
"""

from __future__ import annotations

import errno
import os

__all__ = ["disk_fault"]

_KINDS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
_TEXTS = {
    **{
        os.strerror(kind): os.strerror(kind)
        for kind in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
    },
    "database or disk is full": os.strerror(errno.ENOSPC),
    "disk I/O error": os.strerror(errno.EIO),
    "readonly database": os.strerror(errno.EROFS),
}


def disk_fault(error: BaseException) -> str | None:
    """What the disk refuses, in one line; None where the error, or what it came from, is of another kind.

    Examples:
        >>> disk_fault(OSError(28, "No space left on device", "runs/a.parquet"))
        'runs/a.parquet: No space left on device'
        >>> disk_fault(RuntimeError("I/O error: No space left on device (os error 28)"))
        'No space left on device'
        >>> disk_fault(ValueError("expected a number")) is None
        True
    """
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if isinstance(current, OSError) and current.errno in _KINDS:
            where = "" if current.filename is None else f"{os.fsdecode(current.filename)}: "
            return f"{where}{current.strerror}"
        # These quote what they were given, which may hold any words.
        if not isinstance(current, ValueError | TypeError | LookupError):
            for text, meaning in _TEXTS.items():
                if text in str(current):
                    return meaning
        current = current.__cause__ or current.__context__
    return None
