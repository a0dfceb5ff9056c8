"""Each script of examples/ runs and prints what it is there to show."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import runpy
import socket
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SHOWN = {
    "cut_a_text": r"at line breaks: \['9 - 6 = 3\\n', '3 \+ 7 = 10\\n', '#### 10'\]\nabove 1 nat: \['",
    "entropy_of_a_text": r"('[^\n]+' +entropy \d+\.\d{3} nats, log-prob -?\d+\.\d{3}\n){10}",
    "evaluate_on_processbench": r"gsm8k-0 ┆ -1 +┆ -?\d[\s\S]*mean",
    "grow_a_tree": r"sum / edu[\s\S]*⑂2[\s\S]*unique_tokens",
    "label_a_tree": r"v 0\.50 \(1/2\)[\s\S]*✓ right[\s\S]*✗ wrong",
    "rank_candidates": r"prm_min +┆ sum-1 +┆ 1 +┆ true[\s\S]*majority +┆ sum-1 +┆ 2 +┆ false",
    "score_steps": r"(\d\.\d{4} '9 - 6 = 3\\n'\n\d\.\d{4} .*\n\d\.\d{4} .*\n){2}",
    "serve_and_ask": r"smollm2-135m-steps-prm \[\[0\.\d+, 0\.\d+, 0\.[1-9]\d*\], \[0\.\d+, 0\.\d+, \S+\]\]",
    "train_a_prm": r"20 labels, last loss 0\.\d+: .*\n\[0\.\d+, 0\.\d+\]",
}
WITHOUT_LANGUAGE_MODEL = {"label_a_tree", "rank_candidates", "train_a_prm"}
SCRIPTS = sorted(path.stem for path in EXAMPLES.glob("*.py"))


def test_every_script_is_tested_and_listed() -> None:
    assert sorted(SHOWN) == SCRIPTS
    listed = re.findall(r"^\| \[(\w+\.\w+)\]", (EXAMPLES / "README.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted([*(f"{name}.py" for name in SCRIPTS), "sglang_entropies.sh"])


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in WITHOUT_LANGUAGE_MODEL else [pytest.mark.slow])
        for name in SCRIPTS
    ],
)
def test_an_example_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    # Scripts name files from the repository's root.
    (tmp_path / "tests").symlink_to(EXAMPLES.parent / "tests")
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    shown = capsys.readouterr().out
    assert re.search(SHOWN[name], shown), shown
    if name == "grow_a_tree":  # README.md shows the tree; where a terminal breaks lines does not matter
        block = re.search(r"^    sum / edu\n(?:    .*\n)+", (EXAMPLES.parent / "README.md").read_text(), re.M)
        assert block is not None
        assert " ".join(block[0].split()) in " ".join(shown.split())


@pytest.mark.slow
@pytest.mark.sglang
@pytest.mark.skipif(not importlib.util.find_spec("sglang"), reason="needs SGLang: uv sync --extra sglang")
def test_the_plugins_commands_give_an_entropy_for_each_token_and_leave_no_server(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        ["bash", str(EXAMPLES / "sglang_entropies.sh"), "", str(port)],
        cwd=tmp_path,
        # The script's own installing is for who has no SGLang; here it is this interpreter's.
        env={**os.environ, "UV_PROJECT": str(EXAMPLES.parent), "UV_PROJECT_ENVIRONMENT": sys.prefix},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        out, _ = process.communicate(timeout=900)
    except subprocess.TimeoutExpired:
        process.terminate()  # the script then stops its server
        process.wait()
        raise
    assert process.returncode == 0, (tmp_path / "sglang.log").read_text()[-3000:]
    meta = json.loads(out)["meta_info"]
    assert len(meta["entropy"]) == meta["completion_tokens"] == 8
    assert all(0 <= value < 11 for value in meta["entropy"])
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
