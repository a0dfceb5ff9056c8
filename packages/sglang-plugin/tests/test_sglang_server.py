"""The plugin in a real SGLang server, against float64 through transformers."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("sglang", reason="needs SGLang: uv sync --extra sglang")

from concurrent.futures import ThreadPoolExecutor

from eduprm.search.sglang.blocks import decode_fields
from eduprm.sglang import FIELDS, PLUGIN_FIELD, PLUGIN_VERSION, with_entropy

from .conftest import on_card, tolerance_nats

pytestmark = pytest.mark.slow

QUESTIONS = (
    "What is 7 times 8?",
    "Name three colours.",
    "Write one sentence about the sea.",
    "Why is the sky blue?",
    "Tell me a short joke.",
    "Count from one to ten.",
)


def greedy(max_new_tokens: int, **more) -> dict:
    return with_entropy({"temperature": 0, "max_new_tokens": max_new_tokens, **more})


def finish(answer) -> str:
    return answer["meta_info"]["finish_reason"]["type"]


def test_values_of_a_greedy_path_that_ends_by_length(server, reference):
    prompt = reference.chat(QUESTIONS[3])
    answer = server.generate(prompt, greedy(24))
    assert finish(answer) == "length"
    assert len(answer["output_ids"]) == 24
    assert answer["meta_info"][PLUGIN_FIELD] == PLUGIN_VERSION
    reference.check(prompt, answer)


@pytest.mark.parametrize("fault", ["shifted", "truncated", "scaled"])
def test_the_comparison_notices_wrong_values(server, reference, fault):
    scale = 1 + 10 * tolerance_nats()
    prompt = reference.chat(QUESTIONS[3])
    answer = server.generate(prompt, greedy(12))
    for field in FIELDS:
        wrong = {**answer, "meta_info": dict(answer["meta_info"])}
        values = answer["meta_info"][field]
        wrong["meta_info"][field] = {
            "shifted": values[1:] + values[:1],
            "truncated": values[:-1],
            "scaled": [
                int(value * scale) + 1 if field == "runner_up_id" else value * scale for value in values
            ],
        }[fault]
        with pytest.raises(AssertionError):
            reference.check(prompt, wrong)


def test_the_stop_token_has_its_values_too(server, reference):
    prompt = reference.chat(QUESTIONS[0])
    answer = server.generate(prompt, greedy(150))
    assert finish(answer) == "stop"
    assert answer["output_ids"][-1] == reference.tokenizer.eos_token_id
    reference.check(prompt, answer)


def test_a_stop_string_in_mid_path_keeps_the_lengths(server, reference):
    prompt = reference.chat(QUESTIONS[2])
    answer = server.generate(prompt, greedy(60, stop=["."]))
    assert finish(answer) == "stop"
    assert answer["output_ids"][-1] != reference.tokenizer.eos_token_id
    reference.check(prompt, answer)


def test_one_new_token_comes_from_the_prefill_alone(server, reference):
    prompt = reference.chat(QUESTIONS[1])
    reference.check(prompt, server.generate(prompt, greedy(1)))


def test_temperature_top_p_and_penalties_do_not_change_the_values(server, reference):
    prompt = reference.chat(QUESTIONS[4])
    params = {
        "temperature": 1.5, "top_p": 0.98, "top_k": 500, "frequency_penalty": 0.9,
        "max_new_tokens": 24,
    }  # fmt: skip
    answer = server.generate(prompt, with_entropy(params))
    reference.check(prompt, answer)
    # Some token must lie below the two most probable ones, or this proves nothing about log-probs.
    meta = answer["meta_info"]
    assert any(
        own < other - 1e-3 for own, other in zip(meta["logprob"], meta["runner_up_logprob"], strict=True)
    )


def test_a_greedy_path_under_a_logit_bias_reports_raw_values(server, reference):
    prompt = reference.chat(QUESTIONS[3])
    plain = server.generate(prompt, greedy(1))
    first = plain["output_ids"][0]
    answer = server.generate(prompt, greedy(8, logit_bias={str(first): -100}))
    assert answer["output_ids"][0] == plain["meta_info"]["runner_up_id"][0]
    assert answer["meta_info"]["runner_up_id"][0] == first
    reference.check(prompt, answer)


def test_requests_of_one_batch_get_what_each_asked_for(server, reference):
    prompts = [reference.chat(question) for question in QUESTIONS]
    plain = {"temperature": 0, "max_new_tokens": 16}
    params = [with_entropy(plain) if row % 2 else plain for row in range(len(prompts))]
    params[5] = with_entropy({"temperature": 1.0, "max_new_tokens": 9})
    answers = server.generate(prompts, params)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        if row % 2:
            reference.check(prompt, answer)
        else:
            assert not {*FIELDS, PLUGIN_FIELD} & set(answer["meta_info"])


@pytest.mark.parametrize("shared", [True, False])
def test_the_field_return_entropy_asks_for_all_prompts_of_a_request(server, reference, shared):
    prompts = [reference.chat(question) for question in QUESTIONS[:3]]
    params = {"temperature": 0, "max_new_tokens": 8}
    answers = server.generate(prompts, params if shared else [params] * 3, return_entropy=True)
    for prompt, answer in zip(prompts, answers, strict=True):
        reference.check(prompt, answer)
    alone = server.generate(prompts[0], params, return_entropy=False)
    assert not {*FIELDS, PLUGIN_FIELD} & set(alone["meta_info"])


def test_a_prompt_that_is_computed_in_chunks(server, reference):
    prompt = reference.chat(
        "Sum up: " + " ".join(f"item {number} costs {number * 3};" for number in range(22))
    )
    assert len(prompt) > 4 * 32  # chunks of the server's setting
    answer = server.generate(prompt, greedy(12))
    assert answer["meta_info"]["cached_tokens"] < 32
    reference.check(prompt, answer)
    again = server.generate(prompt, greedy(12))
    assert again["meta_info"]["cached_tokens"] > len(prompt) - 32
    reference.check(prompt, again)


def test_retracted_requests_keep_their_values(server, reference):
    prompts = [reference.chat(question) for question in QUESTIONS]
    # Not ignore_eos: SGLang then counts the room exactly and admits fewer.
    answers = server.generate(prompts, greedy(80, min_new_tokens=80))
    assert sum(answer["meta_info"]["num_retractions"] for answer in answers) > 0
    for prompt, answer in zip(prompts, answers, strict=True):
        reference.check(prompt, answer)


def test_a_streamed_answer_ends_with_all_values(server, reference):
    prompt = reference.chat(QUESTIONS[5])
    chunks = server.stream({"input_ids": prompt, "sampling_params": greedy(20)})
    reference.check(prompt, chunks[-1])
    assert len(chunks) > 1
    for chunk in chunks:
        for field in FIELDS:
            so_far = chunk["meta_info"][field]
            assert len(so_far) == len(chunk["output_ids"])
            assert so_far == chunks[-1]["meta_info"][field][: len(so_far)]


def test_blocks_hold_what_lists_hold(server, reference):
    prompt = reference.chat(QUESTIONS[3])
    lists = [server.generate(prompt, greedy(60)) for _ in range(2)][
        1
    ]  # as the other, with the prompt in the cache
    params = with_entropy({"temperature": 0, "max_new_tokens": 60}, blocks=True)
    blocks = server.generate(prompt, params, return_entropy=True)
    assert blocks["output_ids"] == lists["output_ids"]
    assert {type(blocks["meta_info"][field]) for field in FIELDS} == {str}
    found = decode_fields(blocks["meta_info"], len(blocks["output_ids"]))
    as_lists = {field: found[field].tolist() for field in FIELDS}
    reference.check(prompt, {**blocks, "meta_info": {**blocks["meta_info"], **as_lists}})
    for field in FIELDS:
        assert as_lists[field] == pytest.approx(lists["meta_info"][field], abs=tolerance_nats()), field
    # A stream is in lists, whatever was asked for.
    streamed = server.stream({"input_ids": prompt, "sampling_params": params})[-1]
    assert streamed["meta_info"]["runner_up_id"] == lists["meta_info"]["runner_up_id"]


@pytest.mark.skipif(not on_card(), reason="no CUDA device: the server runs on the CPU platform")
def test_the_card_serves_with_cuda_graphs_and_the_overlap_scheduler(server):
    with urllib.request.urlopen(server.url + "/get_server_info", timeout=60) as found:
        info = json.loads(found.read())
    assert info["device"] == "cuda"
    assert not info["disable_cuda_graph"]
    assert not info["disable_overlap_schedule"]


def test_requests_that_arrive_one_by_one(server, reference):
    prompts = [reference.chat(question) for question in QUESTIONS[:4]]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda prompt: server.generate(prompt, greedy(20)), prompts))
    for prompt, answer in zip(prompts, answers, strict=True):
        reference.check(prompt, answer)


def test_a_field_that_is_no_boolean_is_refused(server, reference):
    params = {"max_new_tokens": 2, "custom_params": {"eduprm_entropy": "yes"}}
    with pytest.raises(ValueError, match=r"HTTP 400.*expected true, false or .*blocks.*, got .yes"):
        server.generate(reference.chat(QUESTIONS[0]), params)


@pytest.mark.parametrize("custom", ["eduprm_entropy", ["eduprm_entropy"]], ids=str)
def test_custom_params_of_another_kind_are_left_alone_or_refused(server, reference, custom):
    prompt, params = reference.chat(QUESTIONS[0]), {"max_new_tokens": 2, "custom_params": custom}
    assert "entropy" not in server.generate(prompt, params)["meta_info"]
    with pytest.raises(ValueError, match=r"HTTP 400.*custom_params: expected an object, got"):
        server.generate(prompt, params, return_entropy=True)


def test_two_samples_of_one_request(server, reference):
    prompt = reference.chat(QUESTIONS[4])
    params = with_entropy({"temperature": 1.2, "n": 2, "max_new_tokens": 10})
    answers = server.generate(prompt, params)
    assert len(answers) == 2
    for answer in answers:
        reference.check(prompt, answer)


def test_the_request_of_the_readme(server):
    text = (Path(__file__).parents[1] / "README.md").read_text()
    body = re.search(r"curl [^']*'[^']*' -d '(.*?)'", text, re.S)[1]
    answer = server.post("/generate", json.loads(body))
    named = re.findall(r"^\| `(\w+)`", text, re.M)
    assert set(named) == {*FIELDS, PLUGIN_FIELD}
    assert {len(answer["meta_info"][name]) for name in FIELDS} == {len(answer["output_ids"])}
    assert answer["meta_info"][PLUGIN_FIELD] == PLUGIN_VERSION


def test_nothing_was_lost_on_the_way(server):
    # The plugin logs a warning where it had to leave a value out.
    assert "their values are null" not in server.log.read_text()
