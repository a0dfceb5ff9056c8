"""What whole jobs share: a tiny PRM of 256 tokens (bytes), and apps/rerank in a folder of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]


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
