"""ProcessBench: our numbers are the official definition's; thresholds are the best there are; bad rows are named."""

import gzip
import json
import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eduprm.bench.steps import (
    BenchFileError,
    choose_threshold,
    draw_rows,
    evaluate_processbench,
    find_overlap,
    normalise_problem,
    predict_first_wrong,
    read_prmbench,
    read_processbench,
)
from eduprm.bench.steps.processbench import PROCESSBENCH_SCHEMA, trivial_predictions
from eduprm.bench.steps.table import processbench_table


def official(labels, predictions):
    """The definition, from the paper: shares of exact matches on both kinds, and their harmonic mean."""
    error = np.mean([p == gold for p, gold in zip(predictions, labels, strict=True) if gold != -1])
    correct = np.mean([p == gold for p, gold in zip(predictions, labels, strict=True) if gold == -1])
    return error, correct, 2 * error * correct / (error + correct) if error + correct else 0.0


def frame_of(parts, labels, predictions):
    problems = [f"{index}?" for index in range(len(labels))]
    columns = {"part": parts, "problem": problems, "label": labels, "prediction": predictions}
    return pl.DataFrame(columns)


def test_hand_made_predictions_give_the_official_numbers():
    labels = [-1, -1, -1, 0, 1, 2, 2, 3, -1, 4]
    predicted = [-1, 2, -1, 0, 1, 1, -1, 3, -1, 3]
    parts = ["gsm8k"] * 8 + ["math"] * 2
    got = evaluate_processbench(frame_of(parts, labels, predicted), seed=0, bootstrap=100)
    assert got["part"].to_list() == ["gsm8k", "math", "mean"]
    assert got.select("num_error", "num_correct").rows() == [(5, 3), (1, 1), (6, 4)]
    gsm8k, mean = got.row(0, named=True), got.row(2, named=True)
    # 3 of 5 errors found (2 judged at step 1, 3 found none), 2 of 3 right ones left alone: 2 * .6 * .667 / 1.267.
    assert [gsm8k[k] for k in ("acc_error", "acc_correct", "f1")] == pytest.approx([0.6, 2 / 3, 12 / 19])
    assert got["f1"][1] == 0.0
    assert mean["f1"] == pytest.approx(6 / 19)  # of the subsets, not of the pooled rows
    assert gsm8k["f1_low"] <= gsm8k["f1"] <= gsm8k["f1_high"]


@given(st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_any_predictions_give_the_official_numbers(seed):
    rng = np.random.default_rng(seed)
    labels = np.r_[-1, 0, rng.integers(-1, 4, size=12)].tolist()
    predicted = rng.integers(-1, 4, size=14).tolist()
    got = evaluate_processbench(frame_of(["a"] * 14, labels, predicted), seed=0, bootstrap=5).row(
        0, named=True
    )
    assert [got[k] for k in ("acc_error", "acc_correct", "f1")] == pytest.approx(official(labels, predicted))


def test_intervals_draw_problems_not_rows_and_repeat():
    one = frame_of(["a"] * 8, [-1, -1, -1, -1, 0, 0, 0, 0], [-1, -1, 0, 0, 0, 0, 1, 1])
    clustered = one.with_columns(problem=pl.Series(["p", "p", "q", "q", "p", "p", "q", "q"]))
    wide, narrow = (evaluate_processbench(f, seed=0).row(0, named=True) for f in (clustered, one))
    assert narrow["f1"] == wide["f1"] == 0.5
    assert (wide["f1_low"], wide["f1_high"]) == (0.0, 1.0)  # p is all right, q all wrong
    assert narrow["f1_high"] - narrow["f1_low"] < 1
    again = evaluate_processbench(one.sample(fraction=1, shuffle=True, seed=3), seed=0).row(0, named=True)
    assert again == narrow


def test_a_subset_of_one_kind_has_no_f1():
    got = evaluate_processbench(frame_of(["a", "a"], [1, 2], [1, 1]), seed=0, bootstrap=10)
    assert got["acc_error"].to_list() == [0.5, 0.5]
    assert all(map(math.isnan, got["f1"]))
    assert processbench_table({"PRM": got}).row_count == 2


def test_a_step_at_the_threshold_is_wrong():
    assert predict_first_wrong([[0.9, 0.5, 0.1], [0.5000001]], 0.5) == [1, -1]


@given(st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_no_threshold_is_better_than_the_chosen_one(seed):
    rng = np.random.default_rng(seed)
    rows = [np.round(rng.random(rng.integers(1, 6)), 1).tolist() for _ in range(10)]
    labels = [int(rng.integers(-1, len(row))) for row in rows]
    labels[:2] = [-1, 0]
    chosen = choose_threshold(rows, labels)
    tried = {t: official(labels, predict_first_wrong(rows, t))[2] for t in np.arange(-0.025, 1.03, 0.05)}
    assert chosen.f1 == pytest.approx(max(tried.values()))
    assert official(labels, predict_first_wrong(rows, chosen.value))[2] == pytest.approx(chosen.f1)


def test_ties_of_thresholds_go_to_the_one_nearest_to_a_half():
    # Everything from 0.2 to 0.9 is as good; scores between the two are 0.6 (good step) and 0.7.
    assert choose_threshold([[0.9, 0.2], [0.95]], [1, -1]).value == pytest.approx(0.55)
    with pytest.raises(ValueError, match="none without"):
        choose_threshold([[0.1]], [0])
    with pytest.raises(ValueError, match=r"scores in \[0, 1\]"):
        choose_threshold([[float("nan")], [0.5]], [0, -1])


def rows_of(*labels):
    return [
        {"id": f"gsm8k-{k}", "problem": f"{k}?", "steps": ["one", "two"], "label": label}
        for k, label in enumerate(labels)
    ]


def test_array_and_lines_are_read_alike_and_bad_rows_are_named(tmp_path):
    rows = [*rows_of(-1, 1, 2, True), {"id": "gsm8k-9", "problem": "?"}]
    rows += [
        {**rows[0], "id": 7, "steps": ["one", " "]},
        {**rows[0], "id": "y", "problem": "\ud800"},
        rows[1],
        {**rows[0], "id": "x"},
    ]
    (tmp_path / "own.json").write_text(json.dumps(rows))
    lines = "\n".join(map(json.dumps, rows))
    (tmp_path / "own.jsonl").write_text(lines + "\nnot json\n")
    array, jsonl = (read_processbench([tmp_path / name]) for name in ("own.json", "own.jsonl"))
    assert array.items.equals(jsonl.items)
    assert dict(array.items.schema) == PROCESSBENCH_SCHEMA
    assert array.items.select("part", "id", "label").rows() == [
        ("gsm8k", "gsm8k-0", -1),
        ("gsm8k", "gsm8k-1", 1),
        ("own", "x", -1),
    ]
    assert array.rejected["row"].to_list() == [3, 4, 5, 6, 7, 8]
    assert jsonl.rejected["row"].to_list() == [3, 4, 5, 6, 7, 8, 10]
    reasons = jsonl.rejected["reason"].to_list()
    wanted = ("a whole number as label from -1 to 1", "got True", "no steps, label", "text in step 1")
    wanted += ("text in 'problem', got '\\ud800'", "used by", "not JSON")
    assert all(part in reason for part, reason in zip(wanted, reasons, strict=True))


def test_one_source_needs_no_list(tmp_path):
    path = tmp_path / "own.json"
    path.write_text(json.dumps(rows_of(-1, 1)))
    for source in (path, str(path)):
        assert read_processbench(source).items.equals(read_processbench([path]).items)
    assert read_processbench(path, parts="gsm8k").items.height == 2
    with pytest.raises(BenchFileError, match=r"no/such\.json: expected a file or the name of a data set"):
        read_processbench("no/such.json")
    row = {"idx": "b7", "modified_question": "1?", "modified_process": ["a"], "error_steps": [1]}
    path.write_text(json.dumps([{**row, "classification": "deception"}]))
    assert read_prmbench(str(path), parts="deception").items.height == 1


def test_whole_numbers_are_read_however_they_are_written(tmp_path):
    labels = [1, 1.0, "1", " 1 ", "1.0", -1.0, "-1", "0"]
    bad = ["one", "", "1.5", 1.5, True, None, [1], "2", float("nan"), "-2"]
    rows = [{**row, "id": k} for k, row in enumerate(rows_of(*labels, *bad))]
    rows += [{**rows[0], "id": 99.0}, {**rows[0], "id": 99.5}]
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    items, rejected = read_processbench([tmp_path / "own.jsonl"])
    assert items["label"].to_list() == [1, 1, 1, 1, 1, -1, -1, 0, 1]
    assert items["id"].to_list() == [*map(str, range(8)), "99"]
    assert rejected["id"].to_list() == [*map(str, range(8, 18)), None]
    assert all(
        "expected a whole number as label from -1 to 1" in reason for reason in rejected["reason"][:-1]
    )


def test_packed_files_are_read_as_plain_ones(tmp_path):
    rows = json.dumps(rows_of(-1, 1)).replace("gsm8k-", "x").encode()
    (tmp_path / "plain.json.gz").write_bytes(gzip.compress(rows))
    got = read_processbench([tmp_path / "plain.json.gz"])
    assert got.items.select("part", "id", "label").rows() == [("plain", "x0", -1), ("plain", "x1", 1)]
    (tmp_path / "plain.json.gz").write_bytes(gzip.compress(rows)[:-9])
    with pytest.raises(BenchFileError, match="broken or cut off gzip"):
        read_processbench([tmp_path / "plain.json.gz"])


@pytest.mark.parametrize(
    ("name", "text", "part"),
    [
        ("a.json", '[{"id": "1", "text": "?"}]', "expected columns id, problem, steps, label, got id, text"),
        ("a.json", "[1,", "broken JSON"),
        ("a.json", "[]", "no rows"),
        (
            "a.csv",
            "id",
            "expected a name ending in .json, .jsonl, .ndjson, .parquet (or one of these and .gz or .zst), got .csv",
        ),
        ("a.parquet", "PAR1", "expected a Parquet file"),
        ("missing.json", None, "got no such file"),
    ],
)
def test_a_source_that_cannot_be_used_gets_one_line(tmp_path, name, text, part):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(BenchFileError) as caught:
        read_processbench([tmp_path / name])
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_hub_is_read_by_name_and_split(tmp_path, monkeypatch):
    """A folder laid out as the data set is on the hub, read by the same call."""
    pytest.importorskip("datasets")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "Qwen" / "ProcessBench"
    folder.mkdir(parents=True)
    splits = ("gsm8k", "math")
    for split in splits:
        rows = [{**row, "id": row["id"].replace("gsm8k", split)} for row in rows_of(-1, 1)]
        (folder / f"{split}.json").write_text(json.dumps(rows))
    files = "".join(f"  - split: {split}\n    path: {split}.json\n" for split in splits)
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n")
    got = read_processbench(["Qwen/ProcessBench"], parts=["math"])
    assert got.items.select("part", "id").rows() == [("math", "math-0"), ("math", "math-1")]


def test_a_hub_that_cannot_be_reached_gets_one_line(monkeypatch):
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(BenchFileError, match="name local files"):
        read_processbench(["nobody/nothing-of-that-name"])


def test_floors_read_nothing_and_repeat():
    items = pl.DataFrame(
        [("a", f"a-{k}", f"{k}?", ["x"] * 4, [-1, 0, 2][k % 3]) for k in range(60)],
        schema=PROCESSBENCH_SCHEMA,
        orient="row",
    )
    trivial = trivial_predictions(items, choose_on="a", seed=0)
    assert trivial == trivial_predictions(items, choose_on="a", seed=0)
    assert trivial["random step"] != trivial_predictions(items, choose_on="a", seed=1)["random step"]
    assert set(trivial["random step"]) == {-1, 0, 1, 2, 3}
    f1 = {
        name: evaluate_processbench(items.with_columns(prediction=pl.Series(p)), seed=0, bootstrap=5)["f1"][0]
        for name, p in trivial.items()
    }
    assert f1["always right"] == f1["last step"] == f1["always wrong"] == 0.0
    assert 0 < f1["random step"] < 0.5


def test_rows_are_drawn_from_all_of_a_file():
    items = pl.DataFrame({"part": ["a"] * 50 + ["b"], "id": [str(k) for k in range(50)] + ["0"]})
    few, more = (draw_rows(items, limit) for limit in (5, 20))
    assert (few.height, more.height) == (6, 21)
    assert set(few.rows()) < set(more.rows())
    assert max(map(int, few["id"])) > 10  # not the first ones
    assert more["id"][:-1].cast(pl.Int32).is_sorted()


def test_overlap_is_found_through_spelling_and_not_through_numbers():
    items = pl.DataFrame(
        [
            ("a", "1", "Tom has 1,000 apples.  He eats $\\dfrac{1}{2}$ of them."),
            ("a", "2", "Tom has 1,001 apples. He eats $\\frac{1}{2}$ of them."),
            ("b", "1", "Compute 3 × 4 − 1."),
        ],
        schema=["part", "id", "problem"],
        orient="row",
    )
    training = ["tom has 1000 apples; he eats \\frac 1 2 of them", "Compute $3\\cdot 4 - 1$", "?!"]
    found = find_overlap(items, training)
    assert found.ids.select("part", "id").rows() == [("a", "1"), ("b", "1")]
    assert found.num_training == 2
    assert normalise_problem("1.5 and 15") != normalise_problem("15 and 15")


@pytest.mark.parametrize("name", ["gsm8k", "math"])
def test_rows_of_the_data_set_are_all_usable(name, data_set):
    path = data_set(f"processbench_{name}")
    items, rejected = read_processbench([path])
    assert (items.height, rejected.height) == (len(json.loads(path.read_text())), 0)
    assert items.height in (10, 200, 500)
    assert (items["label"] < items["steps"].list.len()).all()
    assert items["label"].n_unique() >= 4
    assert items["part"].unique().to_list() == [name]
