"""Take a tree apart into its root-to-leaf paths: the plain computation that packing must equal.

For tests, benchmarks, and models that cannot take tree masks.
"""

from __future__ import annotations

import numpy as np

from eduprm.prm.tree import TokenTree, build_tree
from eduprm.prm.tree_cuts import keep_nodes

__all__ = ["leaf_chains"]


def leaf_chains(tree: TokenTree) -> list[TokenTree]:
    """Return every root-to-leaf path as a tree of its own: the unpacked computation that packing must equal.

    A node under several leaves appears in several chains with its `weights` divided by their number, so that the sum
    over chains counts it with its whole weight, exactly as the packed tree does.
    """
    parents = tree.parents.tolist()
    paths = []
    for leaf in tree.leaves.tolist():
        path = [leaf]
        while parents[path[-1]] >= 0:
            path.append(parents[path[-1]])
        paths.append(np.asarray(path[::-1], dtype=np.int64))
    times = np.bincount(np.concatenate(paths), minlength=len(parents))
    chains = []
    for nodes in paths:
        chain = keep_nodes(tree, nodes)
        chains.append(
            build_tree(
                chain.token_ids[: chain.starts[0]],
                np.split(chain.token_ids[chain.starts[0] :], chain.starts[1:-1] - chain.starts[0]),
                chain.parents,
                name=tree.name,
                targets=chain.targets,
                weights=chain.weights / times[nodes],
                rows=chain.rows,
            )
        )
    return chains
