"""Teach a small policy on worked solutions, of generated problems or of a file, and judge it on held-out ones."""

from typing import TYPE_CHECKING

from eduprm.core.lazy import exports

if TYPE_CHECKING:
    from eduprm.teach.run import teach as teach
    from eduprm.teach.settings import WarmupSettings as WarmupSettings

_WHERE = {
    "WarmupSettings": "settings",
    "teach": "run",
}

__all__, __getattr__, __dir__ = exports(__name__, _WHERE)
