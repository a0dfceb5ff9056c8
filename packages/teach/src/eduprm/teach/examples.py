"""Worked examples as token ids, in the order in which they are learnt, cut into batches of like lengths.

The same settings give the same batches, byte by byte.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import NamedTuple

from eduprm.problems import make_problems, messages_for
from eduprm.problems.worked import worked_solution
from eduprm.search import PolicyTokenizer
from eduprm.teach.settings import MixPart, WarmupSettings

_WINDOW = 256  # examples among which those of like length come together


class Example(NamedTuple):
    """One worked problem: the prompt's ids, the solution's ids with the closing token, and its place in training."""

    prompt: list[int]
    solution: list[int]
    place: float

    @property
    def num_tokens(self) -> int:
        """Tokens of both."""
        return len(self.prompt) + len(self.solution)


def make_examples(settings: WarmupSettings, *, stop_id: int) -> list[Example]:
    """Worked examples of the whole mix, sorted by their place in training.

    Raises:
        ValueError: an unknown task or setting, or fewer distinct problems than a part asks for.
    """
    tokenizer = PolicyTokenizer(settings.model)
    examples = [
        example
        for number, part in enumerate(settings.mix)
        for example in _of_part(part, number, settings, tokenizer, stop_id)
    ]
    return sorted(examples, key=lambda example: example.place)


def _of_part(
    part: MixPart, number: int, settings: WarmupSettings, tokenizer: PolicyTokenizer, stop_id: int
) -> list[Example]:
    problems = make_problems(
        part.task, count=part.count, seed=settings.seed, split="train", config=dict(part.task_config)
    )
    examples = []
    for row in problems.iter_rows(named=True):
        kept = json.loads(row["metadata"])
        solution = worked_solution(kept["dataset"], kept["entry"]["metadata"])
        if solution is None:
            raise ValueError(f"{part.task}: no way of working {row['question']!r}")
        prompt = tokenizer.encode_chat(messages_for(row["question"], settings.style))
        place = part.start + (part.stop - part.start) * _unit(settings.seed, number, row["problem_id"])
        examples.append(Example(prompt, [*tokenizer.encode(solution), stop_id], place))
    return examples


def cut_batches(examples: Sequence[Example], *, batch_tokens: int, seed: int) -> list[list[Example]]:
    """Batches of at most `batch_tokens` tokens, padding counted, in order of training.

    Within a window of neighbours, examples of like length come together and the batches' order is drawn.
    """
    batches: list[list[Example]] = []
    for start in range(0, len(examples), _WINDOW):
        window = sorted(examples[start : start + _WINDOW], key=lambda example: example.num_tokens)
        cut: list[list[Example]] = [[]]
        for example in window:
            if cut[-1] and (len(cut[-1]) + 1) * example.num_tokens > batch_tokens:
                cut.append([])
            cut[-1].append(example)
        numbered = sorted(range(len(cut)), key=lambda index: _unit(seed, start, index))
        batches += [cut[index] for index in numbered]
    return batches


def _unit(*parts: object) -> float:
    """A number in [0, 1) drawn by hashing."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
