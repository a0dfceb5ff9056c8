"""Which rules a file of solutions is ranked and judged by, from the settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from eduprm.core import registry
from eduprm.rank.names import FOLDER, make_rule, takes_aggregate, variants

if TYPE_CHECKING:
    from eduprm.rank.settings import RankSettings

READABLE = {"step_scores", "correct"}
"""What rules may read beside the answers: files of solutions hold no log-probs and no greedy solution."""


def rule_names(settings: RankSettings, *, solution: str = "last") -> tuple[str, ...]:
    """The rules of the table, by every aggregation: all that files have enough for, and `--rule` with its options.

    Where the PRM's last step score does not speak of the whole solution (`eduprm.prm.source.PrmPlace.solution`), rules
    by it are left out unless `--aggregate last` names them.
    """
    solution = "last" if settings.aggregate == "last" else solution
    bases = dict.fromkeys([*registry.names(FOLDER), settings.rule])
    rules = [
        rule
        for base in bases
        for rule in variants(base, settings.rule_options if base == settings.rule else None)
        if READABLE.issuperset(rule.needs) and rule.fits(solution)
    ]
    return tuple(rule.name for rule in sorted(rules, key=lambda rule: rule.place))


def last_line(settings: RankSettings, *, solution: str) -> str | None:
    """A line that says what became of rules by the last step's score; None where there is nothing to say."""
    if solution == "last":
        return None
    why = "this PRM scores each step by itself, so the last step's score says nothing of those before it"
    if settings.aggregate == "last":
        return f"{why}: --aggregate min, mean or product fold over all"
    return f"{why}: rules by it are left out of the table; --aggregate last takes them in"


def choosing_rule(settings: RankSettings) -> str:
    """The rule that ranks: `--rule` with its options, by `--aggregate` if it takes one."""
    aggregate = {"aggregate": settings.aggregate} if takes_aggregate(settings.rule) else {}
    return make_rule(settings.rule, {**settings.rule_options, **aggregate}).name


def check_rule(base: str, options: Mapping[str, Any]) -> None:
    """Refuse a rule that cannot rank files of solutions.

    Raises:
        ValueError: there is no such rule or option, or it reads what files of solutions do not hold; one line.
    """
    if "aggregate" in options:
        raise ValueError("--rule-options: expected no aggregate, which is named by --aggregate; leave it out")
    try:
        lacking = [name for name in make_rule(base, options).needs if name != "step_scores"]
    except ValueError as error:
        raise ValueError(f"--rule: {error}") from None
    if lacking:
        what = (
            "the gold answers"
            if lacking == ["correct"]
            else f"{lacking[0]}, which files of solutions do not hold"
        )
        raise ValueError(f"--rule: {base} reads {what}; expected a rule of texts and step scores")
