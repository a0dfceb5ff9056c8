"""What says that an answer is right, a module each with a class `Grader`; `_contract` says what one is."""

from __future__ import annotations

from typing import Any

from eduprm.core import registry
from eduprm.label.graders._contract import Grader

__all__ = ["get_grader", "grader_names"]

CLASS_HAS = ("grade",)
OBJECT_HAS = ("name",)


def grader_names() -> list[str]:
    """Return the names that there are, a hyphen for an underscore of the file's.

    Examples:
        >>> grader_names()
        ['math', 'number', 'reasoning-gym']
    """
    return [name.replace("_", "-") for name in registry.names(__name__)]


def get_grader(name: str, **options: Any) -> Grader:
    """Make a grader by name: one of `grader_names()`, "package.module:Grader", or "package.module:function".

    Args:
        name: One of the names, or the path of a class, or of a function of (text, problem).
        options: Keyword arguments of the grader; a function takes none.

    Raises:
        ValueError: no such grader or option; the message lists those there are.
        ImportError: the grader's extra is not installed; the message names it.

    Examples:
        >>> get_grader("number").name
        'number'
        >>> get_grader("maths")
        Traceback (most recent call last):
        ValueError: expected a grader out of math, number, reasoning-gym or package.module:function, got 'maths'
    """
    own = isinstance(name, str) and ":" in name
    if not own and name not in grader_names():
        known = f"{', '.join(grader_names())} or package.module:function"
        raise ValueError(f"expected a grader out of {known}, got {name!r}")
    if own and not isinstance(function := registry.load(__name__, name, "Grader"), type):
        from eduprm.label.graders._function import FunctionGrader

        if options or not callable(function):
            what = f"options {', '.join(options)}" if options else type(function).__name__
            raise ValueError(f"expected {name!r} to name a function, which takes no options, got {what}")
        return FunctionGrader(function)
    grader: Grader = registry.make(__name__, name if own else name.replace("-", "_"), "Grader", options)
    return grader
