"""A PRM that trees ask while they grow: together where they ask together, never twice, the same scores."""

import asyncio

import pytest

from eduprm.core.command_line import UsageError
from eduprm.pipeline.prefix_prm import ENDED_EMPTY, NOT_BEGUN, PrefixPrm
from eduprm.prm import InputFormat
from eduprm.prm.testing import tiny_prm
from eduprm.search import PolicySettings

QUESTIONS = {"p": "2 * 3?", "q": "4 + 4?", "r": "9 - 1?"}
ASKED = {"p": [(50, 51), (50, 52, 53)], "q": [(56,)], "r": [(57, 58, 59), (57,), (57,)]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_prm(tmp_path_factory.mktemp("prefix") / "prm")


def counted(folder, calls: list[int]) -> PrefixPrm:
    prm = PrefixPrm(folder, QUESTIONS, PolicySettings(device="cpu"))
    plain = prm.model.score_ids

    def score_ids(solutions):
        calls.append(len(solutions))
        return plain(solutions)

    prm.model.score_ids = score_ids
    return prm


def test_trees_that_ask_together_share_a_pass_and_nothing_is_scored_twice(folder):
    calls: list[int] = []
    together = counted(folder, calls)

    async def ask():
        return await asyncio.gather(*(together(name, prefixes) for name, prefixes in ASKED.items()))

    async def again():
        return await together("r", [*ASKED["r"], (57, 58)])

    first = asyncio.run(ask())
    assert calls == [5]
    assert asyncio.run(again())[:3] == first[2]
    assert calls == [5, 1]
    alone_calls: list[int] = []
    alone = counted(folder, alone_calls)
    for found, (name, prefixes) in zip(first, ASKED.items(), strict=True):
        assert asyncio.run(alone(name, prefixes)) == pytest.approx(found, abs=1e-6)
    assert alone_calls == [2, 1, 2]
    assert len(set(first[0] + first[1] + first[2])) == 5


def test_a_pass_that_fails_says_so_to_all_who_wait(tmp_path):
    prm = PrefixPrm(tmp_path / "none", QUESTIONS, PolicySettings(device="cpu"))

    async def ask():
        return await asyncio.gather(*(prm(name, [(50,)]) for name in QUESTIONS), return_exceptions=True)

    found = asyncio.run(ask())
    assert all(isinstance(error, UsageError) and "cannot be read" in str(error) for error in found)
    assert len(found) == 3


def test_a_released_prm_is_read_again_when_asked(folder):
    prm = PrefixPrm(folder, QUESTIONS, PolicySettings(device="cpu"))
    first = asyncio.run(prm("p", [(5, 6)]))
    held = prm.model
    prm.release()
    assert asyncio.run(prm("p", [(5, 6)])) == first
    assert prm.model is not held


@pytest.mark.parametrize("separator", ["", "\n"])
def test_a_beginning_without_text_has_a_score_that_no_prm_gives(tmp_path, separator):
    folder = tiny_prm(tmp_path / "prm", input_format=InputFormat(kind="plain", separator=separator))
    calls: list[int] = []
    prm = counted(folder, calls)
    stop = prm.model.builder.eos_id
    assert asyncio.run(prm("p", [(), (stop,)])) == [NOT_BEGUN, ENDED_EMPTY]
    assert not calls
    mixed = asyncio.run(prm("q", [(stop,), (56,), (), (56, stop)]))
    assert (mixed[0], mixed[2]) == (ENDED_EMPTY, NOT_BEGUN)
    assert mixed[1] == mixed[3] == asyncio.run(prm("q", [(56,)]))[0]  # the stop token is no part of a step
