"""apps/rerank on good files: the order, the scores, the columns added, the accuracies."""

import json
import math
from pathlib import Path

import polars as pl
import pytest

from eduprm.rank.testing import flat, problems, read_jsonl, rejected, write_jsonl


def test_rows_come_back_ranked_by_the_prm_itself(rerank, prm, tmp_path):
    from eduprm.prm import ProcessRewardModel

    rows = problems(note={"any": ["thing", 1.5, None]})
    write_jsonl(tmp_path / "in.jsonl", rows)
    status, out, err = rerank(
        "in.jsonl", "--output", "out.jsonl", "--chunk-solutions", 8, "--aggregate", "product"
    )
    assert (status, err) == (0, "")
    got = read_jsonl(tmp_path / "out.jsonl")
    model = ProcessRewardModel.from_pretrained(prm)
    for row, back in zip(rows, got, strict=True):
        assert {key: back[key] for key in row} == row
        for one in back["ranked"]:
            assert "".join(one["steps"]) == row["solutions"][one["index"]]
            assert one["step_scores"] == pytest.approx(
                model.score(row["problem"], one["steps"], as_cut=True), abs=1e-5
            )
            assert one["score"] == pytest.approx(math.prod(one["step_scores"]))
            assert one["correct"] == (one["final_answer"] == row["answer"])
        order = [(-one["score"], one["index"]) for one in back["ranked"]]
        assert order == sorted(order)
        assert len(order) == 4
        assert back["chosen"] == row["solutions"][back["ranked"][0]["index"]]
    report = json.loads((tmp_path / "out.jsonl.report.json").read_text())
    accuracy = {row["rule"]: row["accuracy"] for row in report["accuracies"]}
    share = sum(row["ranked"][0]["correct"] for row in got) / len(got)
    assert accuracy["prm_product"] == pytest.approx(share)
    assert accuracy["majority"] == accuracy["oracle"] == 1.0
    assert (accuracy["first"], accuracy["random"]) == (0.0, 0.5)
    assert "oracle" in out
    assert "out.jsonl.report.json" in out
    text = (tmp_path / "out.jsonl.report.html").read_text(encoding="utf-8")
    page = json.loads(text.split('<script type="application/json" id="data">')[1].split("</script>")[0])
    for row, record in zip(got, page["records"], strict=True):
        shown = record["solutions"]
        assert ["".join(step for step, _, _ in one["steps"]) for one in shown] == [
            row["solutions"][one["index"]] for one in row["ranked"]
        ]
        assert [one["right"] for one in shown] == [one["correct"] for one in row["ranked"]]
        assert "prm_product" in shown[0]["rules"]
        # Each rule chooses one of a problem's solutions.
        rules = [rule for one in shown for rule in one.get("rules", ())]
        assert len(rules) == len(set(rules)) == len(page["rules"]) - 1
    assert not (tmp_path / "out.jsonl.work").exists()
    assert not (tmp_path / "out.jsonl.rejected.jsonl").exists()


@pytest.mark.parametrize(
    ("aggregate", "fold"), [("min", min), ("last", lambda s: s[-1]), ("mean", lambda s: sum(s) / len(s))]
)
def test_aggregates(rerank, tmp_path, aggregate, fold):
    write_jsonl(tmp_path / "in.jsonl", problems(2))
    assert rerank("in.jsonl", "--output", "out.jsonl", "--aggregate", aggregate)[0] == 0
    for row in read_jsonl(tmp_path / "out.jsonl"):
        for one in row["ranked"]:
            assert one["score"] == pytest.approx(fold(one["step_scores"]))


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
@pytest.mark.parametrize("order", ["neighbours", "apart"])
def test_one_solution_a_row_ranks_as_one_problem_a_row(rerank, tmp_path, suffix, order):
    grouped = problems(30)
    rows = flat(grouped)
    if order == "apart":  # as a sampler writes them: all problems once, then all again
        rows = [row for k in range(4) for row in rows[k::4]]
    source = tmp_path / f"flat.{suffix}"
    if suffix == "jsonl":
        write_jsonl(source, rows)
    else:
        pl.DataFrame(rows).write_parquet(source, row_group_size=50)
    write_jsonl(tmp_path / "grouped.jsonl", grouped)
    assert rerank(source, "--output", f"out.{suffix}", "--chunk-solutions", 12)[0] == 0
    assert rerank("grouped.jsonl", "--output", "grouped.out.jsonl", "--chunk-solutions", 12)[0] == 0
    frame = (
        pl.DataFrame(read_jsonl(tmp_path / "out.jsonl"))
        if suffix == "jsonl"
        else pl.read_parquet(tmp_path / "out.parquet")
    )
    wanted = [
        (row["id"], rank, one["score"], "".join(one["steps"]), one["correct"], rank == 1)
        for row in read_jsonl(tmp_path / "grouped.out.jsonl")
        for rank, one in enumerate(row["ranked"], start=1)
    ]
    got = frame.select("id", "rank", "score", "solution", "correct", "chosen").rows()
    assert [row[:2] + row[3:] for row in got] == [row[:2] + row[3:] for row in wanted]
    assert [row[2] for row in got] == pytest.approx([row[2] for row in wanted], abs=1e-6)
    assert frame["steps"].list.join("").to_list() == frame["solution"].to_list()


def test_parquet_keeps_the_types_of_other_columns(rerank, tmp_path):
    frame = pl.DataFrame(problems(130)).with_columns(
        day=pl.date(2024, 2, 29),
        cat=pl.lit("x").cast(pl.Categorical),
        tiny=pl.lit(3, dtype=pl.Int8),
        key=pl.int_range(130),
    )
    frame.drop("id").write_parquet(tmp_path / "in.parquet", row_group_size=7)
    status, _, _ = rerank(
        "in.parquet", "--output", "out.parquet", "--columns.id", "key", "--chunk-solutions", 20
    )
    assert status == 0
    got = pl.read_parquet(tmp_path / "out.parquet")
    assert got.select(frame.drop("id").columns).equals(frame.drop("id"))
    assert got.schema["ranked"] == pl.List(
        pl.Struct(
            {
                "index": pl.Int32,
                "score": pl.Float64,
                "steps": pl.List(pl.String),
                "step_scores": pl.List(pl.Float64),
                "final_answer": pl.String,
                "correct": pl.Boolean,
            }
        )
    )


def test_a_prefix_makes_room_for_columns_of_the_same_name(rerank, tmp_path):
    rows = [{**row, "rank": 9, "score": "mine"} for row in flat(problems(1))]
    write_jsonl(tmp_path / "in.jsonl", rows)
    assert rerank("in.jsonl", "--output", "out.jsonl")[0] == 2
    assert rerank("in.jsonl", "--output", "out.jsonl", "--prefix", "prm_")[0] == 0
    got = read_jsonl(tmp_path / "out.jsonl")
    assert [(row["rank"], row["score"], row["prm_rank"]) for row in got] == [
        (9, "mine", k) for k in (1, 2, 3, 4)
    ]


def test_without_gold_answers_there_is_no_table(rerank, tmp_path):
    rows = [{key: value for key, value in row.items() if key != "answer"} for row in problems(2)]
    write_jsonl(tmp_path / "in.jsonl", rows)
    status, out, _ = rerank("in.jsonl")
    assert status == 0
    assert "accuracy" not in out
    assert f"ranked rows:  {Path('runs/rerank/in.ranked.jsonl')}" in out
    got = read_jsonl(tmp_path / "runs/rerank/in.ranked.jsonl")
    assert {one["correct"] for row in got for one in row["ranked"]} == {None}
    assert {one["final_answer"] for one in got[0]["ranked"]} == {"1", "2", "3"}


@pytest.mark.parametrize("worked", ["0 + 1 = 1\n#### 1", "0 + 1 = 1, so it is $\\boxed{1}$."])
def test_graders_and_worked_gold_answers(rerank, tmp_path, worked):
    rows = problems(1)
    rows[0]["answer"] = worked  # as GSM8K's own files have it, and as those of MATH
    write_jsonl(tmp_path / "in.jsonl", rows)
    assert rerank("in.jsonl", "--output", "a.jsonl")[0] == 0
    graded = {one["index"]: one["correct"] for one in read_jsonl(tmp_path / "a.jsonl")[0]["ranked"]}
    assert graded == {0: False, 1: True, 2: False, 3: True}
    assert rerank("in.jsonl", "--output", "b.jsonl", "--grader", "none")[0] == 0
    assert {one["correct"] for one in read_jsonl(tmp_path / "b.jsonl")[0]["ranked"]} == {None}
    status, _, err = rerank("in.jsonl", "--output", "c.jsonl", "--grader", "no.such:thing")
    assert status == 2
    assert err.startswith("rerank: --grader: graders: 'no.such:thing' cannot be imported")
    status, _, err = rerank("in.jsonl", "--output", "c.jsonl", "--grader", "math:sqrt")
    assert status == 2
    assert err.startswith("rerank: --grader math:sqrt failed: TypeError")


def test_segments(rerank, tmp_path):
    text = "one two\nthree\n\nfour five six"
    write_jsonl(tmp_path / "in.jsonl", [{"id": 1, "problem": "?", "solutions": [text]}])
    expected = {
        "auto": ["one two\nthree\n\n", "four five six"],
        "paragraphs": ["one two\nthree\n\n", "four five six"],
        "lines": ["one two\n", "three\n\n", "four five six"],
        "fixed": ["one two\nthree\n\nfour ", "five six"],
        "none": [text],
    }
    for segment, steps in expected.items():
        options = ("--segment-options", "words=4") if segment == "fixed" else ()
        assert rerank("in.jsonl", "--output", "out.jsonl", "--segment", segment, *options)[0] == 0
        assert read_jsonl(tmp_path / "out.jsonl")[0]["ranked"][0]["steps"] == steps


@pytest.mark.parametrize("make", [problems, lambda: flat(problems())])
def test_limit_takes_the_first_problems(rerank, tmp_path, make):
    write_jsonl(tmp_path / "in.jsonl", [*make(), "broken\n"])
    assert rerank("in.jsonl", "--output", "out.jsonl", "--limit", 2)[0] == 0
    assert {row["id"] for row in read_jsonl(tmp_path / "out.jsonl")} == {"p0", "p1"}


def test_solutions_of_models(rerank, tmp_path, data_set):
    path = data_set("solutions")
    # The context of the tiny PRM holds only the shortest of these solutions, and no text at all is lost by that.
    status, _, _ = rerank(path, "--output", "out.jsonl", "--limit", 12)
    assert status == 3
    flags = {row["id"]: row["correct"] for row in map(json.loads, path.open(encoding="utf-8"))}
    got = read_jsonl(tmp_path / "out.jsonl")
    kept = sum(len(row["ranked"]) for row in got)
    assert kept + len(rejected(tmp_path / "out.jsonl.rejected.jsonl")) == 12 * 4
    assert kept
    assert all(one["correct"] == flags[row["id"]][one["index"]] for row in got for one in row["ranked"])


def votes(ranked, *, rule, weight, share):
    """What each answer of a row has behind it, from the scores that the row itself shows."""
    best, counts, sums = {}, {}, {}
    for one in ranked:
        key = one["final_answer"]
        best[key] = max(best.get(key, 0.0), one["score"])
        counts[key] = counts.get(key, 0) + 1 / len(ranked)
        sums[key] = sums.get(key, 0.0) + one["score"]
    if rule == "wrf_prm":
        total = sum(best.values())
        return {key: weight * best[key] / total + (1 - weight) * counts[key] for key in best}
    top = max(counts.values())
    clear = list(counts.values()).count(top) == 1 and top > share
    hmr = counts if clear else best
    return {"majority": counts, "weighted_majority_prm": sums, "hmr_prm": hmr, "prm": best}[rule]


@pytest.mark.parametrize(
    ("rule", "aggregate", "flags"),
    [
        ("majority", "min", ()),
        ("weighted_majority_prm", "mean", ()),
        ("wrf_prm", "last", ("--rule-options", "weight=0.9")),
        ("hmr_prm", "min", ("--rule-options", "share=0.4")),
        ("hmr_prm", "product", ()),
    ],
)
def test_the_rule_that_is_named_ranks(rerank, tmp_path, rule, aggregate, flags):
    write_jsonl(tmp_path / "in.jsonl", problems(12))
    arguments = ("in.jsonl", "--output", "out.jsonl", "--rule", rule, "--aggregate", aggregate, *flags)
    status, out, _ = rerank(*arguments)
    assert status == 0
    rows = read_jsonl(tmp_path / "out.jsonl")
    for row in rows:
        ranked = row["ranked"]
        behind = votes(ranked, rule=rule, weight=0.9, share=0.4 if flags else 0.5)
        order = [behind[one["final_answer"]] for one in ranked]
        assert order == sorted(order, reverse=True)
        first = [one["score"] for one in ranked if one["final_answer"] == ranked[0]["final_answer"]]
        if rule != "majority":  # there the first solution of an answer stands for it
            assert ranked[0]["score"] == max(first)
        assert row["chosen"] == row["solutions"][ranked[0]["index"]]
    report = json.loads((tmp_path / "out.jsonl.report.json").read_text())
    accuracy = {row["rule"]: row["accuracy"] for row in report["accuracies"]}
    assert accuracy[report["chosen_by"]] == pytest.approx(sum(r["ranked"][0]["correct"] for r in rows) / 12)
    assert "chosen by " in out


def test_ties_are_counted_also_without_gold_answers(rerank, tmp_path):
    rows = [
        {"id": n, "problem": f"{n} + 1?", "solutions": ["#### 1", "#### 2", "#### 1", "#### 2"]}
        for n in range(3)
    ]
    rows.append({"id": 9, "problem": "9?", "solutions": ["#### 2", "#### 1", "#### 1"]})
    write_jsonl(tmp_path / "in.jsonl", rows)
    status, out, _ = rerank("in.jsonl", "--output", "out.jsonl", "--rule", "majority", "--chunk-solutions", 4)
    assert status == 0
    assert "chosen by majority, plain; in 3 of 4 problems answers tied and the file's order decided" in out
    report = json.loads((tmp_path / "out.jsonl.report.json").read_text())
    assert (report["ties"], report["chosen_by"]) == (3, "majority")
    assert [row["chosen"] for row in read_jsonl(tmp_path / "out.jsonl")] == ["#### 1"] * 4


def test_the_table_shows_every_rule_with_the_options_given(rerank, tmp_path):
    write_jsonl(tmp_path / "in.jsonl", problems(2))
    assert (
        rerank("in.jsonl", "--output", "out.jsonl", "--rule", "wrf_prm", "--rule-options", "weight=0.25")[0]
        == 0
    )
    report = json.loads((tmp_path / "out.jsonl.report.json").read_text())
    rules = {row["rule"] for row in report["accuracies"]}
    for aggregate in ("min", "last", "product", "mean"):
        wanted = {f"prm_{aggregate}", f"weighted_majority_prm_{aggregate}", f"wrf_prm_{aggregate}@0.25"}
        assert wanted | {f"hmr_prm_{aggregate}"} <= rules
    assert {"majority", "oracle", "first", "random"} <= rules


def test_intervals_are_those_of_drawing_problems_again():
    import numpy as np

    from eduprm.rank.bootstrap import mean_intervals
    from eduprm.rank.report import Accuracies

    rng = np.random.default_rng(0)
    names = ["prm_min", "majority", "wrf_prm_min@0.3", "first", "random", "oracle"]
    right = (rng.random((300, len(names))) < np.linspace(0.05, 0.95, len(names))).astype(float)
    accuracies = Accuracies(["prm_min", "majority", "wrf_prm_min@0.3", "oracle"])
    for row in right:
        outcome = dict(zip(names, row.tolist(), strict=True))
        accuracies.add([{"right": outcome, "ties": ["majority"], "solutions": 4}])
    frame = accuracies.frame(seed=1, bootstrap=20_000)
    plain = mean_intervals(right, [f"{k:03d}" for k in range(300)], seed=1, bootstrap=20_000)
    assert frame["accuracy"].to_list() == pytest.approx(right.mean(axis=0))
    for row, (low, high) in zip(frame.iter_rows(named=True), plain, strict=True):
        assert (row["ci_low"], row["ci_high"]) == pytest.approx((low, high), abs=0.005)
    assert dict(frame.select("rule", "ties").rows())["majority"] == 300
