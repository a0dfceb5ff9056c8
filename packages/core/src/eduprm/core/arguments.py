"""What a settings model lets a flag say: `none` where it takes no value, and lists in every usual way of writing them.

    --only problems search   --only problems,search   --only problems --only search      all the same
    --prm.train.lora none    --limit none                                                as "none" in a TOML recipe
    --prm.train.losses fork=1,language_model=0.5   --prm.train.losses '{"fork": 1}'      a table replaces the default

Stands before pydantic-settings, which knows lists by repetition alone and `None` by no flag of a part, and adds a table
that is given to the default's. Reads types, checks no values.
"""

from __future__ import annotations

import json
import types
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from eduprm.core.errors import UsageError

_LISTS = (list, tuple, set, frozenset)
_NONE = ("none", "None")  # help shows the second


def plain_arguments(settings: type[BaseModel], arguments: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Split a command line into one that pydantic-settings reads, and the settings that it gives as None or as a table.

    Lists come out by repetition. A list takes all that stands between its flag and the next one; `--` ends it.

    Args:
        settings: the model from which the flags come.
        arguments: the command line, without the program's name.

    Returns:
        The rest of the command line, and a tree of settings whose leaves are None or a table, as a TOML recipe would
        give it.

    Raises:
        UsageError: a part is given as none, and settings of it too.
    """
    left = list(arguments)
    words: list[
        tuple[str, list[str]]
    ] = []  # a flag with what was taken for it, or "" with what stands by itself
    cleared: dict[str, types.MappingProxyType[str, Any] | None] = {}
    while left:
        word = left.pop(0)
        if word == "--":
            # argparse wants what has no flag in one run.
            first = next((n for n, (flag, one) in enumerate(words) if flag or one[0][:1] == "-"), len(words))
            words[first:first] = [("", left)]
            break
        flag, sign, value = word.partition("=")
        kind = _type_of(settings, flag)
        cleared_next = (value if sign else "".join(left[:1])) in _NONE
        if kind is None or (_takes_no_value(kind) and not cleared_next):
            words.append(("", [word]))
            continue
        given = [value] if sign else _taken(left, many=_is_list(kind))
        if given and given[-1] in _NONE and _may_be_none(kind):
            cleared[flag] = None
            words = [item for item in words if item[0] != flag]
            continue
        before = cleared.pop(flag, None)
        if _is_table(kind) and given:
            cleared[flag] = types.MappingProxyType(dict(before or {}) | _table(flag, given[-1]))
            continue
        words.append((flag, _elements(given) if _is_list(kind) else given))
    for flag in cleared:
        inner = next((other for other, _ in words if other.startswith(flag + ".")), None)
        if inner is not None:
            raise UsageError(f"{flag}: expected none or settings of it, got both: none, and {inner}")
    return _joined(words), _tree(cleared)


def flags_of(settings: type[BaseModel], before: str = "--") -> list[str]:
    """Every flag of a settings model, those of its parts too.

    Examples:
        >>> class Budget(BaseModel):
        ...     max_leaves: int = 1
        >>> flags_of(Budget)
        ['--max-leaves']
    """
    found: list[str] = []
    for name, field in settings.model_fields.items():
        flag = before + name.replace("_", "-")
        part = _part(field.annotation)
        found += [flag, *(flags_of(part, flag + ".") if part is not None else [])]
    return found


def without_none(settings: Any, values: dict[str, Any]) -> dict[str, Any]:
    """Values of a TOML file or of Python, "none" read as None where a setting may be it and has no such choice.

    A table that is one setting's value comes as a mapping that is no dict, so that nothing adds it to the default.
    """
    read: dict[str, Any] = {}
    for name, value in values.items():
        kind = _field_type(settings, name)
        if isinstance(value, dict) and _is_table(kind):
            read[name] = types.MappingProxyType(value)
        elif isinstance(value, dict):
            read[name] = without_none(_part(kind), value)
        elif isinstance(value, BaseModel):
            read[name] = without_none(type(value), value.model_dump())
        else:
            read[name] = None if value == "none" and _may_be_none(kind) else value
    return read


def may_be_path(kind: Any) -> bool:
    """Whether a setting of this type takes a path."""
    return Path in _alternatives(kind)


def _taken(left: list[str], *, many: bool) -> list[str]:
    """Take a flag's values off the rest of the command line."""
    free = list(takewhile(lambda word: not word.startswith("--"), left))
    taken = free if many else free[:1]
    del left[: len(taken)]
    return taken


def _elements(given: list[str]) -> list[str]:
    # A JSON list is left to pydantic-settings.
    if any(value.startswith(("[", "{")) for value in given):
        return given
    return [part for value in given for part in value.split(",") if part]


def _table(flag: str, text: str) -> dict[str, Any]:
    """Read a table written as JSON or as name=value,name=value.

    Raises:
        UsageError: it is neither.
    """
    if text.startswith("{"):
        try:
            return dict(json.loads(text))
        except ValueError:
            raise UsageError(
                f"{flag}: expected name=value,name=value or a JSON object, got {text!r}"
            ) from None
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(name and sign for name, sign, _ in pairs):
        raise UsageError(f"{flag}: expected name=value,name=value or a JSON object, got {text!r}")
    return {name.strip(): _plain(value) for name, _, value in pairs}


def _plain(text: str) -> Any:
    """A number, true or false as JSON writes them; any other text is itself."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, bool | int | float) else text


def _joined(words: list[tuple[str, list[str]]]) -> list[str]:
    line: list[str] = []
    for flag, values in words:
        if not flag:
            line += values
        elif not values:
            line.append(flag)
        for value in values if flag else []:
            # With a sign, a value such as -1 is no flag; without, white space such as a line break stays.
            line += [f"{flag}={value}"] if value.startswith("-") or flag == "--config" else [flag, value]
    return line


def _tree(flags: dict[str, types.MappingProxyType[str, Any] | None]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for flag, value in flags.items():
        *parts, last = flag.removeprefix("--").replace("-", "_").split(".")
        place = tree
        for part in parts:
            place = place.setdefault(part, {})
        place[last] = value
    return tree


def _type_of(settings: type[BaseModel], flag: str) -> Any:
    """Type of the setting that a flag names; None if it names none."""
    if not flag.startswith("--"):
        return None
    kind: Any = settings
    for name in flag[2:].split("."):
        kind = _field_type(_part(kind), name.replace("-", "_"))
        if kind is None:
            return None
    return kind


def _takes_no_value(kind: Any) -> bool:
    """Whether its flag stands alone, as that of a switch, or cannot be given, as that of a part."""
    return bool in _alternatives(kind) or _part(kind) is not None


def _field_type(model: Any, name: str) -> Any:
    field = model.model_fields.get(name) if model is not None else None
    return None if field is None else field.annotation


def _part(kind: Any) -> Any:
    """The settings model among a type's alternatives."""
    return next(
        (one for one in _alternatives(kind) if isinstance(one, type) and issubclass(one, BaseModel)), None
    )


def _is_list(kind: Any) -> bool:
    """Whether it is a list of plain values, not of models."""
    lists = [one for one in _alternatives(kind) if get_origin(one) in _LISTS]
    return any(_part(element) is None for one in lists for element in get_args(one)[:1])


def _is_table(kind: Any) -> bool:
    """Whether its value is a dict of names, and no settings model."""
    return any(get_origin(one) is dict for one in _alternatives(kind))


def _may_be_none(kind: Any) -> bool:
    every = _alternatives(kind)
    named = any(get_origin(one) is Literal and "none" in get_args(one) for one in every)
    return types.NoneType in every and not named


def _alternatives(kind: Any) -> list[Any]:
    """The members of a union, those of unions in it too, without annotations."""
    if get_origin(kind) is Annotated:
        return _alternatives(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return [one for member in get_args(kind) for one in _alternatives(member)]
    return [kind]
