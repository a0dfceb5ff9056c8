"""One tree of tokens for many: whatever begins alike under one prompt is one path.

A decoder's hidden states depend on the tokens before them alone, so solutions of one problem, from whichever trees,
are computed up to the token at which they part. Equal solutions get equal scores, to the last bit.
Source: prefix trees (Fredkin, 1960).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from eduprm.prm.tree import TokenTree, build_tree

__all__ = ["MergedTree", "merge_trees"]


class MergedTree(NamedTuple):
    """`tree`: every distinct path of tokens once; its `rows` number its own nodes, one for each run without a fork.

    `places`: for each tree that went in, int64 [T], the index in `tree` of each of its tokens.
    """

    tree: TokenTree
    places: list[np.ndarray]


def merge_trees(trees: Sequence[TokenTree]) -> MergedTree:
    """Merge trees of one prompt, without their targets.

    Raises:
        ValueError: no tree, or other prompts than the first one's.

    Examples:
        >>> twice = [build_tree([7], [[1, 2], [3]], [-1, 0]), build_tree([7], [[1, 2, 4]], [-1])]
        >>> merged = merge_trees(twice)
        >>> merged.tree.token_ids.tolist(), [place.tolist() for place in merged.places]
        ([7, 1, 2, 3, 4], [[0, 1, 2, 3], [0, 1, 2, 4]])
    """
    if not trees:
        raise ValueError("expected at least one tree, got none")
    prompt = trees[0].token_ids[: trees[0].num_prompt_tokens]
    first = len(prompt)
    # Tokens by number, the prompt's first; `below[k]` are those that follow token k, by token id.
    tokens = prompt.tolist()
    below: list[dict[int, int]] = [{} for _ in tokens]
    roots = below[-1] if below else {}
    numbers = []
    for tree in trees:
        if not np.array_equal(tree.token_ids[: tree.num_prompt_tokens], prompt):
            raise ValueError(f"tree {tree.name}: expected the prompt of tree {trees[0].name}")
        own = list(range(first))
        before = tree.token_parents[first:].tolist()
        for parent, token in zip(before, tree.token_ids[first:].tolist(), strict=True):
            children = below[own[parent]] if parent >= 0 else roots
            number = children.get(token)
            if number is None:
                number = children[token] = len(tokens)
                tokens.append(token)
                below.append({})
            own.append(number)
        numbers.append(np.asarray(own, dtype=np.int64))
    order, nodes, parents = _runs(tokens, below, roots, first)
    place = np.empty(len(tokens), dtype=np.int64)
    place[order] = np.arange(len(tokens))
    merged = build_tree(prompt, nodes, parents, name=trees[0].name)
    return MergedTree(merged, [place[own] for own in numbers])


def _runs(
    tokens: list[int], below: list[dict[int, int]], roots: dict[int, int], first: int
) -> tuple[list[int], list[list[int]], list[int]]:
    """Return the tokens' numbers in preorder, and the runs between forks: their token ids and their parents."""
    order, parents = list(range(first)), list[int]()
    nodes: list[list[int]] = []
    waiting = [(number, -1) for number in reversed(roots.values())]
    while waiting:
        number, parent = waiting.pop()
        run = [number]
        while len(below[run[-1]]) == 1:
            run.extend(below[run[-1]].values())
        waiting += [(child, len(nodes)) for child in reversed(below[run[-1]].values())]
        order += run
        nodes.append([tokens[item] for item in run])
        parents.append(parent)
    return order, nodes, parents
