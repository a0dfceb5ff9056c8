"""Refinement in turns: a conversation by hand, its budget, and the chat template of a real tokenizer."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eduprm.forest import leaf_paths, validate_forest
from eduprm.policy import STEPS_MODEL
from eduprm.search import Completion, PolicyTokenizer, RequestError
from eduprm.search.branches import to_rows
from eduprm.search.strategies.refine import Refine, turn_ids

STOP, USER, ASSISTANT = 0, 24, 25


class Chat:
    """Letters in turns: a user's is y..., the assistant's z..., each ended by the stop token."""

    def encode(self, text):
        return [ord(letter) - 97 for letter in text.lower()]

    def encode_chat(self, messages):
        marks = {"user": USER, "assistant": ASSISTANT}
        turns = [[marks[one["role"]], *self.encode(one["content"]), STOP] for one in messages]
        return [token for turn in turns for token in turn] + [ASSISTANT]

    def decode(self, token_ids):
        return "".join(chr(97 + token) for token in token_ids if token)


class Listed:
    """Answers with one completion after another, cut where it must be."""

    stop_ids = frozenset({STOP})

    def __init__(self, *said, context_length=1000):
        self._said, self.context_length = list(said), context_length
        self.asked: list[tuple[tuple[int, ...], int]] = []

    async def generate(self, request):
        assert request.temperature == 0
        assert request.group == "p"
        assert len(request.prefix_ids) + request.max_new_tokens <= self.context_length
        self.asked.append((request.prefix_ids, request.max_new_tokens))
        ids = self._said[(len(self.asked) - 1) % len(self._said)][: request.max_new_tokens]
        zeros = np.zeros(len(ids), np.float32)
        return Completion(
            token_ids=np.array(ids, np.int32), logprobs=zeros - 1, entropies=zeros + 0.5,
            runner_up_ids=np.array(ids, np.int32) + 1, runner_up_logprobs=zeros - 9,
            finish="stop" if ids[-1] == STOP else "length", prefix_tokens=len(request.prefix_ids), cached_tokens=0,
        )  # fmt: skip


def grown(strategy, engine):
    return asyncio.run(
        strategy.grow((USER, 16, STOP, ASSISTANT), problem_id="p", engine=engine, tokenizer=Chat())
    )


SHORT = {"critique": "c", "revise": "d"}
ASK = [STOP, USER, 2, STOP, ASSISTANT]
AGAIN = [STOP, USER, 3, STOP, ASSISTANT]


def test_an_answer_a_critique_and_an_answer_by_hand():
    engine = Listed([5, 6, STOP], [7, STOP], [8, STOP])
    first, second = grown(Refine(turns=2, **SHORT), engine)
    assert first.token_ids.tolist() == [5, 6, STOP]
    assert first.greedy
    assert first.forks == [2]
    # The question ends the answer's turn, the next one the critique's: no turn is ended twice.
    assert second.parent is first
    assert second.start == 2
    assert not second.greedy
    assert second.token_ids.tolist() == [*ASK, 7, *AGAIN, 8, STOP]
    prompt = (USER, 16, STOP, ASSISTANT)
    assert [ids for ids, _ in engine.asked] == [
        prompt,
        (*prompt, 5, 6, *ASK),
        (*prompt, 5, 6, *ASK, 7, *AGAIN),
    ]
    # What was inserted was not chosen.
    generated = [False] * 5 + [True, True] + [False] * 4 + [True, True]
    assert (second.logprobs != 0).tolist() == generated == (second.entropies > 0).tolist()
    rows = to_rows(
        [first, second],
        problem_id="p",
        tree="refine",
        cut=Refine().cut,
        tokenizer=Chat(),
        stop_ids=engine.stop_ids,
    )
    validate_forest(rows)
    assert leaf_paths(rows)["text"].to_list() == ["fg", "fgyczhydzi"]
    assert rows.filter(rows["finish"].is_not_null()).select("order", "greedy").rows() == [
        (0, True),
        (1, False),
    ]


def test_a_critique_that_does_not_end_is_ended_by_the_question():
    engine = Listed([5, STOP], [7, 7, 7], [8, STOP])
    _, second = grown(Refine(turns=2, critique_tokens=2, **SHORT), engine)
    assert second.token_ids.tolist() == [*ASK, 7, 7, *AGAIN, 8, STOP]


def test_an_answer_that_does_not_end_is_the_last():
    engine = Listed([5, 6, 7])
    assert [branch.finish for branch in grown(Refine(turns=4, **SHORT), engine)] == ["length"]


@settings(max_examples=60, deadline=None)
@given(
    turns=st.integers(1, 5),
    most=st.none() | st.integers(1, 80),
    context=st.integers(10, 90),
    answer=st.integers(1, 6),
    critique=st.integers(1, 6),
)
def test_budgets_hold_and_fewer_turns_are_the_first_ones(turns, most, context, answer, critique):
    engine = Listed([5] * (answer - 1) + [STOP], [7] * 4 + [STOP], context_length=context)
    options = {"max_total_tokens": most, "critique_tokens": critique, **SHORT}
    found = grown(Refine(turns=turns, **options), engine)
    assert len(found) <= turns
    assert most is None or sum(len(branch.token_ids) for branch in found) <= most
    assert sum(len(branch.token_ids) for branch in found) >= sum(1 for _ in engine.asked)
    for few in range(1, turns):
        fewer = grown(Refine(turns=few, **options), Listed(*engine._said, context_length=context))
        assert [branch.path_ids() for branch in fewer] == [branch.path_ids() for branch in found[:few]]


def test_a_turn_is_what_the_chat_template_of_the_policy_writes():
    tokenizer = PolicyTokenizer(STEPS_MODEL)
    special = tokenizer._tokenizer.decode(turn_ids(tokenizer, "Check it."))
    assert special == "<|im_end|>\n<|im_start|>user\nCheck it.<|im_end|>\n<|im_start|>assistant\n"


def test_a_policy_without_chat_turns_is_told_so(letters):
    with pytest.raises(RequestError, match="expected a tokenizer that writes them"):
        asyncio.run(Refine().grow((1,), problem_id="p", engine=Listed([5, STOP]), tokenizer=letters))

    class Forgetful(Chat):
        def encode_chat(self, messages):
            return super().encode_chat(messages[-1:])

    with pytest.raises(RequestError, match="leaves earlier ones as they were"):
        turn_ids(Forgetful(), "c")
