"""Where the steps of a grown tree begin, by several rules at once, and the tree cut at all of them.

A tree is grown with one rule of cutting; PRMs trained on other kinds of steps want others. The nodes are cut finely
enough for all rules, and a column per rule says which nodes begin a step of it, so that one pass of a PRM over the fine
tree gives the scores for every rule. The rules:

* `anchor`: at a node of the given forest whose first token stands above the threshold (EDU-PRM, arXiv 2503.22233). Grow
  the trees with a cut at that threshold or below.
* `line`: at the first token with text behind a line break (`eduprm.segment.line_starts`).
* `unsure`: at a token less probable than a bound (AdaptiveStep, arXiv 2502.13943).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from eduprm.forest import FOUND_COLUMNS, NODE_SCHEMA
from eduprm.search.branches import CutRule
from eduprm.search.contract import Tokenizer
from eduprm.search.node_texts import node_texts, token_text
from eduprm.segment import Segmenter, Solution, get_segmenter, is_symbol, joint_segmenter

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
    forest: pl.DataFrame, *, tokenizer: Tokenizer, threshold: float, low_logprob: float
) -> pl.DataFrame:
    """Cut a forest's nodes wherever a step begins by any rule, and say by which.

    Args:
        forest: NODE_SCHEMA, cut at anchors of `threshold` or below.
        tokenizer: the policy's tokenizer.
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
        >>> marked = mark_steps(forest, tokenizer=Letters(), threshold=1.0, low_logprob=-2.0)
        >>> marked.select("text", "starts_line", "starts_unsure").rows()
        [('a', False, False), ('b\\n', False, True), ('cd', True, False)]
    """
    cutters = {
        "anchor": get_segmenter("entropy", threshold=threshold),
        "line": get_segmenter("lines"),
        "unsure": get_segmenter("low_confidence", threshold=low_logprob),
    }
    return cut_trees(forest, cutters, tokenizer=tokenizer)


def cut_trees(
    forest: pl.DataFrame, segmenters: Mapping[str, Segmenter], *, tokenizer: Tokenizer
) -> pl.DataFrame:
    """Cut a forest's nodes wherever a step of any segmenter begins on any path, and say by which.

    A forest does not hold the most probable tokens. It says what matters of them: nodes begin at anchors, and inside a
    node none is one. So `Solution.top_texts` is a word where a node begins, and else a symbol or "".

    Args:
        forest: NODE_SCHEMA, cut at anchors of the entropy segmenter's threshold or below.
        segmenters: by the names that the columns get; each cuts every path as it cuts a solution's tokens.
        tokenizer: the policy's tokenizer.

    Returns:
        NODE_SCHEMA, FOUND_COLUMNS where the forest has them, and a column `starts_NAME` for each segmenter: the same
        trees, paths and texts, leaves in the same order.
    """
    found = {name: kind for name, kind in FOUND_COLUMNS.items() if name in forest.columns}
    marks = {f"starts_{name}": pl.Boolean() for name in segmenters}
    schema = pl.Schema({**NODE_SCHEMA, **found, **marks})
    frames = []
    for _, nodes in forest.group_by("problem_id", "tree", maintain_order=True):
        given = nodes.select([*NODE_SCHEMA, *found]).to_dicts()
        begins = _begins(given, segmenters, tokenizer)
        rows: list[dict[str, Any]] = []
        last: list[int] = []  # per given node, the number of its last piece
        for node, own in zip(given, begins, strict=True):
            above = None if node["parent_id"] is None else last[node["parent_id"]]
            starts = sorted({0}.union(*own.values()))
            for start, stop in zip(starts, [*starts[1:], len(node["token_ids"])], strict=True):
                begun = {f"starts_{name}": start in places for name, places in own.items()}
                rows.append(_piece(node, start, stop, len(rows), above) | begun)
                above = len(rows) - 1
            last.append(len(rows) - 1)
        parents = [-1 if row["parent_id"] is None else row["parent_id"] for row in rows]
        ends = [row["finish"] is not None for row in rows]
        texts = node_texts(parents, [row["token_ids"] for row in rows], ends, tokenizer)
        rows = [{**row, "text": text} for row, text in zip(rows, texts, strict=True)]
        frames.append(pl.DataFrame(rows, schema=schema))
    return pl.concat(frames) if frames else schema.to_frame()


def _begins(
    nodes: list[dict[str, Any]], segmenters: Mapping[str, Segmenter], tokenizer: Tokenizer
) -> list[dict[str, set[int]]]:
    """Per node and segmenter, the positions in the node at which a step begins on some path; never a path's first."""
    texts = [[token_text(token, tokenizer) for token in node["token_ids"]] for node in nodes]
    tops = [_top_texts(own) for own in texts]
    found: list[dict[str, set[int]]] = [{name: set() for name in segmenters} for _ in nodes]
    inner = {node["parent_id"] for node in nodes}
    for leaf in (number for number in range(len(nodes)) if number not in inner):
        path = [leaf]
        while (parent := nodes[path[-1]]["parent_id"]) is not None:
            path.append(parent)
        path.reverse()
        solution = Solution(
            [text for node in path for text in texts[node]],
            entropies=[value for node in path for value in nodes[node]["entropies"]],
            logprobs=[value for node in path for value in nodes[node]["logprobs"]],
            top_texts=[text for node in path for text in tops[node]],
        )
        places = [(node, at) for node in path for at in range(len(texts[node]))]
        for name, cut in segmenters.items():
            for span in cut(solution)[1:]:
                node, at = places[span.start]
                found[node][name].add(at)
    return found


def _top_texts(texts: list[str]) -> list[str]:
    """What is known of the most probable tokens of a node: nodes begin at anchors, and inside one none is."""
    inside = [text if is_symbol(text) else "" for text in texts[1:]]
    return [texts[0] if texts[:1] and not is_symbol(texts[0]) else "word", *inside] if texts else []


def cut_at_steps(
    forest: pl.DataFrame, segmenters: Mapping[str, Mapping[str, Any]], *, tokenizer: Tokenizer
) -> tuple[pl.DataFrame, pl.Series]:
    """Cut a forest's nodes at the steps of several segmenters, and say which nodes end a step of any of them.

    Args:
        forest: NODE_SCHEMA, cut at anchors of the entropy segmenter's threshold or below.
        segmenters: names (`eduprm.segment.get_segmenter`) with the options of each; one or several.
        tokenizer: the policy's tokenizer.

    Returns:
        NODE_SCHEMA, and FOUND_COLUMNS where the forest has them: the same trees, paths and texts, leaves in the same
        order; and per node whether a step ends there.

    Raises:
        ValueError: no segmenter, or no such one or option.
    """
    marked = cut_trees(forest, {"any": joint_segmenter(segmenters)}, tokenizer=tokenizer)
    return marked.drop("starts_any"), step_ends(marked, "any")


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
    _check_rule(marked, rule)
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
    _check_rule(marked, rule)
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


def _check_rule(marked: pl.DataFrame, rule: str) -> None:
    rules = [name.removeprefix("starts_") for name in marked.columns if name.startswith("starts_")]
    if rule not in rules:
        raise ValueError(f"expected a rule among {', '.join(rules)}, got {rule!r}")
