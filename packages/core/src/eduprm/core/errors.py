"""Errors that a user reads: one line each."""

from __future__ import annotations

_MAX_QUOTED_CHARS = 60


class UsageError(Exception):
    """The command cannot be carried out as it was given; the text is what the user should read."""


class UnfinishedError(Exception):
    """Something lacks rows that another start may fetch; the text says how many and why."""


def quoted(value: object) -> str:
    r"""A value out of a file, made safe and short: `repr`, cut in the middle.

    Examples:
        >>> quoted("a\x1b[31m")
        "'a\\x1b[31m'"
    """
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    half = _MAX_QUOTED_CHARS // 2
    return text if len(text) <= _MAX_QUOTED_CHARS else f"{text[:half]}…{text[-half + 1 :]}"


def first_line(error: object) -> str:
    """First line of an error's text, or its type if it has none."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
