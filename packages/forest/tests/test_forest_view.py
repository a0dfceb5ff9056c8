"""The terminal view shows what is in a tree, and whatever a model wrote stays text."""

import subprocess
import sys
import unicodedata
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from eduprm.forest import ForestError, print_tree, render_tree, visible, write_shard

# a busy machine must not fail a property that holds
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def drawn(df: pl.DataFrame, *, terminal: bool = False, **options: int) -> str:
    console = Console(width=200, record=True, file=open("/dev/null", "w"), force_terminal=terminal)  # noqa: SIM115
    print_tree(df, console=console, **options)
    return console.export_text(styles=terminal)


def test_a_labelled_tree_shows_forks_values_and_leaves(labelled: pl.DataFrame) -> None:
    lines = drawn(labelled[:3].with_columns(score=pl.Series([0.5, 0.25, None]))).splitlines()
    assert lines[0] == "p / edu"
    assert lines[1] == "0 │2 * 3│ 2 tok  ⑂2 1.50 nats  v 0.50 (1/2)  s 0.50"
    assert lines[2] == "├── 1 │ = 6│ 1 tok  v 1.00 (1/1)  s 0.25  stop  ✓ right"
    assert lines[3] == "└── 2 │ = 7│ 2 tok  v 0.00 (0/1)  length  ✗ wrong"


def test_an_unlabelled_tree_shows_no_verdict(nodes: pl.DataFrame) -> None:
    text = drawn(nodes[3:])
    assert "⑂2 0.20 nats" in text
    assert "pruned" in text
    assert "right" not in text
    assert "wrong" not in text


def test_fragments_without_a_fork_share_a_line(grow) -> None:
    lines = drawn(grow([[None, 0, 1, 1, 3]])).splitlines()
    assert lines[1].startswith("0–1 │<0>│<1>│ 2 tok  ⑂2")
    assert lines[2].startswith("├── 2 │<2>│")
    assert lines[3].startswith("└── 3–4 │<3>│<4>│")


@relaxed
@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_no_character_that_acts_survives(text: str) -> None:
    shown = visible(text)
    assert not {unicodedata.category(char) for char in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert visible(shown) == shown


HOSTILE = [
    "[bold red]x[/bold red][link=http://a.b]y[/link]",
    "[/]",  # rich raises on a closing tag without an opening one, if it parses it
    "\x1b[2J\x1b[31mred\x1b]8;;http://a.b\x07link",
    "\x9b31m\x85",
    "a\r\nb\tc\x08\x7f",
    "\u202eright to left\u2066",
    "\u2028line\u2029\u200b\ufeff",
    ":smile: \\[x]",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("column", ["text", "problem_id", "tree"])
def test_hostile_text_shows_as_text(text: str, column: str, labelled: pl.DataFrame) -> None:
    plain = drawn(labelled[:3])
    hostile = drawn(labelled[:3].with_columns(pl.lit(text).alias(column)), max_chars=400)
    assert visible(text) in hostile
    assert len(hostile.splitlines()) == len(plain.splitlines())
    # on a terminal, no escape comes out that the view does not use for its own colours
    coloured = drawn(labelled[:3].with_columns(pl.lit(text).alias(column)), terminal=True, max_chars=400)
    own = drawn(labelled[:3], terminal=True)
    assert len(set(own.split("\x1b"))) > 5
    assert {part.split("m")[0] for part in coloured.split("\x1b")[1:]} <= {
        part.split("m")[0] for part in own.split("\x1b")[1:]
    }


def test_long_texts_and_long_trees_are_cut(nodes: pl.DataFrame, grow) -> None:
    long = drawn(nodes[:3].with_columns(text=pl.lit("a" * 5000 + "end")), max_chars=20)
    assert "aaaaaaaaaa…aaaaaaend│" in long
    assert max(map(len, long.splitlines())) < 120
    wide = drawn(grow([[None] + [0] * 50]), max_lines=10)
    assert "… 41 more nodes not shown (max_lines=10)" in wide
    assert len(wide.splitlines()) == 12
    chain = drawn(grow([[None, *range(3000)]]), max_lines=10)
    assert "more fragments" in chain
    assert "… 2 more nodes not shown" in drawn(nodes[:3], max_lines=0)  # the root is always shown


def test_one_tree_at_a_time(nodes: pl.DataFrame) -> None:
    with pytest.raises(ForestError, match="rows of one tree, got those of 2"):
        render_tree(nodes)
    with pytest.raises(ForestError, match="got those of 0"):
        render_tree(nodes[:0])


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "eduprm.forest", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_shows_trees(labelled: pl.DataFrame, tmp_path: Path) -> None:
    write_shard(labelled, tmp_path, "a")
    both = run(tmp_path, "--problem", "p")
    assert (both.returncode, both.stderr) == (0, "")
    assert "p / edu" in both.stdout
    assert "p / ht" in both.stdout
    one = run(tmp_path / "a.parquet", "--tree", "edu")
    assert "✓ right" in one.stdout
    assert "p / ht" not in one.stdout
    listed = run(tmp_path)
    assert "2 trees" in listed.stdout
    assert "--problem ID" in listed.stdout


def test_the_command_has_clear_errors(labelled: pl.DataFrame, tmp_path: Path) -> None:
    path = write_shard(labelled, tmp_path, "a")
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1")
    cases = [
        ((tmp_path / "none",), "got no such path"),
        ((path, "--problem", "q"), "column 'problem_id': expected one of 'p', got 'q'"),
        ((path, "--tree", "mcts"), "column 'tree': expected one of 'edu', 'ht', got 'mcts'"),
        ((broken,), "broken.parquet: expected a Parquet file"),
    ]
    for arguments, message in cases:
        done = run(*arguments)
        assert done.returncode == 2
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
        assert done.stderr.startswith("error: ")
