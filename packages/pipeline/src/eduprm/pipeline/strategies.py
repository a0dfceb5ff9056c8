"""The strategies of a run: made by name from its settings, all cut into nodes alike.

A strategy takes from the parts `search` and `samples` the options that it has, as `steps` the label's segmenters, and
its own from `strategy_options`. One with a field `scorer` gets a PRM's (`eduprm.pipeline.prefix_prm`), named by its
option `prm`; one with a field `grader` gets the run's (`eduprm.pipeline.solution_grader`).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from eduprm.core.registry import load, make
from eduprm.core.seeds import derive_seed
from eduprm.pipeline.label_steps import step_segmenters
from eduprm.pipeline.prefix_quantile import QuantileScorer
from eduprm.policy import PRM_MODEL, STEPS_MODEL
from eduprm.search import CutRule, Strategy

if TYPE_CHECKING:
    from eduprm.pipeline.settings import TrainSettings

PACKAGE = "eduprm.search.strategies"


class RunStrategy:
    """A strategy as a run grows it: under the run's name for its trees, cut where the run cuts all trees.

    Attributes:
        tree: name of its trees.
        title: as tables show it.
        cut: where its paths are cut into nodes.
        after_training_trees: it grows once the first strategy's trees for training are there.
        never_greedy: none of its solutions is the policy's greedy path.
        greedy_forks: its forks are decoded greedily.
        max_tokens_per_path: tokens at which it cuts a path, its own or its budget's; None for a strategy without.
    """

    def __init__(self, strategy: Strategy, *, cut: CutRule, name: str | None) -> None:
        self._strategy = strategy
        self.after_training_trees = bool(getattr(strategy, "after_training_trees", False))
        self.never_greedy = bool(getattr(strategy, "never_greedy", False))
        self.greedy_forks = bool(getattr(strategy, "greedy_forks", False))
        self.max_tokens_per_path: int | None = getattr(
            strategy,
            "max_tokens_per_path",
            getattr(getattr(strategy, "budget", None), "max_tokens_per_path", None),
        )
        self.cut = cut
        self.tree = name or strategy.tree
        self.title = name or str(getattr(strategy, "title", strategy.tree))

    async def grow(self, prompt_ids: tuple[int, ...], **given: Any) -> Any:
        """What the strategy grows."""
        return await self._strategy.grow(prompt_ids, **given)


def run_strategies(settings: TrainSettings, problems: pl.DataFrame | None = None) -> list[RunStrategy]:
    """The run's strategies, the one that the PRM is trained on first.

    Args:
        settings: of the run.
        problems: for strategies that ask a PRM or a grader; None where nothing is grown.

    Raises:
        ValueError: no such strategy, an option that it does not take, a value that it refuses, a name twice.
    """
    cut = CutRule(threshold=settings.search.threshold, skip_symbols=settings.search.skip_symbols)
    found, asked = [], _Asked(settings, problems)
    for entry in settings.strategies:
        own, _, name = entry.rpartition("=")
        options = _options(settings, name, settings.strategy_options.get(own or name, {}), asked)
        found.append(RunStrategy(make(PACKAGE, name, "Strategy", options), cut=cut, name=own or None))
    if found[0].after_training_trees:
        raise ValueError(
            f"{settings.strategies[0]}: its bound is read off training trees, which the first strategy grows: expected "
            "another one before it, edu say"
        )
    for kind in ("tree", "title"):
        names = [getattr(one, kind) for one in found]
        if twice := [one for one in names if names.count(one) > 1]:
            raise ValueError(
                f"expected different names of trees, got {twice[0]!r} twice; write NAME=strategy"
            )
    if unknown := set(settings.strategy_options) - {entry.partition("=")[0] for entry in settings.strategies}:
        raise ValueError(
            f"strategy_options: expected some of the names in --strategies, got {sorted(unknown)[0]!r}"
        )
    return found


def _options(settings: TrainSettings, name: str, own: Mapping[str, Any], asked: _Asked) -> dict[str, Any]:
    """The run's options that the strategy has, its own in place of them."""
    taken = _taken(load(PACKAGE, name, "Strategy"))
    shared = dict(settings.search) | dict(settings.samples)
    shared["max_tokens_per_path"] = settings.search.budget.max_tokens_per_path
    shared["seed"] = derive_seed(settings.seed, "samples")
    if "steps" in taken:
        shared["steps"] = step_segmenters(settings)
    options = {key: value for key, value in shared.items() if key in taken}
    given = dict(own)
    if "budget" in taken and isinstance(given.get("budget"), Mapping):
        given["budget"] = settings.search.budget.model_dump() | dict(given["budget"])
    if "scorer" in taken and "prm" not in taken:
        options["scorer"] = asked.scorer(name, given.pop("prm", None))
        if given.get("stop_quantile") is not None:
            options["scorer"] = QuantileScorer(options["scorer"], lambda: _training_trees(settings.folder))
    if "grader" in taken:
        options["grader"] = asked.grader()
    return options | given


def _training_trees(folder: Path) -> Iterator[pl.DataFrame]:
    """Those that the run's first strategy has grown, a shard at a time."""
    columns = ["problem_id", "tree", "node_id", "parent_id", "token_ids"]
    for file in sorted((folder / "forest").glob("train-*.parquet")):
        yield pl.read_parquet(file, columns=columns)


def reads_label_steps(settings: TrainSettings) -> bool:
    """Whether a strategy of the run draws from where the labels' steps end: then they decide its trees too."""
    return _any_takes(settings, "steps")


def asks_grader(settings: TrainSettings) -> bool:
    """Whether a strategy of the run searches with its grader: then it decides its trees too."""
    return _any_takes(settings, "grader")


def _any_takes(settings: TrainSettings, option: str) -> bool:
    names = [entry.rpartition("=")[2] for entry in settings.strategies]
    return any(option in _taken(load(PACKAGE, name, "Strategy")) for name in names)


def _taken(choice: Any) -> set[str]:
    fields = getattr(choice, "model_fields", None)
    return set(inspect.signature(choice).parameters if fields is None else fields)


class _Asked:
    """What strategies ask while they grow: PRMs, each loaded once for all of them, and the run's grader."""

    def __init__(self, settings: TrainSettings, problems: pl.DataFrame | None) -> None:
        self._settings, self._problems = settings, problems
        self._prms: dict[str, Any] = {}

    def scorer(self, name: str, prm: Any) -> Any:
        """The PRM that the strategy `name` gives in its options."""
        from eduprm.pipeline.prefix_prm import PrefixPrm

        policy, problems = self._settings.policy, self._problems
        if prm is None and policy.model == STEPS_MODEL:
            prm = PRM_MODEL
        if not isinstance(prm, str):
            raise ValueError(f"{name}: prm: expected the folder or name of a PRM, got {prm!r}")
        if prm not in self._prms:
            rows = () if problems is None else problems.select("problem_id", "question").iter_rows()
            self._prms[prm] = PrefixPrm(prm, dict(rows), policy)
        return self._prms[prm]

    def grader(self) -> Any:
        """The grader that the run's labels are made with."""
        from eduprm.pipeline.solution_grader import SolutionGrader

        problems = pl.DataFrame() if self._problems is None else self._problems
        return SolutionGrader(self._settings, problems)
