"""The policy's tokenizer as search uses it: prompts in, texts out.

A thin layer over transformers' AutoTokenizer (which does not need torch). Prompts are rendered once, here, and travel
as token ids from then on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

from eduprm.forest.literal import LiteralText, Parts, hole
from eduprm.policy import resolve_model
from eduprm.search.token_table import TokenTable, table_of


class PolicyTokenizer:
    """Tokenizer of a policy: `encode_chat`, `encode`, `decode`.

    Args:
        name: bundled model, local folder or hub name, as for the engine.
        trust_remote_code: run code that comes with the checkpoint; only if you trust it.
    """

    def __init__(self, name: str, *, trust_remote_code: bool = False) -> None:
        from transformers import AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(
            resolve_model(name), trust_remote_code=trust_remote_code
        )
        self._literal = LiteralText(self._tokenizer)
        self._decode_one = lru_cache(maxsize=65_536)(self._decode_ids)

    @cached_property
    def table(self) -> TokenTable | None:
        """Texts of the vocabulary, built at first use; None for a tokenizer of no kind that a table serves."""
        return table_of(self._tokenizer, self.decode)

    def encode_chat(self, messages: Sequence[Mapping[str, str]] | str) -> list[int]:
        """Token ids of a conversation, ready for the assistant's turn; a text alone is one user's turn.

        Special tokens written out in a message are read as plain text; those of the chat template are themselves.

        Raises:
            ValueError: the tokenizer has no chat template.
        """
        if not self._tokenizer.chat_template:
            raise ValueError("the policy's tokenizer has no chat template; use a plain prompt")
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        turns = [{**message, "content": hole(number)} for number, message in enumerate(messages)]
        return self._literal.chat_ids(turns, [message["content"] for message in messages])

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, no special tokens added."""
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def encode_parts(self, parts: Parts) -> list[int]:
        """Token ids of a text in parts (text, whether its special tokens count), no special tokens added.

        Special tokens written out in the other parts are read as plain text.
        """
        return self._literal.ids(parts)

    def encode_with_starts(self, text: str) -> tuple[list[int], list[int]]:
        """Token ids of a text, and at which of its characters each begins.

        Starts never fall; tokens that make up one character together share its start. Special tokens written out in
        the text are read as plain text.

        Raises:
            ValueError: the policy's tokenizer is not a fast one, so it cannot say; or half a surrogate pair is no text.
        """
        if not self._tokenizer.is_fast:
            raise ValueError("the policy's tokenizer gives no character offsets; use a model with a fast one")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"expected text, got half a surrogate pair at character {error.start}") from None
        read = self._tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, split_special_tokens=True
        )
        starts, at = [], 0
        for start, _ in read["offset_mapping"]:
            at = max(at, int(start))
            starts.append(at)
        return [int(token) for token in read["input_ids"]], starts

    def decode(self, token_ids: list[int]) -> str:
        """Text of a token sequence, special tokens left out, nothing tidied."""
        return (
            self._decode_one(tuple(token_ids)) if len(token_ids) == 1 else self._decode_ids(tuple(token_ids))
        )

    def _decode_ids(self, token_ids: tuple[int, ...]) -> str:
        text: Any = self._tokenizer.decode(
            list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return str(text)
