"""OmegaPRM's search: one tree by hand, and every one against a plain reference."""

from __future__ import annotations

import asyncio
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eduprm.search import Budget, Completion
from eduprm.search.strategies.omega_prm import OmegaPrm


class Listed:
    """Answers with one completion after another; tokens of 20 and more are unsure, 0 ends a path."""

    stop_ids = frozenset({0})
    context_length = 1000

    def __init__(self, *listed: list[int]) -> None:
        self._listed = list(listed)
        self.asked: list[tuple[int, ...]] = []

    async def generate(self, request):
        assert request.temperature == 0.7
        self.asked.append(request.prefix_ids)
        ids = self._listed[len(self.asked) - 1]
        zeros = np.zeros(len(ids), np.float32)
        return Completion(
            token_ids=np.array(ids, np.int32), logprobs=zeros - 1, runner_up_logprobs=zeros - 2,
            entropies=np.array([2.0 * (token >= 20) for token in ids], np.float32),
            runner_up_ids=np.array(ids, np.int32) + 1, finish="stop",
            prefix_tokens=len(request.prefix_ids), cached_tokens=0,
        )  # fmt: skip


async def with_a_j(problem_id, texts):
    return ["j" in text for text in texts]  # token 9


def test_the_first_wrong_step_is_found_by_halving(letters):
    engine = Listed(
        [1, 21, 2, 22, 3, 23, 0], [1, 9, 0],  # from the prompt: MC 1/2, the first is searched
        [22, 5, 0], [24, 9, 0],  # from the middle of its anchors 1, 3, 5: MC 1/2, so it goes on behind
        [23, 4, 0], [7, 0],  # from 5: MC 0, the end of the search
    )  # fmt: skip
    strategy = OmegaPrm(grader=with_a_j, rollouts=2, budget=Budget(max_leaves=8))
    branches = asyncio.run(strategy.grow((30,), problem_id="p", engine=engine, tokenizer=letters))
    # Then the wrong rollout from position 3 is searched; it has no anchor behind its first token. Nothing is left.
    assert [(b.start, b.token_ids.tolist()) for b in branches] == [
        (0, [1, 21, 2, 22, 3, 23, 0]), (0, [1, 9, 0]), (3, [22, 5, 0]), (3, [24, 9, 0]), (5, [23, 4, 0]), (5, [7, 0]),
    ]  # fmt: skip
    assert engine.asked[2] == (30, 1, 21, 2)
    assert engine.asked[4] == (30, 1, 21, 2, 22, 3)
    assert branches[2].parent is branches[0]
    assert not any(branch.greedy or branch.finish == "pruned" for branch in branches)


@pytest.mark.parametrize(("beta", "first"), [(0.9, (30, 2)), (1.0, (30, 1, 4))])
def test_shorter_rollouts_come_first_where_beta_says_so(letters, beta, first):
    # Two wrong rollouts from the prompt; at beta 1 they are equal, and the one found earlier is searched.
    engine = Listed([1, 4, 21, 5, 6, 0], [2, 22, 0], [9, 0], *([[9, 0]] * 3))
    strategy = OmegaPrm(grader=with_a_j, rollouts=3, beta=beta, budget=Budget(max_leaves=6))
    asyncio.run(strategy.grow((30,), problem_id="p", engine=engine, tokenizer=letters))
    assert engine.asked[3] == first


@pytest.mark.parametrize("answers", [[[1, 21, 0], [2, 21, 0]], [[9, 21, 0], [9, 21, 0]]])
def test_prompts_of_which_all_is_wrong_or_right_are_not_searched(letters, answers):
    engine = Listed(*answers)
    strategy = OmegaPrm(grader=with_a_j, rollouts=2)
    branches = asyncio.run(strategy.grow((30,), problem_id="p", engine=engine, tokenizer=letters))
    assert len(branches) == 2


def reference(policy, prompt, *, right, k, exploration, max_leaves, max_tokens, threshold):
    """Rollouts in the order drawn; a state is its prefix and the path it lies on."""
    drawn: list[tuple[int, ...]] = []
    waiting: list[list] = []  # state, MC, rollout's path, its number
    visits: dict[object, int] = {}

    def estimate(prefix, name):
        own = []
        for _ in range(min(k, max_leaves - len(drawn))):
            path = prefix + policy.follow(prompt + prefix, max_tokens - len(prefix), drawn=True)
            drawn.append(path)
            own.append(path)
        if not own:
            return None
        mc = sum(map(right, own)) / len(own)
        if 0 < mc < 1:
            waiting.extend([name, mc, path, len(prefix)] for path in own if not right(path))
        return mc

    estimate((), "prompt")
    while waiting and len(drawn) < max_leaves:
        total = sum(visits.values())

        def value(one, total=total):
            name, mc, path, start = one
            seen = visits.get(name, 0)
            return 0.5 ** (1 - mc) * 0.9 ** ((len(path) - start) / 500) + exploration * math.sqrt(total) / (
                1 + seen
            )

        best = waiting.pop(max(range(len(waiting)), key=lambda at: value(waiting[at])))
        name, _, path, start = best
        visits[name] = visits.get(name, 0) + 1
        places = [at for at in policy.anchors(prompt, path, threshold) if at > start]
        while places:
            middle = len(places) // 2
            mc = estimate(path[: places[middle]], object())
            if mc is None:
                break
            places = places[middle + 1 :] if mc else places[:middle]
    return drawn


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    k=st.integers(2, 4),
    exploration=st.sampled_from([0.0, 0.125, 2.0]),
    max_leaves=st.integers(5, 24),
    max_tokens=st.integers(2, 10),
)
def test_rollouts_are_those_of_a_plain_search(
    hashed_policy, hashed_score, letters, seed, k, exploration, max_leaves, max_tokens
):
    async def grader(problem_id, texts):
        return [hashed_score(text) > 0.5 for text in texts]

    strategy = OmegaPrm(
        grader=grader, rollouts=k, exploration=exploration, threshold=2.0,
        budget=Budget(max_leaves=max_leaves, max_tokens_per_path=max_tokens),
    )  # fmt: skip
    branches = asyncio.run(
        strategy.grow((7, 7), problem_id="p", engine=hashed_policy(seed), tokenizer=letters)
    )
    expected = reference(
        hashed_policy(seed), (7, 7), right=lambda path: hashed_score(letters.decode(path)) > 0.5, k=k,
        exploration=exploration, max_leaves=max_leaves, max_tokens=max_tokens, threshold=2.0,
    )  # fmt: skip
    assert [branch.path_ids() for branch in branches] == expected


def test_a_grader_that_forgets_a_solution_is_found_out(letters):
    async def forgetful(problem_id, texts):
        return [True]

    strategy = OmegaPrm(grader=forgetful, rollouts=2)
    with pytest.raises(ValueError, match="expected a grade for each of 2"):
        asyncio.run(strategy.grow((30,), problem_id="p", engine=Listed([1, 0], [2, 0]), tokenizer=letters))


def test_rollouts_of_the_prompt_that_leave_nothing_to_search_are_refused():
    with pytest.raises(ValueError, match="raise max_leaves or lower rollouts"):
        OmegaPrm(grader=with_a_j, rollouts=8)
