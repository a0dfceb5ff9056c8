"""A PRM with wrappers around it: `PrmPlace` in, `PrmPlace` out, so that nobody who scores knows of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from eduprm.core import registry
from eduprm.prm.config import Aggregate
from eduprm.prm.solutions import StepScorer, StepScores
from eduprm.prm.source import PrmPlace
from eduprm.rank.wrappers._contract import ScoreWrapper

FOLDER = "eduprm.rank.wrappers"
_COMPUTING = ("eduprm-rank", "eduprm-label")  # what the wrappers that ship compute with, beside the PRM's own
Options = dict[str, int | float | bool | str]


class WrapSettings(BaseModel):
    """What stands around the PRM; part of the settings of whatever scores with one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    wrap: tuple[str, ...] = Field(
        (),
        description=f"what changes the PRM's scores, the first next to it: {', '.join(registry.names(FOLDER))} or "
        "package.module:Wrapper",
    )
    wrap_options: dict[str, Options] = Field(
        default_factory=dict, validate_default=True, description="options by wrapper, in TOML"
    )

    # The names of these two are theirs alone: a validator of that name in a class below would stand in their place.
    @field_validator("wrap")
    @classmethod
    def _known_wrappers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            registry.load(FOLDER, name, "Wrapper")
        return value

    @field_validator("wrap_options")
    @classmethod
    def _wrappers_made(cls, value: dict[str, Options], info: ValidationInfo) -> dict[str, Options]:
        if "wrap" not in info.data:
            return value
        names = info.data["wrap"]
        if others := [name for name in value if name not in names]:
            raise ValueError(f"expected options of {', '.join(names) or 'none'}, got {others[0]}")
        for name in names:
            registry.make(FOLDER, name, "Wrapper", value.get(name))
        return value


def wrapped(place: PrmPlace, settings: WrapSettings) -> PrmPlace:
    """The PRM with what the settings put around it."""
    for name in settings.wrap:
        options = settings.wrap_options.get(name, {})
        place = _WrappedPlace(place, name, options, registry.make(FOLDER, name, "Wrapper", options))
    return place


@dataclass(frozen=True)
class _WrappedPlace:
    inner: PrmPlace
    wrapper_name: str
    options: Mapping[str, Any]
    wrapper: ScoreWrapper

    @property
    def name(self) -> str:
        """As the user said it."""
        return self.inner.name

    def key(self) -> Any:
        """The PRM's, and the wrapper with its options, its code and the versions of what that computes with."""
        return {
            "prm": self.inner.key(),
            "wrap": [self.wrapper_name, dict(self.options)],
            "code": registry.source_digest(FOLDER, self.wrapper_name),
            "versions": {name: version(name) for name in _COMPUTING},
        }

    def saved_cut(self) -> Any:
        """The PRM's."""
        return self.inner.saved_cut()

    def solution(self) -> Aggregate:
        """The PRM's."""
        return self.inner.solution()

    def open(self) -> StepScorer:
        """Get the PRM ready."""
        return _WrappedScorer(self.inner.open(), self.wrapper)


@dataclass(frozen=True)
class _WrappedScorer:
    prm: StepScorer
    wrapper: ScoreWrapper

    def score_steps(
        self, solutions: Sequence[tuple[str, Sequence[str]]], *, complete: bool = True, as_cut: bool = False
    ) -> list[StepScores]:
        return self.wrapper.score_steps(self.prm, solutions, complete=complete, as_cut=as_cut)
