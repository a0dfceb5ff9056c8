"""Texts of a tree's nodes: what each adds to the text of its path, so that the texts of a path join to the path's text.

From the table of the vocabulary where the tokenizer has one (`token_table`), else by decoding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from eduprm.search.contract import Tokenizer
from eduprm.search.token_table import TokenTable


def node_texts(
    parents: Sequence[int], ids: Sequence[list[int]], ends: Sequence[bool], tokenizer: Tokenizer
) -> list[str]:
    """One text a node; a character whose bytes are spread over two nodes belongs to the one that completes it.

    Args:
        parents: number of each node's parent, -1 for a root; parents before children.
        ids: token ids of each node.
        ends: whether the node is a leaf.
        tokenizer: the policy's tokenizer.
    """
    table: TokenTable | None = getattr(tokenizer, "table", None)
    found = None if table is None else table.node_texts(parents, ids, ends)
    return _decoded_texts(parents, ids, ends, tokenizer) if found is None else found


def token_text(token_id: int, tokenizer: Tokenizer) -> str:
    """Text of one token alone."""
    table: TokenTable | None = getattr(tokenizer, "table", None)
    found = None if table is None else table.alone(token_id)
    return tokenizer.decode([token_id]) if found is None else found


class _Decoded(NamedTuple):
    """How far the text of a node's path has been given out.

    Attributes:
        ids: the last tokens of the path, enough of them that what follows decodes as it does behind the whole path.
        given: how many characters of their text have been given to nodes.
        settled: whether that is all of it, with no character under way.
    """

    ids: list[int]
    given: int
    settled: bool


def _decoded_texts(
    parents: Sequence[int], ids: Sequence[list[int]], ends: Sequence[bool], tokenizer: Tokenizer
) -> list[str]:
    """By decoding. Tokens are not decoded alone: SentencePiece writes no space before the first token it is given.

    A path's text is decoded behind the node before it, not behind all of it, so the cost is linear in the tree.
    """
    decoded, texts = list[_Decoded](), list[str]()
    for parent, own, end in zip(parents, ids, ends, strict=True):
        before = decoded[parent] if parent >= 0 else _Decoded([], 0, True)
        joined = before.ids + own
        text = tokenizer.decode(joined) if joined else ""
        # Unfinished bytes decode to U+FFFD, and to something else once the next node brings the rest.
        sure = text if end else text.rstrip("\ufffd")
        texts.append(sure[before.given :])
        settled = len(sure) == len(text)
        if before.settled and settled and texts[-1]:
            decoded.append(_Decoded(own, len(tokenizer.decode(own)), True))
        else:
            decoded.append(_Decoded(joined, max(before.given, len(sure)), settled))
    return texts
