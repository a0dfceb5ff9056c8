"""A tree under construction, as branches, and its turning into forest rows.

A branch is one completion: the tokens it adds to the branch it left, and where it left it. Branches are what a search
makes; nodes are what the rest of the system reads. `to_rows` cuts each branch at its anchors and at the forks taken
from it, and numbers the nodes in preorder, so the rows depend on the tree alone and not on the order of growth.

Positions count generated tokens from the start of the solution (0 is the first token after the prompt).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from eduprm.search.contract import Completion, Finish, Tokenizer
from eduprm.search.node_texts import node_texts, token_text
from eduprm.search.tree_rows import TreeRows
from eduprm.segment import above_threshold, entropy_anchors, judged_texts


@dataclass(slots=True, eq=False)
class Branch:
    """Tokens `start`, `start + 1`, ... of a path; those before `start` are the parent's.

    Attributes:
        parent: branch this one left; None for a path from the prompt.
        start: position of its first token.
        token_ids: int32 [n].
        logprobs: float32 [n].
        entropies: float32 [n], nats.
        runner_up_ids: int32 [n].
        runner_up_logprobs: float32 [n].
        finish: why it ended; "pruned" where a search gave it up.
        entropies_upper: float32 [n], nats; None when `entropies` is exact, else that is a lower bound.
        greedy: whether its path is the policy's greedy one, from the prompt to its end.
        forks: positions at which other branches left it.
        anchors: what `CutRule.anchors` found last, and for what it was asked.
    """

    # Not shown: a task's repr shows its result, and branches of branches would be shown over and over.
    parent: Branch | None = field(repr=False)
    start: int
    token_ids: NDArray[np.int32]
    logprobs: NDArray[np.float32]
    entropies: NDArray[np.float32]
    runner_up_ids: NDArray[np.int32]
    runner_up_logprobs: NDArray[np.float32]
    finish: Finish | Literal["pruned"]
    entropies_upper: NDArray[np.float32] | None = None
    greedy: bool = False
    forks: list[int] = field(default_factory=list)
    anchors: tuple[tuple[CutRule, Tokenizer, frozenset[int]], list[int]] | None = field(
        default=None, repr=False
    )

    @property
    def stop(self) -> int:
        """Position after its last token: the length of its path."""
        return self.start + len(self.token_ids)

    def path_ids(self, stop: int | None = None) -> tuple[int, ...]:
        """Token ids of the whole path, up to position `stop` if given."""
        stop = self.stop if stop is None else stop
        parts: list[list[int]] = []
        branch: Branch | None = self
        while branch is not None:  # no recursion: a branch may be the thousandth to leave another
            parts.append(branch.token_ids[: max(stop - branch.start, 0)].tolist())
            stop, branch = min(branch.start, stop), branch.parent
        return tuple(chain.from_iterable(reversed(parts)))


def as_branch(done: Completion, *, greedy: bool = False) -> Branch:
    """A completion of the bare prompt as a branch; `greedy` if nothing was drawn."""
    return Branch(
        parent=None,
        start=0,
        token_ids=done.token_ids,
        logprobs=done.logprobs,
        entropies=done.entropies,
        runner_up_ids=done.runner_up_ids,
        runner_up_logprobs=done.runner_up_logprobs,
        finish=done.finish,
        entropies_upper=done.entropies_upper,
        greedy=greedy,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CutRule:
    """Where a path is cut into nodes: `eduprm.segment.entropy_anchors`, by the path's most probable tokens.

    A text is cut by the same rule with `eduprm.search.TextCutter`.

    Attributes:
        threshold: nats.
        skip_symbols: leave out positions whose most probable token is white space, punctuation or without text.
    """

    threshold: float = 1.0
    skip_symbols: bool = True

    def anchors(self, branch: Branch, tokenizer: Tokenizer, *, stop_ids: frozenset[int]) -> list[int]:
        """Anchor positions among the branch's own tokens; `stop_ids` are the engine's."""
        # A search asks while it grows the tree, and again when it cuts it into nodes.
        asked = (self, tokenizer, stop_ids)
        if branch.anchors is None or branch.anchors[0] != asked:
            branch.anchors = (asked, self._found(branch, tokenizer, stop_ids))
        return branch.anchors[1]

    def _found(self, branch: Branch, tokenizer: Tokenizer, stop_ids: frozenset[int]) -> list[int]:
        top_ids = np.where(
            branch.logprobs >= branch.runner_up_logprobs, branch.token_ids, branch.runner_up_ids
        )
        above = above_threshold(branch.entropies, self.threshold)
        texts = judged_texts(
            top_ids, lambda ids: token_text(ids[0], tokenizer), stop_ids=stop_ids, where=above
        )
        found = entropy_anchors(
            branch.entropies, texts, threshold=self.threshold, skip_symbols=self.skip_symbols
        )
        return [branch.start + int(index) for index in found]


def to_rows(
    branches: Sequence[Branch],
    *,
    problem_id: str,
    tree: str,
    cut: CutRule,
    tokenizer: Tokenizer,
    stop_ids: frozenset[int],
) -> pl.DataFrame:
    """Forest rows of one tree.

    Args:
        branches: in the order found, parents before children; at least one.
        problem_id: of the rows.
        tree: name of the tree within its problem.
        cut: where to cut between forks.
        tokenizer: gives the nodes their text.
        stop_ids: the engine's, as the strategy saw them.

    Returns:
        Columns of NODE_SCHEMA and FOUND_COLUMNS; `entropies_upper` beside them where the engine gave bounds
        (BOUND_COLUMNS).

    Examples:
        >>> import numpy as np
        >>> class Letters:
        ...     def decode(self, token_ids):
        ...         return "".join(chr(97 + token) for token in token_ids)
        >>> nats, zeros = np.array([0.1, 0.9, 0.2], np.float32), np.zeros(3, np.float32)
        >>> path = Branch(parent=None, start=0, token_ids=np.array([0, 1, 2], np.int32), logprobs=zeros,
        ...     entropies=nats, runner_up_ids=np.array([3, 4, 5], np.int32), runner_up_logprobs=zeros - 1,
        ...     finish="length")
        >>> rows = to_rows([path], problem_id="p", tree="greedy", cut=CutRule(threshold=0.5), tokenizer=Letters(),
        ...     stop_ids=frozenset())
        >>> rows.select("node_id", "parent_id", "text", "finish").rows()
        [(0, None, 'a', None), (1, 0, 'bc', 'length')]
    """
    tree_of = tree_rows(
        branches, problem_id=problem_id, tree=tree, cut=cut, tokenizer=tokenizer, stop_ids=stop_ids
    )
    return tree_of.frame()


class _Piece(NamedTuple):
    """A node: tokens `start` to `stop` of a branch's path; no branch for an empty root."""

    parent: int | None
    branch: Branch | None
    start: int
    stop: int


def tree_rows(
    branches: Sequence[Branch],
    *,
    problem_id: str,
    tree: str,
    cut: CutRule,
    tokenizer: Tokenizer,
    stop_ids: frozenset[int],
) -> TreeRows:
    """The same as columns of flat arrays, of which a frame is made for many trees at once (`frame_of`)."""
    pieces = _pieces(branches, cut, tokenizer, stop_ids)
    ends = [branch is not None and stop == branch.stop for _, branch, _, stop in pieces]
    token_ids = _joined(pieces, "token_ids", np.int32)
    ids, at = token_ids.tolist(), 0
    own: list[list[int]] = []
    for piece in pieces:
        own.append(ids[at : at + piece.stop - piece.start])
        at += piece.stop - piece.start
    bounds = branches[0].entropies_upper is not None
    number = {id(branch): place for place, branch in enumerate(branches)}
    return TreeRows(
        problem_id=problem_id,
        tree=tree,
        parents=[piece.parent for piece in pieces],
        lengths=[piece.stop - piece.start for piece in pieces],
        token_ids=token_ids,
        logprobs=_joined(pieces, "logprobs", np.float32),
        entropies=_joined(pieces, "entropies", np.float32),
        entropies_upper=_joined(pieces, "entropies_upper", np.float32) if bounds else None,
        texts=node_texts([-1 if p.parent is None else p.parent for p in pieces], own, ends, tokenizer),
        finishes=[
            piece.branch.finish if end and piece.branch is not None else None
            for piece, end in zip(pieces, ends, strict=True)
        ],
        # A branch ends in one leaf: found when it was.
        orders=[number[id(piece.branch)] if end else None for piece, end in zip(pieces, ends, strict=True)],
        greedy=[
            piece.branch.greedy if end and piece.branch is not None else None
            for piece, end in zip(pieces, ends, strict=True)
        ],
    )


def _pieces(
    branches: Sequence[Branch], cut: CutRule, tokenizer: Tokenizer, stop_ids: frozenset[int]
) -> list[_Piece]:
    """The tree's nodes in preorder."""
    roots = [branch for branch in branches if branch.parent is None]
    left_at: dict[tuple[int, int], list[Branch]] = {}
    for branch in branches:
        if branch.parent is not None:
            left_at.setdefault((id(branch.parent), branch.start), []).append(branch)
    # Where each branch is cut, the last first, so that the next one is popped off.
    cuts: dict[int, list[int]] = {}
    for branch in branches:
        at = {p for p in cut.anchors(branch, tokenizer, stop_ids=stop_ids) if p > branch.start}
        at.update(fork for fork in branch.forks if fork > branch.start)
        cuts[id(branch)] = sorted(at, reverse=True)
    # Several paths from the prompt, or a fork at the very first token, hang below an empty root.
    bare_root = len(roots) > 1 or roots[0].start in roots[0].forks
    pieces = [_Piece(None, None, 0, 0)] if bare_root else []
    root_id = 0 if bare_root else None
    # Depth first by an explicit stack: (parent node, branch, position to go on from).
    waiting: list[tuple[int | None, Branch, int]] = []
    for root in reversed(roots):
        leavers = left_at.get((id(root), root.start), [])
        waiting.extend((root_id, b, b.start) for b in [*reversed(leavers), root])
    while waiting:
        parent, branch, start = waiting.pop()
        at_most = cuts[id(branch)]
        stop = at_most.pop() if at_most else branch.stop
        node = len(pieces)
        pieces.append(_Piece(parent, branch, start, stop))
        if stop != branch.stop:
            waiting.extend((node, b, b.start) for b in reversed(left_at.get((id(branch), stop), [])))
            waiting.append((node, branch, stop))
    return pieces


def _joined(pieces: Sequence[_Piece], name: str, kind: type[Any]) -> NDArray[Any]:
    parts = [
        getattr(branch, name)[start - branch.start : stop - branch.start]
        for _, branch, start, stop in pieces
        if branch is not None
    ]
    return np.concatenate(parts).astype(kind, copy=False)
