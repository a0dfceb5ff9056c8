"""From a labelled forest to token trees, with every rejected row and every cut label accounted for.

For training data and forest scoring. Source: labels must never vanish in silence
(huggingface/trl#2127, OpenRLHF#652).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
import polars as pl

from eduprm.forest import validate_forest
from eduprm.prm.inputs import InputBuilder
from eduprm.prm.tree import TokenTree, build_tree
from eduprm.prm.tree_cuts import truncate_tree

__all__ = ["RejectedRow", "TrainingData", "fit_to_length", "forest_trees", "labelled_trees"]

TokenSource = Literal["ids", "text"]


class RejectedRow(NamedTuple):
    """A row that cannot be trained on: its number in the input, counted from 1, its id, and why."""

    row: int
    row_id: str
    reason: str

    def __str__(self) -> str:
        return f"row {self.row} (id {self.row_id}): {self.reason}"


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Trees to train on, and what was left out.

    Attributes: `trees`; `rejected` rows; `num_truncated` trees that lost nodes to max_length; `num_dropped_labels`
    labels lost with them; `num_unplaced_labels` labels on nodes without a token (an empty root).
    """

    trees: list[TokenTree]
    rejected: list[RejectedRow] = field(default_factory=list)
    num_truncated: int = 0
    num_dropped_labels: int = 0
    num_unplaced_labels: int = 0

    @property
    def num_labels(self) -> int:
        """Labelled nodes with a weight above 0."""
        return sum(int((tree.weights > 0).sum()) for tree in self.trees)

    @property
    def unique_tokens(self) -> int:
        """Tokens computed per epoch when packed, prompts included."""
        return sum(tree.num_tokens for tree in self.trees)

    @property
    def path_tokens(self) -> int:
        """Tokens computed per epoch path by path, prompts included."""
        return sum(tree.path_tokens for tree in self.trees)

    def summary(self) -> dict[str, int]:
        """Return the counts as plain numbers for a report."""
        return {
            "trees": len(self.trees),
            "labels": self.num_labels,
            "unique_tokens": self.unique_tokens,
            "path_tokens": self.path_tokens,
            "rejected_rows": len(self.rejected),
            "truncated_trees": self.num_truncated,
            "dropped_labels": self.num_dropped_labels,
            "unplaced_labels": self.num_unplaced_labels,
        }


def _question_by_id(forest: pl.DataFrame, problems: pl.DataFrame) -> dict[str, str]:
    questions = dict(problems.select("problem_id", "question").iter_rows())
    missing = [key for key in forest["problem_id"].unique(maintain_order=True) if key not in questions]
    if missing:
        raise ValueError(
            f"expected every problem_id of the forest in problems, {len(missing)} are not: {missing[:5]}"
        )
    return questions


def _check_ids(forest: pl.DataFrame, builder: InputBuilder, *, paths: int = 16) -> None:
    """Refuse ids of another tokenizer: too large, or texts that do not decode to what the forest says."""
    largest = forest["token_ids"].list.max().max()
    size = len(builder.tokenizer)
    hint = "are these another model's ids? use tokens='text' to tokenise the node texts instead"
    if isinstance(largest, int) and largest >= size:
        raise ValueError(f"expected token ids below {size}, got {largest}; {hint}")
    sample = forest.filter(pl.col("finish").is_null() & (pl.col("token_ids").list.len() > 0)).head(paths)
    if sample.is_empty():
        sample = forest.filter(pl.col("token_ids").list.len() > 1).head(paths)
    wrong = []
    for ids, text in sample.select("token_ids", "text").iter_rows():
        decoded = builder.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        shown = builder.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        if "\ufffd" not in text + shown and text.strip() not in (decoded.strip(), shown.strip()):
            wrong.append((text, shown))
    if wrong and len(wrong) * 2 > sample.height:
        raise ValueError(f"expected token ids that decode to {wrong[0][0]!r}, got {wrong[0][1]!r}; {hint}")


def _node_bodies(forest: pl.DataFrame, builder: InputBuilder, tokens: TokenSource) -> list[list[int]]:
    if tokens == "ids":
        _check_ids(forest, builder)
        return forest["token_ids"].to_list()
    if tokens != "text":
        raise ValueError(f"expected tokens 'ids' or 'text', got {tokens!r}")
    eos = builder.tokenizer.eos_token or ""
    texts = forest["text"].to_list()
    stops = (forest["finish"] == "stop").fill_null(False).to_list()
    cleaned = [text.removesuffix(eos) if stop else text for text, stop in zip(texts, stops, strict=True)]
    return [builder.text_ids(text) if text else [] for text in cleaned]


def forest_trees(
    forest: pl.DataFrame,
    problems: pl.DataFrame,
    builder: InputBuilder,
    *,
    tokens: TokenSource = "ids",
    labelled: bool = False,
) -> Iterator[TokenTree]:
    """Yield one token tree per (problem_id, tree), in order; `rows` are row numbers of `forest`.

    `tokens="ids"` takes the forest's token ids as they are (the PRM's tokenizer is the policy's); `"text"` tokenises
    the text of each node. With `labelled`, targets, weights and scales come from the columns `label`, `weight` and,
    where there is one, `scale`.

    Raises:
        ValueError: a frame that is no forest, a problem without a question, or ids of another tokenizer.
    """
    forest = validate_forest(forest)
    questions = _question_by_id(forest, problems)
    bodies = _node_bodies(forest, builder, tokens)
    ends = (forest["finish"] == "stop").fill_null(False).to_list()
    parents = forest["parent_id"].fill_null(-1).to_numpy()
    ids, names = forest["problem_id"].to_list(), forest["tree"].to_list()
    targets = forest["label"].to_numpy() if labelled else np.zeros(forest.height)
    weights = forest["weight"].to_numpy() if labelled else np.zeros(forest.height)
    scaled = labelled and "scale" in forest.columns
    scales = forest["scale"].to_numpy() if scaled else np.ones(forest.height)
    starts = [*np.flatnonzero(parents < 0).tolist(), forest.height]
    for start, stop in pairwise(starts):
        nodes = [
            builder.node_ids(bodies[row], ends=ends[row]) if bodies[row] or ends[row] else []
            for row in range(start, stop)
        ]
        yield build_tree(
            builder.prompt_ids(questions[ids[start]]),
            nodes,
            parents[start:stop],
            name=f"{ids[start]}/{names[start]}",
            targets=targets[start:stop],
            weights=weights[start:stop],
            scales=scales[start:stop],
            rows=np.arange(start, stop),
        )


def labelled_trees(
    forest: pl.DataFrame, problems: pl.DataFrame, builder: InputBuilder, *, tokens: TokenSource = "ids"
) -> TrainingData:
    """Return the training trees of a labelled forest; trees without any label of weight > 0 are rejected."""
    trees, rejected, unplaced = [], [], 0
    for tree in forest_trees(forest, problems, builder, tokens=tokens, labelled=True):
        lost = (tree.weights > 0) & (tree.lengths == 0)
        unplaced += int(lost.sum())
        tree.weights[lost] = 0.0
        if (tree.weights > 0).any():
            trees.append(tree)
        else:
            rejected.append(
                RejectedRow(int(tree.rows[0]) + 1, tree.name, "no node with tokens has a weight above 0")
            )
    return TrainingData(trees, rejected, num_unplaced_labels=unplaced)


def fit_to_length(data: TrainingData, max_length: int) -> TrainingData:
    """Cut trees to `max_length` tokens per path, counting what goes; trees left without labels are rejected."""
    trees, rejected = [], list(data.rejected)
    truncated = dropped = 0
    for tree in data.trees:
        cut = truncate_tree(tree, max_length)
        lost = int((tree.weights > 0).sum() - (cut.weights > 0).sum())
        truncated += cut is not tree
        dropped += lost
        if (cut.weights > 0).any():
            trees.append(cut)
        else:
            first = int(tree.end_positions[tree.weights > 0].min())
            reason = (
                f"all {lost} labels are cut off by max_length={max_length} (the first ends at token {first})"
            )
            rejected.append(RejectedRow(int(tree.rows[0]) + 1, tree.name, reason))
    return TrainingData(
        trees,
        rejected,
        data.num_truncated + truncated,
        data.num_dropped_labels + dropped,
        data.num_unplaced_labels,
    )


def settle_rejected(data: TrainingData, on_rejected: str) -> None:
    """Raise for rejected rows, or warn and go on; raise in any case if nothing is left.

    Raises:
        ValueError: names the first rejected rows.
    """
    shown = "; ".join(str(row) for row in data.rejected[:5])
    if data.rejected and (on_rejected == "raise" or not data.trees):
        rest = "; ..." if len(data.rejected) > 5 else ""
        if not data.trees:
            raise ValueError(f"none of the rows can be trained on: {shown}{rest}")
        raise ValueError(
            f"{len(data.rejected)} of the rows cannot be trained on: {shown}{rest}; mend them, or leave them out with "
            "TrainConfig(on_rejected='skip')"
        )
    if not data.trees:
        raise ValueError("expected at least one tree to train on, got none")
    if data.rejected:
        warnings.warn(f"left out {len(data.rejected)} rows: {shown}", stacklevel=2)
    if data.num_truncated:
        lost = data.num_dropped_labels
        warnings.warn(f"max_length cut {data.num_truncated} trees and {lost} of their labels", stacklevel=2)
