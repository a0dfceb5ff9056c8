"""The forms in which PRMs are published, and which of them a checkpoint has, told from its config alone.

For: `--format` of the apps, and the choice without it. Does not know: weights, tokenizers; imports neither torch nor
transformers. A path is never looked at: a folder may have any name (search-and-learn and others choose by the name, and
score a renamed or fine-tuned checkpoint in the wrong form without a word).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["FORMATS", "FormatName", "StepMarks", "choose_format"]

FormatName = Literal[
    "eduprm", "qwen2.5-math-prm", "math-shepherd", "rlhflow", "skywork-o1-open-prm", "trl", "label-tokens"
]
FORMATS: tuple[FormatName, ...] = get_args(FormatName)

_BY_ARCHITECTURE: dict[str, FormatName] = {
    "Qwen2ForProcessRewardModel": "qwen2.5-math-prm",
    "Qwen2ForPrmModel": "skywork-o1-open-prm",
}
_CAUSAL = "math-shepherd, rlhflow, label-tokens"
_USED: dict[str, frozenset[str]] = {
    "trl": frozenset({"separator"}),
    "label-tokens": frozenset({"tag", "good", "bad", "prompt", "first", "between"}),
}


class StepMarks(BaseModel):
    r"""What a form leaves open: `separator` of format trl, all the others of format label-tokens.

    Examples:
        >>> StepMarks(tag="<step>", good="yes", bad="no").prompt
        '{problem}'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    separator: str = Field("\n", description="trl: text that closes every step, as in training")
    tag: str = Field("", description="label-tokens: the one token after each step at which its score stands")
    good: str = Field("+", description="label-tokens: the one token that says right")
    bad: str = Field("-", description="label-tokens: the one token that says wrong")
    prompt: str = Field(
        "{problem}", pattern=r"\{problem\}", description="label-tokens: text of the prompt, with {problem}"
    )
    first: str = Field(" ", description="label-tokens: text before the first step")
    between: str = Field("\n", description="label-tokens: text before every further step")

    def check_used(self, name: str) -> None:
        """Refuse marks that format `name` does not use.

        Raises:
            ValueError: names them, and who uses them.
        """
        changed = [key for key, value in self if value != type(self).model_fields[key].default]
        unused = [key for key in changed if key not in _USED.get(name, frozenset())]
        if unused:
            raise ValueError(
                f"format {name} fixes its marks itself, got {', '.join(unused)}; leave it out, or name format "
                f"{' or '.join(key for key, used in _USED.items() if unused[0] in used)}"
            )


def choose_format(config: Mapping[str, Any], *, path: str) -> FormatName:
    """Return the form of a checkpoint from its config.json; `path` is for messages.

    A config that eduprm wrote says so (`eduprm`). Otherwise the class that wrote the checkpoint tells
    (`architectures`), except for causal language models, whose config does not say how they judge.

    Raises:
        ValueError: the form cannot be told, with the names to choose from.

    Examples:
        >>> choose_format({"architectures": ["Qwen2ForProcessRewardModel"]}, path="prm")
        'qwen2.5-math-prm'
    """
    if "eduprm" in config:
        return "eduprm"
    architectures = [str(name) for name in config.get("architectures") or []]
    for name in architectures:
        if name in _BY_ARCHITECTURE:
            return _BY_ARCHITECTURE[name]
        if name.endswith("ForTokenClassification"):
            return "trl"
    shown = ", ".join(architectures) or "no architecture"
    if any(name.endswith("ForCausalLM") for name in architectures):
        raise ValueError(
            f"{path} is a causal language model ({shown}), and its config does not say how it judges steps; "
            f"name the format: {_CAUSAL}"
        )
    raise ValueError(
        f"{path} says {shown} in its config, which is the mark of no known PRM; name the format: {', '.join(FORMATS)}"
    )
