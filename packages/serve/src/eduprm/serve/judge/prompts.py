"""Prompts of a judge, from a folder of two files, filled with texts that stay texts.

`critique.txt` asks for a critique of a step; {problem}, {before} (the steps before it) and {step} stand in it. The
critique follows it. `verdict.txt` stands behind the critique, and what follows that is Yes or No. Both are used
to the letter, a line break at their end included.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

__all__ = ["Parts", "Prompts", "read_prompts", "shipped_prompts"]

Parts = tuple[tuple[str, bool], ...]
"""Parts of one text: (text, whether it is the template's, whose special tokens count)."""

_SHIPPED = Path(__file__).parent / "templates"
_FIELD = re.compile(r"\{(problem|before|step)\}")
_NEEDED = ("problem", "step")


class Prompts(NamedTuple):
    """The two templates."""

    critique: str
    verdict: str

    def asking(self, problem: str, before: str, step: str) -> Parts:
        """What the critique follows; line breaks at the texts' ends are left out.

        Examples:
            >>> Prompts("Q: {problem}\\n{step}?", "").asking("{step}", "", "1 + 1 = 2")
            (('Q: ', True), ('{step}', False), ('\\n', True), ('1 + 1 = 2', False), ('?', True))
        """
        texts = {"problem": problem, "before": before, "step": step}
        texts = {name: text.strip("\n") for name, text in texts.items()}
        pieces = _FIELD.split(self.critique)
        parts = [(texts[piece], False) if place % 2 else (piece, True) for place, piece in enumerate(pieces)]
        return tuple(part for part in parts if part[0])

    def concluding(self, asked: Parts, critique: str) -> Parts:
        """What Yes or No follows."""
        return tuple(part for part in (*asked, (critique, False), (self.verdict, True)) if part[0])


def shipped_prompts() -> list[str]:
    """Names of the folders that ship."""
    return sorted(folder.name for folder in _SHIPPED.iterdir() if folder.is_dir())


def read_prompts(folder: str) -> Prompts:
    """The templates of a folder, or of one that ships.

    Raises:
        ValueError: no such folder, no such file, or a critique.txt without a field it needs.
    """
    place = _SHIPPED / folder if folder in shipped_prompts() else Path(folder)
    texts = []
    for name in ("critique.txt", "verdict.txt"):
        try:
            texts.append((place / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{place / name} cannot be read ({type(error).__name__}); expected a folder with critique.txt and "
                f"verdict.txt, or one of {', '.join(shipped_prompts())}"
            ) from None
    found = _FIELD.findall(texts[0])
    if missing := [name for name in _NEEDED if name not in found]:
        raise ValueError(f"{place / 'critique.txt'}: expected {{{missing[0]}}} in it; add it")
    return Prompts(*texts)
