"""apps/rerank and apps/bench by command with a wrapped PRM and with int8 weights: scores change as they must."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from eduprm.rank.testing import read_jsonl, write_jsonl
from eduprm_bench.cli import main as bench

needs_int8 = pytest.mark.skipif(importlib.util.find_spec("torchao") is None, reason="needs the extra int8")

ROWS = [
    {
        "id": f"p{k}",
        "problem": f"What is {k} + 2 + 3?",
        "solutions": [
            {"steps": [f"{k} + 2 = {k + 2}\n", f"{k + 2} + 3 = {k + 5}\n", f"#### {k + 5}"]},
            {"steps": [f"{k} + 2 = {k + 3}\n", f"{k + 3} + 3 = {k + 6}\n", f"#### {k + 6}"]},
        ],
        "answer": str(k + 5),
    }
    for k in range(4)
]
REFUTED = [[0, 0, 0], [1, 0, 0]]
"""Of each solution's steps, which hold a false equation."""


def scores_of(rerank, tmp_path: Path, *flags: object) -> np.ndarray:
    """Of every problem, solution and step."""
    rows = [{**row, "solutions": ["".join(one["steps"]) for one in row["solutions"]]} for row in ROWS]
    write_jsonl(tmp_path / "in.jsonl", rows)
    status, _, err = rerank("in.jsonl", "--segment", "lines", "--output", "out.jsonl", *flags)
    assert status == 0, err
    found = []
    for row in read_jsonl(tmp_path / "out.jsonl"):
        by_index = sorted(row["ranked"], key=lambda one: one["index"])
        found.append([one["step_scores"] for one in by_index])
    return np.array(found)


def test_rerank_takes_the_score_of_a_refuted_step(rerank, tmp_path):
    plain = scores_of(rerank, tmp_path)
    assert (plain > 0).all()
    wrapped = scores_of(rerank, tmp_path, "--wrap", "checked")
    np.testing.assert_array_equal(wrapped, np.where(REFUTED, 0.0, plain))
    half = scores_of(rerank, tmp_path, "--wrap", "checked", "--wrap-options", '{"checked": {"weight": 0.5}}')
    np.testing.assert_allclose(half, np.where(REFUTED, plain / 2, plain), rtol=1e-6)


def test_rerank_mixes_the_whole_into_each_step(rerank, tmp_path):
    plain = scores_of(rerank, tmp_path)
    options = '{"trajectory": {"weight": 0.25}}'
    mixed = scores_of(rerank, tmp_path, "--wrap", "trajectory", "--wrap-options", options)
    # The part that is not a step's own is one number for all steps of a solution, and itself a score.
    whole = (mixed - 0.75 * plain) / 0.25
    np.testing.assert_allclose(whole, np.broadcast_to(whole[:, :, :1], whole.shape), atol=1e-5)
    assert ((whole > 0) & (whole < 1)).all()
    assert np.abs(mixed - plain).max() > 1e-4


@needs_int8
def test_rerank_with_int8_weights_is_near_the_full_ones(rerank, tmp_path):
    full = scores_of(rerank, tmp_path, "--device", "cpu").ravel()
    small = scores_of(rerank, tmp_path, "--device", "cpu", "--weights", "int8").ravel()
    assert 0 < np.abs(small - full).max() < 0.05
    assert np.corrcoef(small, full)[0, 1] > 0.9


def bench_scores(folder: Path, prm: Path, *flags: str) -> np.ndarray:
    rows = [
        {"id": f"gsm8k-{2 * n + k}", "problem": row["problem"], "steps": one["steps"], "label": label}
        for n, row in enumerate(ROWS)
        for k, (one, label) in enumerate(zip(row["solutions"], (-1, 0), strict=True))
    ]
    (folder / "gsm8k.json").write_text(json.dumps(rows))
    out = folder / "-".join(["out", *flags]).replace("/", "")
    named = ["--prm", str(prm), "--output", str(out), "--device", "cpu", "--bootstrap", "20"]
    assert bench(["processbench", str(folder / "gsm8k.json"), *named, *flags]) == 0
    found = {row["id"]: row["scores"] for row in read_jsonl(out / "rows.jsonl")}
    return np.array([found[row["id"]] for row in rows])


def test_processbench_with_a_wrapper(prm, tmp_path):
    plain, wrapped = bench_scores(tmp_path, prm), bench_scores(tmp_path, prm, "--wrap", "checked")
    np.testing.assert_array_equal(wrapped, np.where(REFUTED * len(ROWS), 0.0, plain))


@needs_int8
def test_processbench_with_int8_weights(prm, tmp_path):
    full, small = bench_scores(tmp_path, prm), bench_scores(tmp_path, prm, "--weights", "int8")
    assert 0 < np.abs(small - full).max() < 0.05
    assert np.corrcoef(small.ravel(), full.ravel())[0, 1] > 0.9
