"""Selection rules by name: those of the folder `rules`, `package.module:Rule`, and how tables and figures call them.

A name is that of the rule's file (or `package.module:Rule`), then `_` and the aggregation where the rule takes one,
then `@` and other options where they are not the defaults: `prm_min`, `wrf_prm_min@0.3`, `mine:Rule@depth=2,width=3`.
"""

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from eduprm.core import registry
from eduprm.rank.rules._aggregate import AGGREGATIONS
from eduprm.rank.rules._contract import NEEDS, LeafRule

FOLDER = "eduprm.rank.rules"
_PLACE = 500  # in tables, of rules that name none: after those of the folder, before the oracle


@dataclass(frozen=True, kw_only=True)
class NamedRule:
    """A rule with its options.

    Attributes:
        name: of the rule with its options.
        base: of the rule alone, as in the settings.
        label: what it is called in tables and figures.
        rule: what chooses (`eduprm.rank.rules._contract`).
    """

    name: str
    base: str
    label: str
    rule: LeafRule

    @property
    def is_vote(self) -> bool:
        """Whether it chooses an answer first, and a candidate of it then."""
        return hasattr(self.rule, "votes")

    @property
    def aggregate(self) -> str | None:
        """What makes one score of a solution's steps for it; None for a rule that takes none."""
        return getattr(self.rule, "aggregate", None)

    def fits(self, solution: str) -> bool:
        """Whether it reads a PRM's scores as they are meant.

        Args:
            solution: the aggregate by which the PRM scores a whole solution (`eduprm.prm.scorers`). Unless that is
                "last", the last step's score says nothing of those before it.

        Examples:
            >>> [get_rule(name).fits("min") for name in ("prm_min", "prm_mean", "prm_last", "majority")]
            [True, True, False, True]
        """
        return solution == "last" or self.aggregate != "last"

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that it reads and that not all candidates have."""
        return tuple(self.rule.needs)

    @property
    def place(self) -> float:
        """Where it stands in tables, the lowest first."""
        return float(getattr(self.rule, "place", _PLACE))


def make_rule(base: str, options: Mapping[str, Any] | None = None) -> NamedRule:
    """The rule of a file in the folder `rules`, or of `package.module:Rule`, with its options.

    Raises:
        ValueError: no such rule or option, a value it does not take, or it is no rule; one line.

    Examples:
        >>> rule = make_rule("wrf_prm", {"aggregate": "last", "weight": 0.3})
        >>> rule.name, rule.label
        ('wrf_prm_last@0.3', 'WRF by PRM last, 0.3')
    """
    rule = registry.make(FOLDER, base, "Rule", options)
    _check(base, rule)
    defaults = _defaults(base)
    others = {key: value for key, value in (options or {}).items() if value != defaults[key]}
    others.pop("aggregate", None)
    text = ",".join(f"{key}={_shown(value)}" for key, value in others.items())
    if len(defaults.keys() - {"aggregate"}) == 1:
        text = text.partition("=")[2]
    aggregate = getattr(rule, "aggregate", None) if "aggregate" in defaults else None
    return NamedRule(
        name=base + (f"_{aggregate}" if aggregate else "") + (f"@{text}" if text else ""),
        base=base,
        label=rule.label + (f" {aggregate}" if aggregate else "") + (f", {text}" if text else ""),
        rule=rule,
    )


def variants(base: str, options: Mapping[str, Any] | None = None) -> list[NamedRule]:
    """The rule by every aggregation if it takes one, else alone; `options` hold for all.

    Raises:
        ValueError: as `make_rule`.

    Examples:
        >>> [rule.name for rule in variants("hmr_prm")]
        ['hmr_prm_min', 'hmr_prm_last', 'hmr_prm_product', 'hmr_prm_mean']
    """
    if not takes_aggregate(base):
        return [make_rule(base, options)]
    return [make_rule(base, {**(options or {}), "aggregate": aggregate}) for aggregate in AGGREGATIONS]


def takes_aggregate(base: str) -> bool:
    """Whether the rule has an option `aggregate`.

    Raises:
        ValueError: no such rule.
    """
    return "aggregate" in _defaults(base)


def get_rule(name: str) -> NamedRule:
    """The rule of that name; options other than the defaults stand behind an @.

    Raises:
        ValueError: no such rule; the message lists the names. Or an option or value that it does not take.

    Examples:
        >>> get_rule("prm_min").is_vote, get_rule("wrf_prm_min@0.3").rule.weight
        (False, 0.3)
    """
    if name in RULES:
        return RULES[name]
    plain, at, text = name.partition("@")
    base, _, last = plain.rpartition("_")
    options: dict[str, Any] = {}
    if plain in RULES:
        base = RULES[plain].base
        options = {"aggregate": last} if takes_aggregate(base) else {}
    elif ":" not in plain:
        raise ValueError(f"rule must be one of {', '.join(RULES)} or package.module:Rule; got {name!r}")
    elif last in AGGREGATIONS:
        options = {"aggregate": last}
    else:
        base = plain
    made = make_rule(base, {**options, **(_parsed(base, text) if at else {})})
    label = make_rule(base, options).label + (f", {text}" if at else "")
    return replace(made, name=name, label=label)


def rule_label(name: str) -> str:
    """How a rule is called in tables and figures; what is no rule, such as a baseline, by its own name.

    Examples:
        >>> rule_label("weighted_majority_prm_min"), rule_label("prm_last"), rule_label("first")
        ('majority by PRM min', 'PRM last', 'first')
        >>> rule_label("wrf_prm_min@0.3")
        'WRF by PRM min, 0.3'
    """
    try:
        return get_rule(name).label
    except ValueError:
        return name


def reads_gold(name: str) -> bool:
    """Whether the rule of that name reads gold answers, as the oracle does; what is no rule does not.

    Examples:
        >>> [reads_gold(name) for name in ("oracle", "majority", "first")]
        [True, False, False]
    """
    try:
        return "correct" in get_rule(name).needs
    except ValueError:
        return False


def _defaults(base: str) -> dict[str, Any]:
    """The rule's options with their defaults."""
    choice = registry.load(FOLDER, base, "Rule")
    return {key: parameter.default for key, parameter in inspect.signature(choice).parameters.items()}


def _check(base: str, rule: Any) -> None:
    if not isinstance(rule.label, str):
        raise ValueError(f"{base}: expected `label` to be a text, got {rule.label!r}")
    needs = rule.needs
    if not isinstance(needs, tuple) or not set(needs) <= set(NEEDS):
        raise ValueError(f"{base}: expected `needs` to be a tuple out of {NEEDS}, got {needs!r}")


def _parsed(base: str, text: str) -> dict[str, Any]:
    """Options as they stand behind the @: name=value,name=value, or the value of the only one."""
    names = [name for name in _defaults(base) if name != "aggregate"]
    if len(names) == 1 and "=" not in text:
        return {names[0]: _value(text)}
    return {key: _value(value) for key, _, value in (part.partition("=") for part in text.split(","))}


def _value(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, bool | int | float) else text


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


RULES: dict[str, NamedRule] = {
    rule.name: rule
    for rule in sorted(
        (rule for base in registry.names(FOLDER) for rule in variants(base)), key=lambda rule: rule.place
    )
}
"""Every rule of the folder, by each aggregation if it takes one, with default options, in the order of tables."""
