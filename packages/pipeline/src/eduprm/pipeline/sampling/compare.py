"""Every setting at every number of solutions, and EDU against samples at equal numbers and at equal tokens.

Frames in, frames out: candidates and tokens of `candidates`, outcomes, points and paired differences back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import polars as pl

from eduprm.bench.grid import equal_token_candidates, grid_outcomes
from eduprm.bench.repeats import summarise_repeats
from eduprm.rank import RULES

PLAIN_RULES = ("oracle", "majority", "weighted_majority_probability", "mean_logprob")
_EDU = ["EDU", "P-EDU"]
_POINT = ["prm", "setting", "n", "rule"]


class Comparison(NamedTuple):
    """What the experiment says, as tables.

    Attributes:
        outcomes: raw points: prm ("" for rules without one), setting, seed, n, rule, problem_id, correct, tied.
        tokens: TOKEN_SCHEMA, the raw costs.
        points: per prm, setting, n and rule: mean with interval over problems and seeds; mean decoded, distinct
            and path tokens; seconds.
        differences: per comparison (equal n; samples =tokens; samples =distinct tokens; greedy + samples =tokens), prm,
            setting, against, n and rule: the mean of EDU minus the other, paired. Comparison "PRMs": of the headline's
            PRM minus the PRM `against`, both choosing among the same solutions.
        spent: what equal tokens came to: per comparison, edu, edu_n, setting: budget, spent, samples, exhausted.
    """

    outcomes: pl.DataFrame
    tokens: pl.DataFrame
    points: pl.DataFrame
    differences: pl.DataFrame
    spent: pl.DataFrame


def compare(
    plain: pl.DataFrame,
    scored: Mapping[str, pl.DataFrame],
    tokens: pl.DataFrame,
    distinct: pl.DataFrame,
    *,
    headline: str,
    families: Mapping[str, str],
    solution: str = "last",
    ns: Sequence[int],
    seed: int,
    bootstrap: int,
) -> Comparison:
    """Compare.

    Args:
        plain: candidates of all settings, GRID_SCHEMA.
        scored: per PRM, candidates with its scores, of the settings that it scored.
        tokens: TOKEN_SCHEMA.
        distinct: setting, seed, problem_id, order and num_tokens of samples: the tokens of each that no earlier sample
            of the problem begins with.
        headline: the PRM of comparisons at equal tokens.
        families: of each setting: EDU, P-EDU, samples or greedy.
        solution: the aggregate by which the PRMs score a solution; rules that it makes meaningless are left out.
        ns: numbers of solutions.
        seed: of the bootstrap.
        bootstrap: resamples.
    """
    by_prm = [rule.name for rule in RULES.values() if "step_scores" in rule.needs and rule.fits(solution)]
    parts = [_named(grid_outcomes(plain, ns=ns, rules=PLAIN_RULES), "")]
    for name, frame in scored.items():
        parts.append(_named(grid_outcomes(frame, ns=ns, rules=by_prm), name))
    # Greedy decoding is one solution, whatever n.
    outcomes = pl.concat(parts).filter((pl.col("setting") != "greedy") | (pl.col("n") == min(ns)))
    points = summarise_repeats(outcomes, by=_POINT, seed=seed, bootstrap=bootstrap).drop("wins", "losses")
    means = tokens.group_by("setting", "n").agg(
        pl.col("leaves", "decoded", "distinct", "path", "seconds").mean()
    )
    ties = outcomes.group_by(_POINT).agg(tied=pl.col("tied").mean())
    points = points.join(means, on=["setting", "n"], how="left", maintain_order="left")
    points = points.join(ties, on=_POINT, how="left", maintain_order="left")
    family = pl.col("setting").replace_strict(families)
    points = points.with_columns(family=family)
    gaps = [_gaps_at_equal_n(outcomes, families), _gaps_between_prms(outcomes, headline)]
    spents = []
    judged = {"": plain, headline: scored[headline]}
    rules = {"": PLAIN_RULES, headline: by_prm}
    shared = {prm: _paid_once(frame, distinct) for prm, frame in judged.items()}
    for comparison, candidates, with_greedy in (
        ("samples, =tokens", judged, False),
        ("samples, =distinct tokens", shared, False),
        ("greedy + samples, =tokens", judged, True),
    ):
        found, spent = _gaps_at_equal_tokens(
            candidates, rules, outcomes, tokens, families, with_greedy=with_greedy
        )
        gaps.append(found.with_columns(comparison=pl.lit(comparison)))
        spents.append(spent.with_columns(comparison=pl.lit(comparison)))
    by = ["comparison", "prm", "setting", "against", "n", "rule"]
    gap = pl.concat([one.select(*by, "seed", "problem_id", "gap") for one in gaps])
    differences = summarise_repeats(gap, by=by, value="gap", seed=seed, bootstrap=bootstrap)
    return Comparison(outcomes, tokens, points, differences, pl.concat(spents))


def _paid_once(candidates: pl.DataFrame, distinct: pl.DataFrame) -> pl.DataFrame:
    """Samples whose tokens count only where no earlier sample of the problem has them already."""
    keys = ["setting", "seed", "problem_id", "order"]
    # A solution that was drawn before still costs one: candidates without a token are refused.
    own = distinct.select(*keys, new=pl.col("num_tokens").clip(lower_bound=1))
    joined = candidates.join(own, on=keys, how="left", maintain_order="left")
    return joined.with_columns(num_tokens=pl.coalesce("new", "num_tokens").cast(pl.Int32)).drop("new")


def _named(outcomes: pl.DataFrame, prm: str) -> pl.DataFrame:
    return outcomes.select(pl.lit(prm).alias("prm"), pl.all())


def _of(families: Mapping[str, str], *wanted: str) -> list[str]:
    return [name for name, family in families.items() if family in wanted]


def _gaps_at_equal_n(outcomes: pl.DataFrame, families: Mapping[str, str]) -> pl.DataFrame:
    """EDU minus samples, problem by problem and draw by draw."""
    edu = outcomes.filter(pl.col("setting").is_in(_of(families, *_EDU)))
    samples = outcomes.filter(pl.col("setting").is_in(_of(families, "samples"))).rename(
        {"setting": "against"}
    )
    keys = ["prm", "n", "rule", "problem_id"]
    both = _with_seeds(edu, samples, keys)
    return both.with_columns(comparison=pl.lit("equal n"))


def _gaps_between_prms(outcomes: pl.DataFrame, headline: str) -> pl.DataFrame:
    """The headline's PRM minus every other, problem by problem and draw by draw, on the same solutions."""
    keys = ["setting", "seed", "n", "rule", "problem_id"]
    scored = outcomes.filter(pl.col("prm") != "").select("prm", *keys, "correct")
    own = scored.filter(prm=headline)
    others = scored.filter(pl.col("prm") != headline).rename({"prm": "against"})
    both = own.join(others, on=keys, suffix="_other", nulls_equal=True, maintain_order="left")
    gap = pl.col("correct") - pl.col("correct_other")
    return both.with_columns(gap=gap, comparison=pl.lit("PRMs"))


def _with_seeds(edu: pl.DataFrame, samples: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Pair rows of EDU with those of samples: every draw where EDU has none, else the same one."""
    fixed, drawn = edu.filter(pl.col("seed").is_null()), edu.filter(pl.col("seed").is_not_null())
    both = [
        fixed.drop("seed").join(samples, on=keys, suffix="_other", maintain_order="left"),
        drawn.join(samples, on=[*keys, "seed"], suffix="_other", maintain_order="left"),
    ]
    columns = list(dict.fromkeys([*keys, "setting", "against", "seed", "correct", "correct_other"]))
    joined = pl.concat([one.select(columns) for one in both])
    return joined.with_columns(gap=pl.col("correct") - pl.col("correct_other"))


def _gaps_at_equal_tokens(
    candidates: Mapping[str, pl.DataFrame],
    rules: Mapping[str, Sequence[str]],
    outcomes: pl.DataFrame,
    tokens: pl.DataFrame,
    families: Mapping[str, str],
    *,
    with_greedy: bool,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    edu = _of(families, *_EDU)
    budgets = tokens.filter(pl.col("setting").is_in(edu)).select("setting", "n", "problem_id", "decoded")
    gaps = []
    for prm, frame in candidates.items():
        samples = frame.filter(pl.col("setting").is_in(_of(families, "samples")))
        greedy = _one_each(frame.filter(pl.col("setting") == "greedy")) if with_greedy else None
        kept, spent = equal_token_candidates(samples, budgets, greedy=greedy)
        packed = pl.concat_str("edu", pl.col("edu_n").cast(pl.String), "setting", separator="\x1f")
        # All that fits competes: how many that is differs from problem to problem.
        found = grid_outcomes(kept.with_columns(setting=packed), ns=[1_000_000], rules=rules[prm])
        part = pl.col("setting").str.split("\x1f")
        named = found.with_columns(
            prm=pl.lit(prm), edu=part.list.get(0), n=part.list.get(1).cast(pl.Int32), against=part.list.get(2)
        )
        theirs = named.select("prm", "n", "rule", "problem_id", "seed", "against", "correct", setting="edu")
        ours = outcomes.filter((pl.col("prm") == prm) & pl.col("setting").is_in(edu))
        gaps.append(_with_seeds(ours, theirs, ["prm", "setting", "n", "rule", "problem_id"]))
    means = spent.group_by("edu", "edu_n", "setting", maintain_order=True).agg(
        pl.col("budget", "spent", "samples").mean(), exhausted=pl.col("exhausted").sum()
    )
    return pl.concat(gaps), means


def _one_each(greedy: pl.DataFrame) -> pl.DataFrame:
    """The greedy solution of each problem once; where several trainings of a PRM scored it, by the first."""
    return greedy.sort("problem_id", "seed").unique("problem_id", keep="first", maintain_order=True)
