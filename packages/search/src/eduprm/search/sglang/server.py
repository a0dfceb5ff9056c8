"""The client of an SGLang server, or of a router in front of many: asynchronous, bounded, stubborn within reason.

`SglangServer` satisfies `eduprm.search.contract.Engine` over the native generate route and loads neither sglang nor
torch. One request runs a path to its end; at most `max_requests` are on their way, the rest wait here. What may pass
(a lost connection, a worker killed, 5xx, a path that takes too long) is tried again with back-off; what will not (a
prompt longer than the context) is a RequestError; a wrong model or a missing plugin stops everything. Source of the
routes: SGLang 0.5.23, http_server.py; sglang-router 0.3.2 passes them on.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections import Counter
from importlib.util import find_spec
from types import TracebackType
from typing import Any

from eduprm.core.http import HttpService, RefusedCallError
from eduprm.core.retry import Attempts, RetryableError, RetrySettings
from eduprm.core.seeds import derive_seed
from eduprm.search.contract import (
    Completion,
    EngineMismatchError,
    Request,
    RequestError,
    TransientError,
)
from eduprm.search.sglang.identity import check_served, model_facts, served_context
from eduprm.search.sglang.posting import Posting
from eduprm.search.sglang.samples import warn_of_seeds
from eduprm.search.sglang.starting import started
from eduprm.search.sglang.wire import EntropyKind, completion, payload

_REFUSED_STATUS = frozenset({400, 413, 422})
_INFO_LIMIT_S = 10.0


class SglangServer:
    """An engine behind a URL; enter it (`async with`) before use, or hand it to `grow_forest`, which does.

    Args:
        url: of a server or a router, `http://host:port`.
        model: the model it has to run: bundled model, local folder or hub name; only its JSON files are read here.
        entropy: "exact" needs the plugin eduprm-sglang on the server; "bounds" makes do with top-k log-probs.
        served_as: what the server calls the model, where path and last part of the path differ.
        stop_ids: tokens that end a path; None for those of the model's generation config.
        top_logprobs: k of the bounds, at least 2.
        max_requests: most requests on their way at once; what fills the server's batch.
        post_prefixes: most prefixes of one POST (`posting`); above 1, let `max_requests` be twice the server's rows or
            more, and use no router: it could not send each prefix where its tree is held.
        gather_s: how long a prefix waits for others to share its POST.
        timeout_s: longest wait for one path, its time in the server's queue included.
        start_wait_s: longest wait for a server that does not answer yet.
        retry: how often and after what waits a failed request is sent again.
        api_key: of the server, if it wants one.

    Attributes:
        retried: attempts that failed and were followed by another, by cause (`RetryableError.cause`).
        given_up: requests whose last attempt failed, by its cause.
        num_decoded: tokens of all answers taken.

    Raises:
        ValueError: the model's files cannot be read here.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str,
        entropy: EntropyKind = "exact",
        served_as: str | None = None,
        stop_ids: frozenset[int] | None = None,
        top_logprobs: int = 20,
        max_requests: int = 256,
        post_prefixes: int = 1,
        gather_s: float = 0.005,
        timeout_s: float = 600.0,
        start_wait_s: float = 60.0,
        retry: RetrySettings | None = None,
        api_key: str | None = None,
    ) -> None:
        if top_logprobs < 2:
            raise ValueError(
                f"top_logprobs: expected at least 2 (the token and its runner-up), got {top_logprobs}"
            )
        if entropy == "bounds" and find_spec("eduprm.entropy") is None:
            raise ValueError(
                'entropy="bounds" is computed by eduprm-entropy, which is not installed: add the extra, '
                'eduprm-search[sglang-client,bounds], or use entropy="exact" with the plugin on the server'
            )
        if max_requests < 1 or not timeout_s > 0.0:
            raise ValueError(
                f"expected max_requests of at least 1 and timeout_s above 0, got {max_requests}, {timeout_s}"
            )
        if post_prefixes < 1 or not gather_s >= 0.0:
            raise ValueError(
                f"expected post_prefixes of at least 1 and gather_s of 0 or more, got {post_prefixes}, {gather_s}"
            )
        # One more connection than requests, for questions about the server beside them.
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._service = HttpService(url, max_connections=max_requests + 1, headers=headers)
        self._url = self._service.url
        self._posting = Posting(self._post, most=post_prefixes, gather_s=gather_s)
        self._facts = model_facts(model, stop_ids=stop_ids)
        self._entropy: EntropyKind = entropy
        self._served_as = served_as
        self._top_logprobs = top_logprobs
        self._max_requests = max_requests
        self._timeout_s = timeout_s
        self._start_wait_s = start_wait_s
        self._retry = retry or RetrySettings()
        self._context_length = self._facts.context_length
        self._places = asyncio.Semaphore(max_requests)
        self._answered_s = 0.0
        self._was_gone = False
        self._repeats_samples = True
        self.retried: Counter[str] = Counter()
        self.given_up: Counter[str] = Counter()
        self.num_decoded = 0

    @property
    def stop_ids(self) -> frozenset[int]:
        """Tokens that end a path."""
        return self._facts.stop_ids

    @property
    def num_retries(self) -> int:
        """Attempts that were followed by another."""
        return self.retried.total()

    @property
    def context_length(self) -> int:
        """Most tokens of a prefix and its completion; the server's own limit once it is entered."""
        return self._context_length

    async def __aenter__(self) -> SglangServer:
        """Connect, and check that the server is the one asked for.

        Raises:
            EngineMismatchError: nobody answers, another model, or no entropies.
        """
        self._places = asyncio.Semaphore(self._max_requests)
        self._service.open()
        try:
            await self._check_server()
        except BaseException:
            await self._service.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self._service.close()

    async def generate(self, request: Request, *, afresh: bool = False) -> Completion:
        """Continue one prefix to its end.

        Args:
            request: the prefix.
            afresh: compute the whole prefix, whatever the server's prefix cache holds. `cached_tokens` above 0 then
                says that the server did not.
        """
        wanted = len(request.prefix_ids) + request.max_new_tokens
        if wanted > self._context_length:
            raise RequestError(
                f"prefix of {len(request.prefix_ids)} tokens plus {request.max_new_tokens} new ones exceeds "
                f"the server's limit of {self._context_length}"
            )
        if request.temperature > 0.0 and not self._repeats_samples:
            warn_of_seeds()
        body = payload(
            request, stop_ids=self.stop_ids, entropy=self._entropy, top_logprobs=self._top_logprobs
        )
        attempts = Attempts(self._retry, request.group, len(request.prefix_ids), request.seed)
        while True:
            try:
                async with self._places:
                    if self._was_gone:
                        await self._check_model()
                    answer = await (
                        self._ask_afresh(body, request.group)
                        if afresh
                        else self._posting.ask(body, request.group)
                    )
                done = completion(
                    answer,
                    request,
                    stop_ids=self.stop_ids,
                    entropy=self._entropy,
                    vocab_size=self._facts.vocab_size,
                )
            except RetryableError as error:
                self._was_gone |= error.cause == "connection refused or lost" and not error.taken
                wait_s = attempts.wait_s(error, silent_s=time.monotonic() - self._answered_s)
                if wait_s is None:
                    self.given_up[error.cause] += 1
                    raise TransientError(f"{self._url}: {error} ({attempts.num} attempts)") from error
                self.retried[error.cause] += 1
                await asyncio.sleep(wait_s)
            else:
                self._answered_s = time.monotonic()
                self.num_decoded += len(done.token_ids)
                return done

    async def _ask_afresh(self, body: dict[str, Any], group: str) -> Any:
        # Prefixes are shared among requests of one extra_key only, and nobody has used this one. SGLang's router passes
        # the field on, but not the newer cache_salt (0.3.2).
        return await self._post({**body, "extra_key": f"afresh-{uuid.uuid4().hex}"}, group)

    async def _post(self, body: dict[str, Any], group: str) -> Any:
        # A router with the policy `manual` keeps a key on one worker; `cache_aware` reads the prefix itself.
        headers = {"X-SMG-Routing-Key": f"{derive_seed(group):016x}"} if group else {}
        sent = json.dumps(body).encode()
        return await self._call("POST", "/generate", limit_s=self._timeout_s, body=sent, headers=headers)

    async def _call(self, method: str, route: str, **options: Any) -> Any:
        """One attempt at one call.

        Raises:
            RetryableError: no answer, or one that another attempt may better.
            RequestError: the server refuses this request.
            EngineMismatchError: the server refuses the client.
        """
        try:
            return json.loads(await self._service.call(method, route, **options))
        except ValueError as error:
            raise RetryableError(f"{type(error).__name__}: {error}", cause="no JSON") from error
        except RefusedCallError as error:
            if error.status in _REFUSED_STATUS:
                raise RequestError(error.reason) from error
            raise EngineMismatchError(str(error)) from error

    async def _check_server(self) -> None:
        try:
            await started(self._check_model, wait_s=self._start_wait_s)
            info = await started(
                lambda: self._info("/server_info", "/get_server_info"), wait_s=self._start_wait_s
            )
        except EngineMismatchError as error:
            text = str(error)
            raise EngineMismatchError(
                text if text.startswith(self._url) else f"{self._url}: {text}"
            ) from error
        self._context_length = served_context(self._facts, info)
        self._repeats_samples = bool(info.get("enable_deterministic_inference"))
        self._answered_s = time.monotonic()
        # One token, to see before the first tree whether entropies come with it.
        probe = Request(prefix_ids=(min(self.stop_ids, default=0),), max_new_tokens=1)
        try:
            await self.generate(probe)
        except (RequestError, TransientError) as error:
            raise EngineMismatchError(f"{self._url}: not even one token comes back: {error}") from error

    async def _check_model(self) -> None:
        """At the start, and where nobody was at the URL: whoever answers now may have been started with another one."""
        info = await self._info("/model_info", "/get_model_info")
        check_served(self._facts, info, served_as=self._served_as)
        self._was_gone = False

    async def _info(self, route: str, older: str) -> dict[str, Any]:
        """GET a route; servers and routers before 0.5.4 know the older name."""
        try:
            info = await self._call("GET", route, limit_s=_INFO_LIMIT_S)
        except EngineMismatchError:
            info = await self._call("GET", older, limit_s=_INFO_LIMIT_S)
        if not isinstance(info, dict):
            raise EngineMismatchError(f"{route} answered {str(info)[:80]!r}: expected an SGLang server there")
        return info
