"""Each script of examples/ runs and prints what it is there to show."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SHOWN = {
    "cut_a_text": r"at line breaks: \['9 - 6 = 3\\n', '3 \+ 7 = 10\\n', '#### 10'\]\nabove 1 nat: \['",
    "entropy_of_a_text": r"('[^\n]+' +entropy \d+\.\d{3} nats, log-prob -?\d+\.\d{3}\n){10}",
    "evaluate_on_processbench": r"labels \[-1, 0, 2\][\s\S]*mean",
    "grow_a_tree": r"sum / edu[\s\S]*⑂2[\s\S]*unique_tokens",
    "label_a_tree": r"v 0\.50 \(1/2\)[\s\S]*✓ right[\s\S]*✗ wrong",
    "rank_candidates": r"prm_min +┆ sum-1 +┆ 1 +┆ true[\s\S]*majority +┆ sum-1 +┆ 2 +┆ false",
    "score_steps": r"(\d\.\d{4} '9 - 6 = 3\\n'\n\d\.\d{4} .*\n\d\.\d{4} .*\n){2}",
    "serve_and_ask": r"serving .*\n\w{12} \[\[0\.\d+, 0\.\d+\], \[0\.\d+, 0\.\d+\]\]",
    "train_a_prm": r"72 rows, 2426 tokens, last loss 0\.\d+: .*\n\[0\.\d+, 0\.\d+\]",
}
LANGUAGE_MODEL = {"cut_a_text", "entropy_of_a_text", "evaluate_on_processbench", "grow_a_tree", "score_steps"}
SCRIPTS = sorted(path.stem for path in EXAMPLES.glob("*.py"))


def test_every_script_is_tested_and_listed() -> None:
    assert sorted(SHOWN) == SCRIPTS
    listed = re.findall(r"^\| \[(\w+)\.py\]", (EXAMPLES / "README.md").read_text(), re.MULTILINE)
    assert sorted(listed) == SCRIPTS


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name in LANGUAGE_MODEL else []) for name in SCRIPTS],
)
def test_an_example_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    shown = capsys.readouterr().out
    assert re.search(SHOWN[name], shown), shown
