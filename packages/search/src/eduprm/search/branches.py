"""A tree under construction, as branches, and its turning into forest rows.

A branch is one continuation: the tokens it adds to the branch it left, and where it left it. Branches are what a search
makes; nodes are what the rest of the system reads. `to_rows` cuts each branch at its anchors and at the forks taken
from it, and numbers the nodes in preorder, so the rows depend on the tree alone and not on the order of growth.

Positions count generated tokens from the start of the solution (0 is the first token after the prompt).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from eduprm.forest import BOUND_COLUMNS, NODE_SCHEMA
from eduprm.search.contract import Finish, TokenDecoder
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
        forks: positions at which other branches left it.
    """

    parent: Branch | None
    start: int
    token_ids: NDArray[np.int32]
    logprobs: NDArray[np.float32]
    entropies: NDArray[np.float32]
    runner_up_ids: NDArray[np.int32]
    runner_up_logprobs: NDArray[np.float32]
    finish: Finish | Literal["pruned"]
    entropies_upper: NDArray[np.float32] | None = None
    forks: list[int] = field(default_factory=list)

    @property
    def stop(self) -> int:
        """Position after its last token: the length of its path."""
        return self.start + len(self.token_ids)

    def path_ids(self, stop: int | None = None) -> tuple[int, ...]:
        """Token ids of the whole path, up to position `stop` if given."""
        stop = self.stop if stop is None else stop
        own = tuple(self.token_ids[: max(stop - self.start, 0)].tolist())
        return own if self.parent is None else self.parent.path_ids(min(self.start, stop)) + own


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

    def anchors(self, branch: Branch, decoder: TokenDecoder, *, stop_ids: frozenset[int]) -> list[int]:
        """Anchor positions among the branch's own tokens; `stop_ids` are the engine's."""
        top_ids = np.where(
            branch.logprobs >= branch.runner_up_logprobs, branch.token_ids, branch.runner_up_ids
        )
        above = above_threshold(branch.entropies, self.threshold)
        texts = judged_texts(top_ids, decoder.decode, stop_ids=stop_ids, where=above)
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
    decoder: TokenDecoder,
    stop_ids: frozenset[int],
) -> pl.DataFrame:
    """Forest rows of one tree.

    Args:
        branches: parents before children; at least one.
        problem_id: of the rows.
        tree: name of the tree within its problem.
        cut: where to cut between forks.
        decoder: gives the nodes their text.
        stop_ids: the engine's, as the strategy saw them.

    Returns:
        Columns of NODE_SCHEMA; `entropies_upper` beside them where the engine gave bounds (BOUND_COLUMNS).

    Examples:
        >>> import numpy as np
        >>> class Letters:
        ...     def decode(self, token_ids):
        ...         return "".join(chr(97 + token) for token in token_ids)
        >>> nats, zeros = np.array([0.1, 0.9, 0.2], np.float32), np.zeros(3, np.float32)
        >>> path = Branch(parent=None, start=0, token_ids=np.array([0, 1, 2], np.int32), logprobs=zeros,
        ...     entropies=nats, runner_up_ids=np.array([3, 4, 5], np.int32), runner_up_logprobs=zeros - 1,
        ...     finish="length")
        >>> rows = to_rows([path], problem_id="p", tree="greedy", cut=CutRule(threshold=0.5), decoder=Letters(),
        ...     stop_ids=frozenset())
        >>> rows.select("node_id", "parent_id", "text", "finish").rows()
        [(0, None, 'a', None), (1, 0, 'bc', 'length')]
    """
    rows: list[dict[str, Any]] = []
    roots = [branch for branch in branches if branch.parent is None]
    left_at: dict[tuple[int, int], list[Branch]] = {}
    for branch in branches:
        if branch.parent is not None:
            left_at.setdefault((id(branch.parent), branch.start), []).append(branch)
    cuts: dict[int, list[int]] = {}
    for branch in branches:
        at = {
            position
            for position in cut.anchors(branch, decoder, stop_ids=stop_ids)
            if position > branch.start
        }
        at.update(branch.forks)
        cuts[id(branch)] = sorted(at)

    def add(parent: int | None, branch: Branch | None, start: int, stop: int, finish: str | None) -> int:
        rows.append(_row(problem_id, tree, len(rows), parent, branch, start, stop, finish))
        return len(rows) - 1

    # Several paths from the prompt, or a fork at the very first token, hang below an empty root.
    bare_root = len(roots) > 1 or roots[0].start in roots[0].forks
    root_id = add(None, None, 0, 0, None) if bare_root else None
    # Depth first by an explicit stack: (parent node, branch, position to go on from).
    waiting: list[tuple[int | None, Branch, int]] = [(root_id, b, b.start) for b in reversed(roots)]
    if bare_root and len(roots) == 1:
        leavers = left_at.get((id(roots[0]), roots[0].start), [])
        waiting = [(root_id, b, b.start) for b in reversed(leavers)] + waiting
    while waiting:
        parent, branch, start = waiting.pop()
        stop = next((c for c in cuts[id(branch)] if c > start), branch.stop)
        ends = stop == branch.stop
        node = add(parent, branch, start, stop, branch.finish if ends else None)
        if not ends:
            waiting.extend((node, b, b.start) for b in reversed(left_at.get((id(branch), stop), [])))
            waiting.append((node, branch, stop))
    add_texts(rows, decoder)
    bounds = branches[0].entropies_upper is not None
    schema = pl.Schema({**NODE_SCHEMA, **BOUND_COLUMNS}) if bounds else NODE_SCHEMA
    return pl.DataFrame(rows, schema=schema, orient="row")


def _row(
    problem_id: str,
    tree: str,
    node: int,
    parent: int | None,
    branch: Branch | None,
    start: int,
    stop: int,
    finish: str | None,
) -> dict[str, Any]:
    own = slice(start - branch.start, stop - branch.start) if branch else slice(0)
    upper = branch.entropies_upper if branch else None
    return {
        "problem_id": problem_id,
        "tree": tree,
        "node_id": node,
        "parent_id": parent,
        "token_ids": branch.token_ids[own].tolist() if branch else [],
        "logprobs": branch.logprobs[own].tolist() if branch else [],
        "entropies": branch.entropies[own].tolist() if branch else [],
        "entropies_upper": upper[own].tolist() if upper is not None else [],
        "text": "",
        "finish": finish,
    }


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


def add_texts(rows: list[dict[str, Any]], decoder: TokenDecoder) -> None:
    """Give each node what its path's text adds to its parent's, so that the texts of a path join to the path's text.

    Tokens are not decoded alone: SentencePiece writes no space before the first token it is given. A path's text is
    decoded behind the node before it, not behind all of it, so the cost is linear in the tree. A character whose bytes
    are spread over two nodes belongs to the one that completes it.
    """
    decoded: list[_Decoded] = []
    for row in rows:
        before = _Decoded([], 0, True) if row["parent_id"] is None else decoded[row["parent_id"]]
        ids = before.ids + row["token_ids"]
        text = decoder.decode(ids) if ids else ""
        # Unfinished bytes decode to U+FFFD, and to something else once the next node brings the rest.
        sure = text if row["finish"] is not None else text.rstrip("\ufffd")
        row["text"] = sure[before.given :]
        settled = len(sure) == len(text)
        if before.settled and settled and row["text"]:
            decoded.append(_Decoded(row["token_ids"], len(decoder.decode(row["token_ids"])), True))
        else:
            decoded.append(_Decoded(ids, max(before.given, len(sure)), settled))
