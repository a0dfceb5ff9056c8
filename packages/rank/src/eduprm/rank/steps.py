"""Cut the text of a solution into steps, by the names of the setting `--segment`.

For: steps that join back to the text exactly. Does not know: tokens, scores. The cuts are `eduprm.segment`'s.
"""

from __future__ import annotations

import re
from itertools import accumulate

from eduprm.segment import BLANK_LINE, NEWLINE, fixed_length_spans, split_text

_WORD = re.compile(r"\s*\S+\s*")


def cut_steps(text: str, *, segment: str, fixed_words: int) -> list[str]:
    r"""Steps of a text that is not blank; joined they are the text again.

    Args:
        text: the solution.
        segment: auto, lines, paragraphs, fixed or none; auto takes paragraphs where there are several, else lines.
        fixed_words: words in a step, for fixed.

    Raises:
        ValueError: no such way of cutting.

    Examples:
        >>> cut_steps("2 * 3 = 6\n6 * 2 = 12\n", segment="auto", fixed_words=1)
        ['2 * 3 = 6\n', '6 * 2 = 12\n']
        >>> cut_steps("one two  three", segment="fixed", fixed_words=2)
        ['one two  ', 'three']
    """
    if segment == "lines":
        return split_text(text, NEWLINE)
    if segment == "paragraphs":
        return split_text(text, BLANK_LINE)
    if segment == "auto":
        paragraphs = split_text(text, BLANK_LINE)
        return paragraphs if len(paragraphs) > 1 else split_text(text, NEWLINE)
    if segment == "fixed":
        return _cut_words(text, fixed_words)
    if segment == "none":
        return [text]
    raise ValueError(f"expected segment auto, lines, paragraphs, fixed or none, got {segment!r}")


def _cut_words(text: str, size: int) -> list[str]:
    words = _WORD.findall(text)
    borders = [0, *accumulate(map(len, words))]
    return [text[borders[start] : borders[stop]] for start, stop in fixed_length_spans(len(words), size)]
