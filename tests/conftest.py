"""What whole jobs share: a tiny PRM of 256 tokens (bytes), and apps/rerank in a folder of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]
LabelledRun = Callable[..., tuple[Path, list[str]]]

_GRADER = "def even(text, problem):\n    return sum(map(ord, text)) % 2 == 0\n"
_SMALL = [
    "--problem.num-train", "6", "--problem.grader", "a_grader:even", "--search.budget.max-tokens-per-path", "24",
    "--strategies", "edu", "greedy", "--bootstrap", "20", "--prm.train.last-layers", "none", "--policy.device", "cpu",
]  # fmt: skip


@pytest.fixture(scope="session")
def prm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny random PRM with a byte tokenizer."""
    from eduprm.prm.testing import tiny_prm

    return tiny_prm(tmp_path_factory.mktemp("prm") / "prm", max_position_embeddings=256)


@pytest.fixture
def rerank(
    prm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Run the app in an empty folder; gives exit status, stdout and stderr."""
    from eduprm_rerank.cli import main

    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        status = main([*map(str, arguments), "--prm", str(prm), "--bootstrap", "50"])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def labelled_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelledRun]:
    """Makes small runs of apps/train with labels and no PRM; gives the folder, and the flags that made it."""
    from eduprm.prm.testing import tiny_backbone
    from eduprm_train.cli import main

    with pytest.MonkeyPatch.context() as patch:

        def make(*flags: str) -> tuple[Path, list[str]]:
            folder = tmp_path_factory.mktemp("labelled")
            (folder / "a_grader.py").write_text(_GRADER)
            patch.syspath_prepend(folder)
            tiny = tiny_backbone(folder / "tiny", max_position_embeddings=512)
            every = [*_SMALL, *flags, "--policy.model", str(tiny)]
            assert main(["--run", str(folder / "run"), "--only", "problems", "search", "label", *every]) == 0
            return folder / "run", every

        yield make
