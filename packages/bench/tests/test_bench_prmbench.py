"""PRMBench: counts, F1 and PRMScore are the official definition's, held against a plain computation of it."""

import json
import math

import numpy as np
import polars as pl
import pytest

from eduprm.bench.steps import evaluate_prmbench, read_prmbench
from eduprm.bench.steps.files import BenchFileError
from eduprm.bench.steps.prmbench import CATEGORIES, PRMBENCH_SCHEMA, trivial_scores
from eduprm.bench.steps.table import prmbench_table

SCORED = {**PRMBENCH_SCHEMA, "scores": pl.List(pl.Float64)}


def f1_scores(rows, threshold=0.5):
    """Precision and recall of both classes over pooled steps; error_steps count from 1."""
    judged = [
        (step not in row["error_steps"], score > threshold)
        for row in rows
        for step, score in enumerate(row["scores"], start=1)
    ]
    scores = []
    for kind in (True, False):
        both = sum(gold == said == kind for gold, said in judged)
        precision = both / max(1, sum(said == kind for _, said in judged))
        recall = both / max(1, sum(gold == kind for gold, _ in judged))
        scores.append(2 * precision * recall / (precision + recall) if both else 0.0)
    return scores


def made(seed=0, num=40):
    rng = np.random.default_rng(seed)
    classes = [name for members in CATEGORIES.values() for name in members]
    rows = []
    for index in range(num):
        part = classes[index % len(classes)]
        length = int(rng.integers(2, 7))
        wrong = [] if part == "multi_solutions" else sorted({1 + int(k) for k in rng.integers(0, length, 2)})
        scores = np.round(rng.random(length), 1).tolist()
        rows.append((part, str(index), f"{index}?", ["s"] * length, f"{index % 7}?", wrong, scores))
    return pl.DataFrame(rows, schema=SCORED, orient="row")


def test_every_figure_is_the_official_one():
    frame = made()
    got = {row["part"]: row for row in evaluate_prmbench(frame, seed=0, bootstrap=50).iter_rows(named=True)}
    everything = f1_scores(frame.to_dicts())
    assert [got["total"]["f1"], got["total"]["negative_f1"]] == pytest.approx(everything)
    assert got["total"]["prm_score"] == pytest.approx(sum(everything) / 2)
    for category, members in CATEGORIES.items():
        own = []
        for part in members:
            positive, negative = f1_scores(frame.filter(part=part).to_dicts())
            own.append(positive if part == "multi_solutions" else (positive + negative) / 2)
            assert got[part]["prm_score"] == pytest.approx(own[-1])
        assert got[category]["prm_score"] == pytest.approx(sum(own) / len(own))
    firsts = [
        row["scores"][min(row["error_steps"]) - 1] <= 0.5 for row in frame.to_dicts() if row["error_steps"]
    ]
    assert got["total"]["first_error_acc"] == pytest.approx(np.mean(firsts))
    assert math.isnan(got["multi_solutions"]["negative_f1"])
    assert got["total"]["prm_score_low"] < got["total"]["prm_score"] < got["total"]["prm_score_high"]
    assert got["total"]["num_right"] + got["total"]["num_wrong"] == frame["steps"].list.len().sum()


def test_by_hand_and_an_error_step_beyond_the_last_is_never_met():
    row = ("confidence", "1", "1?", ["a"] * 4, "1?", [2, 4, 9], [0.9, 0.1, 0.5, 0.6])
    got = evaluate_prmbench(pl.DataFrame([row], schema=SCORED, orient="row"), seed=0, bootstrap=10)
    total = got.filter(part="total").row(0, named=True)
    # Right above 0.5 only: right, wrong, wrong, right against right, wrong, right, wrong.
    assert (total["num_right"], total["num_wrong"]) == (2, 2)
    assert (total["f1"], total["negative_f1"], total["first_error_acc"]) == (0.5, 0.5, 1.0)


@pytest.mark.parametrize("scores", [[0.9], [0.9, float("nan")], [0.9, 1.5], [0.9, None]])
def test_scores_that_are_not_one_a_step_are_refused(scores):
    row = ("confidence", "7", "1?", ["a", "b"], "1?", [2], scores)
    frame = pl.DataFrame([row], schema={**PRMBENCH_SCHEMA, "scores": pl.List(pl.Float64)}, orient="row")
    with pytest.raises(ValueError, match=r"a score in \[0, 1\] for each step, got others for id '7'"):
        evaluate_prmbench(frame, seed=0, bootstrap=5)


def test_trivial_judges():
    frame = made(num=90)
    trivial = trivial_scores(frame, seed=0)
    assert trivial == trivial_scores(frame, seed=0)
    got = {
        name: evaluate_prmbench(frame.with_columns(scores=pl.Series(scores)), seed=0, bootstrap=5).row(
            -1, named=True
        )
        for name, scores in trivial.items()
    }
    assert (got["always right"]["negative_f1"], got["always wrong"]["f1"]) == (0.0, 0.0)
    assert got["always right"]["f1"] > 0.7
    assert 0.3 < got["random scores"]["prm_score"] < 0.6
    assert prmbench_table({"PRM": evaluate_prmbench(frame, seed=0, bootstrap=5)}).row_count == 13


def test_rows_are_checked(tmp_path):
    good = {
        "idx": "1",
        "modified_question": "1?",
        "modified_process": ["a", "b"],
        "error_steps": [2],
        "classification": "deception",
    }
    rows = [good, {**good, "idx": "2", "error_steps": [0]}, {**good, "classification": "circular"}, good]
    wrong = [[3], ["3"], None, 2, [1.5], ["one"], [True]]
    rows += [{**good, "idx": f"w{k}", "error_steps": steps} for k, steps in enumerate(wrong)]
    rows += [{**good, "idx": 20.0 + k, "error_steps": steps} for k, steps in enumerate([["2"], [2.0], []])]
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    items, rejected = read_prmbench([tmp_path / "own.jsonl"])
    assert items.select("part", "id", "origin").rows()[:2] == [
        ("deception", "1", "1?"),
        ("circular", "1", "1?"),
    ]
    assert items.select("id", "error_steps").rows()[2:] == [("20", [2]), ("21", [2]), ("22", [])]
    assert rejected["row"].to_list() == [2, *range(4, 12)]
    assert rejected["id"].to_list() == ["2", "1", *(f"w{k}" for k in range(7))]
    reasons = rejected["reason"].to_list()
    assert "step numbers from 1" in reasons[0]
    assert all("from 1 to 2" in reason and "(there are 2 steps), got 3" in reason for reason in reasons[2:4])
    assert all("a list of step numbers from 1" in reason for reason in reasons[4:])


def test_a_file_of_nothing_but_wrong_rows_names_the_first(tmp_path):
    row = {"idx": "b7", "modified_question": "1?", "modified_process": ["a"], "error_steps": [2]}
    (tmp_path / "own.jsonl").write_text(json.dumps({**row, "classification": "deception"}))
    with pytest.raises(
        BenchFileError, match=r"no usable row \(row 1 \(id 'b7'\): expected step numbers from 1 to 1"
    ):
        read_prmbench([tmp_path / "own.jsonl"])


def test_rows_of_the_data_set_are_usable_but_those_whose_error_lies_beyond_them(data_set):
    path = data_set("prmbench")
    items, rejected = read_prmbench([path])
    # Published ones name steps 31 and 45 of solutions of 30 and 41.
    beyond = ["own_p12"] if path.name == "prmbench_form.jsonl" else ["prm_test_p1_46", "prm_test_p1_50"]
    assert rejected["id"].to_list() == beyond
    assert items.height == len(path.read_bytes().splitlines()) - len(beyond)
    assert set(items["part"]) == {name for members in CATEGORIES.values() for name in members}
    always = items.with_columns(scores=pl.Series(trivial_scores(items, seed=0)["always right"]))
    total = evaluate_prmbench(always, seed=0, bootstrap=5).row(-1, named=True)
    assert total["num_wrong"] == sum(len(set(wrong)) for wrong in items["error_steps"].to_list())
