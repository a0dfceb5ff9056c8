"""`apps/bench sampling`: settings, what is compared, and the small recipe for real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from eduprm.core.command_line import UsageError, load_settings
from eduprm.pipeline.sampling.settings import SamplingSettings

ROOT = Path(__file__).resolve().parents[1]


SMALL = ROOT / "apps" / "bench" / "recipes" / "sampling-small.toml"


@pytest.mark.parametrize("recipe", sorted((ROOT / "apps/bench/recipes").glob("*.toml")), ids=lambda p: p.stem)
def test_every_recipe_parses(recipe):
    settings = load_settings(SamplingSettings, ["--config", str(recipe)])
    assert settings.grid.max_leaves == max(settings.grid.ns)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--training.kinds", "lines"], "expected edu among them"),
        (["--grid.ns", "0"], "at least 1"),
        (["--prm.input.separator", "<s>"], "expected no separator"),
        (["--problem.num-test", "1"], "num_test: expected 2 or more"),
        (["--prm.temperatures", "0.9"], "expected some of --grid.temperatures"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(flags, message):
    with pytest.raises(UsageError, match=message):
        load_settings(SamplingSettings, flags)


@pytest.mark.slow
def test_the_small_experiment_for_real_and_again(tmp_path):
    command = [sys.executable, "apps/bench", "sampling", "--config", str(SMALL), "--output", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200, env=os.environ)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    sets = report["training_sets"]
    assert all(0 < own["tokens"] <= sets["edu"]["tokens"] for own in sets.values())
    assert sets["edu"]["tokens"] == sets["lines"]["tokens"]
    points = pl.read_parquet(tmp_path / "points.parquet")
    assert set(points["prm"]) == {"", "edu", "lines", "shepherd", "adaptive"}
    assert set(points["family"]) == {"EDU", "P-EDU", "samples", "greedy"}
    # Raw points say what the summary says.
    outcomes = pl.read_csv(tmp_path / "outcomes.csv")
    means = outcomes.filter(setting="samples T=0.7", rule="oracle", n=4)["correct"].mean()
    shown = points.filter(setting="samples T=0.7", rule="oracle", n=4)["mean"].item()
    assert shown == pytest.approx(means)
    greedy = points.filter(pl.col("setting") == "greedy", pl.col("rule") == "oracle")
    assert greedy["leaves"].item() == 1
    assert (tmp_path / "results.md").read_text().startswith("# Results")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*") if path.is_file()}
    page = (tmp_path / "results.md").read_bytes()
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, env=os.environ)
    assert again.returncode == 0, again.stderr
    assert "loading" not in again.stderr
    assert {
        path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*") if path.is_file()
    } == before
    assert (tmp_path / "results.md").read_bytes() == page
