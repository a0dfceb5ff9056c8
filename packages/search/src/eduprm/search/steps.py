"""Where the steps of a grown tree begin, by several rules at once, and the tree cut at all of them.

A tree is grown with one rule of cutting; PRMs trained on other kinds of steps want others. The nodes are cut finely
enough for all rules, and a column per rule says which nodes begin a step of it, so that one pass of a PRM over the fine
tree gives the scores for every rule. The rules:

* `anchor`: at a node of the given forest whose first token stands above the threshold (EDU-PRM, arXiv 2503.22233). Grow
  the trees with a cut at that threshold or below.
* `line`: at the first token with text behind a line break (`eduprm.segment.line_starts`).
* `unsure`: at a token less probable than a bound (AdaptiveStep, arXiv 2502.13943).

Knows tokens by their decoder, and no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from eduprm.forest import FOUND_COLUMNS, NODE_SCHEMA
from eduprm.search.branches import CutRule
from eduprm.search.contract import TokenDecoder
from eduprm.search.node_texts import node_texts, token_text
from eduprm.segment import above_threshold, line_starts, low_confidence_anchors

STEP_RULES = ("anchor", "line", "unsure")
STEP_SCHEMA = pl.Schema({**NODE_SCHEMA, **{f"starts_{rule}": pl.Boolean() for rule in STEP_RULES}})
"""A forest with, per node and rule, whether a step of that rule begins with the node's first token."""

_LEAF_STEPS = pl.Schema(
    {"problem_id": pl.String(), "tree": pl.String(), "leaf": pl.Int32(), "step_values": pl.List(pl.Float64())}
)


class CutAt:
    """A strategy whose trees are cut into nodes by another rule than the one they fork by.

    Examples:
        >>> from eduprm.search import EduSampling
        >>> CutAt(EduSampling(threshold=2.0), CutRule(threshold=0.5)).cut.threshold
        0.5
    """

    def __init__(self, strategy: Any, cut: CutRule) -> None:
        self._strategy = strategy
        self.cut = cut

    @property
    def tree(self) -> str:
        """Name of the trees."""
        return str(self._strategy.tree)

    async def grow(self, prompt_ids: tuple[int, ...], **given: Any) -> Any:
        """What the strategy grows."""
        return await self._strategy.grow(prompt_ids, **given)


def mark_steps(
    forest: pl.DataFrame, *, decoder: TokenDecoder, threshold: float, low_logprob: float
) -> pl.DataFrame:
    """Cut a forest's nodes wherever a step begins by any rule, and say by which.

    Args:
        forest: NODE_SCHEMA, cut at anchors of `threshold` or below.
        decoder: the policy's tokenizer.
        threshold: nats, of the rule `anchor`.
        low_logprob: nats; a token below it begins a step of the rule `unsure`.

    Returns:
        STEP_SCHEMA, and FOUND_COLUMNS where the forest has them: the same trees, paths and texts, leaves in the same
        order.

    Examples:
        >>> class Letters:
        ...     def decode(self, token_ids):
        ...         return "".join(chr(token) for token in token_ids)
        >>> ids = list(b"ab\\ncd")
        >>> row = ("p", "edu", 0, None, ids, [-0.1, -3.0, -0.1, -0.1, -0.1], [0.0] * 5, "ab\\ncd", "stop")
        >>> forest = pl.DataFrame([row], schema=NODE_SCHEMA, orient="row")
        >>> marked = mark_steps(forest, decoder=Letters(), threshold=1.0, low_logprob=-2.0)
        >>> marked.select("text", "starts_line", "starts_unsure").rows()
        [('a', False, False), ('b\\n', False, True), ('cd', True, False)]
    """
    found = {name: kind for name, kind in FOUND_COLUMNS.items() if name in forest.columns}
    schema = pl.Schema({**NODE_SCHEMA, **found, **STEP_SCHEMA})
    frames = []
    for _, nodes in forest.group_by("problem_id", "tree", maintain_order=True):
        rows: list[dict[str, Any]] = []
        last: list[int] = []  # per given node, the number of its last piece
        pending: list[bool] = []  # per given node, whether a line break waits for the text behind it
        for node in nodes.select([*NODE_SCHEMA, *found]).iter_rows(named=True):
            parent = node["parent_id"]
            waits = False if parent is None else pending[parent]
            texts = [token_text(token, decoder) for token in node["token_ids"]]
            lines, waits = line_starts(texts, pending=waits)
            unsure = set(low_confidence_anchors(node["logprobs"], threshold=low_logprob))
            anchor = bool(above_threshold(node["entropies"][:1], threshold).any())
            above = None if parent is None else last[parent]
            starts = sorted({0, *lines, *unsure})
            for start, stop in zip(starts, [*starts[1:], len(node["token_ids"])], strict=True):
                marks = {
                    "starts_anchor": anchor and start == 0,
                    "starts_line": start in lines,
                    "starts_unsure": start in unsure,
                }
                rows.append(_piece(node, start, stop, len(rows), above) | marks)
                above = len(rows) - 1
            last.append(len(rows) - 1)
            pending.append(waits)
        parents = [-1 if row["parent_id"] is None else row["parent_id"] for row in rows]
        ends = [row["finish"] is not None for row in rows]
        texts = node_texts(parents, [row["token_ids"] for row in rows], ends, decoder)
        rows = [{**row, "text": text} for row, text in zip(rows, texts, strict=True)]
        frames.append(pl.DataFrame(rows, schema=schema))
    return pl.concat(frames) if frames else schema.to_frame()


def cut_at_steps(
    forest: pl.DataFrame, segmenters: Sequence[str], *, decoder: TokenDecoder, threshold: float
) -> tuple[pl.DataFrame, pl.Series]:
    """Cut a forest's nodes at the steps of several segmenters, and say which nodes end a step of any of them.

    Args:
        forest: NODE_SCHEMA, cut at anchors of `threshold` or below.
        segmenters: "entropy" (steps end before anchors) and "lines"; one or both.
        decoder: the policy's tokenizer.
        threshold: nats, of "entropy".

    Returns:
        NODE_SCHEMA, and FOUND_COLUMNS where the forest has them: the same trees, paths and texts, leaves in the same
        order; and per node whether a step ends there.

    Raises:
        ValueError: no segmenter, or one of another name.
    """
    rules = {"entropy": "anchor", "lines": "line"}
    unknown = [name for name in segmenters if name not in rules]
    if unknown or not segmenters:
        raise ValueError(f"expected one or several of {', '.join(rules)}, got {list(segmenters)}")
    marked = mark_steps(forest, decoder=decoder, threshold=threshold, low_logprob=float("-inf"))
    ends = [step_ends(marked, rules[name]) for name in segmenters]
    anywhere = pl.DataFrame([end.alias(name) for name, end in zip(segmenters, ends, strict=True)])
    return marked.drop(f"starts_{rule}" for rule in STEP_RULES), anywhere.select(
        ends=pl.any_horizontal(pl.all())
    )["ends"]


def _piece(node: dict[str, Any], start: int, stop: int, number: int, above: int | None) -> dict[str, Any]:
    own = {name: node[name][start:stop] for name in ("token_ids", "logprobs", "entropies")}
    ends = {name: node[name] for name in ("finish", *FOUND_COLUMNS) if name in node}
    if stop != len(node["token_ids"]):
        ends = dict.fromkeys(ends)
    return {**node, **own, **ends, "node_id": number, "parent_id": above, "text": ""}


def step_ends(marked: pl.DataFrame, rule: str) -> pl.Series:
    """Per node, whether a step of the rule ends with it on some path: a leaf, or a child begins one.

    A node without tokens (an empty root) ends none.

    Raises:
        ValueError: no such rule.

    Examples:
        >>> tree = pl.DataFrame({"problem_id": "p", "tree": "edu", "node_id": [0, 1, 2], "parent_id": [None, 0, 1],
        ...     "token_ids": [[5], [6], [7]], "starts_line": [False, False, True]})
        >>> step_ends(tree, "line").to_list()
        [False, True, True]
    """
    if rule not in STEP_RULES:
        raise ValueError(f"expected a rule among {', '.join(STEP_RULES)}, got {rule!r}")
    keys = ["problem_id", "tree"]
    children = (
        marked.filter(pl.col("parent_id").is_not_null())
        .group_by(*keys, node_id="parent_id")
        .agg(begins=pl.col(f"starts_{rule}").any())
    )
    joined = marked.select(*keys, "node_id", "token_ids").join(
        children, on=[*keys, "node_id"], how="left", maintain_order="left"
    )
    ends = pl.col("begins").fill_null(True) & (pl.col("token_ids").list.len() > 0)
    return joined.select(ends=ends)["ends"]


def steps_of_leaves(marked: pl.DataFrame, rule: str, values: str) -> pl.DataFrame:
    """What the nodes that end a step of the rule hold, along each leaf's path: problem_id, tree, leaf, step_values.

    On a path, a step ends before a node that begins one, and at the leaf. Nodes where `values` is null are left out.

    Raises:
        ValueError: no such rule.

    Examples:
        >>> tree = pl.DataFrame({"problem_id": "p", "tree": "edu", "node_id": [0, 1, 2], "parent_id": [None, 0, 0],
        ...     "token_ids": [[5], [6], [7]], "starts_unsure": [False, False, True], "score": [0.5, 0.6, 0.7]})
        >>> steps_of_leaves(tree, "unsure", "score").rows()
        [('p', 'edu', 1, [0.6]), ('p', 'edu', 2, [0.5, 0.7])]
    """
    if rule not in STEP_RULES:
        raise ValueError(f"expected a rule among {', '.join(STEP_RULES)}, got {rule!r}")
    rows: list[tuple[str, str, int, list[float]]] = []
    for (problem_id, tree), nodes in marked.group_by("problem_id", "tree", maintain_order=True):
        parents, begins = nodes["parent_id"].to_list(), nodes[f"starts_{rule}"].to_list()
        held = nodes[values].to_list()
        inner = {parent for parent in parents if parent is not None}
        # The values that stand before each node on its path, steps ended by it included.
        before: list[list[float]] = []
        for node, parent in enumerate(parents):
            above = [] if parent is None else before[parent]
            ended = parent is not None and begins[node] and held[parent] is not None
            before.append([*above, held[parent]] if ended and parent is not None else above)
            if node not in inner:
                own = [] if held[node] is None else [held[node]]
                rows.append((str(problem_id), str(tree), node, before[node] + own))
    return pl.DataFrame(rows, schema=_LEAF_STEPS, orient="row")
