"""Prompts in which a problem's text stays text, whatever special tokens it spells out.

For the prompts of policies and of process reward models, as token ids. A chat template's own special tokens stay what
they are; `<|im_end|>` written in a problem ends no turn.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

_HOLE = re.compile("\ue000([0-9]+)\ue001")  # private-use characters: no chat template writes or trims them

Parts = Sequence[tuple[str, bool]]
"""Parts of one string: (text, whether its special tokens count)."""


def hole(number: int) -> str:
    """What stands for text `number` in the contents of a chat's turns."""
    return f"\ue000{number}\ue001"


def split_holes(text: str) -> list[str | int]:
    """A text between its holes: texts, and the numbers of holes.

    Examples:
        >>> split_holes("Q: " + hole(0) + "?")
        ['Q: ', 0, '?']
    """
    pieces = _HOLE.split(text)
    return [int(piece) if index % 2 else piece for index, piece in enumerate(pieces)]


def token_runs(parts: Parts, tokens: Mapping[str, int]) -> list[str | int]:
    """The runs of plain text and the ids of the special tokens between them, in order.

    Plain text runs on from part to part, as a tokenizer that is given the whole string reads it.

    Examples:
        >>> token_runs([("<s>Q: ", True), ("<s>?", False), ("</s>", True)], {"<s>": 1, "</s>": 2})
        [1, 'Q: <s>?', 2]
    """
    pattern = _any_of(tuple(tokens))
    runs: list[str | int] = []
    plain = ""
    for text, trusted in parts:
        start = 0
        for found in pattern.finditer(text) if trusted else ():
            runs += [plain + text[start : found.start()], tokens[found.group()]]
            plain, start = "", found.end()
        plain += text[start:]
    return [run for run in [*runs, plain] if run != ""]


@lru_cache(maxsize=64)
def _any_of(texts: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, sorted(texts, key=len, reverse=True))) or r"(?!)")


class LiteralText:
    """A tokenizer for strings that hold texts of others.

    A string in which no such text spells a special token is tokenised whole, as ever. Otherwise the special tokens of
    the trusted parts are placed by id, and what stands between them is read as plain text.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        added = getattr(tokenizer, "added_tokens_decoder", {})
        tokens = {str(token): int(index) for index, token in added.items() if token.special}
        tokens |= dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))
        self._tokens = tokens
        self._pattern = _any_of(tuple(tokens))

    def ids(self, parts: Parts) -> list[int]:
        """Token ids of the joined parts, none added."""
        encode = self._tokenizer.encode
        if not self._spelt(text for text, trusted in parts if not trusted):
            return list(encode("".join(text for text, _ in parts), add_special_tokens=False))
        ids: list[int] = []
        for run in token_runs(parts, self._tokens):
            if isinstance(run, int):
                ids.append(run)
            else:
                ids += encode(run, add_special_tokens=False, split_special_tokens=True)
        return ids

    def chat_ids(self, turns: Sequence[Mapping[str, str]], texts: Sequence[str]) -> list[int]:
        """Token ids of a chat up to where the assistant begins, with `texts` in the holes of its turns.

        Raises:
            ValueError: a text spells a special token, and the chat template rewrites the text.
        """
        rendered = self._render(turns, texts)
        if not self._spelt(texts):
            return list(self._tokenizer.encode(rendered, add_special_tokens=False))
        pieces = split_holes(self._render(turns, None))
        # Some templates trim the contents of turns.
        for change in (str, str.strip, str.lstrip, str.rstrip):
            parts = [
                (change(texts[piece]), False) if isinstance(piece, int) else (piece, True) for piece in pieces
            ]
            if "".join(text for text, _ in parts) == rendered:
                return self.ids(parts)
        raise ValueError(
            "the text spells out a special token of the tokenizer, and its chat template rewrites the text; take the "
            "token out"
        )

    def _render(self, turns: Sequence[Mapping[str, str]], texts: Sequence[str] | None) -> str:
        filled = [
            {**turn, "content": turn["content"] if texts is None else _fill(turn["content"], texts)}
            for turn in turns
        ]
        return str(self._tokenizer.apply_chat_template(filled, add_generation_prompt=True, tokenize=False))

    def _spelt(self, texts: Iterable[str]) -> bool:
        return any(self._pattern.search(text) for text in texts)


def _fill(content: str, texts: Sequence[str]) -> str:
    return "".join(texts[piece] if isinstance(piece, int) else piece for piece in split_holes(content))
