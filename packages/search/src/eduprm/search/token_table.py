"""Texts of token sequences from a table of the vocabulary, without a call to the tokenizer for each.

Two families of tokenizers put a sequence's text together token by token, and the table holds each token's part:

* **byte-level BPE** (GPT-2, Llama 3, Qwen, SmolLM): a token is bytes; the text is their UTF-8, so a character may
  lie over several tokens. Broken bytes become U+FFFD, as in the tokenizer.
* **SentencePiece** (Llama 2, Gemma, Mistral): a token is text with a mark for a space; the first one of a text may
  lose that space. Tokens of single bytes are left out of the table: what they give depends on their neighbours.

Whether a table's texts are the tokenizer's own is tried once over the whole vocabulary when it is built; a
tokenizer of any other kind has none, and its sequences are decoded. Source of the rules: tokenizers 0.23, decoders
(byte_level, sequence, metaspace).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol

_BYTE_TOKEN = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_PIECES_TRIED_AT_ONCE = 48


class TokenTable(Protocol):
    """Parts of texts by token id; a decoder that has one offers it as `table`."""

    def alone(self, token_id: int) -> str | None:
        """Text of this one token decoded alone; None where the table does not know it."""
        ...

    def node_texts(
        self, parents: Sequence[int], ids: Sequence[Sequence[int]], ends: Sequence[bool]
    ) -> list[str] | None:
        """What each node's tokens add to the text of its path.

        Args:
            parents: number of each node's parent, -1 for a root; parents before children.
            ids: token ids of each node.
            ends: whether the node is a leaf: what is unfinished there stays so.

        Returns:
            One text a node; a character spread over nodes belongs to the one that completes it. None where a token is
            not in the table.
        """
        ...


class ByteTable:
    """Tokens of a byte-level vocabulary.

    Args:
        parts: bytes of each id; empty for special tokens.

    Examples:
        >>> table = ByteTable(["a".encode(), *(bytes([byte]) for byte in "é".encode())])
        >>> table.node_texts([-1, 0, 1], [[0, 1], [2], [0]], [False, False, True])
        ['a', 'é', 'a']
    """

    def __init__(self, parts: Sequence[bytes]) -> None:
        self._parts = list(parts)

    def text(self, token_ids: Sequence[int]) -> str | None:
        """Text of a sequence."""
        return b"".join([self._parts[token] for token in token_ids]).decode("utf-8", "replace")

    def alone(self, token_id: int) -> str | None:
        """See `TokenTable`."""
        return self._parts[token_id].decode("utf-8", "replace") if token_id < len(self._parts) else None

    def node_texts(
        self, parents: Sequence[int], ids: Sequence[Sequence[int]], ends: Sequence[bool]
    ) -> list[str] | None:
        """See `TokenTable`."""
        parts, texts = self._parts, list[str]()
        # Per node: bytes that its path has not given out, and how many characters of their text it has.
        carried: list[tuple[bytes, int]] = []
        try:
            for parent, own, end in zip(parents, ids, ends, strict=True):
                before, given = carried[parent] if parent >= 0 else (b"", 0)
                data = before + b"".join([parts[token] for token in own])
                text = data.decode("utf-8", "replace")
                # Unfinished bytes decode to U+FFFD, and to something else once the next node brings the rest.
                sure = text if end else text.rstrip("\ufffd")
                texts.append(sure[given:])
                carried.append((b"", 0) if len(sure) == len(text) else (data, max(given, len(sure))))
        except IndexError:
            return None  # an id beyond the vocabulary: padding of the output layer
        return texts


class PieceTable:
    """Pieces of a SentencePiece vocabulary.

    Args:
        first: text of each id at the beginning of a text; None for one that the table does not know.
        behind: its text behind others.
        special: ids that decoding leaves out; they begin no text.

    Examples:
        >>> table = PieceTable(["so", "we"], [" so", "we"], frozenset())
        >>> table.node_texts([-1, 0], [[0, 0], [1]], [False, True])
        ['so so', 'we']
    """

    def __init__(
        self, first: Sequence[str | None], behind: Sequence[str | None], special: frozenset[int]
    ) -> None:
        self._first, self._behind, self._special = list(first), list(behind), special

    def text(self, token_ids: Sequence[int]) -> str | None:
        """Text of a sequence; None where a token is not in the table."""
        found = self.node_texts([-1], [token_ids], [True])
        return None if found is None else found[0]

    def alone(self, token_id: int) -> str | None:
        """See `TokenTable`."""
        return self._first[token_id] if token_id < len(self._first) else None

    def node_texts(
        self, parents: Sequence[int], ids: Sequence[Sequence[int]], ends: Sequence[bool]
    ) -> list[str] | None:
        """See `TokenTable`; `ends` changes nothing, since no character lies over two pieces."""
        behind, texts, begun = self._behind, list[str](), list[bool]()
        try:
            for parent, own in zip(parents, ids, strict=True):
                started = parent >= 0 and begun[parent]
                parts = [behind[token] for token in own]
                if not started:
                    at = next((at for at, token in enumerate(own) if token not in self._special), None)
                    started = at is not None
                    if at is not None:
                        parts[at] = self._first[own[at]]
                texts.append("".join(parts))  # type: ignore[arg-type]  # None raises TypeError, caught below
                begun.append(started)
        except (IndexError, TypeError):
            return None
        return texts


def table_of(tokenizer: Any, decode: Callable[[list[int]], str]) -> TokenTable | None:
    """The table of a transformers tokenizer, or None if it is of no kind that one serves.

    Args:
        tokenizer: a fast one has its decoder described in `backend_tokenizer`.
        decode: what the table has to agree with, special tokens left out.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or backend.decoder is None:
        return None
    decoder = json.loads(backend.decoder.__getstate__())
    size = len(tokenizer)
    pieces: list[str | None] = [backend.id_to_token(token) for token in range(size)]
    special = frozenset(int(token) for token in tokenizer.all_special_ids)
    special |= {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    table: ByteTable | PieceTable | None
    if decoder.get("type") == "ByteLevel":
        known = _bytes_of_characters()
        table = ByteTable([b"" if n in special else _bytes(piece, known) for n, piece in enumerate(pieces)])
    else:
        table = _piece_table(decoder, pieces, special)
    return table if table is not None and _agrees(table, decode, size) else None


def _bytes(piece: str | None, known: dict[str, int]) -> bytes:
    piece = piece or ""
    # A piece with a character that stands for no byte (an added token) is its own text.
    return bytes(known[one] for one in piece) if all(one in known for one in piece) else piece.encode()


def _bytes_of_characters() -> dict[str, int]:
    """GPT-2's printable stand-ins: bytes that print stand for themselves, the others from U+0100 on."""
    printing = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printing)]
    return {chr(byte): byte for byte in printing} | {chr(256 + n): byte for n, byte in enumerate(others)}


def _piece_table(
    decoder: dict[str, Any], pieces: list[str | None], special: frozenset[int]
) -> PieceTable | None:
    kind = decoder.get("type")
    if kind == "Metaspace":
        mark = str(decoder["replacement"])
        drops = decoder.get("prepend_scheme", "always") != "never"

        def texts(piece: str) -> tuple[str, str]:
            return piece.replace(mark, "" if drops else " "), piece.replace(mark, " ")

        by_bytes = False
    elif kind == "Sequence":
        steps = [dict(step) for step in decoder["decoders"]]
        replaced = {
            step["pattern"]["String"]: step["content"]
            for step in steps
            if step["type"] == "Replace" and "String" in step["pattern"]
        }
        strips = [step for step in steps if step["type"] == "Strip"]
        known = {"Replace", "ByteFallback", "Fuse", "Strip"}
        if {step["type"] for step in steps} - known or set(replaced) != {"▁"} or len(strips) > 1:
            return None
        space = str(replaced["▁"])
        start = strips[0]["start"] if strips else 0

        def texts(piece: str) -> tuple[str, str]:
            text = piece.replace("▁", space)
            cut = min(len(text) - len(text.lstrip(" ")), start)
            return text[cut:], text

        by_bytes = any(step["type"] == "ByteFallback" for step in steps)
    else:
        return None
    both: list[tuple[str | None, str | None]] = []
    for token, piece in enumerate(pieces):
        if token in special:
            both.append(("", ""))
        elif piece is None or (by_bytes and _BYTE_TOKEN.fullmatch(piece)):
            both.append((None, None))
        else:
            both.append(texts(piece))
    return PieceTable([first for first, _ in both], [behind for _, behind in both], special)


def _agrees(table: ByteTable | PieceTable, decode: Callable[[list[int]], str], size: int) -> bool:
    """Whether the table's texts are the tokenizer's, over every token that it knows."""
    known = [token for token in range(size) if table.alone(token) is not None]
    for start in range(0, len(known), _PIECES_TRIED_AT_ONCE):
        ids = known[start : start + _PIECES_TRIED_AT_ONCE]
        if table.text(ids) != decode(ids):
            return False
    return True
