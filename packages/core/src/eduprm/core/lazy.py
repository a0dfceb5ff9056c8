"""A package's public names, imported on first use: wrong flags are answered without loading polars or torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["exports"]


def exports(
    package: str, where: Mapping[str, str]
) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """Return a package's `__all__`, `__getattr__` and `__dir__`.

    Args:
        package: its `__name__`.
        where: each public name and the module in the package that holds it.

    Examples:
        >>> everything, get, _ = exports("eduprm.core", {"derive_seed": "seeds"})
        >>> everything, get("derive_seed").__name__
        (['derive_seed'], 'derive_seed')
        >>> get("nothing")
        Traceback (most recent call last):
        AttributeError: module 'eduprm.core' has no attribute 'nothing'
    """
    names = sorted(where)

    def get(name: str) -> Any:
        if name not in where:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{where[name]}"), name)

    return names, get, lambda: names
