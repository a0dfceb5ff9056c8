"""The PRMs' training sets: labelled forests of as many solution tokens each.

* edu: EDU trees, steps at anchors, label = share of right leaves below.
* weighted: the same trees and steps, label = the policy's probability of the right leaves below over that of all.
* lines: the same trees and labels as edu, steps at line breaks.
* shepherd: independent chains, steps at line breaks, labels from rollouts (Math-Shepherd, arXiv 2312.08935).
* adaptive: the same chains, steps at improbable tokens (AdaptiveStep, arXiv 2502.13943), labels likewise.

Chains are taken round by round (the first of every problem, then the second, ...) as long as all together hold no more
tokens than the EDU trees.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import polars as pl

from eduprm.core.command_line import UsageError
from eduprm.core.progress import say
from eduprm.core.seeds import derive_seed
from eduprm.core.store import content_hash
from eduprm.entropy.calibrate import calibrate_threshold
from eduprm.forest import leaf_paths
from eduprm.label import label_forest
from eduprm.pipeline.label_trees import label_steps
from eduprm.pipeline.sampling.experiment import Experiment
from eduprm.pipeline.sampling.grow import Trees, grown, marked
from eduprm.pipeline.sampling.rollouts import StepKey, rollout_shares
from eduprm.pipeline.sampling.settings import Kind
from eduprm.search import Budget, EduSampling, HighTemperature
from eduprm.search.greedy import greedy_entropies
from eduprm.search.steps import step_ends
from eduprm.segment import low_confidence_threshold

RULE_OF: dict[Kind, str] = {
    "edu": "anchor", "weighted": "anchor", "lines": "line", "shepherd": "line", "adaptive": "unsure",
}  # fmt: skip
"""Where the steps of each PRM end, in training and when it judges."""
LABEL_RULE_OF: dict[Kind, str] = {"edu": "uniform", "weighted": "probability", "lines": "uniform"}
"""The kinds that are made of EDU trees, and what makes a step's label of the leaves below."""


class TrainingSets(NamedTuple):
    """What the stage gives.

    Attributes:
        sets: per kind, a labelled forest.
        low_logprob: nats; below it a token begins a step of "adaptive".
        calibrated: wanted anchors per greedy solution -> threshold in nats.
        facts: per kind, solution tokens in the set, tokens decoded for it, chains, labels.
        trees: the EDU trees as grown, a frame a shard.
        trees_key: hash of all that decides them.
    """

    sets: dict[Kind, pl.DataFrame]
    low_logprob: float
    calibrated: dict[float, float]
    facts: dict[str, dict[str, Any]]
    trees: list[pl.DataFrame]
    trees_key: str


def make_training_sets(experiment: Experiment) -> TrainingSets:
    """Grow trees and chains of the training problems, roll out, and label.

    Raises:
        UsageError: no threshold gives the wanted anchors, or the trees are empty.
    """
    wanted = experiment.settings.training
    trees = [_edu_trees(experiment, number, part) for number, part in enumerate(experiment.shards("train"))]
    calibrated = _calibrated(experiment, trees)
    chains = [_chains(experiment, number, part) for number, part in enumerate(experiment.shards("train"))]
    drawn = [leaf_paths(one.tables["forest"])["logprobs"].to_list() for one in chains]
    low = low_confidence_threshold([own for part in drawn for own in part], quantile=wanted.low_confidence)
    marked_edu = [marked(experiment, one, low) for one in trees]
    budget = sum(_num_tokens(one.tables["forest"]) for one in trees)
    chosen = _choose_chains([marked(experiment, one, low) for one in chains], budget)
    sets: dict[Kind, pl.DataFrame] = {}
    facts: dict[str, dict[str, Any]] = {}
    for kind in wanted.kinds:
        if kind in LABEL_RULE_OF:
            sets[kind] = pl.concat([_label_tree(one, kind) for one in marked_edu])
            facts[kind] = {"decoded": budget, "chains": None}
            continue
        shares, rolled = rollout_shares(experiment, chosen, RULE_OF[kind])
        sets[kind] = _label_chains(chosen, shares, RULE_OF[kind], wanted.target)
        decoded = _num_tokens(sets[kind])
        facts[kind] = {"decoded": decoded + rolled, "chains": leaf_paths(sets[kind]).height}
    for kind, labelled in sets.items():
        labels = labelled.filter(pl.col("weight") > 0)
        facts[kind] |= {
            "tokens": _num_tokens(labelled),
            "labels": labels.height,
            "mean": labels["label"].mean(),
        }
        say(f"training set {kind}: {facts[kind]}")
    key = content_hash([one.key for one in trees])
    return TrainingSets(sets, low, calibrated, facts, [one.tables["forest"] for one in trees], key)


def _edu_trees(experiment: Experiment, number: int, problems: pl.DataFrame) -> Trees:
    wanted, grid = experiment.settings.training, experiment.settings.grid
    budget = Budget(max_leaves=wanted.leaves, max_tokens_per_path=grid.max_tokens_per_path)
    strategy = EduSampling(threshold=wanted.threshold, budget=budget)
    return grown(experiment, f"train-edu-{number:04}", problems, strategy, strategy.model_dump(mode="json"))


def _chains(experiment: Experiment, number: int, problems: pl.DataFrame) -> Trees:
    wanted, grid = experiment.settings.training, experiment.settings.grid
    strategy = HighTemperature(
        threshold=wanted.threshold,
        temperature=wanted.temperature,
        num_samples=wanted.chains,
        max_tokens_per_path=grid.max_tokens_per_path,
        seed=derive_seed(experiment.settings.seed, "chains"),
    )
    return grown(
        experiment, f"train-chains-{number:04}", problems, strategy, strategy.model_dump(mode="json")
    )


def _calibrated(experiment: Experiment, trees: list[Trees]) -> dict[float, float]:
    """Thresholds read off the greedy paths of the training problems: the first leaf of each EDU tree."""
    wanted = experiment.settings.grid.calibrated_anchors
    if not wanted:
        return {}
    greedy = greedy_entropies(
        pl.concat([one.tables["forest"] for one in trees]), tokenizer=experiment.tokenizer
    )
    try:
        return {
            anchors: calibrate_threshold(
                greedy.entropies, anchors_per_solution=anchors, skip=greedy.skip
            ).threshold_nats
            for anchors in wanted
        }
    except ValueError as error:
        raise UsageError(f"--grid.calibrated-anchors: {error}") from None


def _label_tree(trees: Trees, kind: Kind) -> pl.DataFrame:
    """Every step of the kind's rule labelled by the leaves below its end."""
    steps = trees.tables["steps"]
    ends = step_ends(steps, RULE_OF[kind])
    return label_steps(steps, ends, trees.tables["grades"], rule=LABEL_RULE_OF[kind])


def _choose_chains(shards: list[Trees], budget: int) -> pl.DataFrame:
    """Nodes (with the leaf's grade on each) of the chains that fit the budget, renumbered."""
    frames = [_with_chain(one) for one in shards]
    nodes = pl.concat(frames)
    sizes = (
        nodes.filter(pl.col("chain") >= 0)
        .with_columns(order=pl.int_range(pl.len()))
        .group_by("problem_id", "chain")
        .agg(tokens=pl.col("token_ids").list.len().sum(), order=pl.col("order").min())
        .sort("chain", "order")
        .with_columns(after=pl.col("tokens").cum_sum())
    )
    chosen = sizes.filter(pl.col("after") <= budget).select("problem_id", "chain")
    if chosen.height == sizes.height:
        say(
            "training sets: all chains together hold fewer tokens than the EDU trees; raise --training.chains"
        )
    kept = nodes.join(chosen, on=["problem_id", "chain"], how="semi", maintain_order="left")
    if not kept.height:
        raise UsageError(
            "--training: one chain holds more tokens than all EDU trees; raise --problem.num-train"
        )
    return pl.concat(list(_renumbered(kept)))


def _with_chain(trees: Trees) -> pl.DataFrame:
    """Steps with the number of the chain that each node lies on (-1: the empty root), and the chain's grade."""
    steps, grades = trees.tables["steps"], trees.tables["grades"]
    keys = ["problem_id", "tree"]
    # Chains stand one behind another: a node's leaf is the next leaf at or below it.
    leaves = steps.join(
        grades.rename({"leaf": "node_id"}), on=[*keys, "node_id"], how="left", maintain_order="left"
    )
    filled = leaves.with_columns(
        pl.col("correct").backward_fill().over(keys),
        chain=pl.col("correct").is_not_null().cast(pl.Int32).shift(1, fill_value=0).cum_sum().over(keys),
    )
    bare = pl.col("token_ids").list.len() == 0
    return filled.with_columns(chain=pl.when(bare).then(-1).otherwise("chain"))


def _renumbered(nodes: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Each problem's chains as a tree below an empty root of its own."""
    for _, own in nodes.group_by("problem_id", maintain_order=True):
        first = own.row(0, named=True)
        root = {**first, "node_id": 0, "parent_id": None, "token_ids": [], "logprobs": [], "entropies": []}
        root |= {"text": "", "finish": None, "order": None, "greedy": None, "chain": -1} | {
            name: False for name in own.columns if name.startswith("starts_")
        }
        before = own["chain"] == own["chain"].shift(1, fill_value=-1)
        numbers = pl.int_range(1, own.height + 1, dtype=pl.Int32)
        chains = own.with_columns(
            node_id=numbers, parent_id=pl.when(before).then(numbers - 1).otherwise(pl.lit(0, pl.Int32))
        )
        yield pl.concat([pl.DataFrame([root], schema=own.schema), chains])


def _label_chains(chains: pl.DataFrame, shares: dict[StepKey, float], rule: str, target: str) -> pl.DataFrame:
    """Steps labelled by their rollouts, the last one by its own answer; a step's value is the same anywhere in it."""
    ends = step_ends(chains, rule).to_list()
    labels, weights = [], [float(end) for end in ends]
    share = 0.0
    for end, row in zip(reversed(ends), reversed(chains.rows(named=True)), strict=True):
        if end:
            key = (row["problem_id"], row["node_id"])
            share = float(row["correct"]) if row["finish"] is not None else shares[key]
        own = share if row["token_ids"] else 0.0  # the empty root stands in no step
        labels.append(float(own > 0) if target == "hard" else own)
    labels.reverse()
    graded = chains.filter(pl.col("finish").is_not_null()).select("problem_id", "tree", "node_id", "correct")
    labelled = label_forest(chains.drop("answer", "chain", "correct"), graded)
    return labelled.with_columns(
        label=pl.Series(labels, dtype=pl.Float64), weight=pl.Series(weights, dtype=pl.Float64)
    )


def _num_tokens(forest: pl.DataFrame) -> int:
    return int(forest["token_ids"].list.len().sum())
