"""Rows in the form of PRM800K and Math-Shepherd: ranked by the commands of docs/files.md, and trained on."""

import json
import re
import shlex
import shutil
from pathlib import Path

from eduprm.rank.testing import read_jsonl

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "files.md").read_text()


def command(name: str) -> list[str]:
    """Arguments of the page's command for a file of that name."""
    found = re.search(rf"^    uv run apps/rerank ({re.escape(name)} .*)$", PAGE, re.MULTILINE)
    assert found is not None
    return shlex.split(found[1])


def test_prm800k_rows_are_ranked_by_their_own_steps(rerank, own_data, tmp_path):
    shutil.copy(own_data("prm800k_form.jsonl"), tmp_path / "phase2_test.jsonl")
    # Solutions beyond the tiny PRM's context are rejected, none is lost.
    status, _, err = rerank(*command("phase2_test.jsonl"))
    assert "1 row left out by --where" in err
    out = Path("runs/rerank/phase2_test.ranked.jsonl")
    back, bad = read_jsonl(out), out.with_name(out.name + ".rejected.jsonl")
    rejected = read_jsonl(bad) if bad.exists() else []
    assert status == (3 if rejected else 0)
    assert len(back) + len(rejected) == 10
    right = {row["question"]["problem"]: "something else" not in row["steps"][-1] for row in back}
    assert {row["question"]["problem"]: row["correct"] for row in back} == right
    assert set(right.values()) == {True, False}


def test_math_shepherds_steps_are_ranked_and_trained_on(rerank, own_data, tmp_path):
    from eduprm.prm import InputBuilder, InputFormat, stepwise_trees
    from eduprm.prm.testing import tiny_backbone

    shutil.copy(own_data("stepwise_form.jsonl"), tmp_path / "stepwise.jsonl")
    rows = read_jsonl(tmp_path / "stepwise.jsonl")
    assert rerank(*command("stepwise.jsonl"))[0] in (0, 3)
    back = read_jsonl(Path("runs/rerank/stepwise.ranked.jsonl"))
    assert {json.dumps(row["completions"]) for row in back} <= {
        json.dumps(row["completions"]) for row in rows
    }
    assert all([step.strip() for step in row["steps"]] == row["completions"] for row in back)

    backbone = tiny_backbone(tmp_path / "backbone", max_position_embeddings=512)
    trees = stepwise_trees(rows, InputBuilder.from_pretrained(backbone, InputFormat.stepwise()))
    assert not trees.rejected
    targets = [list(tree.targets[tree.weights > 0]) for tree in trees.trees]
    assert targets == [[float(label) for label in row["labels"]] for row in rows]
