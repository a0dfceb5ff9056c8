"""Every rule against a plain Python reading of its definition, on random candidates."""

import math
from collections import Counter
from collections.abc import Callable
from itertools import groupby
from typing import Any

import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from eduprm.rank import (
    CANDIDATE_SCHEMA,
    RULES,
    CandidateError,
    available_rules,
    choose,
    first_n,
    rank_candidates,
    validate_candidates,
)

Row = dict[str, Any]
FRAME_SCHEMA = {**CANDIDATE_SCHEMA, "order": pl.Int32, "greedy": pl.Boolean}

# Few distinct values, all exact in binary, so that ties are frequent and exact.
SCORES = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
ROWS = st.fixed_dictionaries(
    {
        "answer": st.sampled_from([None, "1", "1.0", "2", "x"]),
        "correct": st.booleans(),
        "logprob_sum": st.sampled_from([-4.0, -2.0, -1.0, -0.5]),
        "num_tokens": st.sampled_from([1, 2, 4]),
        "step_scores": st.lists(SCORES, min_size=1, max_size=4),
        "order": st.integers(0, 20),
    }
)


def frame(rows: list[Row]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=FRAME_SCHEMA)


@st.composite
def candidates(draw: st.DrawFn) -> list[Row]:
    rows = []
    for problem in range(draw(st.integers(1, 4))):
        for leaf, row in enumerate(draw(st.lists(ROWS, min_size=1, max_size=6))):
            rows.append(
                {"problem_id": f"p{problem}", "tree": "edu", "leaf": leaf + 3, "greedy": leaf == 1, **row}
            )
    return draw(st.permutations(rows))


def key_of(answer: str | None) -> str | None:
    return {"1.0": "1"}.get(answer, answer) if answer else None


def aggregate(scores: list[float], name: str) -> float:
    folds = {"min": min, "last": lambda s: s[-1], "product": math.prod, "mean": lambda s: sum(s) / len(s)}
    return folds[name](scores)


def mixed(
    rows: list[Row], weigh: Callable[[Row], float], *, kind: str, share: float
) -> dict[str | None, float]:
    """Votes of WRF and HMR as docs/bench.md words them."""
    best: dict[str | None, float] = {}
    for row in rows:
        key = key_of(row["answer"])
        best[key] = max(best.get(key, 0.0), weigh(row))
    if len(best) > 1:
        best.pop(None, None)
    counts = Counter(key_of(row["answer"]) for row in rows if key_of(row["answer"]) in best)
    frequency = {key: count / counts.total() for key, count in counts.items()}
    if kind == "wrf":
        total = sum(best.values()) or 1.0
        return {key: share * best[key] / total + (1 - share) * frequency[key] for key in best}
    top = max(frequency.values())
    clear = list(frequency.values()).count(top) == 1 and top > share
    return frequency if clear else best


def reference(rows: list[Row], rule: str) -> tuple[int, bool]:
    """The leaf a rule should choose among one problem's rows in order, and whether answers tied."""
    if rule == "greedy":
        return min(row["leaf"] for row in rows), False
    if "majority" not in rule and not rule.startswith(("wrf", "hmr")):
        value = {
            "mean_logprob": lambda r: r["logprob_sum"] / r["num_tokens"],
            "oracle": lambda r: float(r["correct"]),
        }.get(rule, lambda r: aggregate(r["step_scores"], rule.removeprefix("prm_")))
        best = max(value(row) for row in rows)
        top = [row for row in rows if math.isclose(value(row), best, rel_tol=1e-9)]
        return top[0]["leaf"], rule != "oracle" and len({key_of(row["answer"]) for row in top}) > 1
    if rule == "majority":
        weigh = lambda r: 1.0  # noqa: E731
    elif rule == "weighted_majority_probability":
        weigh = lambda r: math.exp(r["logprob_sum"])  # noqa: E731
    else:
        weigh = lambda r: aggregate(r["step_scores"], rule.rsplit("_", 1)[1])  # noqa: E731
    if rule.startswith(("wrf", "hmr")):
        name, _, share = rule.partition("@")
        weigh = lambda r: aggregate(r["step_scores"], name.rsplit("_", 1)[1])  # noqa: E731
        votes = mixed(rows, weigh, kind=rule[:3], share=float(share or 0.5))
    else:
        votes = {}
        for row in rows:
            key = key_of(row["answer"])
            votes[key] = votes.get(key, 0.0) + weigh(row)
    if len(votes) > 1:
        votes.pop(None, None)
    best = max(votes.values())
    tied = [key for key, vote in votes.items() if math.isclose(vote, best, rel_tol=1e-9, abs_tol=0.0)]
    members = [row for row in rows if key_of(row["answer"]) == tied[0]]
    heaviest = max(weigh(row) for row in members)
    chosen = next(row for row in members if math.isclose(weigh(row), heaviest, rel_tol=1e-9))
    return chosen["leaf"], len(tied) > 1


@settings(max_examples=80, deadline=None)
@given(rows=candidates(), n=st.sampled_from([None, 1, 2, 3]))
def test_every_rule_chooses_what_its_definition_says(rows: list[Row], n: int | None) -> None:
    rules = [rule for rule in RULES if rule != "greedy"]
    rules += [f"{kind}_prm_{a}@{share}" for kind, a, share in MIXTURES]
    got = choose(frame(rows), rules=rules, n=n)
    for row in got.iter_rows(named=True):
        own = [r for r in rows if r["problem_id"] == row["problem_id"]]
        own.sort(key=lambda r: (r["order"], r["leaf"]))
        assert (row["leaf"], row["tied"]) == reference(own[:n], row["rule"]), row["rule"]
    assert got.height == len(rules) * len({r["problem_id"] for r in rows})


MIXTURES = [
    ("wrf", "mean", 0.0),
    ("wrf", "min", 0.25),
    ("wrf", "product", 1.0),
    ("hmr", "last", 0.0),
    ("hmr", "min", 1.0),
]


def answers(rows: list[Row], *rules: str) -> dict[str, list[Any]]:
    """(chosen answer, tied) of every problem, by rule."""
    got = choose(frame(rows), rules=rules)
    return {
        rule: [(key_of(a), tied) for a, tied in got.filter(rule=rule).select("answer", "tied").iter_rows()]
        for rule in rules
    }


@settings(max_examples=40, deadline=None)
@given(rows=candidates(), aggregation=st.sampled_from(["min", "last", "product", "mean"]))
def test_the_ends_of_the_mixtures_are_the_rules_they_mix(rows: list[Row], aggregation: str) -> None:
    names = [f"{kind}_prm_{aggregation}@{share}" for kind in ("wrf", "hmr") for share in (0, 1)]
    got = answers(rows, "majority", *names)
    assert got[names[0]] == got["majority"]  # ties too
    for plain, ours in zip(got["majority"], got[names[2]], strict=True):
        assert plain[1] or plain == ours
    # The PRM's end: its best candidate among those with an answer, if any problem has one at all.
    answered = [row for row in rows if row["answer"] is not None]
    ids = sorted({row["problem_id"] for row in rows})
    of = dict(
        zip(
            sorted({r["problem_id"] for r in answered}),
            answers(answered, f"prm_{aggregation}")[f"prm_{aggregation}"],
            strict=True,
        )
    )
    for problem, wrf, hmr in zip(ids, got[names[1]], got[names[3]], strict=True):
        prm, tied = of.get(problem, (None, False))
        scored = [aggregate(r["step_scores"], aggregation) for r in answered if r["problem_id"] == problem]
        if not tied and any(scored):
            assert wrf == (prm, False)
        if not tied:
            assert hmr[0] == prm


@settings(max_examples=40, deadline=None)
@given(rows=candidates(), random=st.randoms(use_true_random=False))
def test_the_order_decides_nothing_but_ties(rows: list[Row], random: Any) -> None:
    rules = [rule for rule in RULES if rule not in ("greedy", "oracle")]
    orders = list(range(len(rows)))
    random.shuffle(orders)
    before = answers(rows, *rules)
    after = answers([{**row, "order": order} for row, order in zip(rows, orders, strict=True)], *rules)
    for rule in rules:
        for one, other in zip(before[rule], after[rule], strict=True):
            assert one[1] == other[1], rule
            assert one[1] or one == other, rule


@settings(max_examples=40, deadline=None)
@given(rows=candidates(), rule=st.sampled_from(sorted(set(RULES) - {"greedy"})))
def test_a_ranking_begins_with_the_choice_and_keeps_everybody(rows: list[Row], rule: str) -> None:
    ranking = rank_candidates(frame(rows), rule=rule)
    chosen = choose(frame(rows), rules=[rule]).select("problem_id", "tree", "leaf", "tied")
    assert ranking.filter(place=1).select("problem_id", "tree", "leaf", "tied").equals(chosen)
    assert sorted(ranking.select("problem_id", "leaf").rows()) == sorted(
        (r["problem_id"], r["leaf"]) for r in rows
    )
    for _, own in ranking.group_by("problem_id"):
        assert own["place"].to_list() == list(range(1, own.height + 1))
    if RULES[rule].is_vote:  # candidates of one answer stand together, those without one last
        of = {(r["problem_id"], r["leaf"]): key_of(r["answer"]) for r in rows}
        for problem in {r["problem_id"] for r in rows}:
            keys = [of[problem, leaf] for leaf in ranking.filter(problem_id=problem)["leaf"]]
            runs = [key for key, _ in groupby(keys)]
            assert len(runs) == len(set(runs))
            assert None not in runs[:-1]


@settings(max_examples=50, deadline=None)
@given(rows=candidates())
def test_greedy_is_the_leaf_that_the_column_marks(rows: list[Row]) -> None:
    marked = {r["problem_id"]: r["leaf"] for r in rows if r["greedy"]}
    rows = [r for r in rows if r["problem_id"] in marked]
    assume(rows)
    got = choose(frame(rows), rules=["greedy"])
    assert dict(got.select("problem_id", "leaf").iter_rows()) == marked


def row(leaf: int, answer: str | None = "1", scores: list[float] | None = None, **more: Any) -> Row:
    base = {"problem_id": "p", "tree": "edu", "leaf": leaf, "answer": answer, "correct": False}
    base |= {"logprob_sum": -1.0, "num_tokens": 2, "step_scores": scores, "order": leaf, "greedy": False}
    return base | more


def test_a_long_product_does_not_vanish() -> None:
    rows = [row(1, "a", [0.1] * 500), row(2, "b", [0.1] * 499)]
    assert choose(frame(rows), rules=["prm_product"])["leaf"].to_list() == [2]
    got = choose(frame(rows), rules=["weighted_majority_prm_product"])
    assert (got["leaf"].item(), got["tied"].item()) == (2, False)


def test_probability_votes_of_very_unlikely_leaves_still_differ() -> None:
    rows = [row(1, "a", logprob_sum=-900.0), row(2, "b", logprob_sum=-899.0), row(3, "a", logprob_sum=-900.0)]
    # 2 e^-1 < 1: the single likelier leaf wins against two unlikely ones.
    assert choose(frame(rows), rules=["weighted_majority_probability"])["leaf"].item() == 2
    assert choose(frame(rows), rules=["majority"])["leaf"].item() == 1


def test_weighted_majority_uses_the_aggregation_it_names() -> None:
    # Guards a fault of a peer: voting weights that ignore the configured aggregation.
    rows = [row(1, "a", [0.9, 0.9, 0.1]), row(2, "b", [0.2, 0.2, 0.8]), row(3, "c", [0.5, 0.5, 0.5])]
    got = choose(
        frame(rows), rules=[f"weighted_majority_prm_{a}" for a in ("min", "last", "mean", "product")]
    )
    assert got["answer"].to_list() == ["c", "b", "a", "c"]


def test_wrf_weighs_the_best_reward_of_an_answer_against_its_votes() -> None:
    # Rewards .9 and .3 are 3/4 and 1/4 of their sum, votes 1/3 and 2/3: .75 w + (1 - w) / 3 wins from w = 0.4 on.
    rows = [row(1, "a", [0.9]), row(2, "b", [0.3]), row(3, "b", [0.1])]
    got = choose(frame(rows), rules=[f"wrf_prm_min@{w}" for w in ("0", "0.39", "0.41", "1")])
    assert got["answer"].to_list() == ["b", "b", "a", "a"]
    assert got["score"].to_list() == pytest.approx(
        [2 / 3, 0.39 / 4 + 0.61 * 2 / 3, 0.41 * 0.75 + 0.59 / 3, 0.75]
    )
    assert got["leaf"].to_list() == [2, 2, 1, 1]  # the better of b's two


def test_wrf_does_not_change_with_the_scale_of_rewards() -> None:
    # A product of many steps is tiny; what counts is how the answers compare.
    for long in (1, 300):
        rows = [row(1, "a", [0.1] * long), row(2, "b", [0.1] * (long + 1)), row(3, "b", [0.1] * (long + 1))]
        got = choose(frame(rows), rules=["wrf_prm_product"])
        assert (got["answer"].item(), got["score"].item()) == ("a", pytest.approx(0.5 / 1.1 + 0.5 / 3))


def test_hmr_leaves_what_is_not_clear_to_the_prm() -> None:
    rows = [row(1, "a", [0.2]), row(2, "a", [0.3]), row(3, "b", [0.9]), row(4, None, [1.0])]
    shares = ("0.5", "0.66", "0.67", "1")
    got = choose(frame(rows), rules=[f"hmr_prm_min@{share}" for share in shares])
    assert got["leaf"].to_list() == [2, 2, 3, 3]
    # Two answers with two votes each: no majority is clear, whatever the share.
    even = choose(frame([*rows, row(5, "b", [0.1])]), rules=["hmr_prm_min@0", "majority"])
    assert even.select("answer", "tied").rows() == [("b", False), ("a", True)]


@pytest.mark.parametrize("share", ["1.5", "-0.1", "nan", "half", ""])
def test_shares_outside_their_range_are_refused(share: str) -> None:
    message = rf"^hmr_prm: share: Input should be .*, got '?{share}'?$"
    with pytest.raises(ValueError, match=message):
        choose(frame([row(1, scores=[0.5])]), rules=[f"hmr_prm_min@{share}"])


def test_scores_of_zero_lose_and_all_zero_ties() -> None:
    rows = [row(1, "a", [0.0, 1.0]), row(2, "b", [0.01, 0.01])]
    assert choose(frame(rows), rules=["prm_product"])["leaf"].item() == 2
    both = choose(frame([row(1, "a", [0.0]), row(2, "b", [0.0])]), rules=["weighted_majority_prm_product"])
    assert both.select("leaf", "tied").row(0) == (1, True)


def test_no_answer_never_wins_a_vote_unless_alone() -> None:
    assert choose(frame([row(1, None), row(2, None), row(3, "4")]), rules=["majority"])["leaf"].item() == 3
    assert choose(frame([row(1, None), row(2, None)]), rules=["majority"])["leaf"].item() == 1


def test_first_n_follows_the_order_not_the_leaf_id() -> None:
    rows = [row(3, order=2), row(5, order=0), row(9, order=1)]
    assert first_n(frame(rows), n=2)["leaf"].to_list() == [5, 9]
    assert first_n(frame(rows).drop("order"), n=2)["leaf"].to_list() == [3, 5]


def test_greedy_is_recognised_before_candidates_are_cut_off() -> None:
    rows = [row(3, order=1, greedy=True), row(5, order=0)]
    with pytest.raises(CandidateError, match="none among its candidates"):
        choose(frame(rows), rules=["greedy"], n=1)


def test_no_candidate_is_greedy_by_the_name_of_its_tree() -> None:
    with pytest.raises(CandidateError, match="column greedy marks"):
        choose(frame([row(1, tree="edu"), row(7, tree="greedy")]).drop("greedy"), rules=["greedy"])


def test_only_rules_with_what_they_need_are_available() -> None:
    everything = frame([row(1, scores=[0.5], greedy=True)])
    assert available_rules(everything) == list(RULES)
    without_gold = everything.with_columns(correct=pl.lit(None, dtype=pl.Boolean), greedy=False)
    assert set(RULES) - set(available_rules(without_gold)) == {"oracle", "greedy"}
    assert choose(without_gold, rules=["prm_min"])["correct"].to_list() == [None]
    with pytest.raises(CandidateError, match="needs step_scores, 1 of 1 candidates have none"):
        choose(frame([row(1)]), rules=["prm_min"])
    with pytest.raises(ValueError, match=r"rule must be one of prm_min, .*; got 'best'"):
        choose(everything, rules=["best"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"num_tokens": 0},
            r"'num_tokens' must be at least 1, got 0 at row 2 \(problem_id='p', tree='edu', leaf=2\)",
        ),
        ({"logprob_sum": float("nan")}, "'logprob_sum' must be finite and at most 0"),
        ({"logprob_sum": 0.5}, "'logprob_sum' must be finite and at most 0"),
        ({"step_scores": []}, "must be null or hold at least one step"),
        ({"step_scores": [0.5, 1.5]}, r"must hold numbers in \[0, 1\], got \[0.5, 1.5\]"),
        ({"step_scores": [float("nan")]}, r"must hold numbers in \[0, 1\]"),
        ({"step_scores": [None]}, r"must hold numbers in \[0, 1\]"),
        ({"problem_id": None}, "'problem_id' must not be null, null at row 2"),
        ({"leaf": 1}, "must be unique, twice at row 1"),
    ],
)
def test_broken_candidates_are_refused_in_one_line(change: Row, message: str) -> None:
    rows = [row(1, scores=[0.5]), {**row(2, scores=[0.5]), **change}]
    with pytest.raises(CandidateError, match=message) as caught:
        choose(frame(rows), rules=["majority"])
    assert "\n" not in str(caught.value)


def test_a_wrong_type_is_refused() -> None:
    with pytest.raises(CandidateError, match="column 'leaf' must be Int32, got Float64"):
        choose(frame([row(1)]).cast({"leaf": pl.Float64}), rules=["majority"])


def test_plain_integers_are_candidates_where_they_fit() -> None:
    good = frame([row(1, scores=[0.5])])
    plain = pl.DataFrame(good.to_dicts())
    assert plain.schema["leaf"] == plain.schema["num_tokens"] == pl.Int64
    assert validate_candidates(plain).equals(good)
    assert validate_candidates(plain).schema == good.schema
    assert validate_candidates(plain.cast({"logprob_sum": pl.Float32})).schema == good.schema
    with pytest.raises(
        CandidateError, match=r"candidates: column 'leaf', row 1: expected values of Int32, got 3000000000"
    ):
        validate_candidates(plain.with_columns(leaf=pl.lit(3_000_000_000)))
