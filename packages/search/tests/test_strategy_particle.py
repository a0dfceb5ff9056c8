"""Particle filtering over steps: one population by hand, and every one against a plain simulation."""

from __future__ import annotations

import asyncio
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eduprm.core.seeds import derive_seed
from eduprm.search import Budget, Completion
from eduprm.search.strategies.particle import ParticleFilter


class Dealt:
    """Deals one path after another: the first of 10, 11, 12, ..., the second of 20, 21, ...; odd tokens are unsure."""

    stop_ids = frozenset({0})
    context_length = 1000

    def __init__(self) -> None:
        self.asked: list[tuple[int, ...]] = []

    async def generate(self, request):
        self.asked.append(request.prefix_ids)
        first = 10 * len(self.asked)
        ids = [*range(first, first + 4)][: request.max_new_tokens]
        zeros = np.zeros(len(ids), np.float32)
        return Completion(
            token_ids=np.array(ids, np.int32), logprobs=zeros - 1, runner_up_logprobs=zeros - 2,
            entropies=np.array([2.0 * (token % 2) for token in ids], np.float32),
            runner_up_ids=np.array(ids, np.int32) + 1, finish="length",
            prefix_tokens=len(request.prefix_ids), cached_tokens=0,
        )  # fmt: skip


def grown(engine, letters, scorer, **options):
    strategy = ParticleFilter(scorer=scorer, **options)
    return asyncio.run(strategy.grow((9,), problem_id="p", engine=engine, tokenizer=letters))


def test_the_better_of_two_particles_is_copied(letters):
    async def scorer(problem_id, prefixes):
        return [0.9 if ids[0] == 10 else 0.1 for ids in prefixes]

    # Two paths stand at 11 and at 21. Shares are .9/.1 and .1/.9, 81 to 1: both draws take the first unless one of the
    # two numbers lies above 81/82.
    assert all(derive_seed(0, "p", "resample", 0, place) / 2**63 < 81 / 82 for place in (0, 1))
    engine = Dealt()
    branches = grown(engine, letters, scorer, particles=2, budget=Budget(max_leaves=2, max_tokens_per_path=4))
    # The first goes on to its anchor at position 3, the copy is drawn anew behind 10 and gets 30, 31, 32; 31 is its
    # anchor, at position 2. Both have the same score; whichever is drawn, the path is full.
    assert engine.asked[:3] == [(9,), (9,), (9, 10)]
    assert [(b.start, b.token_ids.tolist()) for b in branches if b.token_ids[0] == 20] == [
        (0, [20, 21, 22, 23])
    ]
    assert [b.finish for b in branches if b.token_ids[0] == 20] == ["pruned"]
    assert all(b.path_ids()[0] == 10 for b in branches if b.finish == "length")
    assert not any(b.greedy for b in branches)


@pytest.mark.parametrize(("heat", "share"), [(1.0, 0.8), (2.0, 2 / 3), (1e9, 0.5)])
def test_particles_are_drawn_by_the_softmax_of_their_logits(heat, share):
    strategy = ParticleFilter(scorer=_unused, particles=4000, resample_temperature=heat)
    # Logits ln 2 and -ln 2; at temperature 2 the odds 4 become 2.
    places = strategy._drawn("p", 0, [2 / 3, 1 / 3])
    assert abs(places.count(0) / 4000 - share) < 4 * math.sqrt(share * (1 - share) / 4000)
    assert strategy._drawn("p", 0, [2 / 3, 1 / 3]) == places
    assert strategy._drawn("q", 0, [2 / 3, 1 / 3]) != places
    assert set(strategy._drawn("p", 1, [0.0, 1.0])) == ({0, 1} if heat == 1e9 else {1})


async def _unused(problem_id, prefixes):
    raise AssertionError


def simulated(policy, prompt, *, score, particles, max_leaves, max_tokens, threshold):
    """Solutions in the order found: token by token, each particle a list of tokens up to and with its anchor's."""
    solutions: list[tuple[int, ...]] = []

    def more(path):
        return path + policy.follow(prompt + path, 1, drawn=True)

    population = [(more(()), 0, 0.0) for _ in range(particles)]  # path, its anchor or None, score
    for turn in range(1000):
        stepped, moving = [], []
        for path, at, value in population:
            moving.append(at is not None)
            while at is not None:
                later = [p for p in policy.anchors(prompt, path, threshold) if p > at]
                if later:
                    at = later[0]
                    break
                if path[-1] == 0 or len(path) == max_tokens:
                    at = None
                    solutions.append(path)
                    if len(solutions) == max_leaves:
                        return solutions
                else:
                    path = more(path)
            stepped.append((path, at, score(path[:at]) if moving[-1] else value))
        if all(at is None for _, at, _ in stepped):
            return solutions
        odds = [min(max(v, 1e-7), 1 - 1e-7) for _, _, v in stepped]
        weights = [v / (1 - v) for v in odds]
        drawn = []
        for place in range(particles):
            share = derive_seed(0, "p", "resample", turn, place) / 2**63 * sum(weights)
            number = 0
            while share >= weights[number] and number < len(weights) - 1:
                share -= weights[number]
                number += 1
            drawn.append(number)
        population = []
        for turn_of, number in enumerate(drawn):
            path, at, value = stepped[number]
            if at is not None and number in drawn[:turn_of]:
                path = more(path[:at])
            population.append((path, at, value))
    raise AssertionError


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    particles=st.integers(1, 5),
    max_leaves=st.integers(1, 6),
    max_tokens=st.integers(1, 8),
)
def test_solutions_are_those_of_a_plain_simulation(
    hashed_policy, hashed_score, letters, seed, particles, max_leaves, max_tokens
):
    async def scorer(problem_id, prefixes):
        return [hashed_score(ids) for ids in prefixes]

    strategy = ParticleFilter(
        scorer=scorer, particles=particles, threshold=2.0, piece_tokens=1,
        budget=Budget(max_leaves=max_leaves, max_tokens_per_path=max_tokens),
    )  # fmt: skip
    branches = asyncio.run(
        strategy.grow((7, 7), problem_id="p", engine=hashed_policy(seed), tokenizer=letters)
    )
    expected = simulated(
        hashed_policy(seed), (7, 7), score=hashed_score, particles=particles, max_leaves=max_leaves,
        max_tokens=max_tokens, threshold=2.0,
    )  # fmt: skip
    assert [branch.path_ids() for branch in branches if branch.finish != "pruned"] == expected


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), bad=st.integers(1, 12), piece_tokens=st.integers(1, 4))
def test_what_the_prm_is_sure_to_be_wrong_dies_out(hashed_policy, letters, seed, bad, piece_tokens):
    rounds: list[dict[tuple[int, ...], float]] = []

    async def scorer(problem_id, prefixes):
        rounds.append({ids: float(bad not in ids) for ids in prefixes})
        return [rounds[-1][ids] for ids in prefixes]

    strategy = ParticleFilter(
        scorer=scorer, particles=4, threshold=2.0, piece_tokens=piece_tokens,
        budget=Budget(max_leaves=20, max_tokens_per_path=12),
    )  # fmt: skip
    asyncio.run(strategy.grow((7, 7), problem_id="p", engine=hashed_policy(seed), tokenizer=letters))
    for before, after in pairwise(rounds):
        good = [ids for ids, value in before.items() if value]
        if good:
            assert all(any(ids[: len(one)] == one for one in good) for ids in after)


@pytest.mark.parametrize("wrong", [{"particles": 0}, {"resample_temperature": 0.0}, {"temperature": 0.0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ParticleFilter(scorer=_unused, **wrong)
