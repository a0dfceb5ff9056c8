"""Settings of the experiment: one frozen model, from which flags, help and TOML recipes come. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from eduprm.core.command_line import CommandSettings
from eduprm.pipeline.prm_input import PLAIN, PrmInput
from eduprm.pipeline.settings_parts import PrmSettings, ProblemSettings
from eduprm.policy import STEPS_MODEL
from eduprm.search import PolicySettings

Kind = Literal["edu", "weighted", "lines", "shepherd", "adaptive"]
Order = Literal["chronological", "best_first"]
STAGES = ("problems", "train", "prms", "grow", "score", "report")
Stage = Literal["problems", "train", "prms", "grow", "score", "report"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GridSettings(_Part):
    """The ways of sampling that are compared."""

    thresholds: tuple[float, ...] = Field(
        (0.1, 0.5, 1.0, 1.5, 2.0), min_length=1, description="nats, of EDU sampling"
    )
    calibrated_anchors: tuple[float, ...] = Field(
        (4.0,), description="further thresholds: those that give a greedy solution so many anchors"
    )
    orders: tuple[Order, ...] = Field(
        ("best_first", "chronological"), min_length=1, description="which waiting fork is taken next"
    )
    pruned_thresholds: tuple[float, ...] = Field((0.1, 0.5), description="nats, of P-EDU (best-first)")
    stop_quantile: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="P-EDU stops a branch at a step that scores below this share of what its PRM gives to beginnings "
        "of the training trees",
    )
    piece_tokens: int = Field(8, ge=1, description="tokens that P-EDU decodes between two looks at the PRM")
    temperatures: tuple[float, ...] = Field(
        (0.4, 0.7, 1.0, 1.3), min_length=1, description="of independent samples"
    )
    ns: tuple[int, ...] = Field((2, 4, 8, 16), min_length=1, description="numbers of solutions per problem")
    seeds: int = Field(5, ge=1, description="times that samples are drawn and judged")
    max_tokens_per_path: int = Field(128, ge=2, description="most tokens of one solution")

    @property
    def max_leaves(self) -> int:
        """Solutions that are really grown; smaller numbers are the first of them."""
        return max(self.ns)

    @field_validator("ns")
    @classmethod
    def _positive(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if min(value) < 1:
            raise ValueError(f"numbers of solutions must be at least 1, got {min(value)}")
        return tuple(sorted(set(value)))


class TrainingSetSettings(_Part):
    """The PRMs' training sets. All hold as many solution tokens as the EDU trees."""

    kinds: tuple[Kind, ...] = Field(
        ("edu", "lines", "shepherd", "adaptive"),
        description="edu: EDU trees cut at anchors, leaves weighed alike; weighted: the same, leaves weighed by the "
        "policy's probability; lines: the same trees as edu, cut at line breaks; shepherd: chains cut at line breaks, "
        "labels from rollouts; adaptive: chains cut at low confidence (AdaptiveStep), likewise",
    )
    threshold: float = Field(0.1, ge=0, description="nats, at which EDU trees fork and the steps of edu end")
    leaves: int = Field(8, ge=1, description="solutions of one EDU tree")
    chains: int = Field(
        16, ge=1, description="chains drawn per problem, of which as many are used as tokens ask"
    )
    temperature: float = Field(0.7, gt=0, description="of chains and rollouts")
    rollouts: int = Field(8, ge=1, description="completions from each step of a chain")
    target: Literal["hard", "soft"] = Field(
        "hard", description="label of a chain's step: whether any rollout is right, or the share that is"
    )
    low_confidence: float = Field(
        0.02,
        gt=0,
        lt=1,
        description="share of all chains' tokens, the least probable, that begin a step of adaptive",
    )

    @field_validator("kinds")
    @classmethod
    def _with_edu(cls, value: tuple[Kind, ...]) -> tuple[Kind, ...]:
        if "edu" not in value:
            raise ValueError("expected edu among them: P-EDU and the headline use its PRM")
        return tuple(dict.fromkeys(value))


class ComparedPrmSettings(PrmSettings):
    """The PRMs: one way of training for all."""

    backbone: str | None = Field(
        None, description="model to start from, of the policy's vocabulary; none: the policy"
    )
    input: PrmInput = Field(
        PrmInput(kind="plain", template=PLAIN.template), description="how problem and steps become tokens"
    )
    seeds: int = Field(
        1, ge=1, description="times that each PRM is trained; draw k is judged by number k mod this"
    )
    temperatures: tuple[float, ...] = Field(
        (0.7,), description="samples that all PRMs score; those of other temperatures, the PRM edu alone"
    )

    @field_validator("input")
    @classmethod
    def _no_separator(cls, value: PrmInput) -> PrmInput:
        if value.separator:
            raise ValueError(
                "expected no separator: one pass over a solution scores the steps of every kind of cut, and a "
                "separator would stand between them"
            )
        return value


class SamplingSettings(CommandSettings):
    """
    Does the method work? EDU sampling against samples at several temperatures and P-EDU.

    PRMs trained on EDU trees are held against PRMs trained on chains, on as many tokens.
    A killed run goes on when the same command is given again; a widened grid computes
    only what is new. Exit status: 0 done, 2 unusable.
    """

    model_config = SettingsConfigDict(cli_prog_name="uv run apps/bench sampling")
    command: ClassVar[str] = "uv run apps/bench sampling"

    output: Path = Field(Path("runs/sampling"), description="folder of the run")
    config: Path | None = Field(None, description="TOML recipe with any of these settings; flags win over it")
    until: Stage = Field("report", description="stop after this stage: " + ", ".join(STAGES))
    seed: int = Field(0, ge=0, description="of problems, draws, training and bootstrap")
    shard_problems: int = Field(8, ge=1, description="problems grown between two writes")
    bootstrap: int = Field(2000, ge=1, description="resamples behind the intervals")
    policy: PolicySettings = Field(PolicySettings(model=STEPS_MODEL), description="the model that solves")
    problem: ProblemSettings = Field(ProblemSettings(num_train=96, num_test=96), description="the problems")
    grid: GridSettings = Field(GridSettings(), description="the ways of sampling")
    training: TrainingSetSettings = Field(TrainingSetSettings(), description="the PRMs' training sets")
    prm: ComparedPrmSettings = Field(ComparedPrmSettings(), description="the PRMs")

    @field_validator("problem")
    @classmethod
    def _two_halves(cls, value: ProblemSettings) -> ProblemSettings:
        if value.num_test < 2:
            raise ValueError(
                "num_test: expected 2 or more, one problem to choose a threshold on and one to judge, got 1"
            )
        return value

    @model_validator(mode="after")
    def _temperatures_that_are_drawn(self) -> SamplingSettings:
        wrong = [t for t in self.prm.temperatures if t not in self.grid.temperatures]
        if wrong:
            raise ValueError(
                f"--prm.temperatures: expected some of --grid.temperatures {list(self.grid.temperatures)}, "
                f"got {wrong[0]}"
            )
        return self
