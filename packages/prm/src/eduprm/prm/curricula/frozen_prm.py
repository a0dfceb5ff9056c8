"""A frozen PRM decides which trees are trained on: at first nearly all alike, later those on which it errs.

After Fast-ELECTRA (arXiv 2310.07347), whose frozen auxiliary model makes the training task, with a temperature that
falls over training so that the task grows harder; its constants are not public. Our reading, for labelled trees:

* A tree is as hard as the frozen PRM's scores are far from its labels: the weighted mean of squared distances. Ranks
  of it (0 the easiest, 1 the hardest) make temperatures mean the same for every PRM.
* The k-th of all N draws takes tree i with probability in proportion to exp(rank_i / T_k), with
  T_k = start (end / start)^(k / (N - 1)). An epoch is as many draws as there are trees; a tree may come twice or not
  at all.
* Everything is drawn before the first step.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from eduprm.core.seeds import derive_seed

if TYPE_CHECKING:
    from eduprm.prm.inputs import InputBuilder
    from eduprm.prm.tree import TokenTree

__all__ = ["Curriculum", "draws", "hardness"]

_PROBE = "1 + 1?"


class Curriculum(BaseModel):
    """Which PRM, and the temperatures."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prm: str | None = Field(
        None,
        min_length=1,
        description="the frozen PRM, which reads the same tokens; none: the backbone before training",
    )
    start: float = Field(10.0, gt=0, description="temperature of the first draw; large: all trees alike")
    end: float = Field(0.2, gt=0, description="of the last; small: the hardest alone")

    def orders(
        self,
        pieces: Sequence[TokenTree],
        *,
        epochs: int,
        seed: int,
        backbone: str | Path,
        builder: InputBuilder,
    ) -> list[list[int]]:
        """Return the pieces of the drawn trees, epoch by epoch.

        Raises:
            ValueError: no such PRM, or one that reads problems otherwise than the one in training.
        """
        names = list(dict.fromkeys(piece.name for piece in pieces))
        parts: dict[str, list[int]] = {name: [] for name in names}
        for number, piece in enumerate(pieces):
            parts[piece.name].append(number)
        found = hardness(pieces, self._scores(pieces, backbone if self.prm is None else self.prm, builder))
        ranks = _ranks(np.array([found[name] for name in names]))
        drawn = draws(ranks, count=epochs * len(names), seed=seed, start=self.start, end=self.end)
        chosen = [
            [number for tree in epoch for number in parts[names[tree]]] for epoch in drawn.reshape(epochs, -1)
        ]
        return chosen

    @staticmethod
    def _scores(pieces: Sequence[TokenTree], name: str | Path, builder: InputBuilder) -> list[np.ndarray]:
        from eduprm.prm.inputs import InputBuilder
        from eduprm.prm.score import ProcessRewardModel

        prm = ProcessRewardModel.from_pretrained(name)
        own = prm.builder
        alike = (
            isinstance(own, InputBuilder)
            and own.tokenizer.get_vocab() == builder.tokenizer.get_vocab()
            and own.prompt_ids(_PROBE) == builder.prompt_ids(_PROBE)
            and (own.format.separator, own.format.append_eos)
            == (builder.format.separator, builder.format.append_eos)
        )
        if not alike:
            raise ValueError(
                f"curriculum: expected a PRM that reads problems and steps as the one in training, {name} does not"
            )
        return prm.score_trees(pieces)


def hardness(pieces: Sequence[TokenTree], scores: Sequence[np.ndarray]) -> dict[str, float]:
    """Return per tree the weighted mean of (score - label)^2 over its labelled nodes.

    Args:
        pieces: trees or parts of trees, by `name`.
        scores: float64 [N] per piece; nodes without a score do not count.
    """
    sums: dict[str, np.ndarray] = {}  # weighted squares, and weights
    for piece, own in zip(pieces, scores, strict=True):
        counted = (piece.weights > 0) & piece.owned & np.isfinite(own)
        weights = piece.weights[counted].astype(np.float64)
        squared = (own[counted] - piece.targets[counted]) ** 2
        both = sums.setdefault(piece.name, np.zeros(2))
        both += ((weights * squared).sum(), weights.sum())
    return {name: float(top / max(below, 1e-300)) for name, (top, below) in sums.items()}


def draws(ranks: np.ndarray, *, count: int, seed: int, start: float, end: float) -> np.ndarray:
    """Return `count` numbers of trees, int64, drawn one after the other at falling temperatures.

    Examples:
        >>> draws(np.array([0.0, 1.0]), count=4, seed=0, start=1e-3, end=1e-3).tolist()  # the hardest alone
        [1, 1, 1, 1]
    """
    points = np.random.default_rng(derive_seed(seed, "curriculum")).random(count)
    temperatures = np.geomspace(start, end, count)
    found = np.empty(count, dtype=np.int64)
    for k, (point, temperature) in enumerate(zip(points, temperatures, strict=True)):
        total = np.cumsum(np.exp((ranks - ranks.max()) / temperature))
        found[k] = np.searchsorted(total, point * total[-1], side="right")
    return found


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0 to 1, equal values at their mean rank; 1/2 for one value alone."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    means = (np.cumsum(counts) - (counts + 1) / 2)[place]
    return means / (len(values) - 1) if len(values) > 1 else np.full(1, 0.5)
