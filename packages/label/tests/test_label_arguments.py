"""A solution or a grader's name that is none is answered by one line."""

import pytest

from eduprm.label import extract_answer, get_grader


def test_a_solution_that_is_none():
    with pytest.raises(TypeError, match=r"^expected a solution as a string, got NoneType$"):
        extract_answer(None)


def test_a_grader_that_is_none():
    with pytest.raises(ValueError, match=r"^expected a grader out of math, number, .* got None$"):
        get_grader(None)
