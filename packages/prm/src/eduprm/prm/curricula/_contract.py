"""What a curriculum is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from eduprm.prm.inputs import InputBuilder
    from eduprm.prm.tree import TokenTree

__all__ = ["TrainingOrder"]


class TrainingOrder(Protocol):
    """A frozen model of options called `Curriculum`; importing it loads no model and no torch."""

    def orders(
        self,
        pieces: Sequence[TokenTree],
        *,
        epochs: int,
        seed: int,
        backbone: str | Path,
        builder: InputBuilder,
    ) -> list[list[int]]:
        """Return for each epoch which pieces are trained on, in their order: their numbers.

        All of it is known before the first step and follows from the arguments alone, so a killed training goes on
        where it was. A piece may come twice, or not at all.

        Args:
            pieces: trees with targets and weights, those larger than a micro-batch in parts of the same `name`.
            epochs: passes over the trees.
            seed: of the training.
            backbone: what is trained, a folder or hub name.
            builder: what made the trees.

        Raises:
            ValueError: what it needs is not there.
        """
        ...
