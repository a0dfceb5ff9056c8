"""The text that a PRM read, in the pieces that its steps are."""

from __future__ import annotations

from collections.abc import Sequence

from eduprm.prm.joining import missing_joiner, with_joiner

__all__ = ["joined_steps"]


def joined_steps(steps: Sequence[str], joiner: str, *, complete: bool, as_cut: bool) -> list[str]:
    r"""The steps with what stands between them, for those who look at a solution as one text.

    Args:
        steps: of one solution.
        joiner: what the PRM put between them (`StepScores.joiner`). Where it put nothing, because it closes each step
            in a way of its own, a list that lacks line breaks gets them here.
        complete: as the PRM was asked.
        as_cut: likewise; nothing is put between pieces of one text.

    Examples:
        >>> joined_steps(["2 * 3 = 6", "6 * 4 = 24"], "", complete=True, as_cut=False)
        ['2 * 3 = 6\n', '6 * 4 = 24']
    """
    joiner = joiner or "\n"
    if as_cut or not missing_joiner(steps, joiner, complete=complete):
        return list(steps)
    return with_joiner(steps, joiner, complete=complete)
