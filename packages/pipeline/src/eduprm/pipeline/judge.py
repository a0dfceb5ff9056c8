"""What the held-out part says of a run: best-of-N by every rule, tokens, and the PRM against gold step labels.

Three ways of sampling stand beside each other: the EDU tree, independent samples at a temperature, and greedy plus as
many of those samples as the EDU tree's decoded tokens pay for. Frames in, frames out; files are the report's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import polars as pl

from eduprm.bench import equal_tokens, score_metrics, summarise_cost, token_cost
from eduprm.bench.headline import chosen_by, headline, least_logprob_scores
from eduprm.forest import leaf_paths
from eduprm.label import node_validity, step_validity
from eduprm.rank import candidates_from_leaves, choose, evaluate_methods, evaluate_rules, paired_difference
from eduprm.search import EduSampling, leaf_order

EDU, EQUAL = "EDU", "greedy+HT, =tokens"
HEADLINE_RULE = "prm_min"
GREEDY = "greedy, by the policy"
_KEYS = ["problem_id", "tree", "leaf"]


class Judgement(NamedTuple):
    """Everything that the report shows.

    Attributes:
        curves: method, rule, n, accuracy, ci_low, ci_high, ..., decoded (mean tokens per problem).
        costs: `summarise_cost` of the EDU trees and the samples.
        leaves: candidates with text and steps_valid, one row a leaf of any tree.
        steps: nodes that end a line with an equation: problem_id, tree, score, gold.
        step_metrics: `score_metrics` of `steps` of the EDU trees; None if one class is missing.
        leaf_metrics: the same for the last score of each EDU leaf against its grade.
        differences: by rule, paired differences of EDU against equal tokens; under "drop" and "keep" for what is
            done with the sample that crosses the budget.
        spent: `equal_tokens`' account at the largest n, the crossing sample dropped.
        headline: `eduprm.bench.headline`, all problems and by task.
    """

    curves: pl.DataFrame
    costs: pl.DataFrame
    leaves: pl.DataFrame
    steps: pl.DataFrame
    step_metrics: pl.DataFrame | None
    leaf_metrics: pl.DataFrame | None
    differences: dict[str, dict[str, dict[str, Any]]]
    spent: pl.DataFrame
    headline: pl.DataFrame


def judge(
    scored: pl.DataFrame,
    grades: pl.DataFrame,
    *,
    ht_tree: str,
    search: EduSampling,
    before: pl.DataFrame | None = None,
    trained_greedy: pl.DataFrame | None = None,
    tasks: Mapping[str, str] | None = None,
    seed: int,
    bootstrap: int,
) -> Judgement:
    """Judge a run on its held-out trees.

    Args:
        scored: held-out forest with a column `score`; trees "edu", "greedy" and `ht_tree`.
        grades: problem_id, tree, leaf, answer, correct.
        ht_tree: name of the trees of independent samples.
        search: how the EDU trees were grown.
        search.budget.max_leaves: largest N.
        before: the EDU trees with the scores of what the PRM was trained from; None if that is no PRM.
        trained_greedy: problem_id, correct of greedy decoding by the trained model; None if it is no language model.
        tasks: problem_id to task.
        seed: of the bootstrap.
        bootstrap: resamples.
    """
    found = leaf_order(scored, order=search.order, parallel_forks=search.parallel_forks, budget=search.budget)
    leaves = leaf_paths(scored)
    candidates = candidates_from_leaves(leaves, grades, step_scores=_step_scores(leaves, scored), order=found)
    edu, samples, greedy = (candidates.filter(tree=name) for name in ("edu", ht_tree, "greedy"))
    # A problem that one of the strategies could not serve is in none of the comparisons.
    common = set(edu["problem_id"]) & set(samples["problem_id"]) & set(greedy["problem_id"])
    edu, samples, greedy = (
        rows.filter(pl.col("problem_id").is_in(list(common))) for rows in (edu, samples, greedy)
    )
    ns = sorted(
        {n for n in (1, 2, 4, 8, 16, 32, 64) if n < search.budget.max_leaves} | {search.budget.max_leaves}
    )
    cost = token_cost(scored.filter(pl.col("problem_id").is_in(list(common))), ns=ns, order=found)
    ht_name = f"HT {ht_tree.removeprefix('ht-')}"

    frames = [evaluate_methods({EDU: edu, ht_name: samples}, ns=ns, seed=seed, bootstrap=bootstrap)]
    decoded = [_mean_decoded(cost, tree, name) for tree, name in (("edu", EDU), (ht_tree, ht_name))]
    for n in ns:
        budget = cost.filter(tree="edu", n=n).select("problem_id", "decoded")
        equal, spent = equal_tokens(samples, budget, greedy=greedy)
        # All of them compete: how many fit differs from problem to problem, so n only names the budget.
        result = evaluate_rules(equal, seed=seed, bootstrap=bootstrap)
        frames.append(
            result.select(pl.lit(EQUAL).alias("method"), pl.all()).with_columns(n=pl.lit(n, dtype=pl.Int32))
        )
        decoded.append(
            pl.DataFrame({"method": [EQUAL], "n": [n], "decoded": [spent["spent"].mean()]}, schema=_DECODED)
        )
    curves = pl.concat(frames).join(pl.concat(decoded), on=["method", "n"], how="left")
    steps = _steps(scored)
    edu_steps = steps.filter(tree="edu")
    last = edu.filter(pl.col("step_scores").list.len() > 0).select(
        "problem_id", score=pl.col("step_scores").list.last(), gold=pl.col("correct")
    )
    # At the largest n: the truth lies between dropping and keeping the sample that crosses the budget.
    kept, _ = equal_tokens(samples, budget, greedy=greedy, crossing="keep")
    return Judgement(
        curves=curves,
        costs=summarise_cost(cost, seed=seed, bootstrap=bootstrap),
        leaves=step_validity(candidates.join(leaves.select(*_KEYS, "text", "finish"), on=_KEYS)),
        steps=steps,
        step_metrics=_metrics(edu_steps, seed, bootstrap),
        leaf_metrics=_metrics(last, seed, bootstrap),
        differences={
            name: _differences(edu, other, seed=seed, bootstrap=bootstrap)
            for name, other in (("drop", equal), ("keep", kept))
        },
        spent=spent,
        headline=_headline(
            edu, samples, greedy, leaves, before, trained_greedy, tasks, seed=seed, bootstrap=bootstrap
        ),
    )


def _headline(
    edu: pl.DataFrame,
    samples: pl.DataFrame,
    greedy: pl.DataFrame,
    leaves: pl.DataFrame,
    before: pl.DataFrame | None,
    trained_greedy: pl.DataFrame | None,
    tasks: Mapping[str, str] | None,
    *,
    seed: int,
    bootstrap: int,
) -> pl.DataFrame:
    rows = {"EDU, by the PRM": chosen_by(edu, HEADLINE_RULE)}
    if before is not None:
        rows["EDU, by the PRM it began as"] = _by_scores(edu, _step_scores(leaves, before))
    rows |= {
        "EDU, by the policy's own likelihood": _by_scores(edu, least_logprob_scores(leaves)),
        "EDU, majority": chosen_by(edu, "majority"),
        "EDU, any right": chosen_by(edu, "oracle"),
        "samples, by the PRM": chosen_by(samples, HEADLINE_RULE),
        "samples, majority": chosen_by(samples, "majority"),
        "samples, any right": chosen_by(samples, "oracle"),
        GREEDY: chosen_by(greedy, "oracle"),
    }
    if trained_greedy is not None:
        known = trained_greedy.join(rows[GREEDY].select("problem_id"), on="problem_id", how="semi")
        if known.height == rows[GREEDY].height:
            rows["greedy, by the trained model"] = known
    return headline(rows, greedy=GREEDY, groups=tasks, seed=seed, bootstrap=bootstrap)


def _by_scores(candidates: pl.DataFrame, step_scores: pl.DataFrame) -> pl.DataFrame:
    """What the headline's rule picks by other scores of the same candidates."""
    other = candidates.drop("step_scores").join(step_scores, on=_KEYS, how="left", maintain_order="left")
    return chosen_by(other.select(candidates.columns), HEADLINE_RULE)


_DECODED = pl.Schema({"method": pl.String, "n": pl.Int32, "decoded": pl.Float64})


def _mean_decoded(cost: pl.DataFrame, tree: str, method: str) -> pl.DataFrame:
    rows = cost.filter(tree=tree).group_by("n").agg(pl.col("decoded").mean())
    return rows.select(method=pl.lit(method), n=pl.col("n"), decoded=pl.col("decoded")).cast(_DECODED)


def _step_scores(leaves: pl.DataFrame, scored: pl.DataFrame) -> pl.DataFrame:
    """The scores along each leaf's path; an empty root has none."""
    ends = pl.col("weight") > 0 if "weight" in scored.columns else pl.lit(True)
    nodes = scored.filter(ends).select("problem_id", "tree", "node_id", "score")
    return (
        leaves.select(*_KEYS, node_id=pl.col("path"))
        .explode("node_id")
        .join(nodes, on=["problem_id", "tree", "node_id"], how="left", maintain_order="left")
        .filter(pl.col("score").is_not_null())
        .group_by(_KEYS, maintain_order=True)
        .agg(step_scores=pl.col("score"))
    )


def _steps(scored: pl.DataFrame) -> pl.DataFrame:
    """Nodes in which a line with an equation ends; gold says whether its equations hold."""
    checked = node_validity(scored).filter(pl.col("node_valid").is_not_null() & pl.col("score").is_not_null())
    return checked.select("problem_id", "tree", "score", gold=pl.col("node_valid"))


def _metrics(rows: pl.DataFrame, seed: int, bootstrap: int) -> pl.DataFrame | None:
    if not rows.height or rows["gold"].n_unique() < 2:
        return None
    return score_metrics(rows, seed=seed, bootstrap=bootstrap)


def _differences(
    edu: pl.DataFrame, equal: pl.DataFrame, *, seed: int, bootstrap: int
) -> dict[str, dict[str, Any]]:
    """EDU minus equal tokens, per rule, with a 95 % interval."""
    result = {}
    for rule in ("oracle", HEADLINE_RULE, "weighted_majority_probability"):
        ours, theirs = (choose(frame, rules=[rule]) for frame in (edu, equal))
        gap = paired_difference(ours, theirs, seed=seed, bootstrap=bootstrap)
        result[rule] = {
            "difference": gap.difference,
            "ci_low": gap.ci_low,
            "ci_high": gap.ci_high,
            "problems": gap.problems,
            "wins": gap.wins,
            "losses": gap.losses,
        }
    return result
