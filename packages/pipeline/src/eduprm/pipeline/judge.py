"""What the held-out part says of a run: best-of-N by every rule, tokens, and the PRM against gold step labels.

The strategies of the run stand beside each other by name: the first, on whose trees the PRM was trained, and each
other one, with all its solutions and with those that the first one's decoded tokens pay for (`equal_level`). Frames in,
frames out; files are the report's business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import polars as pl

from eduprm.bench import score_metrics, summarise_cost, token_cost
from eduprm.bench.headline import chosen_by, headline, least_logprob_scores
from eduprm.core.command_line import UsageError
from eduprm.forest import found_leaves, leaf_paths
from eduprm.label import node_validity, step_validity
from eduprm.pipeline.equal_level import EqualTokens, Level, added_tokens, mean_decoded
from eduprm.pipeline.label_steps import step_ends
from eduprm.rank import aggregate_expr, candidates_from_leaves, evaluate_methods
from eduprm.rank.names import get_rule

HEADLINE_RULE = "prm_min"
GREEDY = "greedy, by the policy"
_KEYS = ["problem_id", "tree", "leaf"]


class Compared(NamedTuple):
    """A strategy of the run: the name of its trees, and how tables call it."""

    tree: str
    title: str


class Judgement(NamedTuple):
    """Everything that the report shows.

    Attributes:
        main: the strategy that the PRM was trained on.
        others: those that it is compared with; greedy decoding alone is none of them.
        curves: method, rule, n, accuracy, ci_low, ci_high, ..., decoded (mean tokens per problem).
        costs: `summarise_cost` of all trees.
        leaves: candidates with text and steps_valid, one row a finished leaf of any tree.
        steps: nodes that end a line with an equation: problem_id, tree, score, gold.
        step_metrics: `score_metrics` of `steps` of the first strategy's trees; None if one class is missing.
        answers: their leaves: problem_id, the solution's score, gold (the grade).
        answer_metrics: `score_metrics` of `answers`; None if one class is missing.
        equal: per other strategy, in their order, what it gives on equal tokens.
        headline: `eduprm.bench.headline`, all problems and by task.
    """

    main: Compared
    others: list[Compared]
    curves: pl.DataFrame
    costs: pl.DataFrame
    leaves: pl.DataFrame
    steps: pl.DataFrame
    step_metrics: pl.DataFrame | None
    answers: pl.DataFrame
    answer_metrics: pl.DataFrame | None
    equal: list[EqualTokens]
    headline: pl.DataFrame


def judge(
    scored: pl.DataFrame,
    grades: pl.DataFrame,
    *,
    strategies: Sequence[Compared],
    largest: int,
    solution_score: str = "last",
    before: pl.DataFrame | None = None,
    trained_greedy: pl.DataFrame | None = None,
    tasks: Mapping[str, str] | None = None,
    seed: int,
    bootstrap: int,
) -> Judgement:
    """Judge a run on its held-out trees.

    Args:
        scored: labelled held-out forest with FOUND_COLUMNS and a column `score`; trees of all strategies.
        grades: problem_id, tree, leaf, answer, correct.
        strategies: whose trees they are; the PRM was trained on the first.
        largest: largest N.
        solution_score: the aggregate that makes one score of a solution's (`eduprm.prm.scorers`). Where the last step
            says nothing of those before it, rules by the last score are left out.
        before: the first strategy's trees with the scores of what the PRM was trained from; None if that is no PRM.
        trained_greedy: problem_id, correct of greedy decoding by the trained model; None if it is no language model.
        tasks: problem_id to task.
        seed: of the bootstrap.
        bootstrap: resamples.

    Raises:
        UsageError: no problem was grown by all strategies, or some problem has no greedy path.
    """
    found, leaves = found_leaves(scored), leaf_paths(scored)
    candidates = candidates_from_leaves(leaves, grades, step_scores=_step_scores(leaves, scored), order=found)
    # What a search gave up costs tokens and answers nothing.
    finished = leaves.filter(pl.col("finish") != "pruned").select(_KEYS)
    candidates = candidates.join(finished, on=_KEYS, how="semi", maintain_order="left")
    candidates, own = _common(candidates, strategies)
    cost = token_cost(
        scored.filter(pl.col("problem_id").is_in(candidates["problem_id"].unique().to_list())),
        ns=range(1, max(found["order"].to_list(), default=0) + 2),
        order=found,
    )
    added = added_tokens(candidates, cost)
    greedy = _greedy(candidates, strategies[0].tree)
    main, rows = strategies[0], own[strategies[0].tree]
    # What is greedy decoding and nothing else stands in a row of its own.
    others = [one for one in strategies[1:] if not own[one.tree]["greedy"].all()]
    ns = sorted({n for n in (1, 2, 4, 8, 16, 32, 64) if n < largest} | {largest})
    shown = [main, *others]
    frames = [
        evaluate_methods({one.title: own[one.tree] for one in shown}, ns=ns, seed=seed, bootstrap=bootstrap)
    ]
    decoded = [mean_decoded(added, one.tree, one.title, ns) for one in shown]
    equal = []
    for other in others:
        level = Level(rows, own[other.tree], greedy, added, ns, seed=seed, bootstrap=bootstrap)
        curves, spent, equals = level.compare(main.tree, other)
        frames.append(curves)
        decoded.append(spent)
        equal.append(equals)
    steps = _steps(scored)
    answers = rows.filter(pl.col("step_scores").list.len() > 0).select(
        "problem_id", score=aggregate_expr(solution_score), gold=pl.col("correct")
    )
    curves = pl.concat(frames)
    curves = curves.filter(pl.Series([get_rule(rule).fits(solution_score) for rule in curves["rule"]]))
    table = {one.title: own[one.tree] for one in shown}
    return Judgement(
        main=main,
        others=others,
        curves=curves.join(pl.concat(decoded), on=["method", "n"], how="left"),
        costs=summarise_cost(cost.filter(pl.col("n").is_in(ns)), seed=seed, bootstrap=bootstrap),
        leaves=step_validity(candidates.join(leaves.select(*_KEYS, "text", "finish"), on=_KEYS)),
        steps=steps,
        step_metrics=_metrics(steps.filter(tree=main.tree), seed, bootstrap),
        answers=answers,
        answer_metrics=_metrics(answers, seed, bootstrap),
        equal=equal,
        headline=_headline(
            table, greedy, leaves, before, trained_greedy, tasks, seed=seed, bootstrap=bootstrap
        ),
    )


def _common(
    candidates: pl.DataFrame, strategies: Sequence[Compared]
) -> tuple[pl.DataFrame, dict[str, pl.DataFrame]]:
    """Candidates of the problems that every strategy could serve, all together and by tree."""
    served = [set(candidates.filter(tree=one.tree)["problem_id"]) for one in strategies]
    common = set.intersection(*served)
    if not common:
        raise UsageError("report: no held-out problem has trees of every strategy; see rejected/search/")
    kept = candidates.filter(pl.col("problem_id").is_in(list(common)))
    return kept, {one.tree: kept.filter(tree=one.tree) for one in strategies}


def _greedy(candidates: pl.DataFrame, main: str) -> pl.DataFrame:
    """One greedy solution per problem, of a tree of its own where there is one."""
    marked = candidates.filter("greedy").sort("problem_id", pl.col("tree") == main, maintain_order=True)
    found = marked.unique("problem_id", keep="first", maintain_order=True)
    if found.height < candidates["problem_id"].n_unique():
        raise UsageError(
            "report: no strategy of the run decodes the policy's greedy path, with which all are compared: add greedy "
            "to --strategies"
        )
    return found


def _headline(
    methods: Mapping[str, pl.DataFrame],
    greedy: pl.DataFrame,
    leaves: pl.DataFrame,
    before: pl.DataFrame | None,
    trained_greedy: pl.DataFrame | None,
    tasks: Mapping[str, str] | None,
    *,
    seed: int,
    bootstrap: int,
) -> pl.DataFrame:
    rows: dict[str, pl.DataFrame] = {}
    for number, (title, own) in enumerate(methods.items()):
        rows[f"{title}, by the PRM"] = chosen_by(own, HEADLINE_RULE)
        if number == 0 and before is not None:
            rows[f"{title}, by the PRM it began as"] = _by_scores(own, _step_scores(leaves, before))
        if number == 0:
            rows[f"{title}, by the policy's own likelihood"] = _by_scores(own, least_logprob_scores(leaves))
        rows[f"{title}, majority"] = chosen_by(own, "majority")
        rows[f"{title}, any right"] = chosen_by(own, "oracle")
    rows[GREEDY] = chosen_by(greedy, "oracle")
    if trained_greedy is not None:
        known = trained_greedy.join(rows[GREEDY].select("problem_id"), on="problem_id", how="semi")
        if known.height == rows[GREEDY].height:
            rows["greedy, by the trained model"] = known
    return headline(rows, greedy=GREEDY, groups=tasks, seed=seed, bootstrap=bootstrap)


def _by_scores(candidates: pl.DataFrame, step_scores: pl.DataFrame) -> pl.DataFrame:
    """What the headline's rule picks by other scores of the same candidates."""
    other = candidates.drop("step_scores").join(step_scores, on=_KEYS, how="left", maintain_order="left")
    return chosen_by(other.select(candidates.columns), HEADLINE_RULE)


def _step_scores(leaves: pl.DataFrame, scored: pl.DataFrame) -> pl.DataFrame:
    """The scores along each leaf's path where a step ends; an empty root has none."""
    nodes = scored.filter(step_ends(scored)).select("problem_id", "tree", "node_id", "score")
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
