"""Rank scored solutions, grade them where gold answers stand, and see what every rule would have chosen.

For: one chunk at a time, on frames of `eduprm.label` and `eduprm.bench`. Does not know: files, the PRM.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from eduprm.core.errors import UsageError, first_line, quoted
from eduprm.label import canonical_answer, check_gold, extract_answer, get_grader, grade_frame, spell_alike
from eduprm.rank import CANDIDATE_SCHEMA, RULES, choose, rank_candidates
from eduprm.rank.errors import Rejection
from eduprm.rank.rows import Problem
from eduprm.rank.rules import DEFAULT_SHARE, aggregate_expr
from eduprm.rank.settings import Settings

if TYPE_CHECKING:
    from eduprm.rank.scoring import Scored

BASELINES = ("first", "random")
"""What stands beside the rules: the file's first solution, and the mean over all (a pick at random)."""


def rule_names(settings: Settings) -> tuple[str, ...]:
    """Rules that need nothing but texts, scores and gold answers, with the shares of the settings; the oracle last."""
    names = [n for n, rule in RULES.items() if rule.needs_step_scores or n in ("majority", "oracle")]
    return tuple(_with_share(name, settings) for name in names)


def choosing_rule(settings: Settings) -> str:
    """The rule that ranks: `--choose` by `--aggregate`."""
    if settings.choose == "majority":
        return "majority"
    beginning = {"prm": "prm", "weighted": "weighted_majority_prm", "wrf": "wrf_prm", "hmr": "hmr_prm"}
    return _with_share(f"{beginning[settings.choose]}_{settings.aggregate}", settings)


def _with_share(name: str, settings: Settings) -> str:
    share = {"wrf": settings.wrf_weight, "hmr": settings.hmr_share}.get(name[:3], DEFAULT_SHARE)
    return name if share == DEFAULT_SHARE else f"{name}@{share:g}"


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """A solution with its place: `position` counts the problem's usable solutions from 0, `rank` from 1 (best)."""

    scored: Scored
    position: int
    rank: int
    score: float
    final_answer: str | None
    correct: bool | None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What every rule and baseline scored on one graded problem; `ties`: rules that only the order decided."""

    row: int
    right: dict[str, float]
    ties: list[str]
    solutions: int


class Rankings(NamedTuple):
    """What a chunk comes to.

    Attributes:
        solutions: per problem, best first.
        outcomes: of graded problems.
        bad_gold: gold answers that the grader cannot use.
        ties: problems in which only the order of the file decided between answers.
    """

    solutions: list[list[Ranked]]
    outcomes: list[Outcome]
    bad_gold: list[Rejection]
    ties: int


class Ranker:
    """Settings of ranking and the grader, which is made once."""

    def __init__(self, settings: Settings) -> None:
        self.aggregate = settings.aggregate
        self.rule = choosing_rule(settings)
        self.rule_names = rule_names(settings)
        grader = self._grader_name = settings.grader
        try:
            self._grader = None if grader == "none" else get_grader(grader, **settings.grader_options)
        except (ValueError, ImportError) as error:
            raise UsageError(f"--grader: {first_line(error)}") from None

    def close(self) -> None:
        """Stop the grader's worker processes."""
        close = getattr(self._grader, "close", None)
        if close is not None:
            close()

    def rank(self, problems: Sequence[Problem], scored: Sequence[Sequence[Scored]]) -> Rankings:
        """Rank each problem's solutions, best first; problems without a scored one get an empty list."""
        frame = _candidates(problems, scored)
        gold, rejected = self._usable_gold([p for p, some in zip(problems, scored, strict=True) if some])
        frame = self._grade(frame, gold)
        frame = frame.with_columns(_score=aggregate_expr(self.aggregate))
        places = rank_candidates(frame.select(list(CANDIDATE_SCHEMA)), rule=self.rule)
        placed = places.join(frame, on=["problem_id", "tree", "leaf"], how="left", maintain_order="left")
        by_problem: dict[str, list[dict[str, Any]]] = {}
        for record in placed.drop("step_scores", "text").iter_rows(named=True):
            by_problem.setdefault(record["problem_id"], []).append(record)
        return Rankings(
            solutions=[
                _ranking(by_problem.get(str(problem.row), []), some)
                for problem, some in zip(problems, scored, strict=True)
            ],
            outcomes=_outcomes(frame.filter(pl.col("correct").is_not_null()), self.rule_names),
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
    """Candidates of `eduprm.bench`, with their texts; files hold no log-probs, and no rule here reads them."""
    rows = [
        (str(p.row), "file", position, None, None, 0.0, len(one.steps), one.step_scores, one.solution.text)
        for p, some in zip(problems, scored, strict=True)
        for position, one in enumerate(some)
    ]
    return pl.DataFrame(rows, schema={**CANDIDATE_SCHEMA, "text": pl.String()}, orient="row")


def _ranking(records: Sequence[dict[str, Any]], scored: Sequence[Scored]) -> list[Ranked]:
    return [
        Ranked(
            scored=scored[record["leaf"]],
            position=record["leaf"],
            rank=record["place"],
            score=record["_score"],
            final_answer=record["answer"],
            correct=record["correct"],
        )
        for record in records
    ]


def _outcomes(frame: pl.DataFrame, rules: Sequence[str]) -> list[Outcome]:
    if not frame.height:
        return []
    choices = choose(frame.select(list(CANDIDATE_SCHEMA)), rules=rules)
    right: dict[str, dict[str, float]] = {}
    ties: dict[str, list[str]] = {}
    for rule, problem, correct, tied in choices.select("rule", "problem_id", "correct", "tied").iter_rows():
        right.setdefault(problem, {})[rule] = float(correct)
        ties.setdefault(problem, []).extend([rule] if tied else [])
    base = frame.group_by("problem_id", maintain_order=True).agg(
        first=pl.col("correct").first(), random=pl.col("correct").mean(), solutions=pl.len()
    )
    return [
        Outcome(
            row=int(problem),
            right={**right[problem], "first": float(first), "random": mean},
            ties=ties[problem],
            solutions=solutions,
        )
        for problem, first, mean, solutions in base.iter_rows()
    ]


def same_gold(one: str, other: str) -> bool:
    """Whether two gold answers of one problem say the same: 14 and 14.0 do, and the worked answer that ends in it.

    Examples:
        >>> same_gold("14", "14.0"), same_gold("2 * 7 = 14\\n#### 14", "14"), same_gold("14", "15")
        (True, True, False)
    """
    return one == other or canonical_answer(_final(one)) == canonical_answer(_final(other))


def _final(gold: str) -> str:
    """GSM8K's worked answers end in "#### N"; everything else is the answer itself."""
    return (extract_answer(gold) or gold) if "####" in gold else gold
