"""The embedded engine: any decoder-only transformers model, decoded row by row in one growing batch.

Rows join and leave at every step (continuous batching); a row starts from whatever prefix is still held, in its slot
or in the prefix cache, and computes the rest. One step is one forward over all rows, one pass over the logits
(`eduprm.entropy.entropy_top2`) and one transfer to the host. Satisfies `eduprm.search.contract`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from eduprm.search.contract import Continuation, Request
from eduprm.search.embedded.attention import GROUPED
from eduprm.search.embedded.checks import check_layers, check_request, check_settings, stop_ids_of
from eduprm.search.embedded.loading import load_policy
from eduprm.search.embedded.prefill import Prefill, worth_waiting
from eduprm.search.embedded.rows import Row, next_tokens
from eduprm.search.embedded.seats import Seats


class TransformersEngine:
    """Decodes many paths at once and never computes a held prefix again.

    Args:
        model: a causal language model in evaluation mode; its attention is set to the engine's own.
        stop_ids: tokens that end a path; None for the end tokens of the model's generation config.
        max_rows: most paths decoded in one forward.
        cache_tokens: most prefix tokens whose keys and values are kept. Trees that are held (see `hold`) lose nothing
            of theirs: when they need this much, no further tree begins, and what they still grow goes beyond it.

    Raises:
        ValueError: the model has sliding-window or linear-attention layers, no end token is known, `max_rows` is below
            1 or `cache_tokens` below 0.
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
        model.set_attn_implementation(GROUPED)
        self._model = model.eval()
        self._stop_ids = stop_ids if stop_ids is not None else stop_ids_of(model)
        self._vocabulary = len(self._model.get_input_embeddings().weight)
        self._max_rows = max_rows
        self._seats = Seats(self._model, count=max_rows, cache_tokens=cache_tokens)
        self._rows: list[Row | None] = []
        self._waiting: deque[tuple[Request, asyncio.Future[Continuation]]] = deque()
        self._loop_task: asyncio.Task[None] | None = None
        self.num_decoded = 0

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
        """Load a model by name (see `eduprm.search.models.resolve_model`) onto a device.

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
        """Most tokens of a prefix and its continuation together."""
        return int(self._model.config.max_position_embeddings)

    @property
    def num_prefilled(self) -> int:
        """Prefix tokens computed so far."""
        return self._seats.num_prefilled

    @property
    def num_held(self) -> int:
        """Prefix tokens whose keys and values are kept at present."""
        return self._seats.num_held

    @contextmanager
    def hold(self, group: str) -> Iterator[None]:
        """Until it is left, drop no prefix that a request of this group has brought or computed."""
        self._seats.hold(group)
        try:
            yield
        finally:
            self._seats.release(group)

    def reset(self) -> None:
        """Forget all held prefixes, so that what follows does not depend on what came before.

        Raises:
            RuntimeError: paths are being decoded.
        """
        if self._rows or self._waiting:
            raise RuntimeError("reset while paths are being decoded")
        self._seats.reset()

    async def generate(self, request: Request) -> Continuation:
        """Continue one prefix to its end; await many at once to fill the batch.

        Raises:
            RequestError: longer than the model's context, or an id outside its vocabulary.
            ValueError: the model gave logits that are no numbers.
        """
        check_request(request, context_length=self.context_length, vocabulary=self._vocabulary)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Continuation] = loop.create_future()
        self._waiting.append((request, answer))
        if self._loop_task is None or self._loop_task.done():
            self._loop_task = loop.create_task(self._run())
        return await answer

    async def _run(self) -> None:
        try:
            while self._waiting or self._rows:
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
        pending = [row.answer for row in self._rows if row] + [answer for _, answer in self._waiting]
        self._rows, self._waiting = [], deque()
        self._seats.vacate()
        for answer in pending:
            if answer.done():
                continue
            if isinstance(error, Exception):
                answer.set_exception(error)
            else:
                answer.cancel()

    def _admit(self) -> None:
        """Seat waiting requests, then close the gaps left by rows that ended."""
        # Prefixes that are seated and still have tokens to compute, by seat.
        pending: dict[int, Prefill] = {}
        while self._waiting:
            free = [seat for seat, row in enumerate(self._rows) if row is None]
            if len(self._rows) < self._max_rows:
                free.append(len(self._rows))
            if not free:
                break
            place = self._next_place()
            if place is None:
                break
            request, answer = self._waiting[place]
            if answer.cancelled():
                del self._waiting[place]
                continue
            seat = self._seats.nearest(free, request.prefix_ids)
            # The last token is fed in the next step, whose logits are the first that are wanted.
            known = request.prefix_ids[:-1]
            if worth_waiting(
                pending.values(), known, group=request.group, held=self._seats.held(seat, known)
            ):
                self._seats.compute(pending)
            held = self._seats.bring(seat, known, tree=request.group)
            if held < len(known):
                pending[seat] = Prefill(known, held, request.group)
            seeded = np.random.Generator(np.random.Philox(request.seed)) if request.temperature > 0 else None
            self._rows[seat : seat + 1] = [Row(request, answer, list(request.prefix_ids), held, seeded)]
            # Only now: had the model failed above, whoever asked is still on the list of those to be told.
            del self._waiting[place]
        self._seats.compute(pending)
        while None in self._rows:
            last = self._rows.pop()
            if last is not None:
                gap = self._rows.index(None)
                self._seats.move(len(self._rows), gap, len(last.tokens) - 1)
                self._rows[gap] = last

    def _next_place(self) -> int | None:
        """Which waiting request is seated next: one of a tree that has begun, else a new one if there is room."""
        for place, (request, _) in enumerate(self._waiting):
            if not self._seats.is_new(request.group):
                return place
        # With no row at work nobody would make room: one may always go on.
        idle = all(row is None for row in self._rows)
        return 0 if self._seats.has_room or idle else None

    def _step(self) -> None:
        """One forward over all rows; rows that end are answered."""
        rows = [row for row in self._rows if row is not None]
        if not rows:
            return
        logits = self._seats.step([row.tokens for row in rows])
        for seat, (row, (token, measured)) in enumerate(zip(rows, next_tokens(logits, rows), strict=True)):
            row.add(token, measured)
            finish = row.finish(self._stop_ids)
            if finish is not None:
                self._seats.keep(seat, tuple(row.tokens[:-1]), tree=row.request.group)
                self._rows[seat] = None
                if not row.answer.done():
                    row.answer.set_result(row.continuation(finish))
        self.num_decoded += len(rows)
        if all(row is None for row in self._rows):
            self._rows = []
