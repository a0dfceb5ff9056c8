"""Group the answers to one problem that a grader calls equal, so that they vote together.

What it is for: `\\frac{\\pi}{2}`, `\\dfrac{\\pi}{2}` and `\\pi/2` are one answer in a vote, as `1,000` and `1000` are.
It does not know how two answers are compared: that is the grader's (`AnswerGrader.group_answers`). Bounded: of a
problem's spellings at most `MAX_DISTINCT` are compared, each with one of every group, and none again after it failed
twice (ran out of time or memory). Source: ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from eduprm.label.numeric import canonical_answer

MAX_DISTINCT = 64
"""Distinct spellings of a problem that are compared, the most frequent first; the others stand for themselves."""

_MAX_FAILURES = 2
_PROBE = "1"

Same = Callable[[str, str], bool | None]
"""Whether two answers are equal; None where the comparison failed (was killed)."""


def group_spellings(answers: Sequence[str | None], same: Same) -> list[str | None]:
    """One spelling for each group of equal answers to one problem.

    Args:
        answers: As extracted; None where there is none.
        same: Compares two answers whose numbers, if they are plain ones, differ.

    Returns:
        For each answer the spelling of its group: that of its most frequent member, the first of them where several
        are; numbers in plain digits (`canonical_answer`).

    Examples:
        >>> group_spellings(["1/2", "0.5", "B", None, "b"], lambda one, other: one.lower() == other.lower())
        ['0.5', '0.5', 'B', None, 'B']
    """
    spelled = [None if answer is None else canonical_answer(answer) for answer in answers]
    counts = Counter(answer for answer in spelled if answer is not None)
    stands_for: dict[str, str] = {}
    heads: list[str] = []
    failures: Counter[str] = Counter()
    for answer, _ in counts.most_common(MAX_DISTINCT):
        if same(_PROBE, answer) is None:  # hostile: it would fail beside every other, and count against them
            continue
        head = next((head for head in heads if _same(head, answer, same, failures)), None)
        if head is None:
            heads.append(answer)
        stands_for[answer] = head or answer
    return [None if answer is None else stands_for.get(answer, answer) for answer in spelled]


def _same(head: str, answer: str, same: Same, failures: Counter[str]) -> bool:
    if max(failures[head], failures[answer]) >= _MAX_FAILURES:
        return False
    verdict = same(head, answer)
    if verdict is None:
        failures.update((head, answer))
    return bool(verdict)
