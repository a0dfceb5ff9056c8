"""Which prefixes are computed together, and which had better wait for each other.

A forward over several short prefixes costs little more than one over the longest, since reading the weights is most of
it. But two prefixes that share a beginning nobody holds yet would compute it twice: the second waits for the first. It
knows lengths and tokens, no tensors.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

_MOST_TOKENS = 2048
# Other problems' prompts agree in a word or two behind the worked examples; computing those again is cheaper than
# a forward of one's own. Within a tree nothing is computed twice.
_WORTH_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Prefill:
    """A prefix of which the first `held` tokens are there and the rest is to be computed."""

    tokens: tuple[int, ...]
    held: int
    group: str

    @property
    def missing(self) -> int:
        """Tokens to compute."""
        return len(self.tokens) - self.held


def worth_waiting(pending: Collection[Prefill], tokens: tuple[int, ...], *, group: str, held: int) -> bool:
    """Whether computing `pending` first would save a newcomer enough, beyond the `held` tokens it finds now.

    Examples:
        >>> first = Prefill(tuple(range(40)), 0, "p")
        >>> worth_waiting([first], tuple(range(30)), group="q", held=0)
        True
        >>> worth_waiting([first], tuple(range(30)), group="q", held=20)
        False
        >>> worth_waiting([first], tuple(range(30)), group="p", held=20)
        True
    """
    for part in pending:
        shared = next(
            (i for i, (a, b) in enumerate(zip(part.tokens, tokens, strict=False)) if a != b),
            min(len(part.tokens), len(tokens)),
        )
        gain = shared - held
        if gain >= _WORTH_TOKENS or (gain > 0 and group == part.group):
            return True
    return False


def batches(pending: Mapping[int, Prefill]) -> Iterator[list[int]]:
    """Slots to compute in one forward each: alike in length, and bounded in padded tokens.

    Examples:
        >>> part = Prefill((1, 2, 3), 0, "p")
        >>> list(batches({0: part, 2: part}))
        [[0, 2]]
    """
    chosen: list[int] = []
    for slot in sorted(pending, key=lambda slot: (pending[slot].missing, slot)):
        # Sorted by length, so the newcomer is the longest.
        if chosen and (len(chosen) + 1) * pending[slot].missing > _MOST_TOKENS:
            yield chosen
            chosen = []
        chosen.append(slot)
    if chosen:
        yield chosen
