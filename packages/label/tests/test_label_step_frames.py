"""Step checks over solutions, tree nodes and whole derivations."""

import polars as pl
import pytest

from eduprm.label import check_derivation, check_steps, node_validity, step_validity


def test_solutions_in_a_frame() -> None:
    frame = pl.DataFrame(
        {"answer": ["3 * 4 = 12\n12 * 5 = 60\n#### 60", "3 * 4 = 12\n12 * 5 = 50", "60", None]}
    )
    checked = step_validity(frame, column="answer")
    assert checked["num_equations"].to_list() == [2, 2, 0, 0]
    assert checked["num_wrong"].to_list() == [0, 1, 0, 0]
    assert checked["steps_valid"].to_list() == [True, False, None, None]
    with pytest.raises(ValueError, match="expected a column 'text'"):
        step_validity(frame)


def test_nodes_are_judged_by_the_lines_that_end_in_them() -> None:
    #            0 "3 * 4 = "
    #       1 "1"            5 "2\n"
    #   2 "2\n"  4 "3\n"     6 "2 * 5 = 10"
    #   3 "12 * 5 = 60"
    texts = ["3 * 4 = ", "1", "2\n", "12 * 5 = 60", "3\n13", "2\n", "2 * 5 = 10"]
    parents = [None, 0, 1, 2, 1, 0, 5]
    frame = pl.DataFrame(
        {"problem_id": ["p"] * 7, "tree": ["t"] * 7, "node_id": range(7), "parent_id": parents, "text": texts}
    )
    checked = node_validity(frame)
    assert checked["node_valid"].to_list() == [None, None, True, True, False, False, True]
    assert checked["path_valid"].to_list() == [True, True, True, True, False, False, False]


def test_node_validity_agrees_with_the_whole_solution_at_leaves() -> None:
    lines = ["3 * 4 = 12\n12 * 5 = 60\n#### 60", "3 * 4 = 13\n", "2 + 2 = 4\n2 + 2 = 5\n2 + 2 = 4"]
    for text in lines:
        for size in (1, 2, 3, 7):
            pieces = [text[i : i + size] for i in range(0, len(text), size)]
            n = len(pieces)
            ids = {"node_id": range(n), "parent_id": [None, *range(n - 1)], "text": pieces}
            chain = node_validity(pl.DataFrame({"problem_id": ["p"] * n, "tree": ["t"] * n, **ids}))
            assert chain["path_valid"][-1] == all(check.valid for check in check_steps(text))


@pytest.mark.parametrize(
    ("text", "operands", "expected"),
    [
        ("3 * 4 = 12\n12 * 5 = 60\n#### 60", [3, 4, 5], (True, True, True)),
        ("5 * 4 = 20\n20 * 3 = 60\n#### 60", [3, 4, 5], (True, True, True)),
        ("3 * 4 * 5 = 12 * 5 = 60\n#### 60", [3, 4, 5], (True, True, True)),
        ("12 * 5 = 60\n#### 60", [3, 4, 5], (True, False, False)),
        ("3 * 4 = 12\n#### 60", [3, 4, 5], (True, True, False)),
        ("3 * 4 = 12\n12 * 5 = 60\n#### 61", [3, 4, 5], (True, True, False)),
        ("3 * 4 = 13\n13 * 5 = 65\n#### 65", [3, 4, 5], (False, False, False)),
        ("3 * 3 = 9\n#### 9", [3, 3], (True, True, True)),
        ("3 * 3 = 9\n#### 9", [3, 5], (True, False, False)),
        ("3 - 5 = -2\n-2 + 4 = 2\n#### 2", [3, 5, 4], (True, True, True)),
    ],
)
def test_derivations(text: str, operands: list[int], expected: tuple[bool, bool, bool]) -> None:
    found = check_derivation(text, operands)
    assert tuple(found) == expected
    assert found.sound == all(expected)
