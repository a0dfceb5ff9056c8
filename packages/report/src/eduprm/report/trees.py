"""A tree of a forest as the explorer draws it: columns of nodes in preorder, tokens with their entropies.

For frames of `eduprm.forest`, labelled and scored or not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl

from .records import MAX_TEXT, clip, number

MAX_NODES = 4000
"""Nodes of one tree, at most: a prefix of the preorder, which is a tree itself."""

Decode = Callable[[list[int]], str]


def tree_record(
    df_tree: pl.DataFrame,
    *,
    answers: Mapping[int, tuple[str | None, bool | None]] | None = None,
    chosen: Mapping[str, int] | None = None,
    decode: Decode | None = None,
    name: str | None = None,
    max_nodes: int = MAX_NODES,
) -> dict[str, Any]:
    """One tree as plain values.

    Args:
        df_tree: the rows of one tree, in order; the columns value, correct, leaves, label and score are taken if there.
        answers: by leaf, its final answer and whether that is right.
        chosen: by rule, the leaf that it chose.
        decode: text of token ids; without it a fragment is shown as one piece under its highest entropy.
        name: how the tree is called; None takes the column's name.
        max_nodes: bound of the nodes kept.
    """
    kept = df_tree.head(max_nodes)
    texts, ids = kept["text"].to_list(), kept["token_ids"].to_list()
    entropies = kept["entropies"].to_list()
    tokens, cuts = [], []
    for text, token_ids, nats in zip(texts, ids, entropies, strict=True):
        shown, cut = _tokens(text, token_ids, nats, decode)
        tokens.append(shown)
        cuts.append(cut)
    record: dict[str, Any] = {
        "name": name or str(df_tree["tree"][0]),
        "parent": [-1 if parent is None else parent for parent in kept["parent_id"].to_list()],
        "tokens": tokens,
        "num": [len(row) for row in ids],
        "finish": [finish or "" for finish in kept["finish"].to_list()],
        "cut": {str(node): cut for node, cut in enumerate(cuts) if cut},
        "left_out": df_tree.height - kept.height,
        "chosen": {rule: leaf for rule, leaf in (chosen or {}).items() if leaf < kept.height},
        "answers": {
            str(leaf): [None if answer is None else clip(answer, most=80)[0], right]
            for leaf, (answer, right) in (answers or {}).items()
            if leaf < kept.height
        },
    }
    for column in ("value", "score", "label", "correct", "leaves"):
        if column in kept.columns and kept[column].null_count() < kept.height:
            record[column] = [number(value) for value in kept[column].to_list()]
    return record


def _tokens(
    text: str, token_ids: Sequence[int], nats: Sequence[float], decode: Decode | None
) -> tuple[list[Any], int]:
    """[piece, entropy in hundredths, piece, ...] of a fragment, and how many characters were left out."""
    hundredths = [round(100 * value) for value in nats]
    pieces = _pieces(text, token_ids, decode) if decode is not None else None
    if pieces is None:
        pieces = [text]
        hundredths = [max(hundredths, default=0)]
    flat: list[Any] = []
    room, cut = MAX_TEXT, 0
    for piece, value in zip(pieces, hundredths, strict=True):
        shown, rest = clip(piece, most=max(0, room))
        cut += rest
        room -= len(piece)
        if shown or not rest:
            flat += [shown, value]
    return flat, cut


def _pieces(text: str, token_ids: Sequence[int], decode: Decode) -> list[str] | None:
    """Texts of the tokens, which join to the fragment's text; None where none can be found."""
    alone = [decode([token]) for token in token_ids]
    if "".join(alone) == text:
        return alone
    if len(token_ids) > 512:
        return None  # what follows is quadratic
    # Some tokenizers write spaces or bytes by what stands before: read ever longer beginnings.
    whole = decode(list(token_ids))
    if not text.endswith(whole):
        return None
    lead = text[: len(text) - len(whole)]
    pieces, done = [], ""
    for end in range(1, len(token_ids) + 1):
        grown = lead + decode(list(token_ids[:end]))
        # Half a character does not fit yet; its bytes' piece is empty.
        fits = len(grown) >= len(done) and text.startswith(grown)
        pieces.append(grown[len(done) :] if fits else "")
        done = grown if fits else done
    return pieces if done == text else None
