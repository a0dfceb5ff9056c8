"""Monte Carlo values and labels for the nodes of a forest.

What it is for: from one right-or-wrong per leaf to leaves, correct, value, label and weight per node, by whole-array
passes (5 million nodes in seconds). What the value of a node is says a rule (`eduprm.label.rules`). It does not grade
(see `grading`) and does not look at texts. Source of hard labels with threshold 0: Math-Shepherd (arXiv 2312.08935).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import polars as pl

from eduprm.core import registry
from eduprm.forest import LABEL_COLUMNS, Topology, topology
from eduprm.label.rules._contract import GradedTrees, LabelRule

RULES = "eduprm.label.rules"
Target = Literal["soft", "hard"]
NodeWeight = Literal["leaves", "one"]

_KEYS = ["problem_id", "tree", "node_id"]


def label_forest(
    forest: pl.DataFrame,
    leaf_correct: pl.DataFrame,
    *,
    rule: str = "uniform",
    rule_options: Mapping[str, Any] | None = None,
    target: Target = "soft",
    hard_threshold: float = 0.0,
    node_weight: NodeWeight = "leaves",
) -> pl.DataFrame:
    """Add leaves, correct, value, label and weight to every node of a forest.

    Args:
        forest: Nodes in NODE_SCHEMA's rules (preorder); earlier label columns are replaced, others kept.
        leaf_correct: Columns problem_id, tree, node_id, correct (bool), one row for every leaf, in any order.
        rule: The value of a node: a module of `eduprm.label.rules`, or "package.module:Rule".
        rule_options: Of the rule.
        target: "soft" makes label = value, "hard" makes label 1.0 where value > hard_threshold, else 0.0.
        hard_threshold: In [0, 1).
        node_weight: "leaves" weighs a node by the leaves below it (the loss of all root-to-leaf paths), or by what a
            rule with weights of its own gives it; "one" by 1 where that is above 0. A node without tokens (an empty
            root) has no place for a score and always gets weight 0.

    Returns:
        The forest with leaves Int32, correct Float64 (count of right leaves, whatever the rule), value, label
        and weight Float64, in the order given.

    Raises:
        ValueError: no such rule or option; a leaf without a grade, or with two, or a grade for a node that is no leaf;
            a log-prob that is not finite under a rule that reads them; a rule that gives other than [0, 1].

    Examples:
        >>> import polars as pl
        >>> from eduprm.forest import NODE_SCHEMA
        >>> rows = [("p", "edu", 0, None, [1], [0.0], [0.7], "3", None),
        ...         ("p", "edu", 1, 0, [2], [-0.1], [0.0], "a", "stop"),
        ...         ("p", "edu", 2, 0, [3], [-2.4], [0.0], "b", "stop")]
        >>> forest = pl.DataFrame(rows, schema=NODE_SCHEMA, orient="row")
        >>> graded = pl.DataFrame({"problem_id": "p", "tree": "edu", "node_id": [1, 2], "correct": [True, False]},
        ...                       schema_overrides={"node_id": pl.Int32})
        >>> label_forest(forest, graded)["value"].to_list()
        [0.5, 1.0, 0.0]
        >>> label_forest(forest, graded, rule="probability")["value"].round(3).to_list()
        [0.909, 1.0, 0.0]
    """
    chosen: LabelRule = registry.make(RULES, rule, "Rule", rule_options)
    _check_choice("target", target, get_args(Target))
    _check_choice("node_weight", node_weight, get_args(NodeWeight))
    if not 0.0 <= hard_threshold < 1.0:
        raise ValueError(f"expected hard_threshold in [0, 1), got {hard_threshold}")
    shape = topology(forest)
    right = np.zeros(shape.num_nodes, dtype=np.int64)
    right[shape.is_leaf] = _right_leaves(forest, leaf_correct, shape)
    leaves, correct = shape.leaves, shape.subtree_sum(right)
    tokens = forest["token_ids"].list.len().to_numpy().astype(np.int64)
    trees = GradedTrees(shape, right, tokens, lambda: _finite_logprobs(forest))
    value = _checked(chosen.values(trees), shape, rule)
    label = value if target == "soft" else (value > hard_threshold).astype(np.float64)
    given = _weights(chosen, trees, rule)
    weight = given if node_weight == "leaves" else (given > 0).astype(np.float64)
    weight = np.where(tokens > 0, weight, 0.0)
    columns = {"leaves": leaves, "correct": correct, "value": value, "label": label, "weight": weight}
    series = [pl.Series(name, columns[name]).cast(dtype) for name, dtype in LABEL_COLUMNS.items()]
    return forest.drop(LABEL_COLUMNS.names(), strict=False).with_columns(series)


def node_logprobs(forest: pl.DataFrame) -> npt.NDArray[np.float64]:
    """Sum of the log-probs (nats) of each node's own tokens, float64 [n]; 0 for a node without tokens."""
    return forest["logprobs"].cast(pl.List(pl.Float64)).list.sum().to_numpy()


def _finite_logprobs(forest: pl.DataFrame) -> npt.NDArray[np.float64]:
    """`node_logprobs`, or an error: NaN and infinities would spread up the tree as NaN values."""
    sums = node_logprobs(forest)
    wrong = ~np.isfinite(sums)
    if wrong.any():
        row = int(wrong.argmax())
        place = forest.select(_KEYS).row(row, named=True)
        raise ValueError(
            f"expected finite log-probs to weigh leaves by, row {row + 1} ({place}) sums to {sums[row]}; "
            'repair the forest or use rule="uniform"'
        )
    return sums


def _checked(value: Any, shape: Topology, rule: str) -> npt.NDArray[np.float64]:
    value = np.asarray(value, dtype=np.float64)
    if value.shape != (shape.num_nodes,):
        raise ValueError(f"label rule {rule}: expected {shape.num_nodes} values, got shape {value.shape}")
    wrong = ~((value >= 0) & (value <= 1))  # NaN too
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(f"label rule {rule}: expected values in [0, 1], got {value[row]} at row {row + 1}")
    return value


def _weights(chosen: LabelRule, trees: GradedTrees, rule: str) -> npt.NDArray[np.float64]:
    """The leaves below each node, or the rule's own weights, float64 [n]."""
    if not hasattr(chosen, "weights"):
        return trees.shape.leaves.astype(np.float64)
    weights = np.asarray(chosen.weights(trees), dtype=np.float64)
    if weights.shape != (trees.shape.num_nodes,) or not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError(
            f"label rule {rule}: expected {trees.shape.num_nodes} weights, finite and from 0 up, got shape "
            f"{weights.shape} with least {weights.min(initial=0.0)}"
        )
    return weights


def _check_choice(name: str, got: str, allowed: tuple[str, ...]) -> None:
    if got not in allowed:
        raise ValueError(f"expected {name} to be one of {', '.join(allowed)}, got {got!r}")


def _right_leaves(forest: pl.DataFrame, grades: pl.DataFrame, shape: Topology) -> npt.NDArray[np.bool_]:
    """Grades in the order of the forest's leaves, bool [num_leaves]."""
    missing = [name for name in (*_KEYS, "correct") if name not in grades.columns]
    if missing:
        raise ValueError(f"expected leaf_correct to hold {[*_KEYS, 'correct']}, missing {missing}")
    if grades.schema["correct"] != pl.Boolean:
        raise ValueError(f"expected leaf_correct's 'correct' as Boolean, got {grades.schema['correct']}")
    leaves = forest.select(_KEYS).filter(pl.Series(shape.is_leaf))
    grades = grades.select(pl.col("problem_id"), "tree", pl.col("node_id").cast(pl.Int32), "correct")
    if not leaves.equals(grades.select(_KEYS)):  # the usual case, grades in the leaves' order, needs no join
        grades = _in_order(leaves, grades)
    if grades["correct"].null_count():
        row = leaves.row(grades["correct"].is_null().arg_max() or 0, named=True)
        raise ValueError(f"expected a grade for every leaf, got none for {row}")
    return grades["correct"].to_numpy()


def _in_order(leaves: pl.DataFrame, grades: pl.DataFrame) -> pl.DataFrame:
    twice = grades.filter(grades.select(_KEYS).is_duplicated())
    if twice.height:
        raise ValueError(
            f"expected one grade per leaf, got several for {twice.select(_KEYS).row(0, named=True)}"
        )
    joined = leaves.join(grades, on=_KEYS, how="left", maintain_order="left")
    if joined.height - joined["correct"].null_count() < grades["correct"].count():
        extra = grades.join(leaves, on=_KEYS, how="anti").row(0, named=True)
        raise ValueError(f"expected grades for leaves of the forest only, got one for {extra}")
    return joined
