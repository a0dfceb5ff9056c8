"""Teach a small policy on worked solutions of generated problems, and judge it on held-out ones."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eduprm.teach.run import teach as teach
    from eduprm.teach.settings import WarmupSettings as WarmupSettings

_WHERE = {
    "WarmupSettings": "settings",
    "teach": "run",
}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
