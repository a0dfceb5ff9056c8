"""The jobs: search, label, train and judge as resumable stages on disk, and experiments made of them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eduprm.pipeline.run import run_stages as run_stages
    from eduprm.pipeline.settings import TrainSettings as TrainSettings

_WHERE = {
    "TrainSettings": "settings",
    "run_stages": "run",
}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
