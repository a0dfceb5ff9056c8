"""Cut the text of a solution into steps without a policy: `--segment` with any segmenter that reads texts alone.

Steps join back to the text exactly. The cuts are `eduprm.segment`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eduprm.segment import Solution, get_segmenter


def cut_steps(text: str, *, segment: str, options: Mapping[str, Any]) -> list[str]:
    r"""Steps of a text that is not blank; joined they are the text again.

    Args:
        text: the solution.
        segment: a segmenter by name, or auto: paragraphs where there are several, else lines.
        options: of the segmenter.

    Raises:
        ValueError: no such way of cutting.

    Examples:
        >>> cut_steps("2 * 3 = 6\n6 * 2 = 12\n", segment="auto", options={})
        ['2 * 3 = 6\n', '6 * 2 = 12\n']
        >>> cut_steps("one two  three", segment="fixed", options={"words": 2})
        ['one two  ', 'three']
    """
    if segment == "auto":
        paragraphs = cut_steps(text, segment="paragraphs", options={})
        return paragraphs if len(paragraphs) > 1 else cut_steps(text, segment="lines", options={})
    spans = get_segmenter(segment, **options)(Solution.of_text(text))
    return [text[start:stop] for start, stop in spans]
