"""Settings of the main job: one frozen model, from which the flags, their help and the TOML recipes come.

The defaults are the job of a bare machine: SmolLM2-135M taught to reason in steps, long sums, two cores, minutes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from eduprm.core import registry
from eduprm.core.command_line import CommandSettings
from eduprm.core.retry import RetrySettings
from eduprm.label import grader_names
from eduprm.pipeline.strategies import PACKAGE as STRATEGIES
from eduprm.pipeline.strategies import run_strategies
from eduprm.prm import InputFormat, TrainConfig
from eduprm.search import PRM_MODEL, STEPS_MODEL, Budget, EduSampling, PolicySettings
from eduprm.search.sglang import EntropyKind

LABEL_RULES = "eduprm.label.rules"
WEIGHTS = "eduprm.label.weights"
Options = dict[str, int | float | bool | str]
TASKS = "eduprm.problems.tasks"
SEGMENTERS = "eduprm.segment.segmenters"
STAGES = ("problems", "search", "label", "prm", "score", "report")
Stage = Literal["problems", "search", "label", "prm", "score", "report"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def listed(package: str) -> str:
    """Names of a package's choices, for help.

    Examples:
        >>> "uniform" in listed("eduprm.label.rules")
        True
    """
    return ", ".join(registry.names(package))


def parse_tasks(text: str) -> dict[str, float]:
    """Tasks and their shares, which add up to 1.

    Raises:
        ValueError: a share that is no number above 0, or a task named twice.

    Examples:
        >>> parse_tasks("long_sum=3, mixed")
        {'long_sum': 0.75, 'mixed': 0.25}
    """
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = part.strip().partition("=")
        try:
            number = float(share) if share else 1.0
        except ValueError:
            number = 0.0
        if not name or name in shares or not 0 < number < float("inf"):
            raise ValueError(
                f"expected tasks like long_sum=2,mixed=1, each once, shares above 0; got {part.strip()!r}"
            )
        shares[name] = number
    return {name: share / sum(shares.values()) for name, share in shares.items()}


class ServerSettings(_Part):
    """How the search talks to an SGLang server or router; unused with the engine `transformers`."""

    entropy: EntropyKind = Field(
        "exact",
        description="exact: from the plugin eduprm-sglang on the server; bounds: a lower and an upper bound from "
        "top-k log-probs, and the forest is marked",
    )
    top_logprobs: int = Field(20, ge=2, description="k of the bounds")
    max_requests: int = Field(
        256, ge=1, description="most paths on their way to the server at once; what its batch can hold"
    )
    post_prefixes: int = Field(
        1, ge=1, description="most paths of one POST; above 1, let max_requests be twice the server's rows"
    )
    gather_s: float = Field(0.005, ge=0, description="how long a path waits for others to share its POST")
    timeout_s: float = Field(600.0, gt=0, description="longest wait for one path, its queueing included")
    start_wait_s: float = Field(60.0, ge=0, description="longest wait for a server that is starting")
    served_as: str | None = Field(
        None, description="what the server calls the policy; none: by the last part of its path"
    )
    retry: RetrySettings = Field(RetrySettings(), description="when a failed request is sent again")

    def client_options(self) -> dict[str, Any]:
        """Arguments of `SglangServer`."""
        return {name: getattr(self, name) for name in type(self).model_fields}


class ProblemSettings(_Part):
    """Where problems come from: a generated task, the file given with --problems, or a data set of the hub."""

    task: str = Field(
        "long_sum",
        description=f"{listed(TASKS)}, rg:<reasoning-gym dataset> or package.module:Task, or several with their "
        "shares, long_sum=2,mixed=1; unused with a file",
    )
    task_config: dict[str, int | float | bool | str] = Field(
        default_factory=dict, description="settings of the task, of its reasoning-gym dataset say"
    )
    dataset: str | None = Field(
        None,
        description="hub name or local folder of a data set with questions and answers, instead of a task",
    )
    dataset_config: str | None = Field(None, description="configuration of that data set; none: its only one")
    dataset_split: str = Field("train", description="its split to train on")
    test_split: str | None = Field(
        None,
        description="its split to hold out, num_test problems of it; none: a quarter of the problems, by a hash of "
        "the question",
    )
    num_train: int = Field(64, ge=1, description="generated problems to train on; unused with a file")
    num_test: int = Field(
        64, ge=1, description="problems held out, generated or of test_split; unused with a file"
    )
    style: str | None = Field(
        None,
        description="worked examples before the question: of a task that has them (products, products12, chain_sum, "
        "gsm8k, package.module:Task); or none: zero_shot or steps; not given: steps for the policy smollm2-135m-steps, "
        "else the task's own, gsm8k for a file, zero_shot for a data set",
    )
    grader: str = Field(
        "auto",
        description=f"{', '.join(grader_names())} or package.module:function; auto: the task's own, number for a file, "
        "math for a data set",
    )
    grader_options: Options = Field(
        default_factory=dict, description="of a grader that is named, as in timeout_s=20"
    )

    @field_validator("task")
    @classmethod
    def _shares(cls, value: str) -> str:
        parse_tasks(value)
        return value


class SampleSettings(_Part):
    """Independent samples, on the held-out problems unless the PRM is trained on them."""

    temperature: float = Field(0.7, gt=0, description="of the softmax the tokens are drawn from")
    num_samples: int = Field(8, ge=1, description="samples a held-out problem")


class LabelSettings(_Part):
    """How answers at the leaves become labels of the steps."""

    steps: tuple[str, ...] = Field(
        ("entropy", "lines"),
        min_length=1,
        description=f"what ends a step and carries a label, one or several of {listed(SEGMENTERS)} or "
        "package.module:Segmenter; entropy: before a token at which the policy was unsure, as the trees fork; a "
        "node's value is the same anywhere inside it",
    )
    steps_options: dict[str, Options] = Field(
        default_factory=dict,
        validate_default=True,
        description="options by segmenter, in TOML; entropy's are the search's threshold and skip_symbols",
    )
    rule: str = Field(
        "uniform",
        description=f"what makes a node's value of the leaves below: {listed(LABEL_RULES)} or package.module:Rule",
    )
    rule_options: Options = Field(
        default_factory=dict, validate_default=True, description="the rule's, as in eta=2"
    )
    target: Literal["soft", "hard"] = Field(
        "soft", description="label: the value itself, or value > hard_threshold"
    )
    hard_threshold: float = Field(0.0, ge=0, lt=1, description="above this value a hard label is 1")
    node_weight: Literal["leaves", "one"] = Field(
        "leaves", description="weight of a node in the loss: the leaves below it (all paths), or 1"
    )
    weights: str = Field(
        "one",
        description=f"how much each question counts in training beside the others: {listed(WEIGHTS)} or "
        "package.module:Weights; one that weighs 0 is left out",
    )
    weights_options: Options = Field(
        default_factory=dict, validate_default=True, description="of these weights, as in power=2"
    )

    @field_validator("steps")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise ValueError(f"expected each segmenter once, got {', '.join(value)}")
        for name in value:
            registry.load(SEGMENTERS, name, "Segmenter")
        return value

    @field_validator("steps_options")
    @classmethod
    def _of_steps(cls, value: dict[str, Options], info: ValidationInfo) -> dict[str, Options]:
        names = info.data.get("steps", ())
        if names and (others := [name for name in value if name not in names or name == "entropy"]):
            raise ValueError(f"expected options of {', '.join(set(names) - {'entropy'})}, got {others[0]}")
        for name in names:
            registry.make(SEGMENTERS, name, "Segmenter", value.get(name))
        return value

    @field_validator("rule")
    @classmethod
    def _there(cls, value: str) -> str:
        registry.load(LABEL_RULES, value, "Rule")
        return value

    @field_validator("weights_options")
    @classmethod
    def _of_weights(cls, value: Options, info: ValidationInfo) -> Options:
        if "weights" in info.data:
            registry.make(WEIGHTS, info.data["weights"], "Weights", value)
        return value

    @field_validator("rule_options")
    @classmethod
    def _taken(cls, value: Options, info: ValidationInfo) -> Options:
        if "rule" in info.data:
            registry.make(LABEL_RULES, info.data["rule"], "Rule", value)
        return value


class PrmSettings(_Part):
    """The process reward model and its training."""

    backbone: str | None = Field(
        None,
        description="model to start from; none: the PRM that ships for the policy (smollm2-135m-steps-prm), or the "
        "policy",
    )
    input: InputFormat | None = Field(
        None,
        description="how problem and steps become tokens; none: the prompt that a taught policy reads (style steps), "
        "or the question and a line break",
    )
    train: TrainConfig = Field(TrainConfig.for_small_model(), description="training")


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
        "equal tokens. At least one has the policy's greedy path (edu, p_edu, distinct_leaves, greedy, mcts_edu; beam "
        "and greedy_step may give it up, particle and omega_prm draw). omega_prm searches with the gold answers",
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

    @field_validator("problems")
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
            run_strategies(self)
        except ValueError as error:
            raise ValueError(f"--strategies: {error}") from None
        return self

    @model_validator(mode="after")
    def _one_source(self) -> TrainSettings:
        if self.problems is not None and self.problem.dataset is not None:
            raise ValueError("--problems FILE and --problem.dataset NAME: expected one of the two, got both")
        if self.limit is not None and self.problems is None and self.problem.dataset is None:
            raise ValueError(
                "--limit counts the problems of a file or data set: give --problems FILE, or set --problem.num-train"
            )
        return self
