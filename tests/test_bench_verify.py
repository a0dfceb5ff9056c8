"""`bench verify`: known scores against weights, here those of tiny random checkpoints in the published forms."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eduprm.prm import load_step_scorer
from eduprm.prm.published.testing import tiny_published
from eduprm_bench.cli import main

SOLUTION = {"problem": "What is 2 * 3 * 4?", "steps": ["First, 2 * 3 = 6.", "Then 6 * 4 = 24."]}
FORMS = ("qwen2.5-math-prm", "math-shepherd", "rlhflow", "skywork-o1-open-prm")


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """Weights of every form, and a file that holds their scores as if cards had printed them."""
    known = {}
    for name in FORMS:
        prm = load_step_scorer(tiny_published(tmp_path / name, name), format=name)
        scores = [round(score, 4) for score in prm.score(SOLUTION["problem"], SOLUTION["steps"])]
        entry = {"checkpoint": f"tiny/{name}", "source": "this test", "dtype": "float32"}
        known[name] = {**entry, "examples": [{**SOLUTION, "scores": scores}]}
    file = tmp_path / "known.json"
    file.write_text(json.dumps(known))
    return file


def test_every_form_is_verified_and_a_changed_score_is_found(examples, capsys):
    folder, known = examples.parent, json.loads(examples.read_text())
    for name in FORMS:
        command = ["verify", name, "--prm", str(folder / name), "--examples", str(examples)]
        assert main([*command, "--tolerance", "0.0002"]) == 0
        shown = capsys.readouterr().out
        assert "largest difference 0.000" in shown
        assert "all within 0.0002" in shown
        assert f"{known[name]['examples'][0]['scores'][1]:.4f}" in shown
        known[name]["examples"][0]["scores"][1] += 0.1
    examples.write_text(json.dumps(known))
    assert main(command) == 1
    assert (
        "largest difference 0.1000 over 2 steps: 1 of them differ by more than 0.02"
        in capsys.readouterr().out
    )


def test_weights_of_another_model_differ(examples, capsys):
    other = tiny_published(examples.parent / "other", "qwen2.5-math-prm", seed=1)
    command = ["verify", "qwen2.5-math-prm", "--prm", str(other)]
    assert main([*command, "--examples", str(examples)]) == 1
    assert "differ by more than" in capsys.readouterr().out
    # The card's own example does not fit into the context of the tiny weights.
    assert main([*command, "--dtype", "float32"]) == 2
    assert "example 1 cannot be scored: it has 1455 tokens with its problem" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["trl"], "NAME: no scores are known of 'trl'; expected one of math-shepherd, qwen2.5-math-prm"),
        (["math-shepherd", "--prm", "nowhere"], "--prm: "),
        (["math-shepherd", "--examples", "nowhere.json"], "--examples: nowhere.json holds no known scores: "),
        (["math-shepherd", "--examples", "empty.json"], "--examples: empty.json holds no known scores: "),
    ],
)
def test_mistakes_are_one_line(arguments, line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.json").write_text('{"math-shepherd": {}}')
    assert main(["verify", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"bench verify: {line}")
    assert len(error.splitlines()) == 1
