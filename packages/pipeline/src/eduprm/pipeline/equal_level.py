"""One strategy held against another on equal decoded tokens, problem by problem.

Every candidate costs what decoding it added to its tree: its whole path for independent samples, what lies behind its
fork for a tree, and the branches that the search gave up on the way to it. Frames in, frames out.

The first candidate of a problem is always kept, at every n: all n are judged on the same problems, and not on those
alone that are cheap. Where it costs more than the budget the other strategy is favoured, so the first
one's lead is there, if anything, too small; how many problems that are is counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import polars as pl

from eduprm.bench import equal_tokens
from eduprm.rank import choose, evaluate_rules, paired_difference

if TYPE_CHECKING:
    from eduprm.pipeline.judge import Compared

_KEYS = ["problem_id", "tree", "leaf"]
_TREE = ["problem_id", "tree"]
_DECODED = pl.Schema({"method": pl.String, "n": pl.Int32, "decoded": pl.Float64})
_RULES = ("oracle", "prm_min", "weighted_majority_probability")


class EqualTokens(NamedTuple):
    """A strategy on as many decoded tokens as the first one's trees took.

    Attributes:
        method: how tables call it.
        spent: `equal_tokens`' account at the largest n, the candidate that crosses the budget dropped.
        differences: by rule, the first strategy minus this one, paired; under "drop" and "keep" for what is done with
            the candidate that crosses the budget.
        over: by n, problems whose first candidate alone costs more than the budget; those n without any are left out.
    """

    method: str
    spent: pl.DataFrame
    differences: dict[str, dict[str, dict[str, Any]]]
    over: dict[int, int]


def over_lines(metrics: Mapping[str, Any]) -> list[str]:
    """What a run's metrics.json says of problems on which even the first candidate does not fit in the budget.

    Examples:
        >>> equal = {"problems": 24, "problems_over_budget": {"1": 7, "2": 3}}
        >>> over_lines({"equal_tokens": {"beam, =tokens": equal}})[0].split(": ")[1]
        'the first solution alone costs more than the budget, and is kept, on 7 at n = 1, 3 at n = 2 (of 24 problems)'
    """
    found = []
    for method, equal in metrics["equal_tokens"].items():
        over = equal.get("problems_over_budget", {})
        if over:
            counts = ", ".join(f"{count} at n = {n}" for n, count in over.items())
            told = f"the first solution alone costs more than the budget, and is kept, on {counts}"
            found.append(f"{method}: {told} (of {equal['problems']} problems)")
    return found


def added_tokens(candidates: pl.DataFrame, cost: pl.DataFrame) -> pl.DataFrame:
    """Decoded tokens that each candidate added to its tree: problem_id, tree, leaf, place (in the order found), added.

    Args:
        candidates: with `order`; leaves that the search gave up are not among them, and count for the next one (behind
            the last, for that).
        cost: `token_cost` of their trees at every number of leaves.

    Examples:
        >>> candidates = pl.DataFrame({"problem_id": "p", "tree": "t", "leaf": [3, 7], "order": [0, 2]})
        >>> cost = pl.DataFrame({"problem_id": "p", "tree": "t", "n": [1, 2, 3, 4], "decoded": [9, 12, 20, 21]})
        >>> added_tokens(candidates, cost).select("leaf", "place", "added").rows()
        [(3, 0, 9), (7, 1, 12)]
    """
    total = cost.group_by(_TREE).agg(total=pl.col("decoded").max())
    at = cost.select(*_TREE, "decoded", order=(pl.col("n") - 1).cast(pl.Int32))
    rows = (
        candidates.select(*_KEYS, pl.col("order").cast(pl.Int32))
        .join(at, on=[*_TREE, "order"], how="left")
        .join(total, on=_TREE, how="left")
        .sort(*_TREE, "order")
        .with_columns(place=pl.int_range(pl.len()).over(_TREE))
    )
    reached = pl.when(pl.col("place") == pl.col("place").max().over(_TREE)).then("total").otherwise("decoded")
    return rows.with_columns(reached=reached).select(
        *_KEYS, "place", added=pl.col("reached") - pl.col("reached").shift(1, fill_value=0).over(_TREE)
    )


def mean_decoded(added: pl.DataFrame, tree: str, method: str, ns: Sequence[int]) -> pl.DataFrame:
    """Mean tokens a problem of the first n candidates: method, n, decoded."""
    rows = []
    for n in ns:
        spent = added.filter(pl.col("tree") == tree, pl.col("place") < n).group_by("problem_id")
        rows.append((method, n, spent.agg(pl.col("added").sum())["added"].mean()))
    return pl.DataFrame(rows, schema=_DECODED, orient="row")


class Level:
    """Two strategies on equal tokens.

    Args:
        rows: candidates of the one that sets the budget.
        other: candidates of the one that is cut to it.
        greedy: one greedy candidate per problem, which comes before samples without a greedy one of their own.
        added: `added_tokens` of all.
        ns: numbers of the first one's candidates whose tokens are the budgets.
        seed: of the bootstrap.
        bootstrap: resamples.
    """

    def __init__(
        self,
        rows: pl.DataFrame,
        other: pl.DataFrame,
        greedy: pl.DataFrame,
        added: pl.DataFrame,
        ns: Sequence[int],
        *,
        seed: int,
        bootstrap: int,
    ) -> None:
        self._rows, self._added, self._ns = rows, added, ns
        self._other = _costing(other, added)
        self._greedy = None if other["greedy"].any() else _costing(greedy, added)
        self._seed, self._bootstrap = seed, bootstrap

    def compare(self, main: str, other: Compared) -> tuple[pl.DataFrame, pl.DataFrame, EqualTokens]:
        """Rows of a curve, mean tokens by n, and the account at the largest n."""
        method = f"{'' if self._greedy is None else 'greedy+'}{other.title}, =tokens"
        frames, decoded, over = [], [], {}
        for n in self._ns:
            budget = self._budget(main, n)
            kept, spent = self._cut(budget, "drop")
            # All of them compete: how many fit differs from problem to problem, so n only names the budget.
            result = evaluate_rules(kept, seed=self._seed, bootstrap=self._bootstrap)
            frames.append(
                result.select(pl.lit(method).alias("method"), pl.all()).with_columns(
                    n=pl.lit(n, dtype=pl.Int32)
                )
            )
            decoded.append(pl.DataFrame([(method, n, spent["spent"].mean())], schema=_DECODED, orient="row"))
            over[n] = int(spent["over"].sum())
        # At the largest n: the truth lies between dropping and keeping the candidate that crosses the budget.
        differences = {"drop": self._differences(kept)}
        differences["keep"] = self._differences(self._cut(budget, "keep")[0])
        equal = EqualTokens(method, spent, differences, {n: count for n, count in over.items() if count})
        return pl.concat(frames), pl.concat(decoded), equal

    def _budget(self, main: str, n: int) -> pl.DataFrame:
        own = self._added.filter(pl.col("tree") == main, pl.col("place") < n)
        return own.group_by("problem_id").agg(decoded=pl.col("added").sum()).sort("problem_id")

    def _cut(
        self, budget: pl.DataFrame, crossing: Literal["drop", "keep"]
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        kept, spent = equal_tokens(
            self._other.drop("path"),
            budget,
            greedy=None if self._greedy is None else self._greedy.drop("path"),
            crossing=crossing,
        )
        paths = pl.concat([self._other, *([] if self._greedy is None else [self._greedy])])
        restored = kept.join(paths.select(*_KEYS, "path"), on=_KEYS, how="left", maintain_order="left")
        return restored.with_columns(num_tokens="path").drop("path"), spent

    def _differences(self, equal: pl.DataFrame) -> dict[str, dict[str, Any]]:
        """The first strategy minus equal tokens, per rule, with a 95 % interval."""
        result = {}
        for rule in _RULES:
            ours, theirs = (choose(frame, rules=[rule]) for frame in (self._rows, equal))
            gap = paired_difference(ours, theirs, seed=self._seed, bootstrap=self._bootstrap)
            result[rule] = {
                "difference": gap.difference,
                "ci_low": gap.ci_low,
                "ci_high": gap.ci_high,
                "problems": gap.problems,
                "wins": gap.wins,
                "losses": gap.losses,
            }
        return result


def _costing(candidates: pl.DataFrame, added: pl.DataFrame) -> pl.DataFrame:
    """Candidates whose num_tokens is what they added; `path` keeps the tokens of their path."""
    joined = candidates.join(added.select(*_KEYS, "added"), on=_KEYS, how="left", maintain_order="left")
    num_tokens = pl.col("added").cast(pl.Int32)
    return joined.with_columns(path=pl.col("num_tokens"), num_tokens=num_tokens).drop("added")
