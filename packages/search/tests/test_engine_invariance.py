"""What the embedded engine measures does not depend on who else is in the batch: order, rows at once, held prefixes."""

from __future__ import annotations

import asyncio
import copy

import numpy as np
import pytest

from eduprm.search import Request, TransformersEngine

ATOL = 5e-5
"""Nats. Float32 sums in another order, on a model whose log-probs reach some tens."""


def run(engine: TransformersEngine, requests: list[Request]) -> list:
    async def go() -> list:
        return await asyncio.gather(*(engine.generate(request) for request in requests))

    return asyncio.run(go())


def requests() -> list[Request]:
    """Greedy paths and samples, prefixes of 1 to 40 tokens, some of which begin alike."""
    rng = np.random.default_rng(4)
    made = []
    for number in range(10):
        ids = rng.integers(4, 61, size=rng.integers(1, 40)).tolist()
        made.append(Request(prefix_ids=tuple(ids), max_new_tokens=4 + 2 * (number % 4)))
        made.append(Request(prefix_ids=(*ids, 7), max_new_tokens=5, temperature=1.0, seed=number))
    return made


@pytest.fixture(scope="module")
def alone(tiny_model) -> list:
    """Every request by itself, in an engine of its own."""
    return [
        run(TransformersEngine(copy.deepcopy(tiny_model), stop_ids=frozenset({3}), max_rows=1), [request])[0]
        for request in requests()
    ]


@pytest.mark.parametrize("order", ["as they are", "reversed", "shuffled"])
@pytest.mark.parametrize(("max_rows", "cache_tokens"), [(1, 65_536), (3, 65_536), (3, 8), (32, 65_536)])
def test_order_batch_size_and_cache_change_no_measurement(tiny_model, alone, order, max_rows, cache_tokens):
    wanted = requests()
    places = np.arange(len(wanted))
    if order == "reversed":
        places = places[::-1]
    elif order == "shuffled":
        places = np.random.default_rng(max_rows).permutation(places)
    engine = TransformersEngine(
        copy.deepcopy(tiny_model), stop_ids=frozenset({3}), max_rows=max_rows, cache_tokens=cache_tokens
    )
    # Twice: the second time all prefixes are held that fit.
    for _ in range(2):
        for place, done in zip(places, run(engine, [wanted[place] for place in places]), strict=True):
            expected = alone[place]
            assert done.token_ids.tolist() == expected.token_ids.tolist()
            assert done.runner_up_ids.tolist() == expected.runner_up_ids.tolist()
            for name in ("entropies", "logprobs", "runner_up_logprobs"):
                np.testing.assert_allclose(getattr(done, name), getattr(expected, name), atol=ATOL)
