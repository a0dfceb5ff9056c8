"""A PRM as what P-EDU and its like ask while a tree grows: scores of beginnings of solutions.

Knows PRMs of ours by their folder or bundled name; what becomes of a score, the strategy knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from eduprm.core.command_line import UsageError
from eduprm.search import resolve_model

if TYPE_CHECKING:
    from eduprm.prm import InputBuilder, ProcessRewardModel


class PrefixPrm:
    """`eduprm.search.PrefixScorer` of a PRM, read when it is first asked. A beginning is scored as one step.

    Args:
        name: folder or bundled name.
        questions: problem_id to question.
        device: where it scores.
        trust_remote_code: run code that comes with it.

    Raises:
        UsageError: when first asked: it cannot be read, or is no PRM of ours.
    """

    def __init__(
        self, name: str, questions: Mapping[str, str], *, device: str | None, trust_remote_code: bool = False
    ) -> None:
        self._name, self._questions = name, questions
        self._device, self._trust = device, trust_remote_code
        self._known: dict[tuple[str, tuple[int, ...]], float] = {}

    @cached_property
    def _model(self) -> ProcessRewardModel:
        from eduprm.prm import ProcessRewardModel

        try:
            return ProcessRewardModel.from_pretrained(
                resolve_model(self._name), self._device, trust_remote_code=self._trust
            )
        except (OSError, ValueError) as error:
            raise UsageError(f"--strategy-options: prm: {self._name!r} cannot be read: {error}") from None

    @cached_property
    def _builder(self) -> InputBuilder:
        from eduprm.prm import InputBuilder

        builder = self._model.builder
        if not isinstance(builder, InputBuilder):
            raise UsageError(
                f"--strategy-options: prm: expected a PRM that reads the policy's tokens, got {self._name!r}"
            )
        return builder

    async def __call__(self, problem_id: str, prefixes: Sequence[tuple[int, ...]]) -> list[float]:
        """One score per prefix of generated token ids."""
        new = [ids for ids in dict.fromkeys(prefixes) if (problem_id, ids) not in self._known]
        if new:
            prompt = self._builder.prompt_ids(self._questions[problem_id])
            items = [(prompt, [self._builder.node_ids(ids, ends=False)]) for ids in new]
            scores = self._model.score_ids(items)
            self._known.update({(problem_id, ids): own[-1] for ids, own in zip(new, scores, strict=True)})
        return [self._known[problem_id, ids] for ids in prefixes]
