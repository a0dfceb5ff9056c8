"""Settings of inputs and training: frozen pydantic models that import without torch.

For everything that must be written in a recipe or saved beside a model.
Source: the training settings reported for EDU-PRM (arXiv 2503.22233: cosine schedule, cross-entropy at step ends).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from eduprm.core import registry

__all__ = ["InputFormat", "LoraSettings", "Scoring", "StepCut", "TrainConfig"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class InputFormat(_Frozen):
    r"""How a problem and its steps become token ids; saved in the model's config so that scoring matches training.

    A step is its own token ids, then (last step of a complete solution, if `append_eos`) the end-of-solution id,
    then the separator's ids. Its score stands at the last of these tokens. Parts are joined as ids, never as text.

    Examples:
        >>> InputFormat(kind="plain", template="Q: {problem}\nA: ").render("1 + 1?")
        'Q: 1 + 1?\nA: '
    """

    kind: Literal["chat", "plain"] = Field(
        default="chat", description="chat: the tokenizer's chat template; plain: the template's text alone"
    )
    template: str = Field(
        default="{problem}", description="text of the user's turn, or of the whole prompt if plain"
    )
    system: str | None = Field(
        default=None, description="system turn of a chat; None leaves it to the chat template's own default"
    )
    examples: tuple[tuple[str, str], ...] = Field(
        default=(),
        description="worked examples of a chat, question and solution each: a user's and an assistant's turn before "
        "the problem",
    )
    separator: str = Field(
        default="", description="text, usually one special token, whose ids close every step"
    )
    joiner: str = Field(
        default="\n",
        description="text put between the steps of a list that carries no line breaks, so that it reads like the "
        "texts of training; empty: nothing; unused where a separator closes every step",
    )
    append_eos: bool = Field(
        default=True, description="put the end-of-solution id at the end of a complete solution's last step"
    )
    add_bos: bool | None = Field(
        default=None,
        description="begin a plain prompt with the BOS id; None does what the tokenizer does by itself",
    )

    @field_validator("template")
    @classmethod
    def _has_place_for_problem(cls, value: str) -> str:
        if "{problem}" not in value:
            raise ValueError(f"template must hold '{{problem}}', got {value!r}")
        return value

    @model_validator(mode="after")
    def _examples_of_a_chat(self) -> InputFormat:
        if self.kind == "plain" and self.examples:
            raise ValueError("examples: expected none in a plain prompt; write them into the template")
        return self

    @model_serializer(mode="wrap")
    def _without_empty_examples(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Formats without examples stay what they were before there were any: in saved PRMs, hashes and store keys.
        values: dict[str, Any] = handler(self)
        if not values.get("examples"):
            values.pop("examples", None)
        return values

    @classmethod
    def stepwise(cls, *, separator: str = "\n") -> InputFormat:
        """Return the plain format of stepwise-supervision data: prompt, then each step closed by `separator`.

        Examples:
            >>> InputFormat.stepwise().append_eos
            False
        """
        return cls(kind="plain", separator=separator, append_eos=False)

    def render(self, problem: str) -> str:
        """Return the template's text with `problem` in it; braces in the problem stay as they are."""
        return self.template.replace("{problem}", problem)


class StepCut(_Frozen):
    """Where the solutions that a PRM was trained on were cut into steps; saved in the model's config.

    A PRM knows its scores at the ends of such steps; cut otherwise, it is asked what it never learned. Steps end where
    any of the segmenters ends one. Configs of before segmenters had options of their own are read too: a list of names
    (or one, `kind`) with `threshold` and `skip_symbols` of entropy beside it.

    Examples:
        >>> cut = StepCut(segmenters={"entropy": {"threshold": 1.0}, "lines": {}}, policy="p", style="zero_shot")
        >>> list(cut.segmenters)
        ['entropy', 'lines']
        >>> StepCut.model_validate({"kind": "entropy", "policy": "p", "threshold": 1.0, "style": "steps"}).segmenters
        {'entropy': {'threshold': 1.0, 'skip_symbols': True}}
    """

    segmenters: dict[str, dict[str, int | float | bool | str]] = Field(
        min_length=1,
        description="names of eduprm.segment, or package.module:Segmenter, with the options of each",
    )
    policy: str = Field(min_length=1, description="bundled model, local folder or hub name")
    style: str = Field(min_length=1, description="name of the prompt that the policy read the problem with")

    @model_validator(mode="before")
    @classmethod
    def _options_beside(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or isinstance(value.get("segmenters"), Mapping):
            return value
        own = ("kind", "segmenters", "threshold", "skip_symbols")
        rest = {name: item for name, item in value.items() if name not in own}
        beside = {"threshold": value.get("threshold"), "skip_symbols": value.get("skip_symbols", True)}
        names = value.get("segmenters") or [value.get("kind", "entropy")]
        return {"segmenters": {name: beside if name == "entropy" else {} for name in names}, **rest}


Aggregate = Literal["last", "min", "mean", "product"]
"""What makes one score of the scores of a solution's steps."""


class Scoring(_Frozen):
    """How a model's outputs become a score per step; saved in the model's config.

    Examples:
        >>> Scoring(kind="likelihood").fold
        'min'
    """

    kind: str = Field(
        default="head",
        description="head: a classifier's P(right) at the step's last token; step_head: the same of the step alone, by "
        "labels up to the first wrong one; likelihood: the language model's own probability of the step; implicit, "
        "bidirectional, nce_plus: what the loss of that name trains; or "
        "package.module:Scorer",
    )
    fold: Literal["min", "mean", "sum"] = Field(
        default="min",
        description="likelihood: exp of the least, the mean or the sum of the log-probs of a step's tokens",
    )

    @property
    def solution(self) -> Aggregate:
        """How step scores become the one score of a solution, as the scorer says (`eduprm.prm.scorers._contract`).

        "last" where a step's score speaks of the solution up to its end. Asking imports torch.
        """
        scorer: Any = registry.make("eduprm.prm.scorers", self.kind, "Scorer", {"settings": self})
        whole: Aggregate = scorer.solution
        return whole


class LoraSettings(_Frozen):
    """Low-rank adapters; a head is always trained in full."""

    rank: int = Field(default=16, ge=1, description="rank of each adapter")
    alpha: float = Field(default=32.0, gt=0, description="adapters are scaled by alpha / rank")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="dropout before the adapters")
    targets: tuple[str, ...] | None = Field(
        default=None,
        description="names of the linear layers that get adapters; None means all in the decoder layers",
    )


class TrainConfig(_Frozen):
    """How to train a PRM. Each loss of an optimiser step is a weighted mean over the whole step.

    Examples:
        >>> TrainConfig(epochs=2, lora=None).learning_rate
        0.0003
    """

    losses: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(
        default={"cross_entropy": 1.0},
        min_length=1,
        description="what is minimised, each by name with its share: cross_entropy (a head, at the ends of steps), "
        "fork (the language model's preference where paths part), language_model (right solutions), ranking (a head, "
        "between siblings), implicit (outcomes, against the model before), bidirectional (two heads), nce_plus (an "
        "energy over values), or package.module:Loss",
    )
    scoring: Scoring = Field(default=Scoring(), description="how the trained model scores steps")
    curriculum: str = Field(
        default="none",
        description="which trees are trained on when; none: each once an epoch, shuffled; frozen_prm: drawn, more and "
        "more those on which a frozen PRM errs; or package.module:Curriculum",
    )
    curriculum_options: dict[str, int | float | bool | str] = Field(
        default_factory=dict, validate_default=True, description="the curriculum's, as in end=0.5"
    )
    learning_rate: float = Field(
        default=3e-4, gt=0, allow_inf_nan=False, description="peak learning rate of AdamW"
    )
    epochs: int = Field(default=1, ge=1, description="passes over the trees")
    batch_tokens: int = Field(
        default=4096,
        ge=1,
        description="most tokens (padding not counted) in a micro-batch; larger trees are split",
    )
    batch_trees: int | None = Field(
        default=None, ge=1, description="most trees in a micro-batch; None: no such bound"
    )
    accumulation: int = Field(
        default=1,
        ge=1,
        description="micro-batches per optimiser step, shared out among all processes: a multiple of their number",
    )
    scheduler: str = Field(default="cosine", description="a learning-rate schedule of transformers")
    warmup: float = Field(
        default=0.03, ge=0, lt=1, description="share of the optimiser steps spent on warm-up"
    )
    weight_decay: float = Field(
        default=0.0, ge=0, allow_inf_nan=False, description="AdamW's decoupled weight decay"
    )
    max_grad_norm: float = Field(
        default=1.0, ge=0, description="clip the gradient's norm here; 0: no clipping"
    )
    lora: LoraSettings | None = Field(
        default=LoraSettings(), description="adapters; None trains the full weights"
    )
    last_layers: int | None = Field(
        default=None,
        ge=1,
        description="train (or adapt) only this many last decoder layers; None: all, and embeddings",
    )
    max_length: int | None = Field(
        default=None, ge=1, description="most tokens from the prompt to a leaf; None: the backbone's context"
    )
    seed: int = Field(default=0, ge=0, description="seeds the order of the trees, the head and the adapters")
    gradient_checkpointing: bool = Field(default=False, description="recompute activations to save memory")
    sharding: Literal["none", "fsdp"] = Field(
        default="none",
        description="fsdp: each of the processes of torchrun holds a share of weights, gradients and optimiser state "
        "(FSDP2); none: all of it",
    )
    dtype: Literal["float32", "bfloat16", "auto"] = Field(
        default="float32",
        description="compute dtype; bfloat16 is mixed precision with float32 master weights, saved as bfloat16; auto: "
        "bfloat16 on a GPU or CPU that computes it fast (AMX, AVX-512 BF16), else float32",
    )
    cpu_layers: Literal["auto", "compiled", "eager", "transformers"] = Field(
        default="transformers",
        description="what computes decoder layers on a CPU. transformers: the model's own; eager, compiled: ours, "
        "without or with torch.compile, frozen ones once per tree; auto: ours where they agree with the model's own, "
        "compiled if the training is long enough",
    )
    kept_states_mb: int = Field(
        default=2048,
        ge=0,
        description="memory, MB, for hidden states of trees below the lowest trained layer, which our own layers keep; "
        "the rest is recomputed",
    )
    attn_implementation: Literal["auto", "sdpa", "varlen", "flex_attention", "eager"] = Field(
        default="auto",
        description="sdpa and eager take a dense mask, flex_attention (CUDA) a block mask, varlen gathers each path's "
        "keys (CUDA and bfloat16; wasteful on CPUs); auto: varlen where it runs and trees are not tiny, else sdpa",
    )
    compile: bool = Field(
        default=False,
        description="compile the decoder layers with torch.compile (once per training, half a minute or less; needs a "
        "C compiler); worth it on a GPU for trainings of minutes",
    )
    save_steps: int | None = Field(
        default=None,
        ge=1,
        description="optimiser steps between checkpoints to resume from; None: no checkpoints",
    )
    keep_checkpoints: int = Field(default=1, ge=1, description="checkpoints kept while training")
    on_rejected: Literal["raise", "skip"] = Field(
        default="raise",
        description="what to do with rows without a usable label: stop, or leave out and report them",
    )
    trainer_arguments: dict[str, Any] = Field(
        default_factory=dict, description="further TrainingArguments (dataloader workers, reports, ...)"
    )

    @field_validator("curriculum_options")
    @classmethod
    def _taken(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if "curriculum" in info.data:
            registry.make("eduprm.prm.curricula", info.data["curriculum"], "Curriculum", value)
        return value

    @classmethod
    def for_small_model(cls) -> TrainConfig:
        """Return settings for a model of 135M parameters and minutes: preference at forks, half of the layers.

        Examples:
            >>> TrainConfig.for_small_model().losses
            {'fork': 1.0, 'language_model': 0.5}
        """
        return cls(
            losses={"fork": 1.0, "language_model": 0.5},
            scoring=Scoring(kind="likelihood"),
            learning_rate=1e-4,
            batch_tokens=2048,
            last_layers=15,
            lora=LoraSettings(rank=32, alpha=64.0),
            save_steps=40,
        )
