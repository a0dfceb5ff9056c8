"""Parts of the settings of `eduprm.rank`: the file's columns, a second file of problems, and the policy that cuts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from eduprm.core import registry

SEGMENTERS = "eduprm.segment.segmenters"


class Columns(BaseModel):
    """Where the input's rows hold what: column names, or paths into them (`eduprm.core.column_path`).

    `solutions` and `solution` are looked for under their own names only as long as neither they nor `steps` are named.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(
        default="id",
        min_length=1,
        description="the problem's id, a text or a number; may be the problem's text",
    )
    problem: str = Field(default="problem", min_length=1, description="the problem's text")
    solutions: str | None = Field(
        default=None,
        min_length=1,
        description="list of solutions, where a row is a problem; lists in it are flattened; none: solutions",
    )
    solution: str | None = Field(
        default=None, min_length=1, description="the solution, where a row is one solution; none: solution"
    )
    steps: str | None = Field(
        default=None,
        min_length=1,
        description="list of the steps of one solution, where a row is one solution already cut; none: it is a text",
    )
    answer: str | None = Field(
        default=None, min_length=1, description="gold answer; none: answer, which need not be there"
    )

    @model_validator(mode="after")
    def _steps_alone(self) -> Columns:
        if self.steps is not None and (self.solutions or self.solution):
            raise ValueError("expected steps alone, or solutions or solution; leave one out")
        return self


class ProblemsFile(BaseModel):
    """A second file with the problems' texts, for rows that hold only their ids; columns are names or paths."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: Path | None = Field(
        default=None, description="JSONL or Parquet; none: the rows hold their problems"
    )
    id: str = Field(default="id", min_length=1, description="what --columns.id of the rows refers to")
    problem: str = Field(default="problem", min_length=1, description="the problem's text")
    answer: str | None = Field(
        default=None, min_length=1, description="gold answer; none: answer, which need not be there"
    )


class PolicySettings(BaseModel):
    """The model whose tokens are cut with --segment entropy, or auto; not used otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(
        default="smollm2-135m-instruct",
        min_length=1,
        description="bundled model, local folder or hub name: best the policy whose trees trained the PRM",
    )
    segmenters: tuple[str, ...] = Field(
        default=("entropy",),
        min_length=1,
        description="what ends a step with --segment entropy, one or several: entropy: where the model is unsure; "
        "lines: a line break; or any other of --segment",
    )
    options: dict[str, dict[str, int | float | bool | str]] = Field(
        default={}, description="of those segmenters, in TOML; entropy's stand beside it"
    )
    threshold: float = Field(
        default=0.5, ge=0, description="nats; a step begins at a token whose entropy is above this"
    )
    skip_symbols: bool = Field(
        default=True,
        description="no step begins where the model's most probable token is white space or punctuation alone",
    )
    style: str = Field(
        default="zero_shot",
        description="prompt before the solution: zero_shot, steps, products, products12, chain_sum or gsm8k, as in "
        "training",
    )

    @property
    def cut(self) -> dict[str, dict[str, Any]]:
        """The segmenters with their options, as `eduprm.segment` takes them."""
        own = {"entropy": {"threshold": self.threshold, "skip_symbols": self.skip_symbols}}
        return {name: {**self.options.get(name, {}), **own.get(name, {})} for name in self.segmenters}

    def check_segmenters(self) -> None:
        """Make each segmenter once.

        Raises:
            ValueError: one that is not there, or does not take its options.
        """
        for name, options in self.cut.items():
            registry.make(SEGMENTERS, name, "Segmenter", options)
