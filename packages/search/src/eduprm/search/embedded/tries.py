"""Texts behind one prefix as one tree of tokens: what begins alike is fed to the model once.

A decoder's state at a token depends on the tokens before it alone, so texts share their states up to the token at which
they part. Sorted texts come in the tree's preorder, so every subtree is one run of places.
Source: prefix trees (Fredkin, 1960).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eduprm.search.embedded.memory import common_length

Ints = NDArray[np.int64]


class Trie(NamedTuple):
    """The tokens that something follows, in preorder, behind the last token of the prefix; E distinct tokens follow.

    Attributes:
        fed: [F], token ids that the model reads; the first is the prefix's last.
        depths: [F], how far behind the prefix's last token each stands.
        stops: [F]; the token fed at place q sees the one at place k exactly when k <= q < stops[k].
        rows: [E], the place behind which each token that follows stands; it never falls.
        tokens: [E], its id.
        places: for each text, in the order given, the indices in `tokens` of what it is made of.
    """

    fed: Ints
    depths: Ints
    stops: Ints
    rows: Ints
    tokens: Ints
    places: list[Ints]

    @property
    def is_chain(self) -> bool:
        """Whether every token sees all those before it: one text, or texts that begin one another."""
        return bool((self.stops == len(self.fed)).all())


def build_trie(last: int, texts: Sequence[Sequence[int]]) -> Trie:
    """Merge texts, each of at least one token, behind `last`, the last token of their prefix.

    Examples:
        >>> trie = build_trie(9, [[1, 2, 3], [4], [1, 5, 6]])
        >>> trie.fed.tolist(), trie.depths.tolist(), trie.stops.tolist()
        ([9, 1, 2, 5], [0, 1, 2, 2], [4, 4, 3, 4])
        >>> [(trie.rows[place].tolist(), trie.tokens[place].tolist()) for place in trie.places]
        [([0, 1, 2], [1, 2, 3]), ([0], [4]), ([0, 1, 3], [1, 5, 6])]
    """
    ids, parents, depths, stops = [last], [-1], [0], [0]
    path = [0]  # the nodes of the text before, behind the prefix's last token
    nodes: list[list[int]] = [[] for _ in texts]
    for index in sorted(range(len(texts)), key=lambda one: list(texts[one])):
        text = texts[index]
        common = common_length([ids[node] for node in path[1:]], text)
        for node in path[common + 1 :]:
            stops[node] = len(ids)
        del path[common + 1 :]
        for token in text[common:]:
            parents.append(path[-1])
            path.append(len(ids))
            depths.append(len(path) - 1)
            ids.append(token)
            stops.append(0)
        nodes[index] = path[1:]
    for node in path:
        stops[node] = len(ids)
    # Nobody asks what follows the last token of a text.
    inner = np.unique(np.asarray(parents[1:], dtype=np.int64))
    fed = np.searchsorted(inner, np.asarray([*parents[1:], *stops], dtype=np.int64))
    rows, ends = fed[: len(parents) - 1], fed[len(parents) - 1 :]
    order = np.argsort(rows, kind="stable")
    place = np.empty(len(order) + 1, dtype=np.int64)
    place[order + 1] = np.arange(len(order))
    tokens = np.asarray(ids, dtype=np.int64)
    return Trie(
        fed=tokens[inner],
        depths=np.asarray(depths, dtype=np.int64)[inner],
        stops=ends[inner],
        rows=rows[order],
        tokens=tokens[1:][order],
        places=[place[np.asarray(own, dtype=np.int64)] for own in nodes],
    )


def groups_of(texts: Sequence[Sequence[int]], *, most: int) -> Iterator[list[int]]:
    """Texts to merge, by index: neighbours in sorted order, with at most `most` distinct tokens or one text alone.

    Examples:
        >>> list(groups_of([[1, 2, 3], [7, 8], [1, 2, 4], [7, 9]], most=4))
        [[0, 2], [1, 3]]
    """
    group: list[int] = []
    count = 0
    for index in sorted(range(len(texts)), key=lambda one: list(texts[one])):
        new = len(texts[index]) - (common_length(texts[group[-1]], texts[index]) if group else 0)
        if group and count + new > most:
            yield group
            group, count, new = [], 0, len(texts[index])
        group.append(index)
        count += new
    if group:
        yield group
