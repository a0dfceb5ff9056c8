"""The blocks of docs/step-data.md, on rows in each of the three forms."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from eduprm.prm.testing import tiny_backbone
from eduprm.rank.testing import read_jsonl, write_jsonl

ROOT = Path(__file__).resolve().parents[1]
TRL, PRM800K, SHEPHERD = re.findall(
    r"^```python\n(.*?)^```", (ROOT / "docs" / "step-data.md").read_text(), re.DOTALL | re.MULTILINE
)
SHEPHERD_ROW = {
    "input": "Ann has 2 eggs and buys 3. How many? Step 1: She has 2 eggs. ки\nStep 2: 2 + 3 = 6. ки\n"
    "Step 3: The answer is: 6 ки",
    "label": "Ann has 2 eggs and buys 3. How many? Step 1: She has 2 eggs. +\nStep 2: 2 + 3 = 6. -\n"
    "Step 3: The answer is: 6 -",
    "task": "GSM8K",
}


def targets(data: Any) -> list[list[float | None]]:
    return [
        [float(target) if weight else None for target, weight in zip(tree.targets, tree.weights, strict=True)]
        for tree in data.trees
    ]


def test_rows_of_three_forms_become_trees_with_their_labels(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = read_jsonl(ROOT / "tests" / "data" / "stepwise_form.jsonl")[:4]
    write_jsonl(tmp_path / "stepwise.jsonl", rows)
    names: dict[str, Any] = {"backbone": tiny_backbone(tmp_path / "b", max_position_embeddings=1024)}
    exec(compile(TRL, "TRL", "exec"), names)
    assert targets(names["data"]) == [[float(label) for label in row["labels"]] for row in rows]
    assert (names["result"].folder / "config.json").is_file()

    solved = read_jsonl(ROOT / "tests" / "data" / "prm800k_form.jsonl")[0]
    ended = json.loads(json.dumps(solved))  # as in the data set: the labelling ended at an error
    bad = {"text": "So it is 4.", "rating": -1, "flagged": None}
    neutral, last = ended["label"]["steps"][1:]
    neutral["completions"][0]["rating"] = 0
    last.update(completions=[*last["completions"], bad], chosen_completion=None)
    write_jsonl(tmp_path / "phase2_train.jsonl", [solved, ended])
    exec(compile(PRM800K, "PRM800K", "exec"), names)
    assert targets(names["data"]) == [[1.0, 1.0, 1.0], [1.0, None, 0.0]]
    assert names["rows"][1]["completions"][-1] == "So it is 4."

    write_jsonl(tmp_path / "math-shepherd.jsonl", [SHEPHERD_ROW])
    exec(compile(SHEPHERD, "Math-Shepherd", "exec"), names)
    assert targets(names["data"]) == [[1.0, 0.0, 0.0]]
    assert names["rows"] == [
        {
            "prompt": "Ann has 2 eggs and buys 3. How many?",
            "completions": ["Step 1: She has 2 eggs.", "Step 2: 2 + 3 = 6.", "Step 3: The answer is: 6"],
            "labels": ["+", "-", "-"],
        }
    ]
