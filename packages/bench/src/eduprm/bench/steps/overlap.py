"""Problems of a benchmark that a PRM was trained on: looked for by normalised text.

It finds problems that read the same but for case, spacing, punctuation and how LaTeX is written. It does not find
paraphrases, nor the same problem with other numbers. Training sets overlap in earnest: PRM800K's training part holds
4,500 problems of MATH's original test part.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

import polars as pl

_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_LATEX = re.compile(r"\\(?:left|right|text|mathrm|displaystyle|[,;:!])")
_TOKEN = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+|[-+*/=<>^%]")
_SAME = str.maketrans({"−": "-", "–": "-", "×": "*", "·": "*", "⋅": "*", "÷": "/", "≤": "<", "≥": ">"})
_WORDS = {"dfrac": "frac", "tfrac": "frac", "cdot": "*", "times": "*", "div": "/", "le": "<", "leq": "<"}
_WORDS |= {"ge": ">", "geq": ">"}


class Overlap(NamedTuple):
    """`ids`: frame of part, id, problem of the overlapping rows; `num_training`: distinct training problems."""

    ids: pl.DataFrame
    num_training: int


def normalise_problem(text: str) -> str:
    r"""Words, numbers and operators of a problem in lower case, one space between them.

    Examples:
        >>> normalise_problem("What is  $\\dfrac{1}{2}\\cdot 1,000$?")
        'what is frac 1 2 * 1000'
    """
    plain = unicodedata.normalize("NFKC", text).translate(_SAME).casefold()
    tokens = _TOKEN.findall(_LATEX.sub(" ", _THOUSANDS.sub("", plain)))
    return " ".join(_WORDS.get(token, token) for token in tokens)


def find_overlap(items: pl.DataFrame, training: Iterable[str]) -> Overlap:
    """Rows of a benchmark whose problem stands among the training problems.

    Args:
        items: with columns part, id, problem.
        training: texts of the problems the PRM was trained on.

    Examples:
        >>> items = pl.DataFrame({"part": ["a", "a"], "id": ["1", "2"], "problem": ["1 + 1?", "2 + 2?"]})
        >>> find_overlap(items, ["What?", "1+1"]).ids["id"].to_list()
        ['1']
    """
    seen = {normal for normal in map(normalise_problem, training) if normal}
    known = [normalise_problem(text) in seen for text in items["problem"]]
    return Overlap(
        items.filter(pl.Series(known, dtype=pl.Boolean)).select("part", "id", "problem"), len(seen)
    )
