"""Parts of a run's settings: the server, the problems, samples, labels, the PRM and its training.

Each is a frozen model that knows what it may hold; names of choices are checked here, before anything is computed.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from eduprm.core import registry
from eduprm.core.api_key import api_key
from eduprm.core.retry import RetrySettings
from eduprm.label import grader_names
from eduprm.pipeline.label_judge_settings import LabelJudgeSettings, check_judge
from eduprm.pipeline.prm_input import PrmInput
from eduprm.prm import TrainConfig
from eduprm.problems.rows import ProblemColumns
from eduprm.search.sglang import EntropyKind

CALIBRATIONS = "eduprm.prm.calibrations"
LABEL_RULES = "eduprm.label.rules"
WEIGHTS = "eduprm.label.weights"
FILTERS = "eduprm.label.filters"
TASKS = "eduprm.problems.tasks"
SEGMENTERS = "eduprm.segment.segmenters"
Options = dict[str, int | float | bool | str]


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
                f"expected tasks like long_sum=2,mixed=1, each once, shares above 0, got {part.strip()!r}"
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
    key_env: str | None = Field(
        None,
        min_length=1,
        description="name of the environment variable that holds the server's API key (SGLang's --api-key), which is "
        "sent and written nowhere else; none: no key",
    )
    retry: RetrySettings = Field(RetrySettings(), description="when a failed request is sent again")
    check_cache: int = Field(
        0,
        ge=0,
        description="after the search, decode so many forks again without the server's prefix cache and report what "
        "differs; 0: none",
    )

    def client_options(self) -> dict[str, Any]:
        """Arguments of `SglangServer`.

        Raises:
            UsageError: the variable of the API key holds none.
        """
        own = {"check_cache", "key_env"}
        options = {name: getattr(self, name) for name in type(self).model_fields if name not in own}
        key = None if self.key_env is None else api_key(self.key_env, flag="--server.key-env")
        return {**options, "api_key": key}


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
    columns: ProblemColumns = Field(
        ProblemColumns(), description="which column of the file or data set holds what"
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


class LabelSettings(LabelJudgeSettings):
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
        "leaves",
        description="weight of a node in the loss: the leaves below it (all paths; or the rule's own weights), or 1",
    )
    weights: str = Field(
        "one",
        description=f"how much each question counts in training beside the others: {listed(WEIGHTS)} or "
        "package.module:Weights; one that weighs 0 is left out",
    )
    weights_options: Options = Field(
        default_factory=dict, validate_default=True, description="of these weights, as in power=2"
    )

    filter: str | None = Field(
        None,
        description=f"which solutions are learned from: {listed(FILTERS)} or package.module:Filter; none: all",
    )
    filter_options: dict[str, int | float | bool | str | Options] = Field(
        default_factory=dict,
        validate_default=True,
        description='of the filter, as in judge=equations or \'{"judge": "scores", "judge_options": '
        '{"threshold": 0.3}}\'',
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

    @field_validator("rule", "weights", "filter")
    @classmethod
    def _there(cls, value: str | None, info: ValidationInfo) -> str | None:
        kinds = {
            "rule": (LABEL_RULES, "Rule"),
            "weights": (WEIGHTS, "Weights"),
            "filter": (FILTERS, "Filter"),
        }
        if value is not None:
            folder, attribute = kinds[str(info.field_name)]
            registry.load(folder, value, attribute)
        return value

    @field_validator("weights_options")
    @classmethod
    def _of_weights(cls, value: Options, info: ValidationInfo) -> Options:
        if "weights" in info.data:
            registry.make(WEIGHTS, info.data["weights"], "Weights", value)
        return value

    @field_validator("filter_options")
    @classmethod
    def _of_filter(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if "filter" not in info.data:
            return value
        name = info.data["filter"]
        if name is not None:
            registry.make(FILTERS, name, "Filter", value)
        elif value:
            raise ValueError(f"expected none without a filter, got {next(iter(value))}; give --label.filter")
        return value

    @field_validator("rule_options")
    @classmethod
    def _taken(cls, value: Options, info: ValidationInfo) -> Options:
        if "rule" in info.data:
            registry.make(LABEL_RULES, info.data["rule"], "Rule", value)
        return value

    @model_validator(mode="after")
    def _judged(self) -> Self:
        if self.hard_threshold and self.target == "soft":
            raise ValueError(
                f"--label.hard-threshold {self.hard_threshold:g}: expected --label.target hard beside it, got soft; "
                "give it, or leave it out"
            )
        check_judge(self, self.filter, self.filter_options)
        return self


class PrmSettings(_Part):
    """The process reward model and its training."""

    backbone: str | None = Field(
        None,
        description="model to start from; none: the PRM that ships for the policy (smollm2-135m-steps-prm), or the "
        "policy",
    )
    input: PrmInput = Field(
        PrmInput(),
        description="how problem and steps become tokens: by default the problem stands in the policy's own prompt",
    )
    train: TrainConfig = Field(TrainConfig.for_small_model(), description="training")
    calibrate: str = Field(
        "none",
        description="what makes scores mean how often such steps end right, fitted on training questions that the PRM "
        f"is not trained on and kept with it: {listed(CALIBRATIONS)} or package.module:Calibration",
    )
    calibrate_share: float = Field(0.2, gt=0, lt=1, description="share of the training questions for that")

    @field_validator("calibrate")
    @classmethod
    def _known(cls, value: str) -> str:
        registry.load(CALIBRATIONS, value, "Calibration")
        return value
