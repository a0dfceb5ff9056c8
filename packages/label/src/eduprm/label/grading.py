"""Grade frames of solutions and of tree leaves, and check that gold answers score 1.

What it is for: a grader's verdict for every row, each distinct one graded once. It does not know how an
answer is judged (see `graders`). The gold check is taken from PrimeIntellect-ai/verifiers' habit of testing an
environment with its own answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import polars as pl

from eduprm.label.answers import extract_answer
from eduprm.label.graders._contract import AnswerGrader, Grader, Problem
from eduprm.label.numeric import canonical_answer

GOLD_TEMPLATE = "#### {answer}"


def grade_frame(solutions: pl.DataFrame, problems: pl.DataFrame, grader: Grader) -> pl.DataFrame:
    """Add `answer` and `correct` to solutions.

    Args:
        solutions: Columns problem_id, text (null is a missing solution: graded wrong), any others.
        problems: One row per problem_id, with answer and whatever the grader reads (PROBLEM_SCHEMA).
        grader: Any `Grader`.

    Returns:
        The solutions, in their order, with answer String (the extracted answer in one spelling per group of equal ones,
        see `spell_alike`; null where there is none) and correct Boolean.

    Raises:
        ValueError: a column is missing, a problem_id is unknown or twice in problems, or a gold answer is missing.

    Examples:
        >>> from eduprm.label import NumberGrader
        >>> problems = pl.DataFrame({"problem_id": ["p"], "answer": ["12"]})
        >>> solutions = pl.DataFrame({"problem_id": ["p", "p"], "text": ["#### 12.0", "no idea"]})
        >>> grade_frame(solutions, problems, NumberGrader()).select("answer", "correct").rows()
        [('12', True), (None, False)]
    """
    _need(solutions, ("problem_id", "text"), "solutions")
    by_id = _problems_by_id(problems)
    ids = solutions["problem_id"].to_list()
    texts = solutions["text"].to_list()
    unknown = next((key for key in ids if key not in by_id), None)
    if unknown is not None or (None in ids):
        raise ValueError(f"expected every problem_id among the {len(by_id)} problems, got {unknown!r}")
    pairs = zip(ids, texts, strict=True)
    if isinstance(grader, AnswerGrader):
        raw = [None if text is None else grader.extract(text, by_id[i]) for i, text in pairs]
        correct = _grade_once(grader.grade_answers, ids, raw, by_id)
    else:
        raw = [None if text is None else extract_answer(text) for text in texts]
        correct = _grade_once(lambda todo: [grader.grade(*pair) for pair in todo], ids, texts, by_id)
    answers = spell_alike(ids, raw, grader)
    return solutions.with_columns(
        pl.Series("answer", answers, dtype=pl.String), pl.Series("correct", correct, dtype=pl.Boolean)
    )


def spell_alike(
    problem_ids: Sequence[str], answers: Sequence[str | None], grader: Grader | None
) -> list[str | None]:
    """Extracted answers in one spelling per group of those that the grader calls equal, so that votes can count them.

    Args:
        problem_ids: Of each answer; only answers to one problem are compared.
        answers: As extracted; None where there is none.
        grader: Any `Grader`. Without one, or with one of whole texts, equal numbers are equal answers.

    Examples:
        >>> from eduprm.label import NumberGrader
        >>> spell_alike(["p", "p", "q"], ["1/2", "0.50", None], NumberGrader())
        ['0.5', '0.5', None]
    """
    if not isinstance(grader, AnswerGrader):
        return [None if answer is None else canonical_answer(answer) for answer in answers]
    rows: dict[str, list[int]] = {}
    for row, key in enumerate(problem_ids):
        rows.setdefault(key, []).append(row)
    spelled: list[str | None] = [None] * len(answers)
    groups = grader.group_answers([[answers[row] for row in some] for some in rows.values()])
    for some, group in zip(rows.values(), groups, strict=True):
        for row, answer in zip(some, group, strict=True):
            spelled[row] = answer
    return spelled


def grade_leaves(leaves: pl.DataFrame, problems: pl.DataFrame, grader: Grader) -> pl.DataFrame:
    """Grade leaves of trees; what `label_forest` reads as its leaf_correct.

    Args:
        leaves: Columns problem_id, tree, text (of the whole path) and leaf or node_id, as `forest.leaf_paths` gives.
        problems: As in `grade_frame`.
        grader: Any `Grader`.

    Returns:
        The leaves with node_id (copied from leaf where absent), answer and correct.

    Raises:
        ValueError: as in `grade_frame`.

    Examples:
        >>> from eduprm.label import NumberGrader
        >>> leaves = pl.DataFrame({"problem_id": ["p"], "tree": ["edu"], "leaf": [3], "text": ["A: 7"]})
        >>> problems = pl.DataFrame({"problem_id": ["p"], "answer": ["7"]})
        >>> grade_leaves(leaves, problems, NumberGrader()).select("node_id", "answer", "correct").row(0)
        (3, '7', True)
    """
    if "node_id" not in leaves.columns:
        _need(leaves, ("problem_id", "tree", "leaf"), "leaves")
        leaves = leaves.with_columns(node_id=pl.col("leaf"))
    _need(leaves, ("problem_id", "tree"), "leaves")
    return grade_frame(leaves, problems, grader)


def check_gold(problems: pl.DataFrame, grader: Grader, *, template: str = GOLD_TEMPLATE) -> pl.DataFrame:
    """Grade every problem's own gold answer, and return the problems for which it does not score 1.

    Args:
        problems: PROBLEM_SCHEMA, or any frame with problem_id and answer.
        grader: Any `Grader`.
        template: How a solution states its answer; "{answer}" is replaced.

    Returns:
        problem_id, gold (as given), answer (what was extracted, null for none): empty when all is well. A problem
        that has no gold answer and needs none (`AnswerGrader.needs_gold`) is well.

    Examples:
        >>> from eduprm.label import NumberGrader
        >>> problems = pl.DataFrame({"problem_id": ["p", "q"], "answer": ["1,200", "east"]})
        >>> check_gold(problems, NumberGrader()).rows()
        [('q', 'east', 'east')]
    """
    _need(problems, ("problem_id", "answer"), "problems")
    if isinstance(grader, AnswerGrader):
        needed = [
            row["answer"] is not None or grader.needs_gold(row) for row in problems.iter_rows(named=True)
        ]
        problems = problems.filter(pl.Series(needed, dtype=pl.Boolean))
    texts = [None if gold is None else template.replace("{answer}", gold) for gold in problems["answer"]]
    gold = problems.select("problem_id", pl.Series("text", texts, dtype=pl.String), gold="answer")
    return (
        grade_frame(gold, problems, grader).filter(~pl.col("correct")).select("problem_id", "gold", "answer")
    )


def _grade_once(
    grade_all: Callable[[list[tuple[str, Problem]]], list[bool]],
    ids: list[str],
    graded: list[str | None],
    by_id: dict[str, Problem],
) -> list[bool]:
    """Grade each distinct (problem, answer or text) once; what is missing is wrong."""
    pairs = list(dict.fromkeys((i, a) for i, a in zip(ids, graded, strict=True) if a is not None))
    verdicts = dict(zip(pairs, grade_all([(a, by_id[i]) for i, a in pairs]), strict=True))
    return [answer is not None and verdicts[key, answer] for key, answer in zip(ids, graded, strict=True)]


def _problems_by_id(problems: pl.DataFrame) -> dict[str, Problem]:
    _need(problems, ("problem_id", "answer"), "problems")
    by_id: dict[str, Problem] = {row["problem_id"]: row for row in problems.iter_rows(named=True)}
    if len(by_id) != problems.height:
        twice = problems.filter(problems["problem_id"].is_duplicated())["problem_id"][0]
        raise ValueError(f"expected each problem_id once in problems, got {twice!r} several times")
    return by_id


def _need(frame: pl.DataFrame, columns: Iterable[str], what: str) -> None:
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise ValueError(f"expected {what} to hold {', '.join(columns)}, missing {', '.join(missing)}")
