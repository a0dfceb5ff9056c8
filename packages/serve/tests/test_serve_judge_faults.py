"""A judge behind a server that fails, waits, refuses or answers nonsense: the right score in the end, or one line."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time

import pytest
from aiohttp import web

from eduprm.core.errors import UsageError
from eduprm.prm.source import PrmReading
from eduprm.serve.judge.settings import JudgeSettings
from eduprm.serve.judge.source import JudgeSource
from eduprm.serve.judge.testing import CompletionServing

KEY = "sk-1234567890-of-nobody"
SOLUTIONS = [("2 * 3 + 1?", ["2 * 3 = 6\n", "6 + 1 = 8\n"])]
SHORT = {"samples": 1, "max_tokens": 6, "model": "a-judge"}


def answer(body):
    """A critique, or a verdict by hand: .6 and .2 for Yes and No, .1 and .3 where the step is false."""
    if "logprobs" not in body:
        return web.json_response({"choices": [{"text": "so"}], "usage": {"prompt_tokens": 9}})
    yes, no = (0.1, 0.3) if "6 + 1 = 8" in body["prompt"] else (0.6, 0.2)
    listed = {" Yes": math.log(yes / 2), "yes": math.log(yes / 2), "No": math.log(no), "?": math.log(0.1)}
    return web.json_response({"choices": [{"text": "", "logprobs": {"top_logprobs": [listed]}}]})


RIGHT = [pytest.approx(0.6 / 0.8), pytest.approx(0.1 / 0.4)]


def serving(fault=lambda body, number: None, **options):
    async def either(body, number):
        found = fault(body, number)
        found = await found if asyncio.iscoroutine(found) else found
        return found or answer(body)

    return CompletionServing(None, None, fault=either, **options)


def judge(server, path="", **settings):
    return JudgeSource(JudgeSettings(url=server.url + path, **SHORT | settings), PrmReading())


def failing(status, times, **headers):
    def fault(body, number):
        return web.Response(status=status, text="busy", headers=headers) if number < times else None

    return fault


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/"])
def test_a_server_is_named_by_its_root_or_by_the_base_of_its_api(path):
    with serving() as server:
        (result,) = judge(server, path).open().score_steps(SOLUTIONS)
    assert result.scores == RIGHT


@pytest.mark.parametrize(
    ("status", "times", "headers", "least_s"),
    [(429, 1, {"Retry-After": "1.5"}, 1.5), (500, 2, {}, 0), (503, 3, {}, 0), (504, 1, {}, 0)],
)
def test_what_may_pass_is_asked_again(status, times, headers, least_s):
    begun = time.monotonic()
    with serving(failing(status, times, **headers)) as server:
        (result,) = judge(server).open().score_steps(SOLUTIONS)
    assert result.scores == RIGHT
    assert len(server.bodies) == 4 + times
    assert time.monotonic() - begun >= least_s


def test_a_server_that_asks_for_more_patience_than_there_is_ends_the_run_in_a_line():
    with (
        serving(failing(429, 1000, **{"Retry-After": "30"})) as server,
        pytest.raises(
            UsageError, match=r"^--judge\.url: http://127\S+ gives no scores: .*answered 429: busy"
        ),
    ):
        judge(server, wait_s=5).open().score_steps(SOLUTIONS)


def test_a_slow_answer_is_given_up_and_asked_again():
    async def slow_once(body, number):
        if number == 0:
            await asyncio.sleep(5)

    with serving(slow_once) as server:
        (result,) = judge(server, limit_s=0.4).open().score_steps(SOLUTIONS)
        assert result.scores == RIGHT
        assert len(server.bodies) == 5

    async def always(body, number):
        await asyncio.sleep(5)

    begun = time.monotonic()
    with (
        serving(always) as server,
        pytest.raises(UsageError, match=r"gives no scores: no answer within 0\.4 s .*--judge\.limit-s"),
    ):
        judge(server, limit_s=0.4, wait_s=1).open().score_steps(SOLUTIONS)
    assert time.monotonic() - begun < 4


def verdict(text):
    return web.Response(text=text, content_type="application/json")


VERDICT = '{"choices": [{"text": "", "logprobs": {"top_logprobs": [%s]}}]}'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<html>busy</html>", "answered something else than JSON"),
        ("\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "answered something else than JSON"),
        ('["choices"]', "gave no log-probs of the next token"),
        ('{"choices": [{"text": "so"}]}', "gave no log-probs of the next token"),
        (VERDICT % "", "gave no log-probs of the next token"),
        (VERDICT % '["Yes", -0.1]', "gave no log-probs of the next token"),
        (VERDICT % '{"Yes": null}', "gave no log-probs of the next token"),
        (VERDICT % '{"Yes": NaN, "No": -1}', "gave log-probs that are none"),
        (VERDICT % '{"Yes": -0.1, "x": NaN}', "gave log-probs that are none"),
        (VERDICT % '{"Yes": Infinity}', "gave log-probs that are none"),
    ],
)
def test_a_verdict_that_is_none_is_no_score(text, words):
    """The run ends in a line; the same scorer, asked once more when the server is well, has the right scores."""
    ill = True
    with serving(lambda body, at: verdict(text) if ill and "logprobs" in body else None) as server:
        scorer = judge(server).open()
        with pytest.raises(UsageError, match=rf"^--judge\.url: {server.url} {words}"):
            scorer.score_steps(SOLUTIONS)
        ill = False
        (result,) = scorer.score_steps(SOLUTIONS)
    assert result.scores == RIGHT


def test_neither_word_among_the_listed_is_a_reason_and_no_score():
    text = VERDICT % '{"maybe": -0.1, "Yes": -Infinity}'
    with serving(lambda body, at: verdict(text) if "logprobs" in body else None) as server:
        (result,) = judge(server, least=0).open().score_steps(SOLUTIONS)
    assert result.scores is None
    assert "critique 1 of 1 ends in neither Yes nor No" in result.rejected


def test_a_key_is_sent_and_is_in_no_message_or_record(monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("A_KEY", KEY + "\n")  # as `cat key.txt` leaves it
    with serving(key=KEY) as server:
        source = judge(server, key_env="A_KEY")
        (result,) = source.open().score_steps(SOLUTIONS)
        assert result.scores == RIGHT
        with pytest.raises(UsageError, match=r"wants an API key .*401.*--judge\.key-env"):
            judge(server)
        server.key = "another"
        refused = []
        for asked in (lambda: judge(server, key_env="A_KEY"), lambda: source.open().score_steps(SOLUTIONS)):
            with pytest.raises(UsageError) as error:
                asked()
            refused.append(str(error.value))
        server.key = None
        without = judge(server, limit_s=3, wait_s=1)
    for said in refused:
        assert "refuses the API key (/v1/" in said
        assert "answered 401" in said
        assert "Incorrect API key provided: [the key]" in said
        assert "--judge.key-env" in said
        assert KEY not in said
        assert "\n" not in said
    stored = json.dumps([source.key(), source._settings.model_dump(mode="json")])
    assert KEY not in stored + caplog.text + repr(source.open()) + repr(source)
    assert source.key() == without.key()  # scores do not depend on who pays for them
    assert not {"key_env", "limit_s"} & set(source.key()["judge"])


def test_a_key_that_a_cut_message_ends_in_is_taken_out(monkeypatch):
    """A refusal is quoted to 300 characters: the cut may go through the key."""
    monkeypatch.setenv("A_KEY", KEY)
    for lead in range(270, 301):
        with (
            serving(
                lambda body, number, lead=lead: web.Response(status=404, text="x" * lead + KEY)
            ) as server,
            pytest.raises(UsageError) as refused,
        ):
            judge(server, key_env="A_KEY").open().score_steps(SOLUTIONS)
        assert KEY[:10] not in str(refused.value)


def test_a_key_that_is_not_there_is_said_before_anything_is_asked(monkeypatch):
    monkeypatch.delenv("A_KEY", raising=False)
    with serving() as server:
        with pytest.raises(
            UsageError, match="expected a key in the environment variable A_KEY, which is not set"
        ):
            judge(server, key_env="A_KEY")
        monkeypatch.setenv("A_KEY", "two words")
        with pytest.raises(UsageError, match="printable ASCII") as refused:
            judge(server, key_env="A_KEY")
        assert "two words" not in str(refused.value)
        assert server.bodies == []
    with pytest.raises(UsageError, match=r"--judge\.key-env: expected --judge\.url beside it"):
        JudgeSource(JudgeSettings(key_env="A_KEY"), PrmReading())
