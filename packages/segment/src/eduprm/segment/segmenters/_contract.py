"""What a segmenter is, and what it is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from eduprm.segment.anchors import Numbers
from eduprm.segment.spans import Span, check_text, token_spans

__all__ = ["Solution", "StepSegmenter", "needed"]


@dataclass(frozen=True, slots=True)
class Solution:
    """One solution as tokens: texts, and per token what is known of the distribution it came from.

    Attributes:
        token_texts: n texts; joined they are the solution.
        entropies: [n] nats.
        logprobs: [n] nats, of the token that stands there.
        top_texts: n texts of the most probable tokens, by `judged_texts`; of a greedy solution they are its own.
        characters: the tokens are the characters of a text that no model has read.

    Errors: ValueError when the lengths differ.
    """

    token_texts: Sequence[str]
    entropies: Numbers | None = None
    logprobs: Numbers | None = None
    top_texts: Sequence[str] | None = None
    characters: bool = False

    def __post_init__(self) -> None:
        for name in ("entropies", "logprobs", "top_texts"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.token_texts):
                raise ValueError(f"expected {len(self.token_texts)} {name}, one per token, got {len(values)}")

    @classmethod
    def of_text(cls, text: str) -> Solution:
        """A text without tokens: its characters stand for them.

        Errors: TypeError for what is no string.

        Examples:
            >>> Solution.of_text("ab").token_texts
            'ab'
        """
        check_text(text)
        return cls(text, characters=True)

    @property
    def text(self) -> str:
        """All token texts joined."""
        return "".join(self.token_texts)

    def spans(self, char_spans: Sequence[Span]) -> list[Span]:
        """Spans of the tokens in which spans of `text` end: `token_spans`."""
        return list(char_spans) if self.characters else token_spans(char_spans, self.token_texts)


class StepSegmenter(Protocol):
    """A frozen class; its fields are the segmenter's options, checked when it is made.

    Attributes:
        needs: the attributes of `Solution` that must be there beside the texts. Whoever cuts a text measures them with
            the policy; one that names none cuts texts without a policy.
    """

    needs: ClassVar[tuple[str, ...]]

    def __call__(self, solution: Solution, /) -> list[Span]:
        """Return spans of token positions that cover the solution, in order, none empty."""
        ...


def needed(solution: Solution, name: str, segmenter: str) -> Any:
    """Return an attribute of a solution, or say that the segmenter needs it.

    Errors: ValueError where it is None.
    """
    values = getattr(solution, name)
    if values is None:
        raise ValueError(
            f"expected a solution with {name} for segmenter {segmenter!r}, got none (score the text first)"
        )
    return values
