"""The engine contract: token ids in, token ids out.

An engine continues prefixes. What holds for every engine:

* **One request, one path.** `generate` runs a path to its end (a stop token, or `max_new_tokens`) and returns
  every token with its entropy, its log-prob and the runner-up token there. A fork is a new request whose
  prefix is the path up to the fork plus the runner-up token.
* **Exact entropy**: Shannon entropy in nats of the full next-token distribution at temperature 1, from the raw
  logits, whatever temperature the token was drawn with. Log-probs are of that same distribution.
* **One length.** The arrays of a completion have one length, stop token included.
* **Or bounds, by choice.** An engine told to do so may give a lower bound in `entropies` and an upper one in
  `entropies_upper`; both hold the exact value between them. None there means that `entropies` is exact.
* **Prefixes are not computed again** where the engine still holds them; `cached_tokens` says how many it held.
* **Trees under way**: an engine that would drop prefixes for want of room may offer `hold` (`PrefixHolder`); who
  grows a tree holds its group until the tree has ended.
* **Concurrency**: any number of `generate` calls may be awaited at once; an engine batches them as it likes.
  Who calls bounds how many (see `eduprm.search.grow`).
* **Repeatable**: the same requests in the same order with the same seeds give the same completions.

Shapes: n is the number of new tokens of one completion.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Finish = Literal["stop", "length"]


class RequestError(ValueError):
    """This request cannot be served (too long a prompt, say); others can. The problem is rejected for good."""


class TransientError(RuntimeError):
    """The engine could not serve this request now (a lost worker, a timeout), its own retries included.

    The tree is rejected; asked for again later, it may be grown.
    """


class EngineMismatchError(RuntimeError):
    """The engine is not the one that was asked for (another model, no entropies): nothing can be grown with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A prefix to be continued to its end.

    Attributes:
        prefix_ids: prompt and what has been generated so far, as token ids; at least one.
        max_new_tokens: most tokens to add, at least 1; a path that reaches it finishes with "length".
        temperature: 0 decodes greedily; above 0, tokens are drawn from softmax(logits / temperature).
        seed: of the draws; unused when greedy. Derive it with `eduprm.core.seeds.derive_seed`.
        group: requests of one group share prefixes (the trees of one problem); a router may keep them on one
            worker, and an engine may be told to hold them (`PrefixHolder`). "" for none.
    """

    prefix_ids: tuple[int, ...]
    max_new_tokens: int
    temperature: float = 0.0
    seed: int = 0
    group: str = ""

    def __post_init__(self) -> None:
        if not self.prefix_ids:
            raise RequestError("prefix_ids: expected at least one token id, got none")
        if self.max_new_tokens < 1:
            raise RequestError(f"max_new_tokens: expected at least 1, got {self.max_new_tokens}")
        if not 0.0 <= self.temperature < math.inf:
            raise RequestError(f"temperature: expected a number of 0 or more, got {self.temperature}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What a request's prefix was continued with; all arrays have shape [n], n >= 1.

    Attributes:
        token_ids: int32, the new tokens; the last one is a stop token when `finish` is "stop".
        logprobs: float32, log-prob of each token at temperature 1.
        entropies: float32, nats, of the distribution each token was taken from.
        runner_up_ids: int32, the most probable token other than the one taken.
        runner_up_logprobs: float32, its log-prob at temperature 1.
        finish: why the path ended.
        prefix_tokens: length of the request's prefix.
        cached_tokens: how many of those the engine did not compute again.
        entropies_upper: float32, nats; None when `entropies` is exact, else `entropies` is a lower bound.
    """

    token_ids: NDArray[np.int32]
    logprobs: NDArray[np.float32]
    entropies: NDArray[np.float32]
    runner_up_ids: NDArray[np.int32]
    runner_up_logprobs: NDArray[np.float32]
    finish: Finish
    prefix_tokens: int
    cached_tokens: int
    entropies_upper: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        lengths = {
            name: len(getattr(self, name))
            for name in ("token_ids", "logprobs", "entropies", "runner_up_ids", "runner_up_logprobs")
        }
        if self.entropies_upper is not None:
            lengths["entropies_upper"] = len(self.entropies_upper)
        if len(set(lengths.values())) != 1 or not lengths["token_ids"]:
            raise ValueError(f"a completion's arrays must have one length of at least 1, got {lengths}")


@runtime_checkable
class Engine(Protocol):
    """Continues prefixes; see the module's text for what every engine promises."""

    @property
    def stop_ids(self) -> frozenset[int]:
        """Tokens that end a path."""
        ...

    @property
    def context_length(self) -> int:
        """Most tokens that a prefix and its completion may have together."""
        ...

    async def generate(self, request: Request) -> Completion:
        """Continue one prefix to its end.

        Raises:
            RequestError: the request itself cannot be served; other requests still can.
            TransientError: it could not be served now.
            EngineMismatchError: the engine is not what was asked for.
        """
        ...


@runtime_checkable
class PrefixHolder(Protocol):
    """An engine that keeps a tree's prefixes for as long as it is told that the tree is growing."""

    def hold(self, group: str) -> AbstractContextManager[None]:
        """Until it is left, keep the prefixes of the group's requests; holds of one group add up."""
        ...


def holding(engine: Engine, group: str) -> AbstractContextManager[None]:
    """Hold a group's prefixes where the engine offers that; otherwise do nothing."""
    return engine.hold(group) if isinstance(engine, PrefixHolder) else nullcontext()


@runtime_checkable
class Tokenizer(Protocol):
    """Turns token ids into text; the only thing a strategy needs of a tokenizer."""

    def decode(self, token_ids: list[int]) -> str:
        """Text of a token sequence, special tokens left out."""
        ...
