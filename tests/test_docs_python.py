"""The blocks marked `python` of README.md and of the packages' READMEs run, and print what is expected of them.

They run in an empty folder in which the files that they name lie: a run folder with a tiny PRM, a tree and a problem,
and a frame of candidates. A service that a block asks runs in this process.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
# What a page's blocks must print, with runs of blanks as one.
PRINTED = {
    "README.md": r"^1\.11 to 1\.87\n.*\n\[True, False\]\n\[0\.\d+, 0\.\d+\][\s\S]*majority",
    "packages/bench/README.md": r"auc_within . 1\.0",
    "packages/entropy/README.md": r"anchors per solution \(wanted 5\.00\)",
    "packages/forest/README.md": r"⑂2 1\.50 nats",
    "packages/label/README.md": r"^\[0\.5, 1\.0, 0\.0\]",
    "packages/prm/README.md": r"^\[0\.\d+, 0\.\d+, 0\.\d+\]",
    "packages/problems/README.md": r"arithmetic problem",
    "packages/pipeline/README.md": r"^\['problems', .*'report'\]",
    "packages/rank/README.md": r"PRM min 100\.0 \[100\.0, 100\.0\][\s\S]*majority, plain .* ~2",
    "packages/search/README.md": r"p / edu",
    "packages/serve/README.md": r"^\[0\.\d+, 0\.\d+\]",
}
SLOW = {"packages/search/README.md"}  # needs the language model
PAGES = ["README.md", *sorted(str(page.relative_to(ROOT)) for page in ROOT.glob("packages/*/README.md"))]


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def cases() -> Iterator[Any]:
    for page in PAGES:
        if blocks(page):
            yield pytest.param(page, marks=[pytest.mark.slow] if page in SLOW else [])


@pytest.fixture
def files(prm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The empty folder with the files that blocks name."""
    from eduprm.forest import NODE_SCHEMA, write_shard
    from eduprm.rank import CANDIDATE_SCHEMA

    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "default"
    run.mkdir(parents=True)
    (run / "prm").symlink_to(prm)
    nodes = [
        ["p", "edu", 0, None, [5, 6], [-0.1, -0.2], [0.2, 0.4], "2 * 3 =", None],
        ["p", "edu", 1, 0, [7], [-0.3], [1.5], " 6", "stop"],
        ["p", "edu", 2, 0, [8], [-1.3], [1.5], " 7", "stop"],
    ]
    write_shard(pl.DataFrame(nodes, schema=NODE_SCHEMA, orient="row"), run / "forest", "train-00000")
    problem = {"problem_id": ["p"], "question": ["What is 2 * 3?"], "answer": ["6"]}
    pl.DataFrame(problem).write_parquet(run / "problems.parquet")
    rows = [
        ("p", "samples-0.7", 1, "6", True, -1.5, 19, [0.9, 0.8]),
        ("p", "samples-0.7", 2, "7", False, -1.2, 18, [0.9, 0.1]),
    ]
    pl.DataFrame(rows, schema=CANDIDATE_SCHEMA, orient="row").write_parquet(tmp_path / "candidates.parquet")
    return tmp_path


@pytest.fixture
def service(prm: Path) -> Iterator[str]:
    from eduprm.prm import ProcessRewardModel
    from eduprm.serve.server.testing import Serving

    with Serving(ProcessRewardModel.from_pretrained(prm)) as serving:
        yield serving.url


@pytest.mark.parametrize("page", list(cases()))
def test_the_blocks_of_a_page_run(
    page: str, files: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {"torch": torch, "logits": torch.randn(2, 50)}
    for code in blocks(page):
        if "127.0.0.1:8377" in code:
            code = code.replace("http://127.0.0.1:8377", request.getfixturevalue("service"))
        exec(compile(code, page, "exec"), names)
    shown = re.sub(r" +", " ", capsys.readouterr().out)
    assert re.search(PRINTED.get(page, ""), shown), shown


@pytest.mark.parametrize("block", blocks("README.md"), ids=lambda block: block.split()[1])
def test_each_block_of_the_readme_runs_alone_and_prints_what_it_says(
    block: str, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {}
    exec(compile(block, "README.md", "exec"), names)
    shown = capsys.readouterr().out.splitlines()
    said = [re.search(r"  # (.*)$", line) for line in block.splitlines() if line.startswith("print(")]
    for line, comment in zip(shown, said, strict=False):
        assert comment is None or line == comment[1]
    assert bool(shown) == ("print(" in block)


IMPORT = re.compile(r"^ *from (eduprm[\w.]*) import (.+)$", re.MULTILINE)
REFERENCE = sorted(str(page.relative_to(ROOT)) for page in ROOT.glob("docs/**/*.md"))


@pytest.mark.parametrize("page", [page for page in REFERENCE if IMPORT.search((ROOT / page).read_text())])
def test_what_a_page_imports_is_there(page: str) -> None:
    """Blocks of docs/ are fragments; those of extend.md run in a test of their own."""
    text = (ROOT / page).read_text()
    for code in re.findall(r"^```python[^\n]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        compile(code, page, "exec")
    for module, names in IMPORT.findall(text):
        for name in re.findall(r"(\w+)(?: as \w+)?", names.partition("#")[0]):
            assert hasattr(importlib.import_module(module), name), f"{module}.{name}"


def test_what_is_expected_is_expected_of_pages_that_have_blocks() -> None:
    assert [page for page in PRINTED if not blocks(page)] == []
