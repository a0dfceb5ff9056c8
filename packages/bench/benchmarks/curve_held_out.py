"""What `training_curves.py` judges a PRM on: held-out trees of a run, and the figures of its scores there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from eduprm.bench.metrics import auc_within
from eduprm.forest import found_leaves, leaf_paths
from eduprm.label import node_validity
from eduprm.prm.data import forest_trees
from eduprm.rank import candidates_from_leaves, choose, paired_difference
from eduprm.rank.evaluate import summarise_choices
from eduprm.search import EduSampling, replayed

KEYS = ["problem_id", "tree", "leaf"]


class HeldOut:
    """Held-out trees of a run, and what their leaves are worth."""

    def __init__(self, run: Path, builder, settings, limit):
        problems = pl.read_parquet(run / "problems.parquet")
        forest, self.grades = (read(run, part, "test") for part in ("labels", "grades"))
        self.forest = forest if "order" in forest.columns else with_order(forest, settings)
        self.ends = self.forest["weight"] > 0
        self.trees = list(forest_trees(self.forest, problems, builder))
        self.leaves = leaf_paths(self.forest)
        self.order = found_leaves(self.forest)
        ids = sorted(set(self.forest["problem_id"]))
        self.looked_at, self.kept = ids[:limit], ids[limit:]

    def scored(self, prm, ids):
        """The trees of these problems, with the PRM's score of every node."""
        wanted = set(ids)
        trees = [tree for tree in self.trees if tree.name.split("/")[0] in wanted]
        column = np.full(self.forest.height, np.nan)
        for tree, scores in zip(trees, prm.score_trees(trees), strict=True):
            column[tree.rows] = scores
        return self.forest.with_columns(
            pl.Series("score", column).fill_nan(None), self.ends.alias("ends")
        ).filter(pl.col("problem_id").is_in(ids))

    def candidates(self, scored):
        leaves = self.leaves.join(scored.select("problem_id").unique(), on="problem_id", how="semi")
        nodes = scored.filter("ends").select("problem_id", "tree", "node_id", "score")
        steps = (
            leaves.select(*KEYS, node_id="path")
            .explode("node_id")
            .join(nodes, on=["problem_id", "tree", "node_id"], how="left", maintain_order="left")
            .filter(pl.col("score").is_not_null())
            .group_by(KEYS, maintain_order=True)
            .agg(step_scores="score")
        )
        return candidates_from_leaves(leaves, self.grades, step_scores=steps, order=self.order)


def with_order(forest: pl.DataFrame, settings: EduSampling) -> pl.DataFrame:
    """The columns order and greedy of a run that was grown before they were written."""
    samples = pl.col("tree").str.contains("^(samples|ht)-")
    return pl.concat([replayed(forest.filter(~samples), settings), replayed(forest.filter(samples), None)])


def read(run: Path, part: str, split: str) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in sorted((run / part).glob(f"{split}-*.parquet"))])


TREES = {"edu": "^edu", "samples": "^(samples|ht)-", "greedy": "^greedy"}
RULES = [
    "prm_min",
    "prm_last",
    "prm_product",
    "prm_mean",
    "mean_logprob",
    "majority",
    "weighted_majority_prm_min",
    "oracle",
]


def figures(candidates, seed=0):
    found = {}
    parts = {name: candidates.filter(pl.col("tree").str.contains(tree)) for name, tree in TREES.items()}
    for name, rows in parts.items():
        if not rows.height:
            continue
        rules = RULES if name != "greedy" else ["oracle"]
        table = summarise_choices(choose(rows, rules=rules), seed=seed)
        found[name] = {
            row["rule"]: [round(100 * row[key], 1) for key in ("accuracy", "ci_low", "ci_high")]
            for row in table.to_dicts()
        }
        for rule in ("min", "last"):
            fold = pl.col("step_scores").list.min() if rule == "min" else pl.col("step_scores").list.last()
            own = rows.filter(pl.col("step_scores").list.len() > 0).select(
                "problem_id", score=fold, gold="correct"
            )
            found[name][f"auc_{rule}"] = round(float(auc_within(own)["auc"].mean() or float("nan")), 3)
    edu, samples, greedy = parts.values()
    if samples.height and greedy.height:
        ours = choose(edu, rules=["prm_min"])
        for name, other in (
            ("samples", choose(samples, rules=["prm_min"])),
            ("greedy", choose(greedy, rules=["oracle"])),
        ):
            gap = paired_difference(ours, other, seed=seed, bootstrap=2000)
            found[f"edu minus {name}"] = [
                round(100 * value, 1) for value in (gap.difference, gap.ci_low, gap.ci_high)
            ]
    return found


def auc_of_lines(scored):
    """Of the nodes of EDU trees in which a line with an equation ends, by the checker of equations."""
    lines = node_validity(scored.filter(tree="edu")).filter(
        pl.col("node_valid").is_not_null() & pl.col("score").is_not_null()
    )
    return round(float(auc_within(lines.select("problem_id", "score", gold="node_valid"))["auc"].mean()), 3)
