"""apps/rerank without --prm: the PRM of the file's run, of the default run, or the one that ships, and what is said."""

import json
import shutil
from pathlib import Path

import pytest

from eduprm.core.command_line import UsageError
from eduprm.policy import resolve_model
from eduprm.prm.default_prm import SHIPPED, trained_for
from eduprm.prm.prm_folder import find_prm, folder_digest
from eduprm.rank.testing import problems, write_jsonl
from eduprm_rerank.cli import main

CUT = {
    "segmenters": ["lines"],
    "policy": "smollm2-135m-steps",
    "threshold": 0.5,
    "skip_symbols": True,
    "style": "steps",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def place(prm, at, **entry):
    """Copy the tiny PRM, with these fields in its config's eduprm entry."""
    shutil.copytree(prm, at)
    config = json.loads((at / "config.json").read_text())
    config["eduprm"] |= entry
    (at / "config.json").write_text(json.dumps(config))
    return at


def run(capsys, *arguments):
    status = main([*map(str, arguments), "--bootstrap", "50", "--segment", "lines", "--output", "out.jsonl"])
    return status, capsys.readouterr().err


def ranked_by(folder):
    report = json.loads((folder / "out.jsonl.report.json").read_text())
    return report["prm"], report["made_from"]["prm"]


def test_the_prm_beside_the_file_wins_over_the_default_runs(prm, folder, capsys):
    own = place(prm, folder / "runs/mine/prm", steps=CUT)
    default = place(prm, folder / "runs/default/prm", steps=CUT, note="another")
    write_jsonl(folder / "runs/mine/solutions.jsonl", problems(1))
    write_jsonl(folder / "in.jsonl", problems(1))
    status, err = run(capsys, "runs/mine/solutions.jsonl")
    assert status == 0
    line = "no --prm: taking runs/mine/prm, beside solutions.jsonl; scores by a head, "
    assert (
        f"rerank: {line}trained on steps of smollm2-135m-steps (prompt steps) that end at line breaks\n"
        in err
    )
    assert err.count("no --prm") == 1
    assert ranked_by(folder) == ("runs/mine/prm", folder_digest(own))
    status, err = run(capsys, "in.jsonl")
    assert status == 0
    assert "rerank: no --prm: taking runs/default/prm, of the default run; scores by a head" in err
    assert ranked_by(folder) == ("runs/default/prm", folder_digest(default))


def test_a_prm_that_is_named_is_taken_without_a_word(prm, folder, capsys):
    place(prm, folder / "prm")
    write_jsonl(folder / "in.jsonl", problems(1))
    status, err = run(capsys, "in.jsonl", "--prm", prm)
    assert (status, "taking" in err) == (0, False)
    assert ranked_by(folder)[0] == str(prm)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (
            {
                "scoring": {"kind": "likelihood", "fold": "min"},
                "steps": CUT | {"segmenters": ["entropy", "lines"]},
            },
            "scores by likelihood (min over a step's tokens), trained on steps of smollm2-135m-steps (prompt steps) "
            "that end where it is unsure (above 0.5 nats) and at line breaks",
        ),
        ({}, "scores by a head, its config does not say on which steps"),
        (
            {"calibration": {"kind": "isotonic", "fitted": {}}},
            "scores by a head, calibrated by isotonic, its config does not say on which steps",
        ),
        ({"steps": {"policy": "p"}}, "its config cannot be read"),
    ],
)
def test_what_a_prm_was_trained_for_is_read_from_its_config(prm, tmp_path, entry, said):
    assert trained_for(place(prm, tmp_path / "prm", **entry)) == said


def test_a_folder_without_an_entry_of_ours_is_said(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert trained_for(tmp_path) == "its config does not say what it was trained for"


def test_a_name_that_ships_is_resolved_and_others_are_not(prm, folder, monkeypatch):
    asked = []

    def resolve(name):
        asked.append(name)
        if name == "broken":
            raise ValueError("model 'broken' needs a package")
        return str(prm) if name == "ours" else name

    monkeypatch.setattr("eduprm.prm.prm_folder.resolve_model", resolve)
    assert find_prm("ours") == prm
    assert find_prm(str(prm)) == prm
    with pytest.raises(UsageError, match="--prm: no PRM at other; train one"):
        find_prm("other")
    with pytest.raises(UsageError, match="--prm: model 'broken' needs a package"):
        find_prm("broken")
    assert asked == ["ours", "other", "broken"]


@pytest.mark.slow
def test_without_a_run_the_prm_that_ships_is_taken(folder, capsys):
    if resolve_model(SHIPPED) == SHIPPED:
        pytest.skip(f"{SHIPPED} does not ship with this version")
    rows = problems(1)
    write_jsonl(folder / "in.jsonl", rows)
    status, err = run(capsys, "in.jsonl")
    assert status == 0
    assert f"taking {SHIPPED}, which ships; for sums, products, mixed arithmetic and equations" in err
    assert "scores by likelihood (min over a step's tokens), trained on steps of smollm2-135m-steps" in err
    unnamed = ranked_by(folder)
    assert run(capsys, "in.jsonl", "--prm", SHIPPED)[0] == 0
    assert ranked_by(folder) == unnamed == (SHIPPED, folder_digest(Path(resolve_model(SHIPPED))))
