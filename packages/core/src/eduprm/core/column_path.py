"""Columns by path: `doc.question`, `resps`, `choices[].message.content`, in rows made of objects and lists.

A path is names joined by dots. `[]` after a name takes every item of a list, `[0]` its first, `[-1]` its last; `.0` is
`[0]`. At every object the longest name that is there wins, so a column whose own name holds dots or brackets is found.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_ITEM = re.compile(r"\[(-?\d+)?\]|\.(-?\d+)(?=[.\[]|$)")
_MAX_SHOWN_NAMES = 12


class PathError(ValueError):
    """A path that leads nowhere in this row; the message says where it ends and what is there instead.

    `by_shape` is False where only this row's values are at fault: a null, or a list that is too short.
    """

    def __init__(self, message: str, *, by_shape: bool = True) -> None:
        super().__init__(message)
        self.by_shape = by_shape


def value_at(record: Mapping[str, Any], path: str) -> Any:
    """What stands at a path; a list where the path takes every item of one (nested for every further `[]`).

    Where only some items of a list lack what the path names, they give None.

    Raises:
        PathError: there is no such place.

    Examples:
        >>> row = {"doc": {"q": "2*3?"}, "choices": [{"text": "6"}, {"text": "5"}], "a.b": 1}
        >>> value_at(row, "doc.q"), value_at(row, "choices[].text"), value_at(row, "choices[-1].text")
        ('2*3?', ['6', '5'], '5')
        >>> value_at(row, "a.b")
        1
    """
    return _follow(record, path, "")


def column_of(path: str, names: Iterable[str]) -> str | None:
    """The column that a path begins in, out of those there are; None if there is none.

    Examples:
        >>> column_of("doc.question", ["doc", "resps"]), column_of("a.b", ["a", "a.b"])
        ('doc', 'a.b')
    """
    known = set(names)
    return next((path[:end] for end in _ends(path) if path[:end] in known), None)


def flattened(value: Any) -> Iterator[Any]:
    """Items of nested lists in their order; anything else is one item.

    Examples:
        >>> list(flattened([["a", "b"], "c", []]))
        ['a', 'b', 'c']
    """
    if isinstance(value, list | tuple):
        for item in value:
            yield from flattened(item)
    else:
        yield value


def _ends(path: str) -> list[int]:
    """Where the first name of a path may end, the longest first."""
    ends = [index for index, char in enumerate(path) if char in ".[" and index > 0]
    return [len(path), *reversed(ends)]


def _follow(value: Any, path: str, before: str) -> Any:
    if not path:
        return value
    if isinstance(value, Mapping):
        return _enter(value, path, before)
    if isinstance(value, list | tuple):
        return _item(value, path, before)
    if value is None:
        raise PathError(f"{before!r} is null", by_shape=False)
    raise PathError(f"{before!r} holds {_kind(value)}, not an object with {path.lstrip('.')!r}")


def _enter(value: Mapping[str, Any], path: str, before: str) -> Any:
    names = path[1:] if before and path.startswith(".") else path
    if not names.startswith("["):
        for end in _ends(names):
            if names[:end] in value:
                here = f"{before}.{names[:end]}" if before else names[:end]
                return _follow(value[names[:end]], names[end:], here)
    wanted = re.split(r"[.\[]", names)[0] or names
    shown = ", ".join(repr(str(name)) for name in list(value)[:_MAX_SHOWN_NAMES]) or "none"
    shown += ", …" if len(value) > _MAX_SHOWN_NAMES else ""
    where = f" in {before!r}" if before else ""
    raise PathError(f"no {wanted!r}{where}, got {shown}")


def _item(value: list[Any] | tuple[Any, ...], path: str, before: str) -> Any:
    match = _ITEM.match(path)
    if match is None:
        raise PathError(
            f"{before!r} holds a list; write {before}[]{path} for all of its items, {before}[0]{path} for its first"
        )
    rest = path[match.end() :]
    index = match[1] or match[2]
    if index is not None:
        if not -len(value) <= int(index) < len(value):
            raise PathError(f"{before!r} has {len(value)} items, no [{index}]", by_shape=False)
        return _follow(value[int(index)], rest, before + match[0])
    found: list[Any] = []
    faults: list[PathError] = []
    for item in value:
        try:
            found.append(_follow(item, rest, f"{before}[]"))
        except PathError as error:
            faults.append(error)
            found.append(None)
    if faults and len(faults) == len(found):  # not one item has it: the path is wrong, not an item
        raise faults[0]
    return found


def _kind(value: Any) -> str:
    return {str: "text", bool: "true or false", int: "a number", float: "a number"}.get(
        type(value), type(value).__name__
    )
