"""Settings of the main job: one frozen model, from which the flags, their help and the TOML recipes come.

The defaults are the job of a bare machine: SmolLM2-135M taught to reason in steps, long sums, two cores, minutes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from eduprm.core import registry
from eduprm.core.command_line import CommandSettings
from eduprm.pipeline.settings_parts import (
    LabelSettings,
    PrmSettings,
    ProblemSettings,
    SampleSettings,
    ServerSettings,
)
from eduprm.pipeline.strategies import PACKAGE as STRATEGIES
from eduprm.pipeline.strategies import run_strategies
from eduprm.policy import PRM_MODEL, STEPS_MODEL
from eduprm.problems.rows import ProblemColumns
from eduprm.search import Budget, EduSampling, PolicySettings

STAGES = ("problems", "search", "label", "prm", "score", "report")
Stage = Literal["problems", "search", "label", "prm", "score", "report"]


class TrainSettings(CommandSettings):
    """Grow EDU trees of solutions, label them from their answers, train a PRM on them, and judge it by best-of-N.

    With no flags: SmolLM2-135M, taught to reason in steps, on sums of 6 to 8 terms, in minutes on two CPU cores. A run
    that was killed goes on when the same command is given again.
    """

    model_config = SettingsConfigDict(cli_prog_name="uv run apps/train")
    command: ClassVar[str] = "uv run apps/train"

    run: Path | None = Field(
        None,
        description="folder of the run; none: runs/default, or runs/ and the name of the file or data set",
    )
    config: Path | None = Field(None, description="TOML recipe with any of these settings; flags win over it")
    problems: Path | None = Field(
        None,
        description="JSONL or Parquet file with questions and gold answers, instead of generated problems",
    )
    test_problems: Path | None = Field(
        None,
        description="such a file whose problems are all held out; all of --problems is trained on then, but for "
        "questions that stand in both; not given: a quarter of --problems, by a hash of the question",
    )
    limit: int | None = Field(
        None, ge=2, description="take only the first so many problems of the file or data set"
    )
    seed: int = Field(0, ge=0, description="of problems, samples, training and bootstrap")
    only: list[Stage] = Field(
        [],
        description="run only these stages (problems, search, label, prm, score, report); not given: all",
    )
    rerun: list[Stage] = Field([], description="do these stages again, with what follows from them")
    rounds: int = Field(
        1,
        ge=1,
        description="from the second round on, trees are grown by the model that the round before trained; folders "
        "round-2, ... in the run's. Wants a PRM by likelihood and the engine transformers",
    )
    shard_problems: int = Field(
        32, ge=1, description="problems a shard; a killed search goes on from the last whole shard"
    )
    engine: Literal["transformers", "sglang"] = Field(
        "transformers", description="what decodes: the policy in this process, or an SGLang server at --url"
    )
    url: str | None = Field(
        None, pattern=r"^https?://", description="of the SGLang server or router, http://host:port"
    )
    policy: PolicySettings = Field(PolicySettings(model=STEPS_MODEL), description="the model that solves")
    server: ServerSettings = Field(ServerSettings(), description="the SGLang server")
    problem: ProblemSettings = Field(ProblemSettings(), description="the problems")
    search: EduSampling = Field(
        EduSampling(threshold=0.1, budget=Budget(max_leaves=8, max_tokens_per_path=128)),
        description="EDU sampling; other strategies take what they have of it",
    )
    samples: SampleSettings = Field(SampleSettings(), description="independent samples")
    strategies: list[str] = Field(
        ["edu", "temperature", "greedy"],
        min_length=1,
        description="ways of growing trees: "
        + ", ".join(registry.names(STRATEGIES))
        + " or package.module:Name; NAME=strategy "
        "names its trees. The PRM is trained on the first; on held-out problems the others are compared with it at "
        "equal tokens. At least one has the policy's greedy path (edu, p_edu, distinct_leaves, greedy, mcts_edu, "
        "refine; beam and greedy_step may give it up; particle, omega_prm, rollouts and uncertain_first draw). "
        "omega_prm searches with the gold answers; rollouts and uncertain_first draw where --label.steps end, for "
        "--label.rule rollouts",
    )
    strategy_options: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="per strategy, its own options over those of the same name in search and samples; of one that "
        "asks a PRM, prm: its folder or name",
    )
    label: LabelSettings = Field(LabelSettings(), description="the labels")
    prm: PrmSettings = Field(PrmSettings(), description="the PRM")
    bootstrap: int = Field(2000, ge=1, description="resamples behind the intervals")

    @property
    def backbone(self) -> str:
        """The model that the PRM is trained from."""
        if self.prm.backbone is not None:
            return self.prm.backbone
        return PRM_MODEL if self.policy.model == STEPS_MODEL else self.policy.model

    @property
    def folder(self) -> Path:
        """Folder of the run: a file or data set has one of its own, so that it does not collide with the default's."""
        if self.run is not None:
            return self.run
        source = self.problems.stem if self.problems else (self.problem.dataset or "default")
        return Path("runs") / source.rstrip("/").rpartition("/")[2]

    @field_validator("problems", "test_problems")
    @classmethod
    def _file_exists(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_file():
            raise ValueError("expected a file that exists")
        return value

    @model_validator(mode="after")
    def _one_engine(self) -> TrainSettings:
        if (self.engine == "sglang") != (self.url is not None):
            raise ValueError(
                "--engine sglang and --url http://host:port go together: expected both or neither, got "
                f"--engine {self.engine} and {'--url ' + self.url if self.url else 'no --url'}"
            )
        if self.server.check_cache and self.engine != "sglang":
            raise ValueError(
                f"--server.check-cache {self.server.check_cache} asks a server: expected --engine sglang and --url "
                f"http://host:port, got --engine {self.engine}; leave it out"
            )
        if self.server.key_env and self.engine != "sglang":
            raise ValueError(
                f"--server.key-env {self.server.key_env} is of a server's key: expected --engine sglang and --url "
                f"http://host:port, got --engine {self.engine}; leave it out"
            )
        if self.rounds > 1 and (self.engine != "transformers" or self.prm.train.scoring.kind != "likelihood"):
            raise ValueError(
                "--rounds: a further round decodes with the PRM of the one before, a language model in this process: "
                "expected --engine transformers and --prm.train.scoring.kind likelihood, got "
                f"{self.engine} and {self.prm.train.scoring.kind}"
            )
        if self.server.entropy == "bounds" and self.samples.temperature != 1.0:
            raise ValueError(
                "--server.entropy bounds: SGLang's log-probs of samples are at temperature 1 only where they are drawn "
                f"at it: expected --samples.temperature 1.0, got {self.samples.temperature}"
            )
        return self

    @model_validator(mode="after")
    def _known_strategies(self) -> TrainSettings:
        try:
            found = run_strategies(self)
        except ValueError as error:
            raise ValueError(f"--strategies: {error}") from None
        if "report" in (self.only or STAGES) and all(one.never_greedy for one in found):
            raise ValueError(
                "--strategies: expected one that decodes the policy's greedy path, with which all are compared, got "
                f"{', '.join(self.strategies)}: add greedy"
            )
        return self

    @model_validator(mode="after")
    def _done_again(self) -> TrainSettings:
        if self.only and (left := [stage for stage in self.rerun if stage not in self.only]):
            raise ValueError(
                f"--rerun {left[0]}: expected it among the stages of --only, got {', '.join(self.only)}; its files "
                "would be removed and not made again"
            )
        return self

    @model_validator(mode="after")
    def _one_source(self) -> TrainSettings:
        if self.problems is not None and self.problem.dataset is not None:
            raise ValueError("--problems FILE and --problem.dataset NAME: expected one of the two, got both")
        if self.test_problems is not None and self.problems is None:
            raise ValueError(
                "--test-problems FILE holds out beside --problems FILE: expected both, got no --problems"
            )
        if (
            self.problem.columns != ProblemColumns()
            and self.problems is None
            and self.problem.dataset is None
        ):
            raise ValueError(
                "--problem.columns names columns of a file or data set: give --problems FILE or --problem.dataset NAME"
            )
        if self.limit is not None and self.problems is None and self.problem.dataset is None:
            raise ValueError(
                "--limit counts the problems of a file or data set: give --problems FILE, or set --problem.num-train"
            )
        return self
