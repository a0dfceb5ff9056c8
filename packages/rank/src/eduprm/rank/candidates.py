"""The candidates frame: one row per finished solution that a selection rule may choose from.

It does not know how answers were graded, how steps were scored, or which rule will choose.
"""

from collections.abc import Iterable

import polars as pl

from eduprm.core.widths import MisfitError, with_widths
from eduprm.label import canonical_answer

CANDIDATE_SCHEMA: dict[str, pl.DataType] = {
    "problem_id": pl.String(),
    "tree": pl.String(),
    "leaf": pl.Int32(),
    "answer": pl.String(),
    "correct": pl.Boolean(),
    "logprob_sum": pl.Float64(),
    "num_tokens": pl.Int32(),
    "step_scores": pl.List(pl.Float64()),
}
"""Columns of a candidates frame, in order. Further columns ``order`` (Int32) and ``greedy`` (Boolean) are optional."""

ORDER_DTYPE = pl.Int32()
OPTIONAL_COLUMNS: dict[str, pl.DataType] = {"order": ORDER_DTYPE, "greedy": pl.Boolean()}
_NULLABLE = {"answer", "correct", "step_scores"}


class CandidateError(ValueError):
    """A broken candidates frame; the message is one line: what was expected, what came, where."""


def validate_candidates(candidates: pl.DataFrame) -> pl.DataFrame:
    """Check a candidates frame and give it back: the schema's columns first, then ``order`` and ``greedy`` if there.

    Args:
        candidates: frame with the columns of `CANDIDATE_SCHEMA` in any order (integers of any width that fit, as
            polars' own Int64; Float32 for Float64), and optionally ``order``: the
            order in which the leaf was found within its problem, lowest first. Without it the leaf id
            stands for it, which is right for independent samples but not for a search by best-first. ``greedy`` says
            which is the policy's greedy solution; without it none is.
            ``answer`` is null where none was found, ``correct`` where there is no gold answer,
            ``step_scores`` where nothing was scored.

    Raises:
        CandidateError: a column is missing or of another type, a value is null that must not be, or out of range, or a
            (problem_id, tree, leaf) stands twice. The message names the column and the first bad row.

    Examples:
        >>> row = {"problem_id": ["p"], "tree": ["ht"], "leaf": [1], "answer": ["4"], "correct": [True],
        ...        "logprob_sum": [-1.5], "num_tokens": [6], "step_scores": [[0.9, 0.8]]}
        >>> frame = pl.DataFrame(row, schema=CANDIDATE_SCHEMA)
        >>> validate_candidates(frame).height
        1
        >>> try:
        ...     validate_candidates(frame.drop("correct"))
        ... except CandidateError as error:
        ...     print(error)
        candidates: column 'correct' (Boolean) is missing
    """
    wanted = dict(CANDIDATE_SCHEMA)
    wanted |= {name: kind for name, kind in OPTIONAL_COLUMNS.items() if name in candidates.columns}
    try:
        candidates = with_widths(candidates, wanted)
    except MisfitError as error:
        raise CandidateError(f"candidates: {error}") from None
    _check_schema(candidates, wanted)
    _check_nulls(candidates, [name for name in wanted if name not in _NULLABLE])
    _check_values(candidates)
    keys = ["problem_id", "tree", "leaf"]
    if candidates.select(keys).is_duplicated().any():
        bad = candidates.with_row_index("_row").filter(pl.struct(keys).is_duplicated())
        raise CandidateError(f"candidates: (problem_id, tree, leaf) must be unique, twice at {_where(bad)}")
    return candidates.select(list(wanted))


def require_gold(candidates: pl.DataFrame) -> pl.DataFrame:
    """Give the frame back if every candidate is graded.

    Raises:
        CandidateError: a candidate's ``correct`` is null; the message names the first.

    Examples:
        >>> require_gold(pl.DataFrame({"correct": [True]})).height
        1
    """
    _check_nulls(candidates, ["correct"])
    return candidates


def _check_schema(frame: pl.DataFrame, wanted: dict[str, pl.DataType]) -> None:
    for name, dtype in wanted.items():
        if name not in frame.columns:
            raise CandidateError(f"candidates: column {name!r} ({dtype}) is missing")
        if frame.schema[name] != dtype:
            raise CandidateError(f"candidates: column {name!r} must be {dtype}, got {frame.schema[name]}")


def _check_nulls(frame: pl.DataFrame, names: Iterable[str]) -> None:
    for name in names:
        if frame[name].null_count():
            bad = frame.with_row_index("_row").filter(pl.col(name).is_null())
            raise CandidateError(f"candidates: column {name!r} must not be null, null at {_where(bad)}")


def _check_values(frame: pl.DataFrame) -> None:
    scores = pl.col("step_scores")
    checks = [
        ("num_tokens", "must be at least 1", pl.col("num_tokens") < 1),
        # Float32 log-probs may lie a hair above 0, once per token.
        (
            "logprob_sum",
            "must be finite and at most 0 (nats)",
            ~pl.col("logprob_sum").is_finite() | (pl.col("logprob_sum") > 1e-4 * pl.col("num_tokens")),
        ),
        ("step_scores", "must be null or hold at least one step", scores.list.len() == 0),
        (
            "step_scores",
            "must hold numbers in [0, 1]",
            scores.list.eval(~pl.element().is_between(0.0, 1.0)).list.any()
            | scores.list.eval(pl.element().is_null()).list.any(),
        ),
    ]
    for name, rule, broken in checks:
        bad = frame.with_row_index("_row").filter(broken.fill_null(False))
        if bad.height:
            got = bad[name].to_list()[0]
            raise CandidateError(f"candidates: column {name!r} {rule}, got {got} at {_where(bad)}")


def _where(bad: pl.DataFrame) -> str:
    row, *key = bad.select("_row", "problem_id", "tree", "leaf").row(0)
    return "row {} (problem_id={!r}, tree={!r}, leaf={})".format(row + 1, *key)


def with_order(candidates: pl.DataFrame) -> pl.DataFrame:
    """Sort by problem and order, and add ``rank``: 0, 1, ... within the problem.

    Candidates of one order (two trees of one problem) follow each other by tree name, then by leaf id.

    Examples:
        >>> rows = {"problem_id": ["p", "p"], "tree": ["edu"] * 2, "leaf": [3, 9], "order": [1, 0]}
        >>> frame = pl.DataFrame(rows)
        >>> with_order(frame).select("leaf", "rank").rows()
        [(9, 0), (3, 1)]
    """
    if "order" not in candidates.columns:
        candidates = candidates.with_columns(order=pl.col("leaf").cast(ORDER_DTYPE))
    ordered = candidates.sort("problem_id", "order", "tree", "leaf")
    return ordered.with_columns(rank=pl.int_range(pl.len(), dtype=ORDER_DTYPE).over("problem_id"))


def first_n(candidates: pl.DataFrame, *, n: int | None) -> pl.DataFrame:
    """The first ``n`` candidates of each problem in ``order``; all of them with None.

    A prefix of a search is what a smaller budget of leaves would have given, and a prefix of independent
    samples is a smaller draw. A problem with fewer than n candidates keeps what it has.

    Raises:
        ValueError: n is below 1.

    Examples:
        >>> rows = {"problem_id": ["p", "p"], "tree": ["edu"] * 2, "leaf": [3, 9], "order": [1, 0]}
        >>> frame = pl.DataFrame(rows)
        >>> first_n(frame, n=1)["leaf"].to_list()
        [9]
    """
    if n is not None and n < 1:
        raise ValueError(f"n must be at least 1 or None, got {n}")
    ordered = with_order(candidates)
    if n is not None:
        ordered = ordered.filter(pl.col("rank") < n)
    return ordered.drop("rank")


def with_answer_key(candidates: pl.DataFrame) -> pl.DataFrame:
    """Add ``answer_key`` (String, null where the answer is null): one spelling per answer, for votes.

    Numbers that are equal share a key (`eduprm.label.canonical_answer`).

    Examples:
        >>> with_answer_key(pl.DataFrame({"answer": ["$3.0", "3", None]}))["answer_key"].to_list()
        ['3', '3', None]
    """
    distinct = candidates["answer"].drop_nulls().unique().to_list()
    keys = pl.DataFrame(
        {"answer": distinct, "answer_key": [canonical_answer(a) for a in distinct]},
        schema={"answer": pl.String, "answer_key": pl.String},
    )
    return candidates.join(keys, on="answer", how="left", maintain_order="left")


def candidates_from_leaves(
    leaves: pl.DataFrame,
    grades: pl.DataFrame,
    *,
    step_scores: pl.DataFrame | None = None,
    order: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Join what the other packages know of every leaf into a candidates frame.

    Args:
        leaves: what `eduprm.forest.leaf_paths` gives.
        grades: problem_id, tree, leaf, answer, correct: one row for every leaf.
        step_scores: problem_id, tree, leaf, step_scores, or None when nothing was scored; leaves it lacks stay null.
        order: problem_id, tree, leaf, order and perhaps greedy, as `eduprm.forest.found_leaves` gives them, or None to
            take the leaf id for the order.

    Raises:
        CandidateError: a leaf has no grade or no order, stands twice, or the result breaks the schema.

    Examples:
        >>> leaf = {"problem_id": ["p"], "tree": ["ht"], "leaf": [1]}
        >>> leaves = pl.DataFrame({**leaf, "logprob_sum": [-0.5], "num_tokens": [4]})
        >>> candidates_from_leaves(leaves, pl.DataFrame({**leaf, "answer": ["3"], "correct": [True]})).height
        1
    """
    keys = {"problem_id": pl.String(), "tree": pl.String(), "leaf": pl.Int32()}
    frame = leaves.select(*keys, "logprob_sum", "num_tokens")
    ungraded = frame.join(grades.cast({"leaf": leaves.schema["leaf"]}), on=list(keys), how="anti")
    if ungraded.height:
        raise CandidateError(f"candidates: no grade for {_where(ungraded.with_row_index('_row'))}")
    found = [] if order is None else [name for name in OPTIONAL_COLUMNS if name in ("order", *order.columns)]
    joins = [(grades, ["answer", "correct"]), (step_scores, ["step_scores"]), (order, found)]
    for other, columns in joins:
        if other is not None:
            wanted = other.select(*keys, *columns).cast({"leaf": leaves.schema["leaf"]})
            frame = frame.join(wanted, on=list(keys), how="left", maintain_order="left")
    if step_scores is None:
        frame = frame.with_columns(step_scores=pl.lit(None))
    dtypes = CANDIDATE_SCHEMA | {name: OPTIONAL_COLUMNS[name] for name in found}
    return validate_candidates(frame.select(list(dtypes)).cast(pl.Schema(dtypes)))
