"""Worked examples as token ids, in the order in which they are learnt, cut into batches of like lengths.

The same settings give the same batches, byte by byte.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from eduprm.problems import make_problems, messages_for, without_annotations
from eduprm.problems.worked import worked_solution
from eduprm.search import PolicyTokenizer
from eduprm.teach.hashing import unit
from eduprm.teach.settings import MixPart, WarmupSettings
from eduprm.teach.worked_files import Worked

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


def make_examples(settings: WarmupSettings, files: Sequence[Worked | None], *, stop_id: int) -> list[Example]:
    """Worked examples of the whole mix, sorted by their place in training.

    Args:
        settings: the mix and the model.
        files: for each part of the mix what `read_part` gives.
        stop_id: token that ends a solution.

    Raises:
        ValueError: an unknown task or setting, or fewer distinct problems than a part asks for.
    """
    tokenizer = PolicyTokenizer(settings.model)
    examples = [
        example
        for number, (part, file) in enumerate(zip(settings.mix, files, strict=True))
        for example in _of_part(part, file, number, settings, tokenizer, stop_id)
    ]
    return sorted(examples, key=lambda example: example.place)


def _of_part(
    part: MixPart,
    file: Worked | None,
    number: int,
    settings: WarmupSettings,
    tokenizer: PolicyTokenizer,
    stop_id: int,
) -> Iterator[Example]:
    """Each problem once an epoch, which has its own slice of the part's share of the training."""
    for problem_id, question, worked in _generated(part, settings.seed) if file is None else _of_file(file):
        prompt = tokenizer.encode_chat(messages_for(question, settings.style))
        solution = [*tokenizer.encode(worked), stop_id]
        for epoch in range(part.epochs):
            # The first pass is drawn as before there were others, for the trainings of that time.
            drawn = unit(settings.seed, number, problem_id, *([epoch] if epoch else []))
            place = part.start + (part.stop - part.start) * (epoch + drawn) / part.epochs
            yield Example(prompt, solution, place)


def _generated(part: MixPart, seed: int) -> Iterator[tuple[str, str, str]]:
    assert part.task is not None
    assert part.count is not None
    problems = make_problems(
        part.task, count=part.count, seed=seed, split="train", config=dict(part.task_config)
    )
    for row in problems.iter_rows(named=True):
        kept = json.loads(row["metadata"])
        solution = worked_solution(kept["dataset"], kept["entry"]["metadata"])
        if solution is None:
            raise ValueError(f"{part.task}: no way of working {row['question']!r}")
        yield row["problem_id"], row["question"], solution


def _of_file(file: Worked) -> Iterator[tuple[str, str, str]]:
    for row in file.taught.iter_rows(named=True):
        yield row["question"], row["question"], without_annotations(row["worked"])


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
        numbered = sorted(range(len(cut)), key=lambda index: unit(seed, start, index))
        batches += [cut[index] for index in numbered]
    return batches
