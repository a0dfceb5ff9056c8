"""The ways of cutting a solution behind one call, chosen by name.

A segmenter takes a Solution and returns token spans that cover it. It knows what it needs (texts, entropies or
log-probs) and says so when that is missing; it does not compute them. `joint_segmenter` ends steps wherever one of
several does.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from .anchors import Numbers, entropy_anchors, low_confidence_anchors
from .delimiters import BLANK_LINE, delimiter_spans
from .lines import line_starts
from .spans import Span, fixed_length_spans, spans_from_anchors, token_spans


@dataclass(frozen=True, slots=True)
class Solution:
    """One solution as tokens: texts, and per token what is known of the distribution it came from.

    Attributes:
        token_texts: n texts; joined they are the solution.
        entropies: [n] nats.
        logprobs: [n] nats, of the token that stands there.
        top_texts: n texts of the most probable tokens, by `judged_texts`; of a greedy solution they are its own.

    Errors: ValueError when the lengths differ.
    """

    token_texts: Sequence[str]
    entropies: Numbers | None = None
    logprobs: Numbers | None = None
    top_texts: Sequence[str] | None = None

    def __post_init__(self) -> None:
        for name in ("entropies", "logprobs", "top_texts"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.token_texts):
                raise ValueError(f"expected {len(self.token_texts)} {name}, one per token, got {len(values)}")

    @property
    def text(self) -> str:
        """All token texts joined."""
        return "".join(self.token_texts)


class Segmenter(Protocol):
    """Cuts a solution into steps: spans of token positions that cover it, in order, none empty."""

    def __call__(self, solution: Solution, /) -> list[Span]:
        """The steps of the solution."""
        ...


def entropy_segmenter(*, threshold: float = 1.0, skip_symbols: bool = True) -> Segmenter:
    """Steps begin where the policy was unsure: see entropy_anchors. Needs entropies, and top_texts to skip symbols."""

    def cut(solution: Solution, /) -> list[Span]:
        entropies = _needed(solution.entropies, "entropy", "entropies")
        top_texts = solution.token_texts
        if skip_symbols:  # without the rule no text is looked at
            top_texts = _needed(solution.top_texts, "entropy", "top_texts")
        anchors = entropy_anchors(entropies, top_texts, threshold=threshold, skip_symbols=skip_symbols)
        return spans_from_anchors(anchors, len(solution.token_texts))

    return cut


def low_confidence_segmenter(*, quantile: float | None = None, threshold: float | None = None) -> Segmenter:
    """Steps begin at improbable tokens (AdaptiveStep): see low_confidence_anchors. Needs log-probs."""

    def cut(solution: Solution, /) -> list[Span]:
        logprobs = _needed(solution.logprobs, "low_confidence", "logprobs")
        anchors = low_confidence_anchors(logprobs, quantile=quantile, threshold=threshold)
        return spans_from_anchors(anchors, len(solution.token_texts))

    return cut


def line_segmenter() -> Segmenter:
    """Steps begin at the first token with text behind a line break: see line_starts."""

    def cut(solution: Solution, /) -> list[Span]:
        starts, _ = line_starts(solution.token_texts)
        return spans_from_anchors(starts, len(solution.token_texts))

    return cut


def delimiter_segmenter(*, delimiters: Sequence[str] | str = BLANK_LINE) -> Segmenter:
    """Steps end at delimiters in the joined text: see delimiter_spans and token_spans."""

    def cut(solution: Solution, /) -> list[Span]:
        return token_spans(delimiter_spans(solution.text, delimiters), solution.token_texts)

    return cut


def fixed_length_segmenter(*, size: int) -> Segmenter:
    """Steps of ``size`` tokens."""

    def cut(solution: Solution, /) -> list[Span]:
        return fixed_length_spans(len(solution.token_texts), size)

    return cut


SEGMENTERS: dict[str, Callable[..., Segmenter]] = {
    "delimiter": delimiter_segmenter,
    "entropy": entropy_segmenter,
    "fixed_length": fixed_length_segmenter,
    "lines": line_segmenter,
    "low_confidence": low_confidence_segmenter,
}
"""Makers of segmenters by name; add your own to choose it by name too."""


def get_segmenter(name: str, **options: object) -> Segmenter:
    """A segmenter by name, with its maker's options.

    Errors: ValueError for a name or an option that is not there; it lists those that are.

    Examples:
        >>> get_segmenter("fixed_length", size=2)(Solution(["a", "b", "c"]))
        [Span(start=0, stop=2), Span(start=2, stop=3)]
    """
    if name not in SEGMENTERS:
        raise ValueError(f"expected a segmenter among {', '.join(sorted(SEGMENTERS))}, got {name!r}")
    maker = SEGMENTERS[name]
    try:
        inspect.signature(maker).bind(**options)
    except TypeError as error:
        known = ", ".join(inspect.signature(maker).parameters) or "none"
        got = ", ".join(options) or "none"
        raise ValueError(
            f"expected options of segmenter {name!r} among {known}, got {got} ({error})"
        ) from None
    return maker(**options)


def joint_segmenter(segmenters: Mapping[str, Mapping[str, object]]) -> Segmenter:
    r"""A segmenter whose steps begin wherever a step of one of several begins.

    Args:
        segmenters: names with the options of each; at least one.

    Errors: ValueError for none, and as get_segmenter.

    Examples:
        >>> cut = joint_segmenter({"lines": {}, "fixed_length": {"size": 3}})
        >>> [tuple(span) for span in cut(Solution(["a", "\n", "b", "c"]))]
        [(0, 2), (2, 3), (3, 4)]
    """
    if not segmenters:
        raise ValueError("expected at least one segmenter, got none")
    parts = [get_segmenter(name, **options) for name, options in segmenters.items()]

    def cut(solution: Solution, /) -> list[Span]:
        starts = {span.start for part in parts for span in part(solution)}
        return spans_from_anchors(starts, len(solution.token_texts))

    return cut


def _needed(values: Any, segmenter: str, name: str) -> Any:
    if values is None:
        raise ValueError(
            f"expected a solution with {name} for segmenter {segmenter!r}, got none (score the text first)"
        )
    return values
