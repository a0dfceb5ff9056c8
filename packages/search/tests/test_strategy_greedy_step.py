"""Greedy search over steps with backtracking: trees by hand, and every tree against a plain recursion."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eduprm.search import Budget
from eduprm.search.strategies.greedy_step import GreedySteps


async def by_highest_token(problem_id, prefixes):
    return [max(ids) / 1000 for ids in prefixes]


def grown(engine, letters, scorer, **options):
    strategy = GreedySteps(scorer=scorer, **options)
    return asyncio.run(strategy.grow((9,), problem_id="p", engine=engine, tokenizer=letters))


def test_a_rejected_child_gives_way_to_its_sibling(scripted, letters):
    budget = Budget(max_leaves=2, max_tokens_per_path=6)
    branches = grown(scripted, letters, by_highest_token, accept=0.1, piece_tokens=2, budget=budget)
    # Anchors are the odd tokens. At position 1, 11 goes on to 13 and is rejected (.012); the runner-up 111 goes on to
    # 113 (.112) and 115 (.114), and the path is full: a solution. Deepest first, 215 is the next.
    assert [(b.start, b.token_ids.tolist(), b.finish) for b in branches] == [
        (1, [111, 112, 113, 114, 115], "length"),
        (5, [215], "length"),
        (0, [10, 11, 12, 13], "pruned"),
    ]
    assert not any(branch.greedy for branch in branches)
    assert scripted.decoded == 4 + 4


@pytest.mark.parametrize(
    ("max_backtracks", "solution"),
    # No turning back: of 14 (.2) and 114 (.1) the first. One: back to the first step, where 112 (.4) is the best.
    [(0, (0, [*range(10, 20), 0])), (1, (1, [*range(111, 120), 0]))],
)
def test_where_all_is_rejected_the_best_child_is_the_solution(scripted, letters, max_backtracks, solution):
    async def scorer(problem_id, prefixes):
        # The greedy path's first step is good, then nothing is.
        return [{12: 0.9, 14: 0.2, 114: 0.1, 112: 0.4}[ids[-1]] for ids in prefixes]

    branches = grown(scripted, letters, scorer, piece_tokens=1, max_backtracks=max_backtracks)
    ended = [branch for branch in branches if branch.finish != "pruned"]
    assert [(b.start, b.token_ids.tolist(), b.greedy) for b in ended] == [(*solution, not max_backtracks)]


def search(policy, prompt, *, score, accept, max_backtracks, max_leaves, max_tokens, threshold):
    """Solutions in the order found, by recursion over prefixes."""
    solutions: list[tuple[int, ...]] = []
    rejected: list[tuple[float, int, tuple[int, ...]]] = []
    backtracks = 0

    class SearchEndedError(Exception):
        pass

    def finish(forced):
        ended = forced[-1:] == (0,) or len(forced) == max_tokens
        return forced + (() if ended else policy.follow(prompt + forced, max_tokens - len(forced)))

    def step(forced, after):
        """What stands before the next anchor of the greedy path behind `forced`, or None and the whole path."""
        path = finish(forced)
        later = [at for at in policy.anchors(prompt, path, threshold) if at > after]
        return (path[: later[0]], False) if later else (path, True)

    def visit(prefix):
        nonlocal backtracks
        good = False
        for token in policy.facts(prompt + prefix)[:2]:
            beginning, ended = step((*prefix, token), len(prefix))
            if ended:
                solutions.append(beginning)
                good = True
                if len(solutions) == max_leaves:
                    raise SearchEndedError
            elif score(beginning) >= accept:
                good = True
                visit(beginning)
            else:
                rejected.append((-score(beginning), len(rejected), beginning))
        if not good:
            backtracks += 1
            if backtracks > max_backtracks:
                raise SearchEndedError

    beginning, ended = step((), -1)
    if ended:
        return [beginning]
    with contextlib.suppress(SearchEndedError):
        visit(beginning)
    return solutions or [finish(min(rejected)[2])]


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    accept=st.sampled_from([0.0, 0.3, 0.6, 0.9]),
    max_backtracks=st.integers(0, 6),
    max_leaves=st.integers(1, 8),
    max_tokens=st.integers(1, 10),
    piece_tokens=st.integers(1, 5),
)
def test_solutions_are_those_of_a_plain_recursion(
    hashed_policy, hashed_score, letters, seed, accept, max_backtracks, max_leaves, max_tokens, piece_tokens
):
    async def scorer(problem_id, prefixes):
        return [hashed_score(ids) for ids in prefixes]

    strategy = GreedySteps(
        scorer=scorer, accept=accept, max_backtracks=max_backtracks, threshold=2.0, piece_tokens=piece_tokens,
        budget=Budget(max_leaves=max_leaves, max_tokens_per_path=max_tokens),
    )  # fmt: skip
    branches = asyncio.run(
        strategy.grow((7, 7), problem_id="p", engine=hashed_policy(seed), tokenizer=letters)
    )
    expected = search(
        hashed_policy(seed), (7, 7), score=hashed_score, accept=accept, max_backtracks=max_backtracks,
        max_leaves=max_leaves, max_tokens=max_tokens, threshold=2.0,
    )  # fmt: skip
    assert [branch.path_ids() for branch in branches if branch.finish != "pruned"] == expected
    greedy = hashed_policy(seed).follow((7, 7), max_tokens)
    assert [branch.path_ids() for branch in branches if branch.greedy] == [
        path for path in expected if path == greedy
    ]


def test_draws_are_tried_one_after_another(hashed_policy, letters):
    async def none(problem_id, prefixes):
        return [0.1] * len(prefixes)

    policy = hashed_policy(5)
    strategy = GreedySteps(scorer=none, samples=3, threshold=2.0, budget=Budget(max_tokens_per_path=12))
    branches = asyncio.run(strategy.grow((7, 7), problem_id="p", engine=policy, tokenizer=letters))
    first = branches[-1] if branches[0].parent else branches[0]
    at = policy.anchors((7, 7), first.path_ids(), 2.0)[0]
    # The path's own going on is the first child; the two others leave it there.
    assert [b.start for b in branches if b.parent is not None] == [at, at]
    assert not any(branch.greedy for branch in branches)


@pytest.mark.parametrize(
    "wrong", [{"accept": 1.5}, {"max_backtracks": -1}, {"samples": 0}, {"temperature": 0.0}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        GreedySteps(scorer=by_highest_token, **wrong)
