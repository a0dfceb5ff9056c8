"""Small real models, and a plain tokenizer without any cache to hold the engine against."""

from __future__ import annotations

import hashlib
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from eduprm.search import Completion, Request


class PlainDecoder:
    """Full forward over the whole sequence for every token: slow, and nothing to get wrong."""

    def __init__(self, model: torch.nn.Module, stop_ids: frozenset[int]) -> None:
        self.model = model
        self.stop_ids = stop_ids
        self._known: dict[tuple[int, ...], torch.Tensor] = {}

    @torch.inference_mode()
    def distribution(self, ids: tuple[int, ...]) -> torch.Tensor:
        """Log-probs of the next token, float64, [vocab]; each prefix by a forward of its own, once."""
        if ids not in self._known:
            logits = self.model(torch.tensor([ids])).logits[0, -1].double()
            self._known[ids] = torch.log_softmax(logits, dim=-1)
        return self._known[ids]

    @torch.inference_mode()
    def read(self, ids: tuple[int, ...], *, least: int) -> None:
        """Note `distribution` of every prefix of at least `least` tokens, from one forward over all of `ids`."""
        logits = self.model(torch.tensor([ids])).logits[0, least - 1 :].double()
        for length, logprobs in enumerate(torch.log_softmax(logits, dim=-1), start=least):
            self._known.setdefault(ids[:length], logprobs)

    def greedy(self, prompt: tuple[int, ...], max_new: int) -> list[tuple[int, float, float, int, float]]:
        """(token, log-prob, entropy, runner-up, its log-prob) of a greedy path."""
        out, ids = [], list(prompt)
        while len(out) < max_new:
            logprobs = self.distribution(tuple(ids))
            top = logprobs.topk(2)
            entropy = float(-(logprobs.exp() * logprobs).sum())
            token = int(top.indices[0])
            out.append((token, float(top.values[0]), entropy, int(top.indices[1]), float(top.values[1])))
            ids.append(token)
            if token in self.stop_ids:
                break
        return out

    def edu(
        self,
        prompt: tuple[int, ...],
        *,
        threshold: float,
        max_leaves: int,
        max_tokens: int,
        best_first: bool,
        may_fork: Callable[[int], bool] = lambda greedy_token: True,
    ) -> list[tuple[int, ...]]:
        """Leaf paths of an EDU tree in the order found, every path decoded anew from the prompt."""
        paths: list[tuple[int, ...]] = []
        waiting: list[tuple[float, int, int, tuple[int, ...]]] = []

        def follow(forced: tuple[int, ...]) -> None:
            rest = []
            if not forced or forced[-1] not in self.stop_ids:
                rest = (
                    self.greedy(prompt + forced, max_tokens - len(forced)) if len(forced) < max_tokens else []
                )
            path = forced + tuple(row[0] for row in rest)
            for offset, (token, _, entropy, runner, _) in enumerate(rest):
                position = len(forced) + offset
                if entropy > threshold and may_fork(token):
                    key = -entropy if best_first else position
                    waiting.append((key, position, len(paths), (*path[:position], runner)))
            paths.append(path)

        follow(())
        while waiting and len(paths) < max_leaves:
            entry = min(waiting)
            waiting.remove(entry)
            follow(entry[3])
        return paths


class LetterDecoder:
    """Every token is a letter: no symbol rule, no unfinished characters."""

    def decode(self, token_ids: list[int]) -> str:
        return "".join(chr(97 + token % 26) for token in token_ids)


class Scripted:
    """Goes on with 10, 11, 12, ... (one more each token), unsure at every second token; ends with token 0."""

    stop_ids = frozenset({0})
    context_length = 1000

    def __init__(self) -> None:
        self.decoded = 0

    async def generate(self, request: Request) -> Completion:
        at = request.prefix_ids[-1]
        ids: list[int] = []
        while len(ids) < request.max_new_tokens:
            at = at + 1 if at % 100 < 19 else 0
            ids.append(at)
            if at == 0:
                break
        self.decoded += len(ids)
        zeros = np.zeros(len(ids), np.float32)
        return Completion(
            token_ids=np.array(ids, np.int32),
            logprobs=zeros,
            entropies=np.array([2.0 if token % 2 else 0.1 for token in ids], np.float32),
            runner_up_ids=np.array(ids, np.int32) + 100,
            runner_up_logprobs=zeros - 1,
            finish="stop" if ids[-1] == 0 else "length",
            prefix_tokens=len(request.prefix_ids),
            cached_tokens=0,
        )


class HashedPolicy:
    """Every distribution is a hash of the prefix: two likely tokens, an entropy of 0 to 4 nats. Token 0 ends a path.

    The k-th draw from a prefix is a hash of k, whatever the request's seed, so that a reference can draw the same.
    """

    stop_ids = frozenset({0})
    context_length = 1000

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.decoded = 0
        self._draws: dict[tuple[int, ...], int] = {}

    def facts(self, prefix: tuple[int, ...]) -> tuple[int, int, float]:
        """Most probable token, runner-up, entropy."""
        digest = hashlib.sha256(repr((self.seed, prefix)).encode()).digest()
        top = 0 if digest[0] < 40 else 1 + digest[0] % 12
        other = (top + 1 + digest[1] % 11) % 13
        return top, other, digest[2] / 64

    def follow(self, prefix: tuple[int, ...], max_new: int, *, drawn: bool = False) -> tuple[int, ...]:
        """Tokens of a greedy path, or of the next draw from the prefix."""
        number = self._draws.get(prefix, 0)
        if drawn:
            self._draws[prefix] = number + 1
        ids: tuple[int, ...] = ()
        while len(ids) < max_new and 0 not in ids:
            top, other, _ = self.facts(prefix + ids)
            coin = hashlib.sha256(repr((self.seed, prefix, number, len(ids))).encode()).digest()[0]
            ids += (other if drawn and coin < 100 else top,)
        return ids

    def anchors(self, prompt: tuple[int, ...], path: tuple[int, ...], threshold: float) -> list[int]:
        return [at for at in range(len(path)) if self.facts(prompt + path[:at])[2] > threshold]

    async def generate(self, request: Request) -> Completion:
        ids = self.follow(request.prefix_ids, request.max_new_tokens, drawn=request.temperature > 0)
        known = [self.facts(request.prefix_ids + ids[:at]) for at in range(len(ids))]
        greedy = np.array([token == top for token, (top, _, _) in zip(ids, known, strict=True)])
        others = [other if token == top else top for token, (top, other, _) in zip(ids, known, strict=True)]
        self.decoded += len(ids)
        return Completion(
            token_ids=np.array(ids, np.int32),
            logprobs=np.where(greedy, -0.5, -1.5).astype(np.float32),
            entropies=np.array([entropy for _, _, entropy in known], np.float32),
            runner_up_ids=np.array(others, np.int32),
            runner_up_logprobs=np.where(greedy, -1.5, -0.5).astype(np.float32),
            finish="stop" if ids[-1] == 0 else "length",
            prefix_tokens=len(request.prefix_ids),
            cached_tokens=0,
        )


def hashed_opinion(ids: tuple[int, ...]) -> float:
    """A score that only the tokens decide."""
    return hashlib.sha256(repr(ids).encode()).digest()[0] / 255


def problem_table(prompts: list[tuple[int, ...]]) -> pl.DataFrame:
    """Problems p0, p1, ... with these prompts."""
    return pl.DataFrame(
        {
            "problem_id": [f"p{number}" for number in range(len(prompts))],
            "prompt_token_ids": [list(prompt) for prompt in prompts],
        },
        schema={"problem_id": pl.String, "prompt_token_ids": pl.List(pl.Int32)},
    )


@pytest.fixture(scope="session")
def problems() -> Callable[[list[tuple[int, ...]]], pl.DataFrame]:
    return problem_table


@pytest.fixture(scope="session")
def tiny_model() -> LlamaForCausalLM:
    """Two layers, grouped heads, weights wide enough that some choices are clear and some are not."""
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=61,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.25,
        eos_token_id=3,
        bos_token_id=1,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="session")
def plain(tiny_model: LlamaForCausalLM) -> PlainDecoder:
    import copy

    # A copy: the engine changes the attention implementation of the model it is given.
    return PlainDecoder(copy.deepcopy(tiny_model), frozenset({3}))


@pytest.fixture(scope="session")
def letters() -> LetterDecoder:
    return LetterDecoder()


@pytest.fixture(scope="session")
def plain_decoder_class() -> type[PlainDecoder]:
    return PlainDecoder


@pytest.fixture(scope="session")
def hashed_policy() -> type[HashedPolicy]:
    return HashedPolicy


@pytest.fixture(scope="session")
def hashed_score() -> Callable[[tuple[int, ...]], float]:
    return hashed_opinion


@pytest.fixture
def scripted() -> Scripted:
    return Scripted()
