"""A problem, steps or a pair of the wrong kind is answered by one line, with the solution's number."""

import pytest

from eduprm.prm import ProcessRewardModel
from eduprm.prm.testing import tiny_prm


@pytest.fixture(scope="module")
def prm(tmp_path_factory):
    return ProcessRewardModel.from_pretrained(tiny_prm(tmp_path_factory.mktemp("prm") / "prm"))


@pytest.mark.parametrize(
    ("problem", "steps", "told"),
    [
        (None, ["a"], "solution 0: expected the problem to be a string, got NoneType"),
        (5, ["a"], "solution 0: expected the problem to be a string, got int"),
        ("p", None, "solution 0: expected a non-empty list of steps, got None"),
        ("p", [None], "solution 0: expected step 0 to be a string, got NoneType"),
    ],
)
def test_a_problem_or_steps_of_the_wrong_kind(prm, problem, steps, told):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        prm.score(problem, steps)
    assert str(caught.value) == told


@pytest.mark.parametrize("pair", [None, "ab", ("p",)])
def test_what_is_no_pair_is_named_with_its_number(prm, pair):
    with pytest.raises(ValueError, match="solution 1: expected a pair of problem and steps, got"):
        prm.score_many([("p", ["a"]), pair])


def test_tokens_of_a_problem_that_is_none(prm):
    with pytest.raises(ValueError, match=r"^expected the problem to be a string, got NoneType$"):
        prm.num_tokens(None, ["a"])
