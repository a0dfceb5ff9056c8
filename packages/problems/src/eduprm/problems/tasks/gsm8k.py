"""GSM8K (openai/gsm8k, arXiv 2110.14168): word problems, by the hub's name or a folder of its files.

The split is the data set's own. The worked examples are ours, in its style.
"""

from __future__ import annotations

from collections.abc import Iterator

from eduprm.problems.gold import gold_answer
from eduprm.problems.tasks._contract import Row

__all__ = ["Task"]

_SHOTS: tuple[tuple[str, str], ...] = (
    (
        "A baker fills 6 trays with 8 rolls each and then sells 19 of the rolls. How many rolls are left?",
        "The trays hold 6 * 8 = 48 rolls.\nAfter the sale 48 - 19 = 29 rolls are left.\n#### 29",
    ),
    (
        "Omar cycles 14 km on Monday. On Tuesday he cycles half as far, and on Wednesday 5 km more than on "
        "Tuesday. How many kilometres does he cycle on the three days together?",
        "On Tuesday he cycles 14 / 2 = 7 km.\nOn Wednesday he cycles 7 + 5 = 12 km.\n"
        "Together he cycles 14 + 7 + 12 = 33 km.\n#### 33",
    ),
    (
        "A choir buys 25 scores for $4 each and 3 folders for $12 each. It pays with $150. How many dollars "
        "does it get back?",
        "The scores cost 25 * 4 = 100 dollars.\nThe folders cost 3 * 12 = 36 dollars.\n"
        "All of it costs 100 + 36 = 136 dollars.\nThe choir gets back 150 - 136 = 14 dollars.\n#### 14",
    ),
    (
        "A tank loses 3 litres of water every 20 minutes. It holds 90 litres at noon. How many litres does it "
        "hold at 4 p.m.?",
        "From noon to 4 p.m. there are 4 * 60 = 240 minutes.\nThat is 240 / 20 = 12 times 20 minutes.\n"
        "The tank loses 12 * 3 = 36 litres.\nIt then holds 90 - 36 = 54 litres.\n#### 54",
    ),
)


class Task:
    """Its columns are question and answer, a worked solution that ends in "#### N".

    Args:
        dataset: hub name, or a folder that `datasets` can load.
        config: configuration; empty for a folder.
    """

    shots = _SHOTS
    grader = "number"

    def __init__(self, dataset: str = "openai/gsm8k", config: str = "main") -> None:
        self.dataset, self.config = dataset, config

    def rows(self, seed: int) -> Iterator[Row]:
        """Yield the rows of both parts in their order; the seed changes nothing."""
        from datasets import load_dataset

        for split in ("train", "test"):
            for row in load_dataset(self.dataset, self.config or None, split=split):
                answer = gold_answer(row["answer"])
                yield {"question": row["question"], "answer": answer, "source": "gsm8k", "split": split}
