"""Rollouts from steps' ends: trees by hand, and every tree against what the folder's own cutting says."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eduprm.search import Completion
from eduprm.search.branches import to_rows
from eduprm.search.steps import cut_at_steps
from eduprm.search.strategies.rollouts import Rollouts
from eduprm.search.strategies.uncertain_first import UncertainFirst

BY_THREE = {"fixed_length": {"size": 3}}


class Listed:
    """Answers with one completion after another, [(token, log-prob), ...]; token 0 ends a path."""

    stop_ids = frozenset({0})
    context_length = 1000

    def __init__(self, *listed: list[tuple[int, float]]) -> None:
        self._listed = list(listed)
        self.asked: list[tuple[tuple[int, ...], int, int]] = []

    async def generate(self, request):
        assert request.temperature == 0.7
        self.asked.append((request.prefix_ids, request.max_new_tokens, request.seed))
        ids, logprobs = zip(*self._listed[len(self.asked) - 1][: request.max_new_tokens], strict=True)
        zeros = np.zeros(len(ids), np.float32)
        return Completion(
            token_ids=np.array(ids, np.int32), logprobs=np.array(logprobs, np.float32), entropies=zeros,
            runner_up_ids=np.array(ids, np.int32) + 1, runner_up_logprobs=zeros - 9,
            finish="stop" if ids[-1] == 0 else "length", prefix_tokens=len(request.prefix_ids), cached_tokens=0,
        )  # fmt: skip


def grown(strategy, engine, tokenizer, prompt=(30,)):
    return asyncio.run(strategy.grow(prompt, problem_id="p", engine=engine, tokenizer=tokenizer))


def path(*ids, logprob=-0.1):
    return [(token, logprob) for token in ids]


def test_rollouts_leave_where_steps_end_but_the_last(letters):
    engine = Listed(
        path(1, 2, 3, 4, 5, 6, 7, 0), path(8, 0),  # steps end before 3 and 6; the second solution is one step
        path(9, 0), path(10, 11, 0), path(12, 0), path(13, 0),
    )  # fmt: skip
    branches = grown(Rollouts(solutions=2, rollouts=2, steps=BY_THREE), engine, letters)
    assert [(b.start, b.token_ids.tolist()) for b in branches] == [
        (0, [1, 2, 3, 4, 5, 6, 7, 0]), (0, [8, 0]), (3, [9, 0]), (3, [10, 11, 0]), (6, [12, 0]), (6, [13, 0]),
    ]  # fmt: skip
    assert {id(branch.parent) for branch in branches[2:]} == {id(branches[0])}
    assert [ids for ids, _, _ in engine.asked[2:]] == [(30, 1, 2, 3)] * 2 + [(30, 1, 2, 3, 4, 5, 6)] * 2
    assert len({seed for _, _, seed in engine.asked}) == 6


def test_the_least_certain_steps_come_first_until_the_budget_is_spent(letters):
    # Entropy of softmax(l / 5): three equal log-probs have ln 3, the most there is; -.1, -.1, -20 have less.
    first = [*path(1, 2), (3, -20.0), *path(4, 5, 6), *path(7, 0)]
    rolled = [path(9, 0)] * 4
    strategy = UncertainFirst(solutions=1, rollouts=2, max_rollouts=3, steps=BY_THREE)
    engine = Listed(first, *rolled)
    assert [branch.start for branch in grown(strategy, engine, letters)] == [0, 6, 6]
    wider = strategy.model_copy(update={"max_rollouts": 4})
    assert [branch.start for branch in grown(wider, Listed(first, *rolled), letters)] == [0, 6, 6, 3, 3]


def test_a_trees_tokens_are_capped_to_the_token(letters):
    engine = Listed(path(1, 2, 3, 4, 5, 0), path(9, 10, 0), path(9, 10, 11))
    strategy = Rollouts(solutions=1, rollouts=4, steps=BY_THREE, max_tokens_per_path=6, max_total_tokens=11)
    branches = grown(strategy, engine, letters)
    assert [len(branch.token_ids) for branch in branches] == [6, 3, 2]
    assert branches[-1].finish == "length"


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    solutions=st.integers(1, 3),
    rollouts=st.integers(1, 3),
    size=st.integers(1, 4),
    most=st.integers(1, 12),
)
def test_every_step_of_the_solutions_but_the_last_has_its_rollouts(
    hashed_policy, letters, seed, solutions, rollouts, size, most
):
    steps = {"fixed_length": {"size": size}, "entropy": {"threshold": 2.0}}
    how = {"steps": steps, "solutions": solutions, "rollouts": rollouts, "threshold": 2.0}
    how["max_tokens_per_path"] = most
    strategy = Rollouts(**how)
    branches = grown(strategy, hashed_policy(seed), letters, prompt=(7, 7))
    for solution in branches[:solutions]:
        rows = to_rows(
            [solution], problem_id="p", tree="t", cut=strategy.cut, tokenizer=letters, stop_ids=frozenset({0})
        )
        # Where the stage of labels would end steps of this solution alone.
        cut, ends = cut_at_steps(rows, steps, tokenizer=letters)
        stops = cut["token_ids"].list.len().cum_sum().filter(ends).to_list()[:-1]
        left = [branch.start for branch in branches[solutions:] if branch.parent is solution]
        assert left == [stop for stop in stops for _ in range(rollouts)]
    # The same draws in another order, and the first of them with a smaller budget.
    all_of_them = UncertainFirst(**how, max_rollouts=10**6)
    key = lambda branch: (branch.start, branch.path_ids())  # noqa: E731
    again = grown(all_of_them, hashed_policy(seed), letters, prompt=(7, 7))
    assert sorted(map(key, again)) == sorted(map(key, branches))
    few = grown(UncertainFirst(**how, max_rollouts=rollouts), hashed_policy(seed), letters, prompt=(7, 7))
    assert list(map(key, few)) == list(map(key, again))[: len(few)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rollouts": 8, "max_rollouts": 4}, "expected at least the rollouts of one step, 8, got 4"),
        ({"steps": {"sentence": {}}}, "got 'sentence'"),
        ({"steps": {}}, "expected at least one segmenter"),
    ],
)
def test_what_cannot_be_done_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        UncertainFirst(**options)
