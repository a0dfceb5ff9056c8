"""The jobs: search, label, train and judge as resumable stages on disk, and experiments made of them."""

from typing import TYPE_CHECKING

from eduprm.core.lazy import exports

if TYPE_CHECKING:
    from eduprm.pipeline.run import run_stages as run_stages
    from eduprm.pipeline.settings import TrainSettings as TrainSettings

_WHERE = {
    "TrainSettings": "settings",
    "run_stages": "run",
}

__all__, __getattr__, __dir__ = exports(__name__, _WHERE)
