"""One way to open a PRM and one call to score: scores, or why there are none, for each solution by itself."""

import json
import math

import pytest

from eduprm.core import registry
from eduprm.core.errors import UsageError
from eduprm.prm import PrmSource, ProcessRewardModel
from eduprm.prm.config import Scoring
from eduprm.prm.prm_folder import folder_digest
from eduprm.prm.solutions import score_steps
from eduprm.prm.source import PrmReading
from eduprm.prm.testing import tiny_prm

STEPS = ["2*3 = 6", "6*4 = 24"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_prm(tmp_path_factory.mktemp("prm") / "prm", max_position_embeddings=256)


@pytest.fixture(scope="module")
def prm(folder):
    return PrmSource.at(folder, PrmReading(dtype="float32", batch_tokens=300)).open()


def test_a_form_of_ones_own_is_part_of_the_key(folder, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)

    def key(code):
        (tmp_path / "form_of_mine.py").write_text(code)
        return PrmSource.at(folder, PrmReading(format="form_of_mine:Format")).key()

    code = "class Format:\n    architectures, marks = (), ()\n    load = None\n"
    assert key(code) == key(code) != key(code + "    by = 2\n")
    assert PrmSource.at(folder).key() == folder_digest(folder) != key(code)


def test_what_is_opened_is_the_prm_of_the_folder_read_as_asked(folder, prm):
    direct = ProcessRewardModel.from_pretrained(folder)
    assert prm.batch_tokens == 300
    assert prm.score_steps([("2*3*4?", STEPS)])[0].scores == pytest.approx(
        direct.score_many([("2*3*4?", STEPS)])[0], abs=1e-6
    )


@pytest.mark.filterwarnings("ignore:.*lists of steps")
@pytest.mark.parametrize("options", [{}, {"complete": False}, {"as_cut": True}])
def test_each_solution_has_scores_or_a_reason(prm, options):
    solutions = [("a?", STEPS), ("a?", ["x" * 300]), ("a?", ["fine", ""]), ("b?", ["\ud800"]), ("b?", STEPS)]
    good, long, empty, broken, last = prm.score_steps(solutions, **options)
    alone = prm.score_many([solutions[0], solutions[4]], **options)
    assert [good.scores, last.scores] == [pytest.approx(scores, abs=1e-6) for scores in alone]
    assert (good.rejected, good.tokens) == (None, prm.num_tokens("a?", STEPS, **options))
    assert good.joiner == ("" if options.get("as_cut") else prm.builder.added_joiner(STEPS, **options))
    assert long.scores is empty.scores is broken.scores is None
    assert long.rejected.startswith(
        f"it has {long.tokens} tokens with its problem, the PRM's context holds 256;"
    )
    assert "an empty step 1 of 2" in empty.rejected
    assert "half a surrogate pair" in broken.rejected


class Broken:
    """The PRM with other answers."""

    def __init__(self, prm, answer):
        self.builder, self.max_tokens, self.batch_tokens, self.answer = prm.builder, None, 77, answer

    def score_ids(self, solutions):
        if isinstance(self.answer, Exception):
            raise self.answer
        return [self.answer] * len(solutions)


def test_scores_that_are_no_numbers_and_a_refusal_are_reasons(prm):
    (one,) = score_steps(Broken(prm, [0.5, math.nan]), [("a?", STEPS)])
    assert (one.scores, one.rejected) == (None, "the PRM's scores are not numbers; try --dtype float32")
    (one,) = score_steps(Broken(prm, "busy"), [("a?", STEPS)])
    assert (one.scores, one.rejected) == (None, "busy")


def test_out_of_memory_is_one_line_and_other_errors_pass(prm):
    with pytest.raises(UsageError, match=r"^--batch-tokens: out of memory with 77; set it lower$"):
        score_steps(Broken(prm, RuntimeError("CUDA out of memory. Tried")), [("a?", STEPS)])
    with pytest.raises(RuntimeError, match="a fault"):
        score_steps(Broken(prm, RuntimeError("a fault")), [("a?", STEPS)])


def test_what_cannot_be_opened_is_one_line(folder, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError, match=r"^--prm: mine cannot be loaded as a PRM on --device cpu: .*\S$"):
        PrmSource.at(tmp_path, PrmReading(device="cpu"), name="mine").open()
    with pytest.raises(UsageError, match="--prm: no PRM at nowhere"):
        PrmSource.find("nowhere")
    assert PrmSource.find(str(folder)).key() == PrmSource.at(folder).key()
    assert PrmSource.at(folder).saved_cut() is None


@pytest.mark.parametrize("kind", registry.names("eduprm.prm.scorers"))
def test_a_place_knows_what_makes_one_score_of_a_solution(kind, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"eduprm": {"scoring": {"kind": kind}}}))
    whole = {"likelihood": "min", "step_head": "min", "implicit": "mean"}.get(kind, "last")
    assert PrmSource.at(tmp_path).solution() == whole
    assert Scoring(kind=f"eduprm.prm.scorers.{kind}:Scorer").solution == whole
