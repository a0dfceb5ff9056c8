"""Settings of apps/rerank: flags, TOML, help, and the one line that each mistake gets."""

import subprocess
import sys
from pathlib import Path

import pytest

from eduprm.core.errors import UsageError
from eduprm.policy import STEPS_MODEL
from eduprm.prm import StepCut
from eduprm.rank.settings import load_settings
from eduprm.rank.trained_cut import as_trained


def test_defaults_flags_and_column_names():
    settings = load_settings(["in.jsonl", "--columns.problem", "question", "--aggregate", "product"])
    assert settings.file == Path("in.jsonl")
    assert settings.prm is None
    assert (settings.columns.problem, settings.columns.id) == ("question", "id")
    assert (settings.aggregate, settings.segment, settings.strict) == ("product", "auto", False)
    assert load_settings(["in.jsonl", "--strict"]).strict


def test_toml_gives_settings_and_flags_win(tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('aggregate = "last"\nbatch-tokens = 64\n[columns]\nproblem = "question"\nid = "key"\n')
    settings = load_settings(
        ["in.jsonl", "--config", str(recipe), "--columns.id", "name", "--aggregate", "mean"]
    )
    assert (settings.aggregate, settings.batch_tokens) == ("mean", 64)
    assert (settings.columns.problem, settings.columns.id) == ("question", "name")


def test_one_flag_of_the_policy_leaves_the_rest_as_the_prm_was_trained(tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        "[policy]\nthreshold = 0.5\n"
    )  # what would be the default, but is not what the PRM says
    entropy = {"threshold": 0.1, "skip_symbols": False}
    cut = StepCut(policy=STEPS_MODEL, segmenters={"entropy": entropy, "lines": {}}, style="steps")
    for given in (["--policy.threshold", "0.5"], ["--config", str(recipe)]):
        settings, line = as_trained(load_settings(["in.jsonl", *given]), cut.model_dump())
        assert settings.policy.cut == {"entropy": {**entropy, "threshold": 0.5}, "lines": {}}
        assert (settings.policy.model, settings.policy.style) == (STEPS_MODEL, "steps")
        assert "in the PRM's training, but for --policy.threshold; " in line


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([], ["FILE", "required"]),
        (["x", "--limit", "0"], ["--limit: expected greater than or equal to 1", "got '0'"]),
        (["x", "--limit", "many"], ["--limit: expected a valid integer", "got 'many'"]),
        (
            ["x", "--segment", "words"],
            ["--segment: segmenters: expected one of delimiter, entropy", "got 'words'"],
        ),
        (["x", "--grader", "maths"], ["--grader: expected one of math, number, none", "got 'maths'"]),
        (["x", "--grader", "reasoning-gym"], ["or package.module:Grader, got", "want the generator's entry"]),
        (["x", "--rule", "best"], ["--rule: rules: expected one of greedy, hmr_prm, ", "got 'best'"]),
        (["x", "--rule", "no.where:Rule"], ["--rule: rules: 'no.where:Rule' cannot be imported"]),
        (
            ["x", "--rule", "json:JSONDecoder"],
            ["--rule: rules: 'json:JSONDecoder' has no 'score': expected score, as docs/extend.md and "],
        ),
        (
            ["x", "--rule", "mean_logprob"],
            ["--rule: mean_logprob reads logprob_sum, which files of solutions do"],
        ),
        (["x", "--rule", "oracle"], ["--rule: oracle reads the gold answers"]),
        (["x", "--rule-options", "weight=2"], ["--rule: prm: expected the options aggregate, got 'weight'"]),
        (
            ["x", "--rule", "wrf_prm", "--rule-options", "weight=2"],
            ["--rule: wrf_prm: weight: Input should be less than or equal to 1, got 2"],
        ),
        (["x", "--rule-options", "aggregate=last"], ["--rule-options: expected no aggregate", "--aggregate"]),
        (["x", "--columns.id", ""], ["--columns.id: expected at least 1 character", "got ''"]),
        (["x", "--colums.id", "k"], ["unrecognized arguments: --colums.id k", "--help"]),
        (["x", "--config", "nowhere.toml"], ["--config: cannot read nowhere.toml", "No such file"]),
    ],
)
def test_mistakes_name_the_flag_and_what_came(arguments, parts):
    with pytest.raises(UsageError) as caught:
        load_settings(arguments)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_every_mistake_has_its_own_line():
    with pytest.raises(UsageError) as caught:
        load_settings(["x", "--limit", "0", "--batch-tokens", "-1"])
    assert {line.split(":")[0] for line in str(caught.value).splitlines()} == {"--limit", "--batch-tokens"}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("limit = 0", ["--limit: expected greater", "got 0 in "]),
        ("lmit = 3", ["--lmit: there is no such setting", "limit"]),
        ("[columns]\nquestion = 'q'", ["--columns.question: there is no such setting"]),
        ("limit =", ["is not valid TOML"]),
    ],
)
def test_mistakes_in_toml_name_the_file(tmp_path, text, parts):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(text)
    with pytest.raises(UsageError) as caught:
        load_settings(["x", "--config", str(recipe)])
    for part in [*parts, "recipe.toml"]:
        assert part in str(caught.value)


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        load_settings(["x"]).limit = 3


def test_help_shows_defaults_and_loads_nothing_heavy():
    code = (
        "import sys\n"
        "from eduprm_rerank.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as stop:\n    assert stop.code == 0\n"
        "assert main(['x', '--limit', '0']) == 2\n"
        "assert main(['no-such-file.jsonl']) == 2\n"
        "heavy = {'torch', 'transformers', 'polars', 'pyarrow'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "else runs/default/prm, else the one that ships" in " ".join(done.stdout.split())
    assert "--columns.solutions" in done.stdout
    assert "no-such-file.jsonl: no such file" in done.stderr
    assert "Traceback" not in done.stderr
