"""Cut packed rows into segments whose keys are one path each: what varlen attention kernels take.

For the varlen back end. Source: packing of trees in TRL (huggingface/trl, TreeRow of
AsyncGRPO): K/V of each segment's root-to-segment path are gathered once, attention is causal and aligned at the end.

Token q of a row sees token k exactly when k <= q < stops[k]. From q to q + 1 nothing that was seen is lost unless some
token stops at q + 1, so a segment runs on to the next stop: through the first child of a fork, and the second child
begins a new one. A tree has as many segments as leaves, and the gathered keys are its root-to-leaf paths.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["SegmentPlan", "plan_segments"]

# Kernels only size their grid by the longest query and path. Few distinct values keep compiled layers from being
# compiled anew; 1 would send FlashAttention into its decoding path.
SHORTEST_BOUND = 128


class SegmentPlan(NamedTuple):
    """S segments over the B * L tokens of packed rows, in order.

    `path_index` int64 [G]: the tokens (numbered row after row) whose K/V are gathered, path after path. `query_starts`
    and `path_starts` int32 [S + 1]: segment s asks from tokens query_starts[s]:query_starts[s + 1] and sees
    path_index[path_starts[s]:path_starts[s + 1]], its own tokens last. `longest_query` and `longest_path`: upper bounds
    of their lengths, powers of two.
    """

    path_index: np.ndarray
    query_starts: np.ndarray
    path_starts: np.ndarray
    longest_query: int
    longest_path: int


def plan_segments(stops: np.ndarray) -> SegmentPlan:
    """Return the segments of `stops` [B, L], padding included (every token asks in exactly one segment).

    Examples:
        >>> plan = plan_segments(np.array([[5, 5, 5, 4, 5]]))  # a prompt of 3 tokens, two children
        >>> plan.path_index.tolist(), plan.query_starts.tolist(), plan.path_starts.tolist()
        ([0, 1, 2, 3, 0, 1, 2, 4], [0, 4, 5], [0, 4, 8])
    """
    width = stops.shape[1]
    index = np.arange(width)
    paths, starts = [], []
    for row, line in enumerate(stops):
        ends = np.unique(np.append(line, width)).tolist()
        path = index[:0]
        for begin, end in zip([0, *ends[:-1]], ends, strict=True):
            path = np.concatenate(
                (path[line[path] > begin], index[begin:end])
            )  # what has stopped stays unseen
            paths.append(path + row * width)
            starts.append(begin + row * width)
    query_starts = np.array([*starts, stops.size], dtype=np.int32)
    path_sizes = np.array([len(path) for path in paths])
    return SegmentPlan(
        path_index=np.concatenate(paths),
        query_starts=query_starts,
        path_starts=np.concatenate([[0], np.cumsum(path_sizes)]).astype(np.int32),
        longest_query=_bound(int(np.diff(query_starts).max())),
        longest_path=_bound(int(path_sizes.max())),
    )


def _bound(length: int) -> int:
    return max(SHORTEST_BOUND, 1 << (length - 1).bit_length())
