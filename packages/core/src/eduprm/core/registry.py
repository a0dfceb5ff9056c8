"""Choices by name: a module in a folder, or `package.module:Name` of anybody's own.

A file in the folder is its registration: names are listed without importing anything, so that --help stays fast. What
the module's attribute takes as keyword arguments (a pydantic model's fields, a function's or class's signature) are
the choice's options.

The folder's `__init__` says what anybody's own must have: `CLASS_HAS` names methods and attributes of the class,
`OBJECT_HAS` attributes of what it makes (its `_contract` says what they are). A choice without one is refused where it
is loaded or made, and not where it is first used.
"""

from __future__ import annotations

import inspect
import pkgutil
import sys
from collections.abc import Collection, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from eduprm.core.errors import quoted
from eduprm.core.files import file_digest

__all__ = ["load", "make", "names", "source_digest"]


def names(package: str) -> list[str]:
    """Return the names of the modules in a package's folder; those that begin with an underscore are no choices.

    Examples:
        >>> "errors" in names("eduprm.core")
        True
    """
    folder = import_module(package).__path__
    return sorted(module.name for module in pkgutil.iter_modules(folder) if not module.name.startswith("_"))


def load(package: str, name: str, attribute: str) -> Any:
    """Return `attribute` of the module `name` in `package`, or what `package.module:Name` names.

    Raises:
        ValueError: there is no such choice, with those there are; or it lacks what one of its kind has.

    Examples:
        >>> load("eduprm.core", "seeds", "derive_seed").__name__
        'derive_seed'
        >>> load("eduprm.core", "seed", "derive_seed")
        Traceback (most recent call last):
        ValueError: core: expected one of ... or package.module:derive_seed, got 'seed'
    """
    kind = package.rpartition(".")[2]
    module, colon, own = name.partition(":")
    if not colon:
        if name not in names(package):
            known = ", ".join(names(package))
            raise ValueError(f"{kind}: expected one of {known} or package.module:{attribute}, got {name!r}")
        return getattr(import_module(f"{package}.{name}"), attribute)
    try:
        found = getattr(import_module(module), own)
    except (ImportError, AttributeError, SyntaxError, ValueError) as error:
        raise ValueError(f"{kind}: {name!r} cannot be imported: {error}{_way_out(module, error)}") from error
    if isinstance(found, type):
        fields = {*getattr(found, "model_fields", ()), *getattr(found, "__dataclass_fields__", ())}
        _check_shape(package, name, "CLASS_HAS", {*dir(found), *fields})
    return found


def source_digest(package: str, name: str) -> str | None:
    """Return the SHA-256 of the file that a choice's code stands in; None where no file is found.

    For keys of kept results: anybody's own choice has no version that tells one state of it from another.

    Examples:
        >>> len(source_digest("eduprm.core", "registry"))
        64
    """
    module, colon, _ = name.partition(":")
    found = find_spec(module if colon else f"{package}.{module}")
    if found is None or not found.has_location or found.origin is None:
        return None
    return file_digest(found.origin)


def make(package: str, name: str, attribute: str, options: Mapping[str, Any] | None = None) -> Any:
    """Return the choice called with its options.

    Raises:
        ValueError: there is no such choice, or it takes no such option, or not that value; one line.

    Examples:
        >>> make("eduprm.core", "errors", "UsageError").args
        ()
        >>> make("eduprm.core", "registry", "names", {"pakage": "x"})
        Traceback (most recent call last):
        ValueError: registry: expected the options package, got 'pakage'
    """
    choice = load(package, name, attribute)
    given = dict(options or {})
    taken = _options(choice)
    if taken is not None and (unknown := [option for option in given if option not in taken]):
        raise ValueError(f"{name}: expected {_listed(taken)}, got {unknown[0]!r}")
    if not callable(choice):
        kind = package.rpartition(".")[2]
        raise ValueError(f"{kind}: expected {name!r} to name a class, got {type(choice).__name__}")
    try:
        made = choice(**given)
    except TypeError as error:
        why = _mistyped(choice, given) or f"{error}; it takes {_listed(taken or [])}"
        raise ValueError(f"{name}: {why}") from error
    except ValueError as error:
        faults = error.errors() if hasattr(error, "errors") else None
        if not faults:  # no pydantic model's
            raise ValueError(f"{name}: {error}") from error
        place = ".".join(map(str, faults[0]["loc"]))
        raise ValueError(f"{name}: {place}: {faults[0]['msg']}, got {faults[0]['input']!r}") from error
    if ":" in name:
        if not isinstance(choice, type):  # a function that makes one
            _check_shape(package, name, "CLASS_HAS", dir(made))
        _check_shape(package, name, "OBJECT_HAS", dir(made))
    return made


def _check_shape(package: str, name: str, which: str, there: Collection[str]) -> None:
    """Refuse anybody's own without what the package's folder says that one of its kind has."""
    wanted = getattr(import_module(package), which, ())
    if missing := [one for one in wanted if one not in there]:
        kind = package.rpartition(".")[2]
        raise ValueError(
            f"{kind}: {name!r} has no {missing[0]!r}: expected {', '.join(wanted)}, as docs/extend.md and "
            f"{package}._contract say"
        )


def _way_out(module: str, error: Exception) -> str:
    """What to do where Python does not find a module that lies in the folder from which a command is given."""
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing is None or not f"{module}.".startswith(f"{missing}."):
        return ""
    if any(Path(place).resolve() == Path.cwd() for place in sys.path):
        return ""
    return (
        "; the current folder is not on Python's path: put PYTHONPATH=. before the command (docs/extend.md)"
    )


def _options(choice: Any) -> list[str] | None:
    """Names of the keyword arguments; None if it takes any."""
    fields = getattr(choice, "model_fields", None)
    if fields is not None:
        return list(fields)
    try:
        parameters = inspect.signature(choice).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return [parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_POSITIONAL]


def _mistyped(choice: Any, given: Mapping[str, Any]) -> str | None:
    """What the options should be that a choice's signature takes and its code does not; None where it does not say."""
    try:
        signature = inspect.signature(choice)
        signature.bind(**given)
    except (TypeError, ValueError):
        return None
    kinds = [signature.parameters[name].annotation for name in given if name in signature.parameters]
    if len(kinds) < len(given) or not kinds or inspect.Parameter.empty in kinds:
        return None
    named = [kind if isinstance(kind, str) else inspect.formatannotation(kind) for kind in kinds]
    wanted = ", ".join(f"{name} of type {kind}" for name, kind in zip(given, named, strict=True))
    return f"expected {wanted}; got {', '.join(map(quoted, given.values()))}"


def _listed(options: list[str]) -> str:
    return f"the options {', '.join(options)}" if options else "no options"
