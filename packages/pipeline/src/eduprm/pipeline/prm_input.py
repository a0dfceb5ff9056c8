"""The prompt that a PRM reads: by default the policy's own, since by likelihood a PRM is asked what the policy was.

Imports no torch.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from eduprm.prm import InputFormat
from eduprm.problems import messages_for

PLAIN = InputFormat(kind="plain", template="{problem}\n")
"""What is read where the policy's prompt is not known, or cannot be made by the PRM's tokenizer."""

_HOLE = "{problem}"


def policy_format(style: str) -> InputFormat:
    """The chat that a policy is asked with, as the format of a PRM.

    Args:
        style: as `eduprm.problems.messages_for` takes it.

    Raises:
        ValueError: no such style.

    Examples:
        >>> policy_format("steps").system, policy_format("steps").template
        ('Steps', '{problem}')
        >>> len(policy_format("gsm8k").examples)
        4
    """
    *before, last = messages_for(_HOLE, style)
    system = before.pop(0)["content"] if before and before[0]["role"] == "system" else None
    texts = [turn["content"] for turn in before]
    return InputFormat(
        kind="chat",
        system=system,
        examples=tuple(zip(texts[::2], texts[1::2], strict=True)),
        template=last["content"],
    )


def _said(name: str) -> str:
    return str(InputFormat.model_fields[name].description)


class PrmInput(BaseModel):
    r"""How problem and steps become tokens; what is none is as in the policy's own prompt.

    Examples:
        >>> PrmInput(system="Be brief.").resolved(policy_format("zero_shot")).template[:30]
        '{problem}\n\nWork it out step by'
        >>> PrmInput(kind="plain").resolved(policy_format("zero_shot")).template
        '{problem}\n'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["chat", "plain"] | None = Field(
        None,
        description="chat: the tokenizer's chat template; plain: the template's text alone; none: chat, as the policy",
    )
    template: str | None = Field(
        None,
        description="text of the user's turn, or of the whole prompt if plain, with {problem} in it; none: the user's "
        "turn of the policy's prompt, or if plain the problem and a line break",
    )
    system: str | None = Field(
        None, description='system turn of a chat; none: that of the policy\'s prompt; "": no such turn'
    )
    examples: bool = Field(
        True,
        description="in a chat, the worked examples of the policy's prompt stand before the problem",
    )
    separator: str = Field("", description=_said("separator"))
    joiner: str = Field("\n", description=_said("joiner"))
    append_eos: bool = Field(True, description=_said("append_eos"))
    add_bos: bool | None = Field(None, description=_said("add_bos"))

    @field_validator("template")
    @classmethod
    def _has_place_for_problem(cls, value: str | None) -> str | None:
        if value is not None and _HOLE not in value:
            raise ValueError(f"expected {_HOLE} in it, got {value!r}")
        return value

    @model_validator(mode="after")
    def _system_of_a_chat(self) -> Self:
        if self.kind == "plain" and self.system:
            raise ValueError(
                f"expected no system turn in a plain prompt, got kind plain and system {self.system!r}; leave one out"
            )
        return self

    def resolved(self, own: InputFormat) -> InputFormat:
        """The format, with what is not set taken from the policy's own."""
        shared: dict[str, Any] = {
            name: getattr(self, name) for name in ("separator", "joiner", "append_eos", "add_bos")
        }
        kind = self.kind or ("chat" if self.system else own.kind)
        if kind == "plain":
            return InputFormat(kind="plain", template=self.template or PLAIN.template, **shared)
        template = own.template if own.kind == "chat" else _HOLE
        return InputFormat(
            kind="chat",
            template=self.template or template,
            system=own.system if self.system is None else (self.system or None),
            examples=own.examples if self.examples else (),
            **shared,
        )


def chosen_format(wanted: PrmInput, style: str | None, *, has_chat_template: bool) -> tuple[InputFormat, str]:
    """The format of a run's PRM, and a line that says which it is.

    Args:
        wanted: the settings.
        style: of the policy's prompts; None where problems came with prompts that nobody knows the making of.
        has_chat_template: whether the PRM's tokenizer has one.
    """
    if style is None:
        own, why = PLAIN, "the problems came with prompts of their own, which it does not read"
    elif not has_chat_template:
        own = PLAIN
        why = f"its tokenizer has no chat template for the policy's prompt (style {style})"
    else:
        own, why = policy_format(style), ""
    chosen = wanted.resolved(own)
    if not why and _prompt(chosen) == _prompt(own):
        return chosen, f"reads problems in the policy's own prompt (chat, style {style})"
    why = why or f"by --prm.input; the policy's prompt (chat, style {style}) is another"
    if _prompt(chosen) == _prompt(PLAIN):
        why += "; --prm.input.template takes another text"
    return chosen, f"reads problems as {_shown(chosen)}: {why}"


def _prompt(format: InputFormat) -> dict[str, Any]:
    return format.model_dump(include={"kind", "template", "system", "examples"})


def _shown(format: InputFormat) -> str:
    parts: list[str] = [format.kind]
    if format.kind == "chat":
        parts += ["no system turn" if format.system is None else f"system {format.system!r}"]
        parts += [f"{len(format.examples)} worked examples"] if format.examples else []
    return ", ".join([*parts, f"template {format.template!r}"])
