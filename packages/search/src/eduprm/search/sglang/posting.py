"""Prefixes that are ready together, in one POST: what a server spends on a request is spent once for several.

A POST is answered when the longest of its paths has ended, so its prefixes are chosen alike in how far they may go,
and more of them have to be on their way than the server's batch has rows. One that the server refuses does not take
its neighbours along: each is sent again alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from eduprm.core.retry import RetryableError
from eduprm.search.contract import RequestError

Post = Callable[[dict[str, Any], str], Awaitable[Any]]
"""Posts a body for a group and gives the parsed answer."""


class _Waiting(NamedTuple):
    body: dict[str, Any]
    group: str
    answer: asyncio.Future[Any]


class Posting:
    """Gathers bodies of the generate route.

    Args:
        post: sends one body.
        most: prefixes of one POST; 1 sends each as it comes.
        gather_s: how long the first of a POST waits for others.
    """

    def __init__(self, post: Post, *, most: int, gather_s: float) -> None:
        self._post = post
        self._most = most
        self._gather_s = gather_s
        self._waiting: list[_Waiting] = []
        self._sending: set[asyncio.Task[None]] = set()

    async def ask(self, body: dict[str, Any], group: str) -> Any:
        """The answer to one prefix, parsed and not looked at.

        Raises:
            whatever posting raises.
        """
        if self._most == 1:
            return await self._post(body, group)
        loop = asyncio.get_running_loop()
        one = _Waiting(body, group, loop.create_future())
        self._waiting.append(one)
        if len(self._waiting) == 1:
            loop.call_later(self._gather_s, self._send)
        return await one.answer

    def _send(self) -> None:
        # A path may go as far as its budget lets it: those alike in it keep each other waiting least.
        waiting = [one for one in self._waiting if not one.answer.done()]
        waiting.sort(key=lambda one: one.body["sampling_params"]["max_new_tokens"])
        self._waiting.clear()
        for start in range(0, len(waiting), self._most):
            self._start(waiting[start : start + self._most])

    def _start(self, chosen: list[_Waiting]) -> None:
        task = asyncio.get_running_loop().create_task(self._deliver(chosen))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

        def given_up(_: asyncio.Future[Any]) -> None:
            # Nobody waits any more: closing the connection tells the server.
            if all(one.answer.cancelled() for one in chosen):
                task.cancel()

        for one in chosen:
            one.answer.add_done_callback(given_up)

    async def _deliver(self, chosen: list[_Waiting]) -> None:
        try:
            answers = await self._answers(chosen)
        except RequestError as error:
            if len(chosen) > 1:
                for one in chosen:
                    self._start([one])
                return
            _fail(chosen, error)
        except Exception as error:
            _fail(chosen, error)
        else:
            for one, answer in zip(chosen, answers, strict=True):
                if not one.answer.done():
                    one.answer.set_result(answer)

    async def _answers(self, chosen: list[_Waiting]) -> list[Any]:
        if len(chosen) == 1:
            return [await self._post(chosen[0].body, chosen[0].group)]
        bodies = [one.body for one in chosen]
        # Fields besides these two are of the client and the same in all of its requests.
        body = {**bodies[0], **{key: [b[key] for b in bodies] for key in ("input_ids", "sampling_params")}}
        answers = await self._post(body, chosen[0].group)
        if not isinstance(answers, list) or len(answers) != len(chosen):
            got = f"{len(answers)}" if isinstance(answers, list) else type(answers).__name__
            raise RetryableError(
                f"expected {len(chosen)} answers of one POST, got {got}",
                cause="wrong shape: answers of one POST",
            )
        return answers


def _fail(chosen: list[_Waiting], error: Exception) -> None:
    for one in chosen:
        if not one.answer.done():
            one.answer.set_exception(error)
