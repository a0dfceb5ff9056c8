"""MCTS-EDU: one tree by hand, and every tree against a plain UCT over prefixes."""

from __future__ import annotations

import asyncio
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eduprm.search import Budget, EduSampling
from eduprm.search.strategies.mcts_edu import MctsEdu


async def by_highest_token(problem_id, prefixes):
    return [max(ids) / 1000 for ids in prefixes]


@pytest.mark.parametrize(
    ("exploration", "last"),
    # Root visits: 3; below the greedy token 1 of mean .015, below the runner-up 2 of mean (.115 + .215) / 2 = .165.
    # c = 1: .015 + sqrt(ln 3) = 1.06 is above .165 + sqrt(ln 3 / 2) = .91, and 13 is forked; c = 0: .165 is above .015,
    # there .215 is above .115, and 215 is forked.
    [(1.0, (3, [113, 114, 115])), (0.0, (5, [315]))],
)
def test_four_rollouts_by_hand(scripted, letters, exploration, last):
    strategy = MctsEdu(
        scorer=by_highest_token, exploration=exploration, budget=Budget(max_leaves=4, max_tokens_per_path=6)
    )
    branches = asyncio.run(strategy.grow((9,), problem_id="p", engine=scripted, tokenizer=letters))
    assert [(b.start, b.token_ids.tolist()) for b in branches] == [
        (0, [10, 11, 12, 13, 14, 15]),
        (1, [111, 112, 113, 114, 115]),
        (3, [213, 214, 215]),
        last,
    ]
    assert [b.greedy for b in branches] == [True, False, False, False]
    assert {b.finish for b in branches} == {"length"}
    assert scripted.decoded == 6 + 4 + 2 + len(last[1]) - 1


def uct(policy, prompt, *, score, exploration, max_leaves, max_tokens, threshold):
    """Paths in the order found: states are prefixes, every statistic is counted anew over the paths so far."""
    paths: list[tuple[int, ...]] = []

    def roll(forced):
        ended = forced[-1:] == (0,) or len(forced) == max_tokens
        path = forced + (() if ended else policy.follow(prompt + forced, max_tokens - len(forced)))
        paths.append(path)

    def states(path, forced_from):
        return [path[:at] for at in policy.anchors(prompt, path, threshold) if at not in forced_from]

    forks: dict[tuple[int, ...], set[int]] = {}  # of each path, the positions of runner-ups taken to it

    roll(())
    forks[paths[0]] = set()
    while len(paths) < max_leaves:
        tried = {(prefix, path[len(prefix)]) for path in paths for prefix in states(path, ())}

        def left(prefix, tried=tried):
            """Whether a runner-up can be taken at an anchor of a path through `prefix`."""
            through = [path for path in paths if path[: len(prefix)] == prefix]
            return any(
                len(state) >= len(prefix) and (state, policy.facts(prompt + state)[1]) not in tried
                for path in through
                for state in states(path, forks[path])
            )

        if not left(()):
            break
        prefix = states(paths[0], ())[0]
        taken: set[int] = set()
        while (prefix, policy.facts(prompt + prefix)[1]) in tried:
            visits = sum(path[: len(prefix)] == prefix for path in paths)
            bounds = []
            for token in policy.facts(prompt + prefix)[:2]:
                below = (*prefix, token)
                values = [score(path) for path in paths if path[: len(below)] == below]
                if left(below):
                    bound = sum(values) / len(values) + exploration * math.sqrt(
                        math.log(visits) / len(values)
                    )
                    bounds.append((bound, token))
            _, token = max(bounds, key=lambda one: one[0])
            if token == policy.facts(prompt + prefix)[1]:
                taken.add(len(prefix))
            below = (*prefix, token)
            path = next(path for path in paths if path[: len(below)] == below)
            prefix = next(state for state in states(path, ()) if len(state) > len(prefix))
        roll((*prefix, policy.facts(prompt + prefix)[1]))
        forks[paths[-1]] = taken | {len(prefix)}
    return paths


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    exploration=st.sampled_from([0.0, 0.3, 1.0, 5.0]),
    max_leaves=st.integers(1, 12),
    max_tokens=st.integers(1, 10),
)
def test_trees_are_those_of_a_plain_search(
    hashed_policy, hashed_score, letters, seed, exploration, max_leaves, max_tokens
):
    async def scorer(problem_id, prefixes):
        return [hashed_score(ids) for ids in prefixes]

    budget = Budget(max_leaves=max_leaves, max_tokens_per_path=max_tokens)
    strategy = MctsEdu(scorer=scorer, exploration=exploration, threshold=2.0, budget=budget)
    policy = hashed_policy(seed)
    branches = asyncio.run(strategy.grow((7, 7), problem_id="p", engine=policy, tokenizer=letters))
    expected = uct(
        hashed_policy(seed), (7, 7), score=hashed_score, exploration=exploration, max_leaves=max_leaves,
        max_tokens=max_tokens, threshold=2.0,
    )  # fmt: skip
    assert [branch.path_ids() for branch in branches] == expected
    # What one value for all finds in the end is EDU's tree.
    if max_leaves == 12 and len(branches) < 12:
        edu = EduSampling(threshold=2.0, budget=budget)
        theirs = asyncio.run(edu.grow((7, 7), problem_id="p", engine=hashed_policy(seed), tokenizer=letters))
        assert {branch.path_ids() for branch in theirs} == set(expected)


def test_a_value_that_is_no_number_counts_as_zero(scripted, letters):
    async def nothing(problem_id, prefixes):
        return [math.nan] * len(prefixes)

    async def zero(problem_id, prefixes):
        return [0.0] * len(prefixes)

    def grown(scorer):
        strategy = MctsEdu(scorer=scorer, budget=Budget(max_leaves=6))
        branches = asyncio.run(strategy.grow((9,), problem_id="p", engine=scripted, tokenizer=letters))
        return [branch.path_ids() for branch in branches]

    assert len(grown(nothing)) == 6
    assert grown(nothing) == grown(zero)


def test_a_negative_exploration_is_refused():
    with pytest.raises(ValueError, match="exploration"):
        MctsEdu(scorer=by_highest_token, exploration=-1.0)
