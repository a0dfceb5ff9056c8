"""Lists and `none` on the command line and in TOML, on the settings of every command."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from eduprm.core.command_line import CommandSettings, UsageError, load_settings


class Adapter(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    rank: int = 16
    targets: tuple[str, ...] | None = None


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    adapter: Adapter | None = Adapter()
    sharding: Literal["none", "fsdp"] = "none"
    add_bos: bool | None = None
    steps: int = 5


class Settings(CommandSettings):
    config: Path | None = None
    limit: int | None = Field(7, ge=1)
    name: str | None = "a"
    cut: Literal["none", "lines"] | None = "lines"
    only: list[Literal["grow", "train"]] = Field([])
    thresholds: tuple[float, ...] = (0.5,)
    seed: int = 0
    part: Part = Part()
    extra: dict[str, int] = Field({})
    file: Path | None = None


def load(*arguments: str) -> Settings:
    return load_settings(Settings, arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--only", "grow", "train"],
        ["--only", "grow,train"],
        ["--only", "grow,", "train"],
        ["--only", "grow", "--only", "train"],
        ["--only=grow,train"],
        ["--only=grow", "--only=train"],
        ["--only", "grow", "--seed", "1", "--only", "train"],
        ["--only", '["grow", "train"]'],
    ],
)
def test_a_list_may_be_written_in_every_usual_way(arguments):
    assert load(*arguments).only == ["grow", "train"]


def test_lists_of_numbers_and_lists_in_parts():
    assert load("--thresholds", "-1", "0.5,2", "--seed", "3").thresholds == (-1.0, 0.5, 2.0)
    assert load("--part.adapter.targets", "q_proj", "v_proj").part.adapter == Adapter(
        targets=("q_proj", "v_proj")
    )
    assert load("--extra", "a=1", "--extra", "b=2").extra == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--only", "grow", "trian"], "--only.1: expected 'grow' or 'train', got 'trian'"),
        (["--only"], "--only: expected one argument"),
    ],
)
def test_a_mistake_in_a_list_is_one_line(arguments, told):
    with pytest.raises(UsageError) as caught:
        load(*arguments)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("part = 3", "--part: expected a table of settings, got 3 in "),
        ("extra = 3", "--extra: expected a table of names and values, got 3 in "),
        ("name = ['a']", "--name: expected a valid string, got ['a'] in "),
        ("file = ['a']", "FILE: expected a path, got ['a'] in "),
    ],
)
def test_a_wrong_type_in_a_recipe_is_told_in_plain_words(tmp_path, line, told):
    recipe = tmp_path / "mine.toml"
    recipe.write_text(line)
    with pytest.raises(UsageError) as caught:
        load("--config", str(recipe))
    assert str(caught.value) == f"{told}{recipe}"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "[part]\nadd-bos = true\nadd_bos = false\n",
            "gives add_bos twice, with dashes and with underscores",
        ),
        ("config = 'other.toml'\n", "names another recipe, 'other.toml'; write one file"),
        (
            "[part]\nsteeps = 3\n",
            "--part.steeps: there is no such setting; did you mean --part.steps? `uv run",
        ),
    ],
)
def test_a_recipe_leaves_no_line_unread(tmp_path, text, told):
    recipe = tmp_path / "mine.toml"
    recipe.write_text(text)
    with pytest.raises(UsageError) as caught:
        load("--config", str(recipe))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_recipe_may_be_written_on_windows(tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_bytes(b"\xef\xbb\xbflimit = 3\r\n[part]\r\nsteps = 9\r\n")
    settings = load("--config", str(recipe))
    assert (settings.limit, settings.part.steps) == (3, 9)


def test_a_part_that_python_gives_is_taken_whole():
    class Tabled(BaseModel):
        losses: dict[str, float] = {"fork": 1.0}
        steps: int = 5

    class Outer(CommandSettings):
        part: Tabled = Tabled()

    assert Outer(part=Tabled(losses={"head": 2.0})).part == Tabled(losses={"head": 2.0})
    assert Outer(part={"losses": {"head": 2.0}}).part == Tabled(losses={"head": 2.0})
    assert Outer(part={"steps": 2}).part == Tabled(steps=2)


def test_an_empty_path_is_not_the_current_folder(tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text("file = ''\n")
    with pytest.raises(UsageError, match="FILE: expected a path, got ''"):
        load("--config", str(recipe))


def test_an_argument_that_is_no_text_is_one_line():
    with pytest.raises(UsageError, match=r"expected arguments in UTF-8, got 'runs/\\udcff'"):
        load("--name", "runs/\udcff")


def test_none_is_taken_wherever_a_setting_may_be_none():
    settings = load(
        *(
            "--limit",
            "none",
            "--name=none",
            "--part.adapter",
            "none",
            "--part.add-bos",
            "none",
            "--part.steps",
            "2",
        )
    )
    assert (settings.limit, settings.name, settings.part.adapter, settings.part.add_bos) == (None,) * 4
    assert settings.part.steps == 2
    assert load("--part.adapter.targets", "none").part.adapter == Adapter(targets=None)
    assert load("--limit", "None").limit is None


def test_a_switch_takes_no_word_that_is_not_its_own():
    assert load("--part.add-bos", "--seed", "2").part.add_bos is True
    assert load("--no-part.add-bos").part.add_bos is False
    with pytest.raises(UsageError, match="unrecognized arguments: more"):
        load("--part.add-bos", "more")


def test_none_stays_a_word_where_it_is_a_choice():
    settings = load("--cut", "none", "--part.sharding", "none")
    assert (settings.cut, settings.part.sharding) == ("none", "none")


def test_the_last_of_two_values_counts():
    assert load("--limit", "3", "--limit", "none").limit is None
    assert load("--limit", "none", "--limit", "3").limit == 3


def test_none_wins_over_the_recipe_and_leaves_the_rest_of_it(tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text("limit = 4\n[part]\nsteps = 9\n[part.adapter]\nrank = 2\n")
    assert load("--config", str(recipe)).part.adapter == Adapter(rank=2)
    settings = load("--config", str(recipe), "--limit", "none", "--part.adapter", "none")
    assert (settings.limit, settings.part.adapter, settings.part.steps) == (None, None, 9)


def test_none_in_a_recipe_reads_as_on_the_command_line(tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text('limit = "none"\ncut = "none"\n[part]\nsharding = "none"\nadapter = "none"\n')
    settings = load("--config", str(recipe))
    assert (settings.limit, settings.cut) == (None, "none")
    assert (settings.part.sharding, settings.part.adapter) == ("none", None)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--seed", "none"], "--seed: expected a valid integer"),
        (
            ["--part.adapter", "none", "--part.adapter.rank", "3"],
            "--part.adapter: expected none or settings of it",
        ),
        (["--limit", "0"], "--limit: expected greater than or equal to 1, got '0'"),
    ],
)
def test_none_elsewhere_is_a_mistake(arguments, told):
    with pytest.raises(UsageError) as caught:
        load(*arguments)
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["--limt", "3"], "--limit"),
        (["--part.add_bos", "true"], "--part.add-bos"),
        (["--part.adapter.rnk=3"], "--part.adapter.rank"),
        (["--sed", "1", "--thresold", "0.1"], "--seed, --thresholds"),
    ],
)
def test_a_flag_that_is_nearly_one_is_answered_with_that_one(arguments, meant):
    with pytest.raises(UsageError, match=f"did you mean {meant}\\? ") as caught:
        load(*arguments)
    assert "\n" not in str(caught.value)


def test_a_flag_near_to_none_is_answered_without_a_guess():
    with pytest.raises(UsageError) as caught:
        load("--colour", "red")
    assert "did you mean" not in str(caught.value)
    with pytest.raises(UsageError, match="argument --seed: expected one argument; `uv run"):
        load("--seed")


def test_help_shows_defaults_that_cannot_be_seen(capsys):
    class Marked(CommandSettings):
        joiner: str = Field("\n", description="between steps")
        tag: str = Field("", description="behind a step; 5 % of them")
        first: str = Field(" ", description="before the first")
        name: str = Field("a b", description="its name")

    with pytest.raises(SystemExit):
        load_settings(Marked, ["--help"])
    shown = capsys.readouterr().out
    assert r"between steps (default: '\n')" in shown
    assert "behind a step; 5 % of them (default: '')" in shown
    assert "before the first (default: one blank)" in shown
    assert "its name (default: a b)" in shown
