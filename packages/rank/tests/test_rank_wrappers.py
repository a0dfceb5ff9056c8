"""What stands around a PRM: scores by hand, against plain loops, and by name through a place."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eduprm.core.errors import UsageError
from eduprm.prm.config import InputFormat
from eduprm.prm.solutions import StepScores
from eduprm.prm.source import PrmReading, PrmSource
from eduprm.prm.testing import tiny_prm
from eduprm.rank.settings import RankSettings
from eduprm.rank.wrappers.adapted import Wrapper as Adapted
from eduprm.rank.wrappers.checked import Wrapper as Checked
from eduprm.rank.wrappers.trajectory import Wrapper as Trajectory
from eduprm.rank.wrapping import WrapSettings, wrapped


class ByLength:
    """A PRM whose score of a step is one over its length; it refuses what holds "long"."""

    def score_steps(self, solutions, *, complete=True, as_cut=False):
        self.as_cut = as_cut
        return [
            StepScores(None, 9, "too long") if "long" in "".join(steps)
            else StepScores([1 / len(step) for step in steps], len(steps))
            for _, steps in solutions
        ]  # fmt: skip


class Place:
    name = "by length"

    def key(self):
        return "digest"

    def saved_cut(self):
        return {"segmenters": {}}

    def solution(self):
        return "min"

    def open(self):
        return ByLength()


def test_a_step_with_a_false_equation_loses_its_score():
    steps = ["2 * 3 = 6\n", "6 * 4 = 25\n", "#### 25"]
    (one,) = Checked().score_steps(ByLength(), [("?", steps)], complete=True, as_cut=True)
    assert one.scores == [1 / 10, 0.0, 1 / 7]
    (one,) = Checked(weight=0.25).score_steps(ByLength(), [("?", steps)], complete=True, as_cut=True)
    assert one.scores == [1 / 10, 0.75 / 11, 1 / 7]
    assert one.tokens == 3


def test_equations_are_read_whole_wherever_steps_are_cut():
    assert Checked.refuted(["6 * ", "4 = ", "25", "\n24 / 4 = 6"]) == [False, False, True, False]
    assert Checked.refuted(["1 + 2 = ", "4"]) == [False, True]


@pytest.mark.parametrize(
    ("steps", "kept"),
    [
        # "3" ends a step, and "3 + 1" goes on from nothing.
        (["1 + 2 = 3", "3 + 1 = 5"], [1, 0]),
        # A break within a step is none between steps.
        (["First the product:\n2 * 3 = 6", "6 * 4 = 24", "24 + 1 = 25"], [1, 1, 1]),
        (["First the product:\n2 * 3 = 6", "6 * 4 = 25", "25 + 1 = 26"], [1, 0, 1]),
        # A list that carries its own breaks was cut within a line where it has none.
        (["2 * 3 = 6\n", "6 * 4 ", "= 25\n", "#### 25"], [1, 1, 0, 1]),
    ],
)
@pytest.mark.parametrize("complete", [True, False])
def test_the_checker_reads_a_list_of_steps_as_the_prm_does(steps, kept, complete):
    (one,) = Checked().score_steps(ByLength(), [("?", steps)], complete=complete, as_cut=False)
    assert one.scores == [keep / len(step) for keep, step in zip(kept, steps, strict=True)]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(0, 40)), max_size=6), st.data())
def test_the_checker_agrees_with_plain_sums_and_cuts_do_not_matter(sums, data):
    lines = [f"{a} + {b} = {c}\n" for a, b, c in sums]
    text = "".join(lines)
    assert Checked.refuted(lines) == [a + b != c for a, b, c in sums]
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(text) - 1)), max_size=8))) if text else []
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True) if text[a:b]]
    wrong = Checked.refuted(pieces)
    assert any(wrong) == any(a + b != c for a, b, c in sums)
    assert sum(wrong) <= sum(a + b != c for a, b, c in sums)


def test_the_whole_solution_counts_beside_its_steps():
    prm = ByLength()
    results = Trajectory(weight=0.25).score_steps(
        prm, [("?", ["ab", "abcd"]), ("?", ["long"])], complete=True, as_cut=False
    )
    assert results[0].scores == [0.75 / 2 + 0.25 / 7, 0.75 / 4 + 0.25 / 7]  # with a line break
    assert results[1] == StepScores(None, 9, "too long")
    assert prm.as_cut  # the whole is one piece: nothing is put into it


@pytest.mark.parametrize(
    ("format_", "whole"),
    [
        (InputFormat(kind="plain", append_eos=False), "2 * 3 = 6\n6 * 4 = 24"),
        (InputFormat(kind="plain", append_eos=False, joiner="; "), "2 * 3 = 6; 6 * 4 = 24"),
        # It closes steps in its own way, and the whole has none: line breaks stand there.
        (InputFormat.stepwise(separator="<step>"), "2 * 3 = 6\n6 * 4 = 24"),
    ],
)
def test_the_whole_solution_is_read_as_its_steps_are_joined(format_, whole, tmp_path):
    prm = PrmSource.at(tiny_prm(tmp_path / "prm", input_format=format_)).open()
    asked = {"complete": True, "as_cut": False}
    steps = ["2 * 3 = 6", "6 * 4 = 24"]
    (found,) = Trajectory(weight=1.0).score_steps(prm, [("2 * 3 * 4?", steps)], **asked)
    (expected,) = prm.score_steps([("2 * 3 * 4?", [whole])], **asked)
    assert found.scores == [pytest.approx(expected.scores[0])] * 2
    assert found.joiner == prm.builder.added_joiner(steps)


def test_wrappers_by_name_one_around_the_other():
    settings = WrapSettings(
        wrap=("checked", "trajectory"), wrap_options={"checked": {"weight": 1}, "trajectory": {"weight": 0.5}}
    )
    place = wrapped(Place(), settings)
    assert (place.name, place.saved_cut()) == ("by length", {"segmenters": {}})
    assert place.solution() == "min"
    (one,) = place.open().score_steps([("?", ["1 + 1 = 3\n", "#### 3"])], as_cut=True)
    # The whole, one step, holds a false equation too.
    assert one.scores == [0.0, 0.5 / 6]
    keys = [wrapped(Place(), WrapSettings(wrap=names)).key() for names in ((), ("checked",), ("trajectory",))]
    assert keys[0] == "digest"
    assert len({str(key) for key in [*keys, place.key()]}) == 4


def test_scores_of_a_wrapper_whose_code_changed_are_not_taken_up(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)

    def key(code):
        asked = "    def score_steps(self, prm, solutions, *, complete, as_cut): ...\n"
        (tmp_path / "halving_of_mine.py").write_text(code + asked)
        return wrapped(Place(), WrapSettings(wrap=("halving_of_mine:Wrapper",))).key()

    before = key("class Wrapper:\n    by = 0.5\n")
    assert key("class Wrapper:\n    by = 0.25\n") != before
    assert key("class Wrapper:\n    by = 0.5\n") == before


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        (
            {"wrap": ("checkd",)},
            "expected one of adapted, checked, trajectory or package.module:Wrapper, got 'checkd'",
        ),
        ({"wrap": ("checked",), "wrap_options": {"checked": {"weight": 2}}}, "less than or equal to 1"),
        ({"wrap_options": {"checked": {}}}, "expected options of none, got checked"),
    ],
)
def test_mistakes_are_told(given_, message):
    for model in (WrapSettings, partial(RankSettings, file="a.jsonl")):
        with pytest.raises(ValueError, match=message):
            model(**given_)


def by_name(folder, name, **options):
    place = PrmSource.at(folder, PrmReading(device="cpu", dtype="float32"))
    return wrapped(place, WrapSettings(wrap=(name,), wrap_options={name: options} if options else {})).open()


def test_adapted_learns_from_the_votes_of_each_problem_alone(tmp_path):
    folder = tiny_prm(tmp_path / "m")
    split = [("2 + 2?", ["2 + 2 = 4\n", "#### 4"])] * 2 + [("2 + 2?", ["2 + 2 = 5\n", "#### 5"])]
    agreed = [("1 + 2?", ["1 + 2 = 3\n", "#### 3"]), ("1 + 2?", ["3\n", "#### 3"])]
    prm, plain = by_name(folder, "adapted", learning_rate=0.01), PrmSource.at(folder).open()
    both = [one.scores for one in prm.score_steps([*split, *agreed], as_cut=True)]
    before = [one.scores for one in plain.score_steps([*split, *agreed], as_cut=True)]
    # One answer: nothing to learn. Rows beside them are others, so the last digit may be.
    for one, other in zip(both[3:], before[3:], strict=True):
        assert one == pytest.approx(other, rel=1e-5)
    assert both[0][-1] - before[0][-1] > both[2][-1] - before[2][-1]
    # Other problems of the call have no part in it.
    assert [one.scores for one in prm.score_steps(split, as_cut=True)] == both[:3]
    assert by_name(folder, "trajectory", weight=0.0).score_steps(split, as_cut=True)[0].scores == before[0]


def test_adapted_wants_a_model_that_it_can_train():
    adapted = Adapted()
    with pytest.raises(UsageError, match="expected a PRM in this process next to it"):
        adapted.score_steps(ByLength(), [("?", ["a"])], complete=True, as_cut=True)


@settings(deadline=None)  # other developers share the cores
@given(st.lists(st.sampled_from(["#### 1", "#### 2", "#### 3", "none"]), max_size=8), st.randoms())
def test_votes_follow_their_solutions_and_need_a_majority(texts, rng):
    votes = Adapted().votes(texts)
    order = list(range(len(texts)))
    rng.shuffle(order)
    shuffled = Adapted().votes([texts[k] for k in order])
    assert shuffled == (None if votes is None else [votes[k] for k in order])
    if votes is not None:
        assert len(texts) / 2 < sum(votes) < len(texts)
