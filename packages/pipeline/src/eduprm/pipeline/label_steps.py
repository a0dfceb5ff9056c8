"""Where the steps that carry labels end, for the stages that search, label and train."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eduprm.pipeline.settings import TrainSettings


def step_segmenters(settings: TrainSettings) -> dict[str, dict[str, Any]]:
    """The segmenters at whose steps labels stand, with their options; entropy's are those that the trees grew with."""
    grown = {"threshold": settings.search.threshold, "skip_symbols": settings.search.skip_symbols}
    given: dict[str, Any] = {"entropy": grown, **settings.label.steps_options}
    return {name: dict(given.get(name, {})) for name in settings.label.steps}
