"""The service over a real (tiny) PRM: scores, order, packs, limits, a full queue, faults, stopping."""

import asyncio
import json
import socket
import time
import urllib.error
import urllib.request

import pytest

from eduprm.core.retry import RetrySettings
from eduprm.serve import Limits, PrmClient, Solution, score_served
from eduprm.serve.server.testing import Serving

STEPS = ["2 * 3 = 6\n", "6 * 4 = 24\n", "#### 24"]
ONCE = RetrySettings(attempts=1)


def solutions(count):
    return [
        Solution(
            problem=f"{n // 4} + {n} * 3?", steps=[f"{n} * {k} = {n * k}\n" for k in range(1, 2 + n % 5)]
        )
        for n in range(count)
    ]


def post(url, body, *, timeout=30, **headers):
    """(status, headers, JSON) of a score request."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}/v1/score", data=data, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, answer.headers, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, error.headers, json.loads(error.read())


def one(problem="2 * 3?", steps=("#### 6",)):
    return {"solutions": [{"problem": problem, "steps": list(steps)}]}


def test_scores_are_the_prms_own_in_order_one_per_step(prm, service):
    sent = solutions(50)
    info, results = score_served(service.url, sent)
    direct = prm.score_many([(s.problem, s.steps) for s in sent])
    assert info.identity == "test"
    for solution, result, scores in zip(sent, results, direct, strict=True):
        assert len(result.scores) == len(solution.steps)
        assert result.scores == pytest.approx(scores, abs=1e-6)
        assert result.tokens == prm.num_tokens(solution.problem, solution.steps)


def test_lists_of_steps_are_joined_as_in_training_and_that_is_said(prm, service):
    steps = ["2 * 3 = 6", "#### 6"]
    sent = [
        Solution(problem="2*3?", steps=steps),
        Solution(problem="2*3?", steps=["2 * 3 = 6\n", "#### 6"]),
        Solution(problem="2*3?", steps=steps, as_cut=True),
        Solution(problem="2*3?", steps=steps[:1], complete=False),
    ]
    results = score_served(service.url, sent)[1]
    assert [result.joiner for result in results] == ["\n", "", "", "\n"]
    assert results[0].scores == pytest.approx(results[1].scores, abs=1e-6)
    assert results[2].scores == pytest.approx(prm.score("2*3?", steps, as_cut=True), abs=1e-6)
    assert abs(results[2].scores[0] - results[0].scores[0]) > 1e-4
    assert results[3].scores == pytest.approx(results[0].scores[:1], abs=1e-6)


def test_an_unfinished_solution_ends_without_its_end_token(prm, service):
    both = [Solution(problem="2*3?", steps=STEPS, complete=complete) for complete in (True, False)]
    got = [result.scores for result in score_served(service.url, both)[1]]
    wanted = [prm.score("2*3?", STEPS, complete=complete) for complete in (True, False)]
    assert got == [pytest.approx(scores, abs=1e-6) for scores in wanted]
    assert abs(wanted[0][-1] - wanted[1][-1]) > 1e-4  # else this test says nothing


def test_a_solution_that_does_not_fit_spoils_only_itself(service):
    sent = [
        Solution(problem="p", steps=["fine"]),
        Solution(problem="p", steps=["x" * 300]),
        Solution(problem="p", steps=["empty:", ""]),
        Solution(problem="p", steps=["fine"]),
    ]
    results = score_served(service.url, sent)[1]
    assert results[0].scores == pytest.approx(results[3].scores, abs=1e-6)
    assert "the PRM's context holds 256" in results[1].rejected
    assert "an empty step 1 of 2" in results[2].rejected
    assert results[1].scores is results[2].scores is None


def test_special_tokens_in_a_text_are_text(prm, service):
    steps = ["<eos>ok<|user|>", "<pad>"]
    result = score_served(service.url, [Solution(problem="<|assistant|>?", steps=steps)])[1][0]
    assert len(result.scores) == 2
    assert result.tokens > len("<eos>ok<|user|><pad>")  # one token per byte: none became one special token


def test_waiting_requests_are_packed_together_up_to_the_tokens_of_a_pack(prm, gated):
    first, rest = Solution(problem="first", steps=["a"]), solutions(40)
    cost = [prm.num_tokens(s.problem, s.steps) for s in rest]
    with Serving(gated, batch_tokens=600) as serving:

        async def crowd():
            async with PrmClient(serving.url, max_requests=50, request_solutions=1) as client:
                opening = asyncio.create_task(client.score_many([first]))
                await asyncio.to_thread(gated.entered.wait, 30)
                crowd = asyncio.create_task(client.score_many(rest))
                while serving.batcher.num_waiting < len(rest):
                    await asyncio.sleep(0.01)
                gated.open.set()
                await opening
                return await crowd

        results = asyncio.run(crowd())
    assert gated.packs[0] == 1
    assert sum(gated.packs[1:]) == len(rest)
    assert (
        len(gated.packs) - 1 <= 1 + 2 * sum(cost) // 600
    )  # filled at least by half, and shared prompts help
    direct = prm.score_many([(s.problem, s.steps) for s in rest])
    for result, scores in zip(results, direct, strict=True):
        assert result.scores == pytest.approx(scores, abs=1e-6)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"{", 422, "expected a JSON object with `solutions`"),
        (b'\xff{"solutions": []}', 422, "expected a JSON object"),
        ({"solutions": []}, 422, "solutions: List should have at least 1 item"),
        ({"solution": 1}, 422, "solutions: Field required"),
        (one(steps=[]), 422, "solutions.0.steps: List should have at least 1 item"),
        (one(steps=[3]), 422, "solutions.0.steps.0: Input should be a valid string, got 3"),
        ({"solutions": [{**one()["solutions"][0], "x": 1}]}, 422, "solutions.0.x: Extra inputs"),
        (b'{"solutions": [{"problem": "p", "steps": ["\\ud800"]}]}', 422, "hex escape"),
        (b"[" * 100_000, 422, "expected a JSON object"),
        (b"null", 422, "Input should be an object, got None"),
        ({"solutions": one()["solutions"] * 5}, 422, "at most 4 solutions a request, got 5"),
        (one(steps=["a"] * 7), 422, "solution 0: expected at most 6 steps, got 7"),
        (one(problem="x" * 101), 422, "solution 0: expected texts of at most 100 characters, got 101"),
        (one(problem="x" * 1_000_000), 413, "at most 200000 bytes"),
    ],
)
def test_bad_requests_get_one_clear_line(limited, body, status, message):
    got, _, answer = post(limited.url, body)
    assert got == answer["status"] == status
    assert message in answer["error"]
    assert "\n" not in answer["error"]
    assert not answer["error"].startswith(":")
    assert len(answer["error"]) < 300
    assert post(limited.url, one())[0] == 200  # and the service goes on


@pytest.fixture(scope="module")
def limited(prm):
    limits = Limits(max_body_bytes=200_000, max_solutions=4, max_steps=6, max_chars=100, timeout_s=30)
    with Serving(prm, limits=limits) as serving:
        yield serving


def test_a_body_without_a_length_is_bounded_while_it_is_read(limited):
    with socket.create_connection(("127.0.0.1", limited.port), timeout=30) as connection:
        connection.sendall(b"POST /v1/score HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        piece = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
        sent = 0
        try:
            for _ in range(1000):
                connection.sendall(piece)
                sent += len(piece)
        except OSError:
            pass  # it hung up on us
        answer = connection.recv(100) if sent < 1000 * len(piece) else b""
    assert sent < 10_000_000
    assert answer == b"" or b" 413 " in answer


def test_the_client_splits_by_the_services_limits_and_refuses_what_none_takes(prm, limited):
    sent = [Solution(problem="p", steps=[f"{n}\n"]) for n in range(11)]
    sent.insert(3, Solution(problem="p", steps=["a"] * 7))
    sent.insert(5, Solution(problem="p", steps=["a" * 101]))
    results = score_served(limited.url, sent)[1]
    assert "7 steps, the service takes 6" in results[3].rejected
    assert "101 characters, the service takes 100" in results[5].rejected
    for index, (solution, result) in enumerate(zip(sent, results, strict=True)):
        if index not in (3, 5):
            assert result.scores == pytest.approx(prm.score("p", solution.steps), abs=1e-6)


def test_other_routes_and_methods_are_answered_alike(service):
    for method, route, status in (
        ("GET", "/nothing", 404),
        ("GET", "/v1/score", 405),
        ("POST", "/health", 405),
    ):
        request = urllib.request.Request(service.url + route, method=method)
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=30)
        answer = json.loads(caught.value.read())
        assert caught.value.code == answer["status"] == status
        assert route in answer["error"]


def test_a_full_queue_is_429_with_a_time_and_the_client_comes_again(gated, prm):
    with Serving(gated, queue_solutions=3, batch_tokens=20) as serving:

        async def run():
            async with PrmClient(serving.url, max_requests=8, request_solutions=1) as client:
                busy = asyncio.create_task(client.score_many([Solution(problem="p", steps=["a"])]))
                await asyncio.to_thread(gated.entered.wait, 30)
                crowd = asyncio.create_task(
                    client.score_many([Solution(problem="p", steps=[f"{n}"]) for n in range(6)])
                )
                while serving.batcher.num_waiting < 3:
                    await asyncio.sleep(0.01)
                refusal = await asyncio.to_thread(post, serving.url, one())
                gated.open.set()
                return refusal, await busy, await crowd, client.num_retries

        (status, headers, answer), _, results, retries = asyncio.run(run())
    assert (status, answer["error"]) == (429, "3 solutions wait already")
    assert 1 <= int(headers["Retry-After"]) <= 60
    assert retries >= 1
    for n, result in enumerate(results):
        assert result.scores == pytest.approx(prm.score("p", [f"{n}"]), abs=1e-6)


def test_a_request_that_takes_too_long_is_503_and_not_computed_any_more(gated):
    with Serving(gated, limits=Limits(timeout_s=0.3), batch_tokens=20) as serving:
        status, headers, answer = post(serving.url, {"solutions": one()["solutions"] * 4})
        assert (status, answer["error"]) == (503, "no scores within 0.3 s")
        assert headers["Retry-After"] == "5"
        gated.open.set()
        deadline = time.monotonic() + 20
        while serving.batcher.num_waiting and time.monotonic() < deadline:
            time.sleep(0.01)
        assert gated.packs == [1]  # what was in the model, nothing after it


def test_what_a_client_that_hung_up_wanted_is_not_computed(gated):
    with Serving(gated, batch_tokens=20) as serving:
        body = json.dumps({"solutions": one()["solutions"] * 4}).encode()
        with socket.create_connection(("127.0.0.1", serving.port), timeout=30) as connection:
            head = f"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
            assert gated.entered.wait(30)
        time.sleep(0.3)  # the server sees the end
        gated.open.set()
        deadline = time.monotonic() + 20
        while serving.batcher.num_waiting and time.monotonic() < deadline:
            time.sleep(0.01)
        assert gated.packs == [1]


def test_a_solution_that_the_model_fails_on_fails_its_request_alone(gated, prm):
    poison = gated.builder.solution_ids(["poison"])

    def fail(pack):
        if any(steps == poison for _, steps in pack):
            raise RuntimeError("CUDA out of memory.\nTried to allocate everything")

    gated.fail = fail
    with Serving(gated) as serving:

        async def run():
            async with (
                PrmClient(serving.url, retry=ONCE) as client,
                PrmClient(serving.url, retry=ONCE) as other,
            ):
                first = asyncio.create_task(client.score_many([Solution(problem="p", steps=["a"])]))
                await asyncio.to_thread(gated.entered.wait, 30)
                bad = asyncio.create_task(other.score_many([Solution(problem="p", steps=["poison"])]))
                good = asyncio.create_task(client.score_many([Solution(problem="p", steps=["b"])]))
                while serving.batcher.num_waiting < 2:
                    await asyncio.sleep(0.01)
                gated.open.set()
                return await asyncio.gather(first, bad, good, return_exceptions=True)

        first, bad, good = asyncio.run(run())
        assert score_served(serving.url, [Solution(problem="p", steps=["c"])])[1][0].scores
    assert "answered 500" in str(bad)
    assert "RuntimeError: CUDA out of memory. Tried to allocate everything" in str(bad)
    assert "\n" not in str(bad)
    assert first[0].scores == pytest.approx(prm.score("p", ["a"]), abs=1e-6)
    assert good[0].scores == pytest.approx(prm.score("p", ["b"]), abs=1e-6)


def test_stopping_finishes_what_is_in_work_and_takes_no_more(gated):
    with Serving(gated) as serving:

        async def run():
            async with PrmClient(serving.url, retry=ONCE) as client:
                work = asyncio.create_task(client.score_many([Solution(problem="p", steps=["a"])]))
                await asyncio.to_thread(gated.entered.wait, 30)
                serving.stop()
                await asyncio.sleep(0.3)
                gated.open.set()
                return await work

        assert asyncio.run(run())[0].scores
    assert not serving.batcher.alive


def test_health_says_whether_the_worker_lives(prm):
    with Serving(prm) as serving:
        with urllib.request.urlopen(f"{serving.url}/health", timeout=30) as answer:
            assert json.load(answer)["status"] == "ready"
        serving.batcher.stop(wait_s=10)  # as if the thread had died
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{serving.url}/health", timeout=30)
        assert (caught.value.code, json.loads(caught.value.read())["status"]) == (503, "failed")
        status, headers, _ = post(serving.url, one())
        assert (status, headers["Retry-After"]) == (503, "5")
