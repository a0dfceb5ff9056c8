"""apps/rerank on bad rows, files, outputs and PRMs: what is rejected and with which words, what is still ranked."""

# ruff: noqa: E501
import json

import polars as pl
import pytest

from eduprm.rank.testing import flat, problems, read_jsonl, rejected, write_jsonl
from eduprm_rerank.cli import main

CONTEXT = 256
"""Tokens (bytes) that the tiny PRM of the fixtures can read."""

BAD_ROWS = [
    ('{"id": "a", "problem": \n', None, None, "not JSON"),
    ('[1, 2]\n', None, None, "expected a JSON object, got [1, 2]"),
    ({"id": "b", "question": "?", "solutions": ["x"]}, "b", None, "no column 'problem', got 'id', 'question', 'solutions'; name it with --columns.problem"),
    ({"id": "c", "problem": "?", "solutions": "x"}, "c", None, "column 'solutions' must hold a list of at least one text, got 'x'"),
    ({"id": "d", "problem": "?", "solutions": []}, "d", None, "at least one text, got []"),
    ({"id": None, "problem": "?", "solutions": ["x"]}, None, None, "column 'id' must hold a text or a whole number, got None"),
    ({"id": "e", "problem": "  ", "solutions": ["x"]}, "e", None, "column 'problem' must hold the problem's text, got an empty one"),
    ({"id": "p1", "problem": "again?", "solutions": ["x"]}, "p1", None, "the id stands already in row 2"),
    ({"id": "f", "problem": "?", "solutions": ["2", " \n", "3"]}, "f", 1, "a solution must be a text, got an empty one"),
    ({"id": "g", "problem": "?", "solutions": ["2", 7]}, "g", 1, "a solution must be a text, got 7"),
    ({"id": "h", "problem": "?", "solutions": ["x" * 300, "2"]}, "h", 0, f"the PRM's context holds {CONTEXT}; shorten it"),
    ({"id": "i", "problem": "?", "solutions": ["\ud800", "2"]}, "i", 0, "half a surrogate pair"),
    ({"id": "j", "problem": "?", "solutions": ["2"], "answer": "about two"}, "j", None, "ranked, but left out of the accuracies"),
    ({"id": "k", "problem": "?", "solutions": ["2"], "answer": [2]}, "k", None, "column 'answer' must hold a text or a number, got [2]"),
]  # fmt: skip


def test_every_bad_row_is_named_and_the_rest_is_ranked(rerank, tmp_path):
    good = problems()
    rows = [*good, *(row for row, *_ in BAD_ROWS)]
    write_jsonl(tmp_path / "in.jsonl", rows)
    status, out, err = rerank("in.jsonl", "--output", "out.jsonl")
    assert status == 3
    got = rejected(tmp_path / "out.jsonl.rejected.jsonl")
    # The broken object of the first bad row ends its own line, so numbers go on by one.
    assert [(row, key, solution) for row, key, solution, _ in got] == [
        (len(good) + number, key, solution) for number, (_, key, solution, _) in enumerate(BAD_ROWS, start=1)
    ]
    for (*_, reason), (*_, part) in zip(got, BAD_ROWS, strict=True):
        assert part in reason
        assert "\n" not in reason
    back = {row["id"]: row for row in read_jsonl(tmp_path / "out.jsonl")}
    assert list(back) == [*(row["id"] for row in good), "f", "g", "h", "i", "j"]
    assert [one["index"] for one in back["f"]["ranked"]] in ([0, 2], [2, 0])
    assert [one["index"] for one in back["h"]["ranked"]] == [1]
    lines = err.splitlines()
    assert lines[0].startswith("in.jsonl: row 6: not JSON")
    assert lines[-1] == f"… and {len(BAD_ROWS) - 5} more"
    assert "rejected rows: out.jsonl.rejected.jsonl" in out
    report = json.loads((tmp_path / "out.jsonl.report.json").read_text())
    assert (report["rejected"], report["graded_problems"], report["problems"]) == (len(BAD_ROWS), 5, 10)
    # The next run has nothing to reject, so the list of the last one must go.
    write_jsonl(tmp_path / "in.jsonl", good)
    assert rerank("in.jsonl", "--output", "out.jsonl")[0] == 0
    assert not (tmp_path / "out.jsonl.rejected.jsonl").exists()


def test_rows_that_are_not_utf8(rerank, tmp_path):
    path = write_jsonl(tmp_path / "in.jsonl", problems(2))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes() + b'\n{"id": "\xff"}\n')
    assert rerank("in.jsonl", "--output", "out.jsonl")[0] == 3
    ((row, _, _, reason),) = rejected(tmp_path / "out.jsonl.rejected.jsonl")
    assert row == 4  # lines are counted as an editor does, the blank one included
    assert reason.startswith("not UTF-8")


def test_rows_of_one_problem_must_agree(rerank, tmp_path):
    rows = flat(problems(2))
    rows[1]["problem"] = "another?"
    rows[6]["answer"] = "77"
    rows[7]["solution"] = ""
    write_jsonl(tmp_path / "in.jsonl", rows)
    assert rerank("in.jsonl", "--output", "out.jsonl")[0] == 3
    got = rejected(tmp_path / "out.jsonl.rejected.jsonl")
    assert [row[:3] for row in got] == [(2, "p0", None), (7, "p1", None), (8, "p1", None)]
    assert "differs from row 1's" in got[0][3]
    assert "its answer '77' differs from '2'" in got[1][3]
    assert "got an empty one" in got[2][3]
    assert [row["id"] for row in read_jsonl(tmp_path / "out.jsonl")] == ["p0"] * 3 + ["p1"] * 2


def test_parquet_with_nulls_and_long_solutions(rerank, tmp_path):
    frame = pl.DataFrame(
        {
            "id": ["a", "b", None, "d"],
            "problem": ["1?", None, "3?", "4?"],
            "solutions": [["1", None], ["2"], ["3"], ["4" * 400]],
        }
    )
    frame.write_parquet(tmp_path / "in.parquet")
    assert rerank("in.parquet", "--output", "out.parquet")[0] == 3
    got = rejected(tmp_path / "out.parquet.rejected.jsonl")
    assert [row[:3] for row in got] == [(1, "a", 1), (2, "b", None), (3, None, None), (4, "d", 0)]
    assert pl.read_parquet(tmp_path / "out.parquet")["id"].to_list() == ["a"]


def test_nothing_to_rank_is_an_error_but_the_list_is_written(rerank, tmp_path):
    write_jsonl(tmp_path / "in.jsonl", [{"id": "a", "problem": "?", "solutions": ["x" * 500]}])
    status, _, err = rerank("in.jsonl", "--output", "out.jsonl")
    assert status == 2
    assert "no solution could be ranked; the reasons stand in out.jsonl.rejected.jsonl" in err
    assert len(rejected(tmp_path / "out.jsonl.rejected.jsonl")) == 1
    assert not (tmp_path / "out.jsonl").exists()


def test_strict_stops_at_the_first_bad_row(rerank, tmp_path):
    write_jsonl(tmp_path / "in.jsonl", [*problems(2), {"id": "c", "problem": "?", "solutions": ["", "x"]}])
    status, out, err = rerank("in.jsonl", "--output", "out.jsonl", "--strict")
    assert (status, out) == (2, "")
    assert err.startswith("rerank: in.jsonl: row 3 (id 'c'), solution 0: ")
    assert err.count("\n") == 1
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "the file is empty"),
        (b"\n\n", "none of 0 rows can be used; it holds no rows"),
        (b"\x1f\x8b\x08\x00abc", "broken or cut off gzip"),
        (b"PAR1 and then nothing", "not readable as Parquet"),
        (b'{"id": 1, "question": "?", "solutions": ["x"]}\n' * 3, "no column 'problem', got 'id', 'question', 'solutions'; name it with --columns.problem"),
        (b'{"id": 1, "problem": "?"}\n', "no column 'solutions' or 'solution', got 'id', 'problem'; name it with --columns.solutions"),
        (b'{"id": 1, "problem": "?", "solutions": ["x"], "ranked": 1}\n', "the column 'ranked' would be overwritten; give the new columns a prefix"),
        (b'[{"id": 1,\n"problem": "?"}]', "write one JSON object a line"),
    ],
)  # fmt: skip
def test_unusable_files(rerank, tmp_path, content, part):
    (tmp_path / "in").write_bytes(content)
    status, out, err = rerank("in", "--output", "out.jsonl")
    assert (status, out) == (2, "")
    assert err.startswith("rerank: in: ")
    assert part in err
    assert err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_a_column_missing_in_parquet(rerank, tmp_path):
    pl.DataFrame(problems(1)).drop("problem").write_parquet(tmp_path / "in.parquet")
    status, _, err = rerank("in.parquet")
    assert status == 2
    assert (
        err
        == "rerank: in.parquet: no column 'problem', got 'id', 'solutions', 'answer'; name it with --columns.problem\n"
    )


@pytest.mark.parametrize(
    ("output", "part"),
    [
        ("in.jsonl", "--output: in.jsonl is the input itself"),
        (".", "--output: . is a folder"),
        ("out.parquet", "--output: the output has the input's format"),
        ("in.jsonl/out.jsonl", "--output: cannot write in in.jsonl/out.jsonl.work (Not a directory)"),
    ],
)
def test_unusable_outputs(rerank, tmp_path, output, part):
    before = write_jsonl(tmp_path / "in.jsonl", problems(1)).read_bytes()
    status, _, err = rerank("in.jsonl", "--output", output)
    assert status == 2
    assert err.startswith(f"rerank: {part}")
    assert (tmp_path / "in.jsonl").read_bytes() == before


def test_a_prm_that_is_not_there(tmp_path, monkeypatch, capsys):
    from eduprm.prm.testing import tiny_backbone

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    write_jsonl(tmp_path / "in.jsonl", problems(1))
    (tmp_path / "empty").mkdir()
    tiny_backbone(tmp_path / "language-model")
    broken = tmp_path / "broken"
    tiny_backbone(broken)
    (broken / "model.safetensors").write_bytes(b"torn")
    expected = {
        (
            "--prm",
            "runs/default/prm",
        ): "--prm: no PRM at runs/default/prm; train one with `uv run apps/train`",
        ("--prm", "a/b/c"): "--prm: no PRM at a/b/c; train one",
        ("--prm", "in.jsonl"): "--prm: in.jsonl is a file; name the folder",
        ("--prm", "empty"): "--prm: empty holds no config.json",
        ("--prm", "language-model"): "--prm: language-model cannot be loaded as a PRM: ",
        ("--prm", "broken"): "--prm: broken cannot be loaded as a PRM: ",
        (
            "--prm",
            "no-one/nothing",
        ): "--prm: no-one/nothing is no folder here and could not be fetched from the hub",
    }
    for arguments, message in expected.items():
        assert main(["in.jsonl", *arguments]) == 2
        captured = capsys.readouterr()
        assert captured.err.startswith(f"rerank: {message}")
        assert (captured.out, captured.err.count("\n")) == ("", 1)
        assert not list(tmp_path.glob("runs/rerank/*"))


def test_hostile_text_does_not_reach_the_terminal(rerank, tmp_path):
    evil = "\x1b[2J[bold]x[/nothing]\r"
    rows = [*problems(1), {"id": evil, "problem": "?", "solutions": [""]}, {"id": "z", evil: 1}]
    write_jsonl(tmp_path / "in.jsonl", rows)
    status, out, err = rerank("in.jsonl", "--output", "out.jsonl")
    assert status == 3
    assert "\x1b" not in out + err
    assert "\r" not in out + err
    assert "[bold]x[/nothing]" in err
