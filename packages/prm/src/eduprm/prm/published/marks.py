"""What published forms leave open to the user."""

from __future__ import annotations

from collections.abc import Collection

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["StepMarks"]


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

    def check_used(self, name: str, used: Collection[str]) -> None:
        """Refuse marks that a form does not use.

        Args:
            name: of the form, for the message.
            used: the fields that it uses.

        Raises:
            ValueError: names the others.
        """
        changed = [key for key, value in self if value != type(self).model_fields[key].default]
        unused = [key for key in changed if key not in used]
        if unused:
            users = "trl" if unused[0] == "separator" else "label-tokens"
            raise ValueError(
                f"format {name} fixes its marks itself, got {', '.join(unused)}; leave it out, or name format {users}"
            )
