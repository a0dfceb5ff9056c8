"""Solutions on which the Monte Carlo values and a judge agree where the first wrong step is (arXiv 2501.07301).

The paper ("Lessons of developing PRMs") labels a step wrong where no rollout from it is right, asks a language model as
a judge too, and keeps a solution where both find the same first wrong step, or none; about 40 % of theirs. Here:

* By the values, a node is wrong where its value is at most `threshold` (0: no right leaf), and so is all behind it.
* The judge is one of `eduprm.label.judges`, by name, or `package.module:Judge`: `equations` reads the text, `scores`
  what a PRM or a language model scored.
* They are compared at every labelled node of a solution at which the judge can tell; one difference and the solution
  is left out, as is one on whose end it has no verdict. A judge that sees less than the values leaves out what it does
  not see: the checker of equations knows no problem, so a solution that goes wrong without a false equation goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from eduprm.core import registry
from eduprm.forest import Topology, topology
from eduprm.label.judges._contract import PathJudge

__all__ = ["JUDGES", "Filter"]

JUDGES = "eduprm.label.judges"


@dataclass(frozen=True)
class Filter:
    """`judge`: its name, `judge_options`: its own; `threshold`, in [0, 1): the highest value of a wrong step.

    Raises:
        ValueError: no such judge or option, or another threshold.
    """

    judge: str = "equations"
    threshold: float = 0.0
    judge_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1:
            raise ValueError(f"expected threshold from 0 up and below 1, got {self.threshold}")
        self._made()

    def _made(self) -> PathJudge:
        made: PathJudge = registry.make(JUDGES, self.judge, "Judge", self.judge_options)
        return made

    def keeps(self, labelled: pl.DataFrame) -> npt.NDArray[np.bool_]:
        """Return, per node, whether both agreed all the way down to it."""
        shape = topology(labelled)
        said = self._made().verdicts(labelled)
        if len(said) != shape.num_nodes:
            raise ValueError(f"judge {self.judge}: expected {shape.num_nodes} verdicts, got {len(said)}")
        judged = labelled["weight"].to_numpy() > 0
        wrong = judged & (labelled["value"].to_numpy() <= self.threshold)
        right = _down_to(shape, wrong) == 0
        silent = said.is_null().to_numpy()
        differs = judged & np.where(silent, shape.is_leaf, said.fill_null(True).to_numpy() != right)
        return np.asarray(_down_to(shape, differs) == 0)


def _down_to(shape: Topology, marks: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Marks on each node's path, its own included, int64 [n]."""
    counts = marks.astype(np.int64)
    return np.asarray(shape.ancestor_sum(counts) + counts)
