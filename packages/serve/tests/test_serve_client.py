"""The client against services that go away, come back, become another PRM, or are none."""

import asyncio
import sys
import time

import pytest
from aiohttp import web

from eduprm.core.retry import RetrySettings
from eduprm.serve import PrmClient, ServedPrmError, Solution, score_served
from eduprm.serve.server.testing import Serving
from eduprm.serve.wire import API

QUICK = RetrySettings(first_wait_s=0.05, longest_wait_s=0.2, patience_s=0.6)
ONE = [Solution(problem="2 * 3?", steps=["#### 6"])]


def scripted(answer):
    """Ask a service whose /v1/score answers as told; gives the client's error."""

    async def run():
        async def model(_):
            return web.json_response(
                {
                    "api": API, "identity": "me", "name": "n", "prm": "p", "max_tokens": None, "dtype": "float32",
                    "device": "cpu", "versions": {}, "limits": {}, "news": "a later service says more",
                }
            )  # fmt: skip

        app = web.Application()
        app.router.add_get("/v1/model", model)
        app.router.add_post("/v1/score", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, shutdown_timeout=0.1).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            async with PrmClient(url, retry=QUICK) as client:
                with pytest.raises(ServedPrmError) as caught:
                    await client.score_many(ONE * 3)
            return str(caught.value), client.num_retries
        finally:
            await runner.cleanup()

    return asyncio.run(run())


def say(body, **options):
    async def answer(_):
        return web.json_response(body, **options)

    return answer


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"identity": "me", "results": [{"scores": [0.5]}] * 2}, "did not give one score per step"),
        ({"identity": "me", "results": [{"scores": [0.5, 0.5]}] * 3}, "did not give one score per step"),
        ({"identity": "me", "results": [{"scores": [1.5]}] * 3}, "something else than scores"),
        ({"identity": "me", "results": [{"scores": [None]}] * 3}, "something else than scores"),
        ("hello", "something else than scores"),
        (
            {"identity": "other", "results": [{"scores": [0.5]}] * 3},
            "serves another PRM now (identity other, was me)",
        ),
    ],
)
def test_answers_that_are_no_scores_are_errors_at_once(body, message):
    text, retries = scripted(say(body))
    assert message in text
    assert "\n" not in text
    assert retries == 0


def test_refusals_are_final_and_faults_are_tried_again():
    text, retries = scripted(say({"error": "no such thing", "status": 422}, status=422))
    assert "/v1/score answered 422" in text
    assert "no such thing" in text
    assert retries == 0
    text, retries = scripted(say({"error": "broken", "status": 500}, status=500))
    assert "gives no scores: /v1/score answered 500" in text
    assert "attempts in" in text
    assert retries >= 2


def test_a_server_that_asks_for_more_time_than_there_is_patience_is_not_waited_for():
    start = time.monotonic()
    text, retries = scripted(say({"error": "busy"}, status=429, headers={"Retry-After": "30"}))
    assert "answered 429" in text
    assert (retries, time.monotonic() - start < 10) == (0, True)


def test_nobody_there_is_one_line_after_the_patience():
    with pytest.raises(
        ServedPrmError, match=r"^http://127\.0\.0\.1:9 gives no scores: .* attempts in \d+ s\)$"
    ):
        score_served("http://127.0.0.1:9/", ONE, retry=QUICK)
    with pytest.raises(ServedPrmError, match="expected the URL of a PRM service"):
        score_served("127.0.0.1:9", ONE)


def test_a_server_that_is_none_of_ours_is_named(service):
    # The health route answers JSON, but no model: as any other web server would.
    with pytest.raises(ServedPrmError, match="answered 404"):
        score_served(f"{service.url}/somewhere", ONE)


def test_the_work_goes_on_when_the_service_comes_back(prm):
    many = [Solution(problem="p", steps=[f"{n}\n"]) for n in range(30)]
    with Serving(prm) as first:
        port = first.port

        async def run():
            retry = RetrySettings(first_wait_s=0.1, longest_wait_s=0.3, patience_s=30)
            async with PrmClient(first.url, request_solutions=1, max_requests=2, retry=retry) as client:
                before = await client.score_many(many[:3])
                await asyncio.to_thread(first.__exit__, None, None, None)
                work = asyncio.create_task(client.score_many(many))
                await asyncio.sleep(0.5)
                assert not work.done()
                with Serving(prm, port=port):
                    return before, await work, client.num_retries

        before, results, retries = asyncio.run(run())
    assert retries >= 1
    assert [r.scores for r in results[:3]] == [pytest.approx(r.scores, abs=1e-6) for r in before]
    assert [r.scores for r in results] == [pytest.approx(prm.score("p", s.steps), abs=1e-6) for s in many]


def test_another_prm_is_told_by_its_identity(prm):
    with Serving(prm, identity="a" * 64) as serving:
        info, _ = score_served(serving.url, [])
        assert info.identity == "a" * 64
        assert score_served(serving.url, ONE, identity="a" * 64)[1][0].scores
        with pytest.raises(
            ServedPrmError, match=r"serves another PRM \(identity aaaaaaaaaaaa, expected bbbbbbbbbbbb\)"
        ):
            score_served(serving.url, ONE, identity="b" * 64)


def test_no_more_requests_are_on_their_way_than_asked_for(prm):
    class Counting:
        """The PRM, noting how many solutions the service holds while it scores."""

        builder, max_tokens = prm.builder, prm.max_tokens
        most = 0

        def score_ids(self, solutions):
            time.sleep(0.02)
            self.most = max(self.most, len(solutions) + serving.batcher.num_waiting)
            return prm.score_ids(solutions)

    counting = Counting()
    with Serving(counting) as serving:

        async def run():
            async with PrmClient(serving.url, max_requests=3, request_solutions=2) as client:
                return await client.score_many([Solution(problem="p", steps=[f"{n}"]) for n in range(40)])

        assert len(asyncio.run(run())) == 40
    assert 2 < counting.most <= 6


def test_the_client_loads_neither_torch_nor_the_service():
    import subprocess

    code = (
        "import sys, eduprm.serve\n"
        "bad = {'torch', 'transformers', 'fastapi', 'uvicorn', 'polars', 'eduprm.bench'} & set(sys.modules)\n"
        "assert not bad, bad"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
