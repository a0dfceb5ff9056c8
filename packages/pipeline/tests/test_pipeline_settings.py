"""The main job's settings: recipes that are checked in parse, mistakes are answered in a line."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
RECIPES = [
    *sorted((ROOT / "apps/train/recipes").glob("*.toml")),
    ROOT / "packages/policy/src/eduprm/policy/smollm2-135m-steps-prm/recipe.toml",
]


def load(*arguments: str):
    from eduprm.core.command_line import load_settings
    from eduprm.pipeline.settings import TrainSettings

    return load_settings(TrainSettings, arguments)


def refusal(*arguments: str) -> str:
    from eduprm.core.command_line import UsageError

    with pytest.raises(UsageError) as caught:
        load(*arguments)
    return str(caught.value)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipe_parses(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = tomllib.loads(recipe.read_text())
    for name in {"problems", "test_problems"} & set(
        values
    ):  # files that another job makes, or the reader's own
        (tmp_path / values[name]).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / values[name]).touch()
    settings = load("--config", str(recipe))
    assert settings.search.budget.max_leaves >= 8


def test_the_default_recipe_is_the_default():
    assert load("--config", str(ROOT / "apps/train/recipes/default.toml")).model_dump(exclude={"config"}) == (
        load().model_dump(exclude={"config"})
    )


def test_the_paper_recipe_says_what_the_paper_says():
    settings = load("--config", str(ROOT / "apps/train/recipes/qwen2.5-math-7b.toml"))
    train = settings.prm.train
    assert (settings.search.threshold, settings.search.order) == (1.0, "chronological")
    assert (train.learning_rate, train.epochs, train.scheduler, train.lora) == (1e-6, 5, "cosine", None)
    assert settings.problem.dataset_split == "train"
    # Labels at the anchors, learnt by the cross-entropy of a head.
    assert (train.losses, train.scoring.kind, settings.label.steps) == (
        {"cross_entropy": 1.0},
        "head",
        ("entropy",),
    )


def test_a_flag_changes_one_setting_and_wins_over_the_recipe(tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text('[search]\nthreshold = 0.9\norder = "chronological"\n[prm.train]\nepochs = 2\n')
    settings = load("--config", str(recipe), "--search.threshold", "0.7")
    assert (settings.search.threshold, settings.search.order) == (0.7, "chronological")
    # The rest of the part keeps the app's defaults, not those of the part's class.
    assert settings.search.budget.max_tokens_per_path == 128
    assert (settings.prm.train.epochs, settings.prm.train.batch_tokens) == (2, load().prm.train.batch_tokens)


def test_none_in_a_recipe_is_no_value(tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text('[prm.train]\nlora = "none"\n')
    assert load("--config", str(recipe)).prm.train.lora is None


def test_a_file_or_data_set_has_a_run_folder_of_its_own(tmp_path):
    mine = tmp_path / "mine.jsonl"
    mine.write_text("")
    assert load().folder == Path("runs/default")
    assert load("--problems", str(mine)).folder == Path("runs/mine")
    assert load("--problem.dataset", "someone/MATH").folder == Path("runs/MATH")
    assert load("--problems", str(mine), "--run", "elsewhere").folder == Path("elsewhere")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--search.threshold", "high"], ["--search.threshold", "number", "'high'"]),
        (["--bootstrap", "0"], ["--bootstrap", "greater than or equal to 1", "'0'"]),
        (["--problems", "no-such-file.jsonl"], ["--problems", "file that exists", "no-such-file"]),
        (["--limit", "5"], ["--limit", "--problems"]),
        (["--rerun", "training"], ["--rerun", "'prm'", "'training'"]),
        (
            ["--label.steps", "fixed_length", "--label.steps-options", "{}"],
            ["--label.steps-options: ", "got {}"],
        ),
        (
            ["--rerun", "prm", "--only", "search"],
            ["--rerun prm: expected it among the stages of --only, got search"],
        ),
        (["--problem.task", "mixed=0"], ["shares above 0, got 'mixed=0'\n"]),
        (["--run", ""], ["--run: expected a path, got ''"]),
        (["--prm.train.learning-rate", "inf"], ["--prm.train.learning-rate: expected a finite number"]),
        (["--config", "no-such.toml"], ["--config", "no-such.toml"]),
        (["--treshold", "1"], ["--treshold", "--help"]),
    ],
)
def test_a_mistake_names_the_setting_what_was_expected_and_what_came(arguments, words):
    text = refusal(*arguments)
    assert len(text.splitlines()) == 1
    for word in words:
        assert word in f"{text}\n"


def test_a_wrong_setting_in_a_recipe_names_the_file(tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text("[search]\nthreshold = -1\nthershold = 2\n")
    text = refusal("--config", str(recipe))
    assert "--search.threshold" in text
    assert "--search.thershold" in text
    assert "mine.toml" in text


def test_help_shows_every_default_and_the_command_answers_mistakes_without_a_traceback():
    done = subprocess.run(
        [sys.executable, "apps/train", "--help"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0
    assert "--search.threshold" in done.stdout
    assert "(default: 0.1)" in done.stdout
    wrong = subprocess.run(
        [sys.executable, "apps/train", "--seed", "x"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert wrong.returncode == 2
    assert "--seed" in wrong.stderr
    assert "Traceback" not in wrong.stderr


@pytest.mark.parametrize("written", ["cross_entropy=1", '{"cross_entropy": 1.0}'])
def test_losses_that_are_given_stand_in_place_of_the_defaults(written, tmp_path):
    recipe = tmp_path / "head.toml"
    recipe.write_text("[prm.train]\nlosses = { fork = 2.0 }\nepochs = 3\n")
    assert load("--config", str(recipe)).prm.train.losses == {"fork": 2.0}
    train = load(
        "--config", str(recipe), "--prm.train.losses", written, "--prm.train.scoring.kind", "head"
    ).prm.train
    assert (train.losses, train.scoring.kind, train.epochs) == ({"cross_entropy": 1.0}, "head", 3)
    assert train.last_layers == load().prm.train.last_layers


def test_losses_that_cannot_be_read_are_answered_in_a_line():
    assert "--prm.train.losses: expected name=value,name=value or a JSON object, got 'fork'" in refusal(
        "--prm.train.losses", "fork"
    )
    assert "--prm.train.losses" in refusal("--prm.train.losses", "fork=0")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--label.rule", "mean"], "--label.rule: rules: expected one of "),
        (["--label.rule", "no.such:Rule"], "cannot be imported: No module named 'no'"),
        (["--label.rule-options", "eta=2"], "--label.rule-options: uniform: expected no options, got 'eta'"),
    ],
)
def test_a_wrong_choice_is_one_line(flags: list[str], said: str) -> None:
    line = refusal(*flags)
    assert said in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--label.rule", "x"], "--label.rule: rules: expected one of entropy_regularised, "),
        (["--label.weights", "est"], "--label.weights: weights: expected one of east, one or package.module:Weights"),
        (["--label.filter", "x", "--label.filter-options", "judge=equations"], "--label.filter: filters: expected "),
        (["--label.filter", "consensus", "--label.filter-options", "judge=x"], "--label.filter-options: consensus: "),
    ],
)  # fmt: skip
def test_an_unknown_choice_is_told_at_the_flag_that_names_it(arguments, told):
    said = refusal(*arguments)
    assert said.startswith(told)
    assert "\n" not in said
