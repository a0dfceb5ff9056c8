"""The embedded engine against full recomputation: tokens, measurements, reuse and repeatability."""

from __future__ import annotations

import asyncio
import copy

import numpy as np
import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM

from eduprm.search import Request, RequestError, TransformersEngine, score_tokens


def run(engine: TransformersEngine, requests: list[Request]) -> list:
    async def go() -> list:
        return await asyncio.gather(*(engine.generate(request) for request in requests))

    return asyncio.run(go())


def prompts(count: int, *, seed: int = 0, low: int = 1, high: int = 40) -> list[tuple[int, ...]]:
    rng = np.random.default_rng(seed)
    return [tuple(int(t) for t in rng.integers(4, 61, size=rng.integers(low, high))) for _ in range(count)]


@pytest.fixture
def engine(tiny_model) -> TransformersEngine:
    return TransformersEngine(copy.deepcopy(tiny_model), stop_ids=frozenset({3}), max_rows=4)


def test_greedy_paths_equal_full_recomputation(engine, plain):
    # More requests than rows, of all lengths: rows join and leave at different steps.
    requests = [Request(prefix_ids=ids, max_new_tokens=5 + 3 * (n % 5)) for n, ids in enumerate(prompts(11))]
    for request, done in zip(requests, run(engine, requests), strict=True):
        expected = plain.greedy(request.prefix_ids, request.max_new_tokens)
        tokens, logprobs, entropies, runners, runner_logprobs = map(np.array, zip(*expected, strict=True))
        assert done.token_ids.tolist() == tokens.tolist()
        assert done.runner_up_ids.tolist() == runners.tolist()
        np.testing.assert_allclose(done.logprobs, logprobs, atol=2e-5)
        np.testing.assert_allclose(done.entropies, entropies, atol=5e-5)
        np.testing.assert_allclose(done.runner_up_logprobs, runner_logprobs, atol=2e-5)
        assert done.finish == ("stop" if tokens[-1] == 3 else "length")


def test_held_prefixes_are_not_computed_again(engine):
    shared = prompts(1, low=30, high=31)[0]
    first, second = run(engine, [Request(prefix_ids=(*shared, tail), max_new_tokens=4) for tail in (10, 11)])
    assert (first.cached_tokens, second.cached_tokens) == (0, len(shared))
    # A fork off the finished first path: everything but the forced token was decoded before.
    fork = (*shared, 10, *first.token_ids[:2].tolist(), 12)
    before = engine.num_prefilled
    (done,) = run(engine, [Request(prefix_ids=fork, max_new_tokens=3)])
    assert done.cached_tokens == len(fork) - 1
    assert engine.num_prefilled == before


def test_a_fork_decodes_the_same_with_and_without_held_prefix(engine, tiny_model):
    (path,) = run(engine, [Request(prefix_ids=(5, 6, 7), max_new_tokens=20)])
    fork = Request(prefix_ids=(5, 6, 7, *path.token_ids[:9].tolist(), 20), max_new_tokens=12)
    (held,) = run(engine, [fork])
    fresh = TransformersEngine(copy.deepcopy(tiny_model), stop_ids=frozenset({3}))
    (anew,) = run(fresh, [fork])
    assert held.token_ids.tolist() == anew.token_ids.tolist()
    np.testing.assert_allclose(held.entropies, anew.entropies, atol=5e-5)


def test_eviction_changes_cost_and_nothing_else(tiny_model):
    roomy = TransformersEngine(copy.deepcopy(tiny_model), stop_ids=frozenset({3}), max_rows=2)
    tight = TransformersEngine(
        copy.deepcopy(tiny_model), stop_ids=frozenset({3}), max_rows=2, cache_tokens=16
    )
    requests = [Request(prefix_ids=ids, max_new_tokens=6) for ids in prompts(6, seed=3)]
    for _ in range(2):
        for a, b in zip(run(roomy, requests), run(tight, requests), strict=True):
            assert a.token_ids.tolist() == b.token_ids.tolist()
    assert tight.num_prefilled > roomy.num_prefilled


def test_samples_depend_on_their_seed_alone(tiny_model):
    requests = [
        Request(prefix_ids=(9, 8, 7), max_new_tokens=12, temperature=1.0, seed=seed) for seed in range(9)
    ]
    few = TransformersEngine(copy.deepcopy(tiny_model), stop_ids=frozenset({3}), max_rows=2)
    many = TransformersEngine(copy.deepcopy(tiny_model), stop_ids=frozenset({3}), max_rows=9)
    a, b = run(few, requests), run(many, list(reversed(requests)))[::-1]
    assert [x.token_ids.tolist() for x in a] == [x.token_ids.tolist() for x in b]
    assert len({tuple(x.token_ids.tolist()) for x in a}) > 4


@pytest.mark.parametrize(("max_rows", "cache_tokens"), [(3, 65_536), (64, 65_536), (3, 8)])
def test_samples_that_agree_are_one_row(tiny_model, max_rows, cache_tokens):
    # More ways than slots, so that some wait for one; all temperatures and lengths of a group go together.
    engine = TransformersEngine(
        copy.deepcopy(tiny_model), stop_ids=frozenset({3}), max_rows=max_rows, cache_tokens=cache_tokens
    )
    requests = [
        Request(
            prefix_ids=ids,
            max_new_tokens=4 + seed % 5,
            temperature=(0.0, 0.05, 0.2)[seed % 3],
            seed=seed,
            group=str(number),
        )
        for number, ids in enumerate(prompts(3, low=6))
        for seed in range(12)
    ]
    together = run(engine, requests)
    alone = TransformersEngine(copy.deepcopy(tiny_model), stop_ids=frozenset({3}), max_rows=1)
    fed, once = 0, set()
    for request, done in zip(requests, together, strict=True):
        (expected,) = run(alone, [request])
        assert done.token_ids.tolist() == expected.token_ids.tolist()
        assert done.finish == expected.finish
        np.testing.assert_allclose(done.logprobs, expected.logprobs, atol=2e-5)
        np.testing.assert_allclose(done.entropies, expected.entropies, atol=5e-5)
        assert done.runner_up_ids.tolist() == expected.runner_up_ids.tolist()
        fed += len(done.token_ids)
        once |= {
            (request.prefix_ids, tuple(done.token_ids[:end].tolist())) for end in range(len(done.token_ids))
        }
    first = {}
    for request, done in zip(requests, together, strict=True):
        if request.group in first:  # its prompt was computed for the first one, to the last token
            assert done.cached_tokens == len(request.prefix_ids)
        first[request.group] = done
    assert engine.num_decoded == fed
    assert engine.num_fed == len(once) < 0.8 * fed


def test_draws_follow_the_distribution(engine, plain):
    requests = [
        Request(prefix_ids=(5, 9), max_new_tokens=1, temperature=2.0, seed=1_000 + n) for n in range(3000)
    ]
    counts = np.bincount([int(done.token_ids[0]) for done in run(engine, requests)], minlength=61)
    expected = torch.softmax(plain.distribution((5, 9)) / 2.0, dim=-1).numpy()
    # Total variation of 3000 draws over 61 tokens stays well below this when the draws are right.
    assert 0.5 * np.abs(counts / 3000 - expected).sum() < 0.08


def test_draws_at_a_temperature_near_0_are_the_most_probable_tokens(engine):
    greedy, drawn = run(
        engine,
        [Request(prefix_ids=(5, 9), max_new_tokens=6, temperature=heat, seed=3) for heat in (0.0, 1e-310)],
    )
    assert drawn.token_ids.tolist() == greedy.token_ids.tolist()


def test_log_probs_of_samples_are_at_temperature_one(engine, plain):
    (done,) = run(engine, [Request(prefix_ids=(5, 9), max_new_tokens=6, temperature=1.7, seed=3)])
    ids = (5, 9)
    for token, logprob, runner in zip(done.token_ids, done.logprobs, done.runner_up_ids, strict=True):
        expected = plain.distribution(ids)
        assert logprob == pytest.approx(float(expected[token]), abs=2e-5)
        others = expected.clone()
        others[token] = -torch.inf
        assert runner == int(others.argmax())
        ids = (*ids, int(token))


def test_too_long_a_request_is_refused_and_the_rest_goes_on(engine):
    async def go() -> tuple:
        return await asyncio.gather(
            engine.generate(Request(prefix_ids=(5,) * 600, max_new_tokens=5)),
            engine.generate(Request(prefix_ids=(5, 6), max_new_tokens=5)),
            return_exceptions=True,
        )

    refused, done = asyncio.run(go())
    assert isinstance(refused, RequestError)
    assert "600 tokens" in str(refused)
    assert "512" in str(refused)
    assert len(done.token_ids) >= 1


def test_a_failing_forward_reaches_every_caller(engine, monkeypatch):
    monkeypatch.setattr(
        engine._slots, "step", lambda rows: (_ for _ in ()).throw(RuntimeError("out of memory"))
    )
    with pytest.raises(RuntimeError, match="out of memory"):
        run(engine, [Request(prefix_ids=(5, 6), max_new_tokens=5)])
    monkeypatch.undo()
    assert run(engine, [Request(prefix_ids=(5, 6), max_new_tokens=5)])


def test_sliding_window_models_are_refused():
    model = MistralForCausalLM(
        MistralConfig(
            vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
            num_key_value_heads=1, sliding_window=8,
        )
    )  # fmt: skip
    with pytest.raises(ValueError, match="sliding"):
        TransformersEngine(model, stop_ids=frozenset({3}))


def test_teacher_forced_scores_equal_the_measurements_of_decoding(engine, plain):
    (done,) = run(engine, [Request(prefix_ids=(5, 6, 7), max_new_tokens=25)])
    scores = score_tokens(plain.model, prefix_ids=[5, 6, 7], token_ids=done.token_ids.tolist())
    np.testing.assert_allclose(scores.entropies, done.entropies, atol=5e-5)
    np.testing.assert_allclose(scores.logprobs, done.logprobs, atol=5e-5)
