"""Build the token ids a PRM reads: the one place for training, scoring and serving.

For prompts, steps, separators and the end of a solution, always joined as ids.
Source: joining strings instead cost 2 to 7 points of F1 (QwenLM/ProcessBench PR 12).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from eduprm.forest.literal import LiteralText, hole
from eduprm.policy import resolve_model
from eduprm.prm.config import InputFormat
from eduprm.prm.joining import missing_joiner, with_joiner
from eduprm.prm.tree import TokenTree, build_tree

__all__ = ["InputBuilder", "StepBuilder", "checked_steps"]


class StepBuilder(Protocol):
    """Builds the ids a PRM reads, such that a step's score stands at the last of its ids."""

    tokenizer: Any

    def prompt_ids(self, problem: str) -> list[int]:
        """Return the ids before the first step."""
        ...

    def solution_ids(
        self, steps: Sequence[str], *, complete: bool = True, as_cut: bool = False
    ) -> list[list[int]]:
        """Return one list of ids per step; ValueError for steps that cannot be read.

        `as_cut` says that the steps are pieces of one text and join back to it; nothing is put between them.
        """
        ...

    def added_joiner(self, steps: Sequence[str], *, complete: bool = True) -> str:
        """Return what `solution_ids` puts between the steps of this list; "" for nothing."""
        ...

    def solution_tree(
        self, problem: str, steps: Sequence[str], *, complete: bool = True, as_cut: bool = False
    ) -> TokenTree:
        """Return one solution as a tree without forks."""
        ...


def checked_steps(steps: Sequence[str]) -> list[str]:
    """Return the steps as a list.

    Raises:
        ValueError: no step, or one that is no text (half a surrogate pair).

    Examples:
        >>> checked_steps(("2 * 3 = 6", "#### 6"))
        ['2 * 3 = 6', '#### 6']
    """
    if isinstance(steps, str) or not hasattr(steps, "__len__") or len(steps) == 0:
        raise ValueError(f"expected a non-empty list of steps, got {steps!r}")
    for index, step in enumerate(steps):
        if not isinstance(step, str):
            raise ValueError(f"expected step {index} to be a string, got {type(step).__name__}")
        try:
            step.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"expected text in step {index}, got half a surrogate pair at character {error.start}"
            ) from None
    return list(steps)


def checked_problem(problem: str) -> str:
    """Return the problem.

    Raises:
        ValueError: it is no string.

    Examples:
        >>> checked_problem(None)
        Traceback (most recent call last):
        ValueError: expected the problem to be a string, got NoneType
    """
    if not isinstance(problem, str):
        raise ValueError(f"expected the problem to be a string, got {type(problem).__name__}")
    return problem


class InputBuilder:
    """Tokenizer and `InputFormat` together.

    Attributes: `tokenizer`, `format`, `separator_ids` (list of ids), `eos_id` (None if the format appends none and the
    tokenizer has none).

    Raises:
        ValueError: a chat format for a tokenizer without a chat template, or `append_eos` without an EOS token.
    """

    def __init__(self, tokenizer: Any, input_format: InputFormat | None = None) -> None:
        self.tokenizer = tokenizer
        self.format = InputFormat() if input_format is None else input_format
        self.eos_id: int | None = tokenizer.eos_token_id
        if self.format.kind == "chat" and not getattr(tokenizer, "chat_template", None):
            raise ValueError(
                "expected a tokenizer with a chat template, got none; use InputFormat(kind='plain')"
            )
        if self.format.append_eos and self.eos_id is None:
            raise ValueError("append_eos needs a tokenizer with an EOS token, got one without")
        self._literal = LiteralText(tokenizer)
        self._special = frozenset(tokenizer.all_special_ids)
        separator = self.format.separator
        self.separator_ids: list[int] = (
            tokenizer.encode(separator, add_special_tokens=False) if separator else []
        )

    @classmethod
    def from_pretrained(
        cls,
        path_or_name: str | Path,
        input_format: InputFormat | None = None,
        *,
        trust_remote_code: bool = False,
    ) -> InputBuilder:
        """Load the tokenizer of a backbone: one that ships, a folder or a hub name."""
        from transformers import AutoTokenizer

        path = resolve_model(str(path_or_name))
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=trust_remote_code)
        return cls(tokenizer, input_format)

    def prompt_ids(self, problem: str) -> list[int]:
        """Return the ids before the first step; special tokens written out in the problem are read as plain text."""
        problem = checked_problem(problem)
        if self.format.kind == "chat":
            turns = [] if self.format.system is None else [{"role": "system", "content": self.format.system}]
            texts = [problem]
            for example in self.format.examples:
                for role, text in zip(("user", "assistant"), example, strict=True):
                    turns.append({"role": role, "content": hole(len(texts))})
                    texts.append(text)
            turns.append({"role": "user", "content": self.format.render(hole(0))})
            return self._literal.chat_ids(turns, texts)
        bos = self.tokenizer.bos_token_id
        first, *others = self.format.template.split("{problem}")
        parts = [(first, True)]
        for other in others:
            parts += [(problem, False), (other, True)]
        ids = self._literal.ids(parts)
        add_bos = self.format.add_bos
        if add_bos is None:
            add_bos = bos is not None and self.tokenizer.encode("", add_special_tokens=True)[:1] == [bos]
        if add_bos and bos is None:
            raise ValueError("add_bos needs a tokenizer with a BOS token, got one without")
        return [bos, *ids] if add_bos and ids[:1] != [bos] else ids  # a template may write it out

    def text_ids(self, text: str) -> list[int]:
        """Return the bare ids of a step's text; special tokens written out in it are read as plain text."""
        return self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)

    def node_ids(self, ids: Sequence[int], *, ends: bool) -> list[int]:
        """Return a step's ids with the format's EOS (if it `ends` a complete solution) and separator.

        An EOS that the policy emitted at the end is kept only where the format wants one, so that sampled trees and
        texts give the same input. A policy may have several ends (those of its generation config): of a solution that
        `ends`, any special token at the end is one.
        """
        body = list(ids)
        if body and (body[-1] == self.eos_id or (ends and body[-1] in self._special)):
            body.pop()
        if ends and self.format.append_eos and self.eos_id is not None:
            body.append(self.eos_id)
        return body + self.separator_ids

    def added_joiner(self, steps: Sequence[str], *, complete: bool = True) -> str:
        """Return what `solution_ids` puts between the steps of this list: the format's joiner, or "" for nothing."""
        joiner = "" if self.format.separator else self.format.joiner
        return joiner if missing_joiner(steps, joiner, complete=complete) else ""

    def solution_ids(
        self, steps: Sequence[str], *, complete: bool = True, as_cut: bool = False
    ) -> list[list[int]]:
        """Return one list of ids per step.

        A list whose steps carry no line breaks gets the format's `joiner` between them, unless the format has a
        separator or the steps are pieces of one text `as_cut`; ask `added_joiner` to say so.

        Raises:
            ValueError: no step, a step without any token, or one that is no text (half a surrogate pair).
        """
        texts = checked_steps(steps)
        joiner = "" if as_cut else self.added_joiner(texts, complete=complete)
        bodies = []
        joined = with_joiner(texts, joiner, complete=complete) if joiner else texts
        for index, (step, text) in enumerate(zip(texts, joined, strict=True)):
            body = self.text_ids(text) if step else []
            if not body:
                raise ValueError(
                    f"expected text in every step, got an empty step {index} of {len(steps)}: {step!r}"
                )
            bodies.append(body)
        last = len(bodies) - 1
        return [self.node_ids(body, ends=complete and index == last) for index, body in enumerate(bodies)]

    def solution_tree(
        self, problem: str, steps: Sequence[str], *, complete: bool = True, as_cut: bool = False
    ) -> TokenTree:
        """Return one solution as a tree without forks."""
        nodes = self.solution_ids(steps, complete=complete, as_cut=as_cut)
        return build_tree(self.prompt_ids(problem), nodes, range(-1, len(nodes) - 1), name="solution")
