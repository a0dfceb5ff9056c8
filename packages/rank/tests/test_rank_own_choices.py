"""Chunks of a killed run are taken up only by the same code: anybody's own choices have no version that tells."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from eduprm.rank.ranking import Ranker
from eduprm.rank.settings import RankSettings

CODE = """
from eduprm.label import extract_answer
from eduprm.rank.rules.prm import Rule
from eduprm.segment.segmenters.lines import Segmenter

def grade(answer, gold, **_):
    return answer == gold
"""


@pytest.mark.parametrize(
    "named",
    [
        {"rule": "choice_of_mine:Rule"},
        {"segment": "choice_of_mine:Segmenter"},
        {"grader": "choice_of_mine:grade"},
        {"segment": "entropy", "policy": {"segmenters": ("entropy", "choice_of_mine:Segmenter")}},
    ],
)
def test_another_code_is_another_key(named: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("choice_of_mine", None)  # of another case's folder
    module = tmp_path / "choice_of_mine.py"
    module.write_text(CODE)
    ranker = Ranker(RankSettings(file=tmp_path / "a.jsonl", **named))
    before = ranker.key()
    module.write_text(CODE.replace("==", "!="))
    after = ranker.key()
    ranker.close()
    assert before != after
    assert before["names"] == after["names"]


def test_choices_that_ship_are_told_by_their_versions(tmp_path: Path) -> None:
    ranker = Ranker(RankSettings(file=tmp_path / "a.jsonl"))
    assert ranker.key()["own"] == {}
    ranker.close()
