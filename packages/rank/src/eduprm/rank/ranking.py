"""Rank scored solutions, grade them where gold answers stand, and see what every rule would have chosen.

For one chunk at a time, on frames of `eduprm.label` and `eduprm.bench`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from eduprm.core import registry
from eduprm.core.errors import UsageError, first_line, quoted
from eduprm.label import canonical_answer, check_gold, extract_answer, get_grader, grade_frame, spell_alike
from eduprm.rank import CANDIDATE_SCHEMA
from eduprm.rank.errors import Rejection
from eduprm.rank.file_rules import choosing_rule, rule_names
from eduprm.rank.rows import Problem
from eduprm.rank.rules._aggregate import aggregate_expr
from eduprm.rank.selection import choose_and_rank
from eduprm.rank.settings import RankSettings

if TYPE_CHECKING:
    from eduprm.rank.scoring import Scored

BASELINES = ("first", "random")
"""What stands beside the rules: the file's first solution, and the mean over all (a pick at random)."""


RANKED_SCHEMA: dict[str, pl.DataType] = {
    "problem": pl.Int32(),
    "problem_id": pl.String(),
    "leaf": pl.Int32(),
    "row": pl.Int64(),
    "index": pl.Int32(),
    "text": pl.String(),
    "rank": pl.Int32(),
    "score": pl.Float64(),
    "steps": pl.List(pl.String()),
    "step_scores": pl.List(pl.Float64()),
    "final_answer": pl.String(),
    "correct": pl.Boolean(),
}
"""A scored solution with its place: `problem` is the problem's place in the chunk, `problem_id` its first row, `leaf`
counts its usable solutions from 0; `row` (from 1) and `index` (null: the row is the solution) say where it stands."""


class RankedChunk(NamedTuple):
    """What a chunk comes to.

    Attributes:
        solutions: a row of `RANKED_SCHEMA` for every scored solution, best first, problem by problem as they came.
        choices: what each rule chose (`eduprm.rank.CHOICE_SCHEMA`); problems without a gold answer count as not right.
        outcomes: per graded problem, as JSON has it: row; right, by rule and baseline; ties, the rules that only the
            order decided; solutions, how many.
        bad_gold: gold answers that the grader cannot use.
        ties: problems in which only the order of the file decided between answers.
    """

    solutions: pl.DataFrame
    choices: pl.DataFrame
    outcomes: list[dict[str, Any]]
    bad_gold: list[Rejection]
    ties: int


def _named(settings: RankSettings) -> tuple[str, ...]:
    """The choices that decide where steps end, what ranks them, and what is right."""
    cuts = settings.policy_cut or {}
    return (settings.rule, settings.grader, settings.segment, *cuts)


class Ranker:
    """RankSettings of ranking and the grader, which is made once; `solution`: `PrmPlace.solution`."""

    def __init__(self, settings: RankSettings, *, solution: str = "last") -> None:
        self.aggregate = settings.aggregate
        self._named = _named(settings)
        self.rule = choosing_rule(settings)
        self.rule_names = rule_names(settings, solution=solution)
        grader = self._grader_name = settings.grader
        try:
            self._grader = None if grader == "none" else get_grader(grader, **settings.grader_options)
        except (ValueError, ImportError) as error:
            raise UsageError(f"--grader: {first_line(error)}") from None

    def key(self) -> dict[str, Any]:
        """What the outcomes depend on beside settings and versions: the rules, and the code of own choices."""
        own = {name: registry.source_digest("", name) for name in self._named if ":" in name}
        return {"names": list(self.rule_names), "own": own}

    def close(self) -> None:
        """Stop the grader's worker processes."""
        close = getattr(self._grader, "close", None)
        if close is not None:
            close()

    def rank(self, problems: Sequence[Problem], scored: Sequence[Sequence[Scored]]) -> RankedChunk:
        """Rank each problem's solutions, best first, and let every rule of the table choose."""
        frame = _candidates(problems, scored)
        gold, rejected = self._usable_gold([p for p, some in zip(problems, scored, strict=True) if some])
        frame = self._grade(frame, gold)
        frame = frame.with_columns(score=aggregate_expr(self.aggregate), final_answer=pl.col("answer"))
        # An oracle wants a grade everywhere; what it chooses in problems without one is dropped below.
        candidates = frame.select(list(CANDIDATE_SCHEMA)).with_columns(pl.col("correct").fill_null(False))
        try:
            choices, places = choose_and_rank(candidates, rules=self.rule_names, rank_by=self.rule)
        except ValueError as error:
            raise UsageError(f"--rule: {first_line(error)}") from error
        keys = ["problem_id", "tree", "leaf"]
        placed = frame.join(places.select(*keys, rank="place"), on=keys, how="left", maintain_order="left")
        return RankedChunk(
            solutions=placed.sort("problem", "rank").select(list(RANKED_SCHEMA)),
            choices=choices,
            outcomes=_outcomes(frame.filter(pl.col("correct").is_not_null()), choices),
            bad_gold=rejected,
            ties=places.filter(pl.col("place") == 1, "tied").height,
        )

    def _usable_gold(self, problems: Sequence[Problem]) -> tuple[pl.DataFrame, list[Rejection]]:
        """Gold answers that the grader grades as right, and the others."""
        graded = [p for p in problems if p.answer is not None and self._grader is not None]
        rows = {
            "problem_id": [str(p.row) for p in graded],
            "question": [p.text for p in graded],
            "answer": [_final(p.answer or "") for p in graded],
        }
        gold = pl.DataFrame(
            rows, schema={"problem_id": pl.String, "question": pl.String, "answer": pl.String}
        )
        # A user's function may want another form of answer than the one that the check writes.
        if self._grader is None or ":" in self._grader_name or not graded:
            return gold, []
        bad = set(check_gold(gold, self._grader)["problem_id"])
        reason = (
            "ranked, but left out of the accuracies: --grader {} does not take the gold answer {}; "
            "use another grader, or mend the answer"
        )
        rejected = [
            Rejection(
                row=p.row, id=p.id, solution=None, reason=reason.format(self._grader_name, quoted(p.answer))
            )
            for p in graded
            if str(p.row) in bad
        ]
        return gold.filter(~pl.col("problem_id").is_in(bad)), rejected

    def _grade(self, frame: pl.DataFrame, gold: pl.DataFrame) -> pl.DataFrame:
        """Fill `answer` and, for problems with gold, `correct`; the order of rows stays."""
        graded_ids = set(gold["problem_id"])
        ids, texts = frame["problem_id"].to_list(), frame["text"]
        # `grade_frame` spells the answers of graded problems itself.
        raw = [None if i in graded_ids else extract_answer(text) for i, text in zip(ids, texts, strict=True)]
        answers = pl.Series("answer", spell_alike(ids, raw, self._grader), dtype=pl.String)
        frame = frame.with_columns(answers)
        if self._grader is None or not gold.height or not frame.height:
            return frame
        known = pl.col("problem_id").is_in(gold["problem_id"].implode())
        rows = frame.drop("answer", "correct").with_row_index("_row").filter(known)
        try:
            graded = grade_frame(rows, gold, self._grader)
        except Exception as error:  # a user's function can raise anything
            raise UsageError(
                f"--grader {self._grader_name} failed: {type(error).__name__}: {first_line(error)}"
            ) from error
        graded = graded.select("_row", "answer", "correct")
        joined = frame.with_row_index("_row").join(graded, on="_row", how="left", maintain_order="left")
        return joined.with_columns(
            answer=pl.coalesce("answer_right", "answer"), correct=pl.col("correct_right")
        ).drop("_row", "answer_right", "correct_right")


def _candidates(problems: Sequence[Problem], scored: Sequence[Sequence[Scored]]) -> pl.DataFrame:
    """Candidates with what the ranked rows need; files hold no log-probs, and no rule here reads them."""
    rows = [
        (
            *(str(p.row), "file", position, None, None, 0.0, len(one.steps), one.step_scores),
            *(number, one.solution.row, one.solution.index, one.solution.text, one.steps),
        )
        for number, (p, some) in enumerate(zip(problems, scored, strict=True))
        for position, one in enumerate(some)
    ]
    carried = {name: RANKED_SCHEMA[name] for name in ("problem", "row", "index", "text", "steps")}
    return pl.DataFrame(rows, schema={**CANDIDATE_SCHEMA, **carried}, orient="row")


def _outcomes(graded: pl.DataFrame, choices: pl.DataFrame) -> list[dict[str, Any]]:
    right: dict[str, dict[str, float]] = {}
    ties: dict[str, list[str]] = {}
    for rule, problem, correct, tied in choices.select("rule", "problem_id", "correct", "tied").iter_rows():
        right.setdefault(problem, {})[rule] = float(correct)
        ties.setdefault(problem, []).extend([rule] if tied else [])
    base = graded.group_by("problem_id", maintain_order=True).agg(
        first=pl.col("correct").first(), random=pl.col("correct").mean(), solutions=pl.len()
    )
    return [
        {
            "row": int(problem),
            "right": {**right[problem], "first": float(first), "random": mean},
            "ties": ties[problem],
            "solutions": solutions,
        }
        for problem, first, mean, solutions in base.iter_rows()
    ]


def same_gold(one: str, other: str) -> bool:
    """Whether two gold answers of one problem say the same: 14 and 14.0 do, and the worked answer that ends in it.

    Examples:
        >>> same_gold("14", "14.0"), same_gold("2 * 7 = 14\\n#### 14", "14"), same_gold("14", "15")
        (True, True, False)
        >>> same_gold(r"so it is $\\boxed{14}$.", "14")
        True
    """
    return one == other or canonical_answer(_final(one)) == canonical_answer(_final(other))


def _final(gold: str) -> str:
    r"""GSM8K's worked answers end in "#### N", those of MATH in a box; everything else is the answer itself."""
    return (extract_answer(gold) or gold) if "####" in gold or "\\boxed" in gold else gold
