"""SGLang inside this process: the scheduler, the radix cache and the kernels without a server in between.

`SglangEngine` satisfies `eduprm.search.contract.Engine`. SGLang ties its engine to the event loop of the first
request, so requests run on a loop of the engine's own, in a thread; callers may come from any loop. Needs the extra
`sglang`, and the plugin eduprm-sglang for exact entropies. Source: SGLang 0.5.23, entrypoints/engine.py.
"""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import Any

from sglang import Engine as SglEngine

from eduprm.core.retry import RetryableError
from eduprm.search.contract import Completion, Request, RequestError, TransientError
from eduprm.search.sglang.identity import model_facts, served_context
from eduprm.search.sglang.samples import warn_of_seeds
from eduprm.search.sglang.wire import EntropyKind, completion, payload


class SglangEngine:
    """SGLang's engine behind the contract; `close` it, or use it in a `with` block.

    Args:
        model: bundled model, local folder or hub name.
        entropy: "exact" needs the plugin eduprm-sglang; "bounds" makes do with top-k log-probs.
        stop_ids: tokens that end a path; None for those of the model's generation config.
        top_logprobs: k of the bounds.
        max_requests: most requests handed to SGLang at once.
        **server_args: of `sglang.Engine` (device, dtype, mem_fraction_static, ...).

    Raises:
        EngineMismatchError: the plugin is missing.
        ValueError: `max_requests` is below 1.
    """

    def __init__(
        self,
        model: str,
        *,
        entropy: EntropyKind = "exact",
        stop_ids: frozenset[int] | None = None,
        top_logprobs: int = 20,
        max_requests: int = 256,
        **server_args: Any,
    ) -> None:
        if max_requests < 1:
            raise ValueError(f"max_requests: expected at least 1, got {max_requests}")
        self._facts = model_facts(model, stop_ids=stop_ids)
        self._entropy: EntropyKind = entropy
        self._top_logprobs = top_logprobs
        self._engine = SglEngine(model_path=self._facts.name, **server_args)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="sglang", daemon=True)
        self._thread.start()
        self._places = asyncio.Semaphore(max_requests)
        limit = self._engine.tokenizer_manager.max_req_input_len
        self._context_length = served_context(self._facts, {"max_req_input_len": limit})
        self._repeats_samples = bool(server_args.get("enable_deterministic_inference"))
        self.num_decoded = 0
        try:
            probe = Request(prefix_ids=(min(self.stop_ids, default=0),), max_new_tokens=1)
            asyncio.run_coroutine_threadsafe(self._generate(probe), self._loop).result()
        except BaseException:
            self.close()
            raise

    @property
    def stop_ids(self) -> frozenset[int]:
        """Tokens that end a path."""
        return self._facts.stop_ids

    @property
    def context_length(self) -> int:
        """Most tokens of a prefix and its completion that SGLang takes whole."""
        return self._context_length

    async def generate(self, request: Request) -> Completion:
        """Continue one prefix to its end."""
        wanted = len(request.prefix_ids) + request.max_new_tokens
        if wanted > self._context_length:
            raise RequestError(
                f"prefix of {len(request.prefix_ids)} tokens plus {request.max_new_tokens} new ones exceeds "
                f"the engine's limit of {self._context_length}"
            )
        if request.temperature > 0.0 and not self._repeats_samples:
            warn_of_seeds()
        return await asyncio.wrap_future(
            asyncio.run_coroutine_threadsafe(self._generate(request), self._loop)
        )

    async def _generate(self, request: Request) -> Completion:
        body = payload(
            request, stop_ids=self.stop_ids, entropy=self._entropy, top_logprobs=self._top_logprobs
        )
        # Engine.async_generate has no argument of that name; custom_params say the same.
        body.pop("return_entropy", None)
        try:
            async with self._places:
                answer = await self._engine.async_generate(**body)
            done = completion(
                answer,
                request,
                stop_ids=self.stop_ids,
                entropy=self._entropy,
                vocab_size=self._facts.vocab_size,
            )
        except RetryableError as error:
            raise TransientError(str(error)) from error
        except RequestError:
            raise
        except ValueError as error:
            # SGLang's word for a request that it does not take.
            raise RequestError(str(error)) from error
        self.num_decoded += len(done.token_ids)
        return done

    def reset(self) -> None:
        """Forget all held prefixes; for measurements that must not depend on what came before."""
        asyncio.run_coroutine_threadsafe(self._engine.tokenizer_manager.flush_cache(), self._loop).result()

    def close(self) -> None:
        """Stop SGLang's processes."""
        self._engine.shutdown()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)

    def __enter__(self) -> SglangEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
