"""Smaller trees out of a tree: some of its nodes, what fits a length, pieces that fit a micro-batch."""

from __future__ import annotations

import numpy as np

from eduprm.prm.tree import Forks, IntArray, TokenTree, build_tree

__all__ = ["keep_nodes", "split_tree", "truncate_tree"]


def keep_nodes(
    tree: TokenTree, nodes: IntArray, *, owned: np.ndarray | None = None, prompt_owned: bool = True
) -> TokenTree:
    """Return the tree of the given nodes (sorted, with every node's ancestors); un-owned nodes lose their weight.

    The forks at nodes that are kept and owned stay as they are, whichever branches are kept; those at the prompt stay
    if `prompt_owned`.
    """
    renumber = np.full(len(tree.parents) + 1, -1, dtype=np.int32)
    renumber[nodes] = np.arange(len(nodes), dtype=np.int32)
    keeps = tree.owned[nodes] if owned is None else tree.owned[nodes] & owned
    place = np.full(len(tree.parents) + 1, -2, dtype=np.int32)  # -2: the fork is another piece's
    place[nodes[keeps]] = renumber[nodes[keeps]]
    place[-1] = -1 if prompt_owned else -2
    at = place[tree.forks.nodes]
    return build_tree(
        tree.token_ids[: tree.starts[0]],
        [tree.token_ids[tree.starts[node] : tree.starts[node + 1]] for node in nodes],
        renumber[tree.parents[nodes]],  # parent -1 reads the extra last entry, which stays -1
        name=tree.name,
        targets=tree.targets[nodes],
        weights=np.where(keeps, tree.weights[nodes], 0.0),
        scales=tree.scales[nodes],
        rows=tree.rows[nodes],
        owned=keeps,
        forks=Forks(at[at > -2], *(column[at > -2] for column in tree.forks[1:])),
    )


def truncate_tree(tree: TokenTree, max_length: int) -> TokenTree:
    """Drop every node whose last token would stand at or beyond `max_length`, hence everything below it too."""
    fits = tree.end_positions <= max_length
    return tree if fits.all() else keep_nodes(tree, np.flatnonzero(fits))


def split_tree(tree: TokenTree, max_tokens: int) -> list[TokenTree]:
    """Cut a tree into pieces of at most `max_tokens` tokens, each with all ancestors of its nodes.

    Every node, with the fork at its end, is owned (weighed, scored) by the first piece that holds it. A piece whose
    single path is longer than `max_tokens` is kept whole.

    Examples:
        >>> tree = build_tree([7], [[1, 2], [3], [4]], [-1, 0, 0])
        >>> [piece.token_ids.tolist() for piece in split_tree(tree, 4)]
        [[7, 1, 2, 3], [7, 1, 2, 4]]
    """
    if tree.num_tokens <= max_tokens:
        return [tree]
    lengths, parents = tree.lengths.tolist(), tree.parents.tolist()
    groups: list[set[int]] = []
    size = 0
    for leaf in tree.leaves.tolist():
        path = []
        node = leaf
        while node >= 0:
            path.append(node)
            node = parents[node]
        added = sum(lengths[node] for node in path if not groups or node not in groups[-1])
        if not groups or size + added > max_tokens:
            groups.append(set())
            size, added = tree.num_prompt_tokens, sum(lengths[node] for node in path)
        groups[-1].update(path)
        size += added
    pieces: list[TokenTree] = []
    seen = np.zeros(len(parents), dtype=bool)
    for group in groups:
        members = np.asarray(sorted(group), dtype=np.int64)
        pieces.append(keep_nodes(tree, members, owned=~seen[members], prompt_owned=not pieces))
        seen[members] = True
    return pieces
