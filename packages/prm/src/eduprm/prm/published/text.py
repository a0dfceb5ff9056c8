"""From texts to the token ids that a published PRM was trained on, with no way to smuggle a special token in.

For builders of ids of all published forms. The ids equal those of tokenising the
published string as a whole, yet are built piece by piece: what a form puts there itself may hold special tokens, what a
problem or a solution says is read as plain text. A text that still gives a reserved id is refused: the marks of some
forms are ordinary tokens, such as Math-Shepherd's tag, and no other ids spell them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from eduprm.forest.literal import hole, split_holes, token_runs
from eduprm.prm.inputs import checked_steps
from eduprm.prm.tree import TokenTree, build_tree

__all__ = ["PublishedBuilder", "begins_with_bos", "load_tokenizer", "one_token", "template_parts"]

_ANCHOR = "\n"


def load_tokenizer(path: str) -> Any:
    """Load a checkpoint's tokenizer without running code of its own."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(path, trust_remote_code=False)


class PublishedBuilder:
    """Ids of prompts and steps, the score of a step standing at its last id; white space around a step is cut off.

    Attributes: `tokenizer`, `reserved` (ids that no text may give: the form's own and all special tokens).
    """

    def __init__(self, tokenizer: Any, *, reserved: Iterable[int] = ()) -> None:
        self.tokenizer = tokenizer
        special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
        self.reserved = frozenset(special | set(reserved))
        self._added: dict[str, int] = tokenizer.get_added_vocab()
        anchor, letter = self._encode(_ANCHOR), self._encode("a")
        # SentencePiece tokenizers put a space before whatever they are given, also where it goes on from other text.
        self._anchor = anchor if self._encode(_ANCHOR + "a") != anchor + letter else []

    def prompt_ids(self, problem: str) -> list[int]:
        """Return the ids before the first step.

        Raises:
            ValueError: the problem is no text, or holds a mark of the form.
        """
        raise NotImplementedError

    def step_ids(self, index: int, text: str) -> list[int]:
        """Return the ids of step `index`, which depend on its text and on whether it is the first, on nothing else."""
        raise NotImplementedError

    def added_joiner(self, steps: Sequence[str], *, complete: bool = True) -> str:
        """Return "": a form says itself what stands between steps."""
        return ""

    def solution_ids(
        self, steps: Sequence[str], *, complete: bool = True, as_cut: bool = False
    ) -> list[list[int]]:
        """Return one list of ids per step. No published form marks a complete solution, so `complete` changes nothing;
        nor does `as_cut`, since every form closes steps in its own way.

        Raises:
            ValueError: no step, a step without text, one that is no text, or one that holds a mark of the form.
        """
        texts = [step.strip() for step in checked_steps(steps)]
        for index, text in enumerate(texts):
            if not text:
                raise ValueError(f"expected text in every step, got an empty step {index} of {len(texts)}")
        return [self.step_ids(index, text) for index, text in enumerate(texts)]

    def solution_tree(
        self, problem: str, steps: Sequence[str], *, complete: bool = True, as_cut: bool = False
    ) -> TokenTree:
        """Return one solution as a tree without forks."""
        nodes = self.solution_ids(steps, complete=complete, as_cut=as_cut)
        return build_tree(self.prompt_ids(problem), nodes, range(-1, len(nodes) - 1), name="solution")

    def first_ids(self, text: str, *, where: str) -> list[int]:
        """Return the ids of a text that nothing precedes."""
        return self._guarded(self._encode(text), where)

    def later_ids(self, text: str, *, where: str) -> list[int]:
        """Return the ids of a text as they are behind other text."""
        if not self._anchor:
            return self.first_ids(text, where=where)
        ids = self._encode(_ANCHOR + text)
        size = len(self._anchor)
        if ids[:size] != self._anchor:
            raise ValueError(
                f"{where} begins with what the tokenizer joins to the line before: {text[:20]!r}"
            )
        return self._guarded(ids[size:], where)

    def mixed_ids(self, parts: Sequence[tuple[str, bool]], *, where: str) -> list[int]:
        """Return the ids of parts of one string: (text, whether its special tokens count)."""
        runs = token_runs(parts, self._added)
        return [
            index
            for run in runs
            for index in ([run] if isinstance(run, int) else self.first_ids(run, where=where))
        ]

    def _encode(self, text: str) -> list[int]:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(
                "the problem holds half a surrogate pair, which is no text"
            ) from None  # steps: checked
        return list(self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))

    def _guarded(self, ids: list[int], where: str) -> list[int]:
        for index in ids:
            if index in self.reserved:
                mark = self.tokenizer.convert_ids_to_tokens(index)
                raise ValueError(
                    f"{where} holds {mark!r}, which this PRM reads as a mark of its own; take it out"
                )
        return ids


def begins_with_bos(tokenizer: Any) -> bool:
    """Say whether the tokenizer puts its BOS token before a text by itself."""
    bos = tokenizer.bos_token_id
    return bos is not None and list(tokenizer.encode("", add_special_tokens=True))[:1] == [bos]


def one_token(tokenizer: Any, text: str, *, name: str) -> int:
    """Return the id of a mark: an added token by its name, else what the tokenizer makes of the text.

    Raises:
        ValueError: it is not one token.
    """
    added = tokenizer.get_added_vocab()
    if text in added:
        return int(added[text])
    ids = tokenizer.encode(text, add_special_tokens=False)
    if len(ids) != 1:
        raise ValueError(
            f"expected one token as {name}, got {text!r}, which this tokenizer reads as {len(ids)}"
        )
    return int(ids[0])


def template_parts(
    tokenizer: Any, turns: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = False
) -> list[str]:
    """Return what a chat template writes around the contents of `turns`: n + 1 texts for n turns with a `hole`.

    A turn whose content is None is a hole. The date that some templates write is a fixed one, so that scores do not
    depend on the day (Llama 3.1's own default).

    Raises:
        ValueError: no chat template, or one that does not write every hole once and in order.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError(
            "expected a tokenizer with a chat template, got none; copy the published tokenizer's files"
        )
    messages, holes = [], 0
    for turn in turns:
        content = turn.get("content")
        if content is None:
            content, holes = hole(holes), holes + 1
        messages.append({"role": turn["role"], "content": content})
    rendered = tokenizer.apply_chat_template(
        messages, add_generation_prompt=add_generation_prompt, tokenize=False, date_string="26 Jul 2024"
    )
    pieces = split_holes(rendered)
    if pieces[1::2] != list(range(holes)):
        raise ValueError("expected a chat template that writes every turn once and in order, got another one")
    return [str(piece) for piece in pieces[::2]]
