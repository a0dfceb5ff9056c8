"""The embedded engine: any decoder-only transformers model, decoded row by row in one growing batch.

Rows join and leave at every step (continuous batching); a row starts from whatever prefix is still held, in its slot
or in the prefix cache, and computes the rest. One step is one forward over all rows, one pass over the logits
(`eduprm.entropy.entropy_top2`) and one transfer to the host. Requests of one group share a row until their tokens
part: independent samples of a policy that is mostly sure cost what the trie of them holds. Satisfies
`eduprm.search.contract`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel

from eduprm.search.contract import Completion, Request
from eduprm.search.embedded.model import (
    GROUPED,
    PiecesCheck,
    check_layers,
    check_request,
    check_settings,
    context_of,
    load_policy,
    stop_ids_of,
    vocabulary_of,
)
from eduprm.search.embedded.rows import Row, next_tokens
from eduprm.search.embedded.slots import Prefill, Slots, in_pieces, worth_waiting


class TransformersEngine:
    """Decodes many paths at once and never computes a held prefix again.

    Args:
        model: a causal language model in evaluation mode; its attention is set to the engine's own.
        stop_ids: tokens that end a path; None for the end tokens of the model's generation config.
        max_rows: most rows of one forward; requests of a group that agree so far are one row.
        cache_tokens: most prefix tokens whose keys and values are kept. Trees that are held (see `hold`) lose nothing
            of theirs: when they need this much, no further tree begins, and what they still grow goes beyond it.

    Raises:
        ValueError: the model has sliding-window or linear-attention layers, takes no positions, has no context length
            or does not decode here as in one forward (`PiecesCheck`), no end token is known, `max_rows` is below 1 or
            `cache_tokens` below 0.

    Attributes: `num_decoded`, tokens given to all requests so far; `num_fed`, rows fed to the model for them, fewer
    where requests shared one.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        stop_ids: frozenset[int] | None = None,
        max_rows: int = 16,
        cache_tokens: int = 65_536,
    ) -> None:
        check_settings(max_rows=max_rows, cache_tokens=cache_tokens)
        check_layers(model)
        self._context = context_of(model)
        self._model = model.eval()
        pieces = PiecesCheck(model)
        model.set_attn_implementation(GROUPED)
        pieces.hold(lambda ids: in_pieces(model, ids))
        self._stop_ids = stop_ids if stop_ids is not None else stop_ids_of(model)
        self._vocabulary = vocabulary_of(model)
        self._max_rows = max_rows
        self._slots = Slots(self._model, count=max_rows, cache_tokens=cache_tokens)
        # Per slot, and in line for one: the rows of one group that have the same tokens.
        self._running: list[list[Row] | None] = []
        self._waiting: deque[list[Row]] = deque()
        self._loop_task: asyncio.Task[None] | None = None
        self.num_decoded = 0
        self.num_fed = 0

    @classmethod
    def from_pretrained(
        cls,
        name: str,
        *,
        device: str | None = None,
        dtype: str | torch.dtype = "auto",
        trust_remote_code: bool = False,
        **options: Any,
    ) -> TransformersEngine:
        """Load a model by name (see `eduprm.policy.resolve_model`) onto a device.

        Args:
            name: bundled model, local folder or hub name.
            device: None for the GPU if there is one, else the CPU.
            dtype: None or "auto" for what the checkpoint says.
            trust_remote_code: run code that comes with the checkpoint; only if you trust it.
            **options: of the constructor.
        """
        return cls(
            load_policy(name, device=device, dtype=dtype, trust_remote_code=trust_remote_code), **options
        )

    @property
    def model(self) -> PreTrainedModel:
        """The policy itself."""
        return self._model

    @property
    def stop_ids(self) -> frozenset[int]:
        """Tokens that end a path."""
        return self._stop_ids

    @property
    def context_length(self) -> int:
        """Most tokens of a prefix and its completion together."""
        return self._context

    @property
    def num_prefilled(self) -> int:
        """Prefix tokens computed so far."""
        return self._slots.num_prefilled

    @property
    def num_held(self) -> int:
        """Prefix tokens whose keys and values are kept at present."""
        return self._slots.num_held

    @contextmanager
    def hold(self, group: str) -> Iterator[None]:
        """Until it is left, drop no prefix that a request of this group has brought or computed."""
        self._slots.hold(group)
        try:
            yield
        finally:
            self._slots.release(group)

    def reset(self) -> None:
        """Forget all held prefixes, so that what follows does not depend on what came before.

        Raises:
            RuntimeError: paths are being decoded.
        """
        if self._running or self._waiting:
            raise RuntimeError("reset while paths are being decoded")
        self._slots.reset()

    async def generate(self, request: Request) -> Completion:
        """Continue one prefix to its end; await many at once to fill the batch.

        Raises:
            RequestError: longer than the model's context, or an id outside its vocabulary.
            ValueError: the model gave logits that are no numbers.
        """
        check_request(request, context_length=self.context_length, vocabulary=self._vocabulary)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Completion] = loop.create_future()
        self._waiting.append([Row.of(request, answer)])
        if self._loop_task is None or self._loop_task.done():
            self._loop_task = loop.create_task(self._run())
        return await answer

    async def _run(self) -> None:
        try:
            while self._waiting or self._running:
                with torch.inference_mode():
                    self._admit()
                    self._step()
                # Whoever got an answer may ask for the next path before the batch moves on.
                for _ in range(4):
                    await asyncio.sleep(0)
        except BaseException as error:
            self._fail(error)
            if not isinstance(error, Exception):
                raise

    def _fail(self, error: BaseException) -> None:
        pending = [row.answer for rows in (*self._running, *self._waiting) if rows for row in rows]
        self._running, self._waiting = [], deque()
        self._slots.clear()
        for answer in pending:
            if answer.done():
                continue
            if isinstance(error, Exception):
                answer.set_exception(error)
            else:
                answer.cancel()

    def _admit(self) -> None:
        """Give what waits a slot, then close the gaps left by rows that ended."""
        # Prefixes that are running and still have tokens to compute, by slot.
        pending: dict[int, Prefill] = {}
        while self._waiting and (free := self._free_slots()):
            place = self._next_place()
            if place is None:
                break
            rows = [row for row in self._take(place) if not row.answer.cancelled()]
            if rows:
                self._start(rows, free, pending)
        self._slots.compute(pending)
        while None in self._running:
            last = self._running.pop()
            if last is not None:
                gap = self._running.index(None)
                self._slots.move(len(self._running), gap, len(last[0].tokens) - 1)
                self._running[gap] = last

    def _free_slots(self) -> list[int]:
        """Slots whose rows have ended, and the next one behind all others if there may be more."""
        free = [slot for slot, rows in enumerate(self._running) if rows is None]
        return [*free, len(self._running)] if len(self._running) < self._max_rows else free

    def _next_place(self) -> int | None:
        """Which of those in line runs next: one of a tree that has begun, else a new one if there is room."""
        for place, rows in enumerate(self._waiting):
            if not self._slots.is_new(rows[0].request.group):
                return place
        # With no row at work nobody would make room: one may always go on.
        idle = all(rows is None for rows in self._running)
        return 0 if self._slots.has_room or idle else None

    def _take(self, place: int) -> list[Row]:
        """Take rows out of the line, and with them all others of the group that have the same tokens."""
        first = self._waiting[place][0]
        together = [rows for rows in self._waiting if rows[0].agrees_with(first)]
        self._waiting = deque(rows for rows in self._waiting if not rows[0].agrees_with(first))
        return [row for rows in together for row in rows]

    def _start(self, rows: list[Row], free: list[int], pending: dict[int, Prefill]) -> None:
        """Put rows of the same tokens where most of their prefix lies, and note what is to be computed of it."""
        group, tokens = rows[0].request.group, tuple(rows[0].tokens)
        slot = self._slots.nearest(free, tokens)
        # At once: had the model failed below, these must be among those to be told.
        self._running[slot : slot + 1] = [rows]
        # The last token is fed in the next step, whose logits are the first that are wanted.
        known = tokens[:-1]
        if worth_waiting(pending.values(), known, group=group, held=self._slots.num_cached(slot, known)):
            self._slots.compute(pending)
        held = self._slots.load_prefix(slot, known, tree=group)
        if held < len(known):
            pending[slot] = Prefill(known, held, group)
        for number, row in enumerate(rows):
            if not row.num_new:
                # What the first one computes, its last prefix token included, serves the others.
                row.cached_tokens = len(tokens) if number else held

    def _step(self) -> None:
        """One forward over all rows; requests that end are answered, and those that part get rows of their own."""
        running = [rows for rows in self._running if rows is not None]
        if not running:
            return
        logits = self._slots.step([rows[0].tokens for rows in running])
        for slot, (rows, found) in enumerate(zip(running, next_tokens(logits, running), strict=True)):
            going: dict[int, list[Row]] = {}
            for row, (token, measured) in zip(rows, found, strict=True):
                row.add(token, measured)
                finish = row.finish(self._stop_ids)
                if finish is None:
                    going.setdefault(token, []).append(row)
                    continue
                self._slots.store_prefix(slot, tuple(row.tokens[:-1]), tree=row.request.group)
                if not row.answer.done():
                    row.answer.set_result(row.completion(finish))
            self._part(slot, list(going.values()))
        self.num_decoded += sum(map(len, running))
        self.num_fed += len(running)
        if all(rows is None for rows in self._running):
            self._running = []

    def _part(self, slot: int, ways: list[list[Row]]) -> None:
        """Leave the first of the rows that now differ in their last token where they are; find slots for the others."""
        self._running[slot] = ways[0] if ways else None
        for rows in ways[1:]:
            known = tuple(rows[0].tokens[:-1])
            free = self._free_slots()
            if free:
                self._slots.move(slot, free[0], len(known))
                self._running[free[0] : free[0] + 1] = [rows]
            else:
                self._slots.store_prefix(slot, known, tree=rows[0].request.group)
                self._waiting.appendleft(rows)
