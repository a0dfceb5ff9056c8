"""Segmenters by name, and steps that end wherever one of several ends one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from eduprm.core import registry
from eduprm.segment.segmenters._contract import Solution
from eduprm.segment.spans import Span, spans_from_anchors

__all__ = ["SEGMENTERS", "Segmenter", "get_segmenter", "joint_segmenter", "needs_of"]

SEGMENTERS = "eduprm.segment.segmenters"
"""The folder; `eduprm.core.registry.names` lists it."""

Segmenter = Callable[[Solution], list[Span]]


def get_segmenter(name: str, **options: object) -> Segmenter:
    """A segmenter by name: a module of `eduprm.segment.segmenters`, or "package.module:Segmenter".

    Errors: ValueError for a name or an option that is not there; it lists those that are.

    Examples:
        >>> get_segmenter("fixed_length", size=2)(Solution(["a", "b", "c"]))
        [Span(start=0, stop=2), Span(start=2, stop=3)]
    """
    made: Segmenter = registry.make(SEGMENTERS, name, "Segmenter", options)
    return made


def needs_of(segmenter: Segmenter) -> frozenset[str]:
    """What of a `Solution` a segmenter reads beside the texts.

    Examples:
        >>> sorted(needs_of(get_segmenter("entropy")))
        ['entropies', 'top_texts']
    """
    return frozenset(getattr(segmenter, "needs", ()))


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
