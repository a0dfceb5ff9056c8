"""Choices by name: a module in a folder, or `package.module:Name` of anybody's own.

A file in the folder is its registration: names are listed without importing anything.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import Any

__all__ = ["choose", "names"]


def names(package: str) -> list[str]:
    """Return the names of the modules in a package's folder; those that begin with an underscore are no choices.

    Examples:
        >>> names("eduprm.prm.losses")
        ['cross_entropy', 'fork', 'language_model']
    """
    folder = import_module(package).__path__
    return sorted(module.name for module in pkgutil.iter_modules(folder) if not module.name.startswith("_"))


def choose(package: str, name: str, attribute: str) -> Any:
    """Return `attribute` of the module `name` in `package`, or what `package.module:Name` names.

    Raises:
        ValueError: there is no such choice, with those there are.

    Examples:
        >>> choose("eduprm.prm.losses", "fork", "Loss").needs
        'language_model'
    """
    kind = package.rpartition(".")[2]
    module, colon, own = name.partition(":")
    if not colon:
        if name not in names(package):
            raise ValueError(
                f"expected one of {', '.join(names(package))} or package.module:{attribute} in {kind}, got {name!r}"
            )
        return getattr(import_module(f"{package}.{name}"), attribute)
    try:
        return getattr(import_module(module), own)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{kind}: {name!r} cannot be imported: {error}") from error
