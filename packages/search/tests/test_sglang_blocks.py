"""The plugin's values as blocks and as lists."""

import base64

import numpy as np
import pytest

from eduprm.core.retry import RetryableError
from eduprm.search.contract import EngineMismatchError, Request
from eduprm.search.sglang.blocks import FIELD_TYPES, decode_fields
from eduprm.search.sglang.wire import completion, payload

VALUES = {
    "entropy": [0.25, 1.5, 0.0],
    "logprob": [-0.5, -2.25, 0.0],
    "runner_up_id": [7, 300_000, 1],
    "runner_up_logprob": [-1.5, -0.125, -9.0],
}


def block(values: list, kind: str) -> str:
    return base64.b64encode(np.array(values, kind).tobytes()).decode()


def blocks(**changes: list) -> dict:
    return {field: block({**VALUES, **changes}[field], kind) for field, kind in FIELD_TYPES.items()}


def test_the_client_asks_for_blocks_and_takes_lists_too() -> None:
    request = Request(prefix_ids=[1, 2], max_new_tokens=3, temperature=0.0, seed=0)
    body = payload(request, stop_ids=frozenset({0}), entropy="exact", top_logprobs=2)
    assert body["sampling_params"]["custom_params"] == {"eduprm_entropy": "blocks"}
    assert body["return_entropy"] is True  # what SGLang's router passes on
    meta = {"finish_reason": {"type": "length"}, "prompt_tokens": 2, "cached_tokens": 0}
    found = [
        completion(
            {"output_ids": [4, 5, 6], "meta_info": {**meta, **values}},
            request,
            stop_ids=frozenset({0}),
            entropy="exact",
            vocab_size=300_001,
        )
        for values in (blocks(), VALUES)
    ]
    for path in found:
        assert path.entropies.tolist() == VALUES["entropy"]
        assert path.logprobs.tolist() == VALUES["logprob"]
        assert path.runner_up_ids.tolist() == VALUES["runner_up_id"]
        assert path.runner_up_logprobs.tolist() == VALUES["runner_up_logprob"]


def test_a_stop_token_that_is_the_last_one_allowed_ends_the_path() -> None:
    request = Request(prefix_ids=(1, 2), max_new_tokens=3)
    meta = {"finish_reason": {"type": "length"}, "prompt_tokens": 2, "cached_tokens": 0, **VALUES}
    for last, finish in ((0, "stop"), (6, "length")):
        answer = {"output_ids": [4, 5, last], "meta_info": meta}
        path = completion(answer, request, stop_ids=frozenset({0}), entropy="exact", vocab_size=300_001)
        assert path.finish == finish


def test_values_that_the_plugin_does_not_vouch_for_are_asked_for_again() -> None:
    nan = float("nan")
    with pytest.raises(RetryableError, match="only a part"):
        decode_fields(blocks(entropy=[0.25, nan, 0.0], runner_up_id=[7, -2, 1]), 3)
    with pytest.raises(RetryableError, match="only a part"):
        decode_fields({**VALUES, "logprob": [-0.5, None, 0.0]}, 3)


@pytest.mark.parametrize(
    ("meta", "reason"),
    [
        (blocks(entropy=[0.25, 1.5]), "expected 3 values a token.*'entropy': 2"),
        (
            {**blocks(), "logprob": "no base64!"},
            "logprob: expected a base64 block of <f4 numbers.*no base64!",
        ),
        ({**blocks(), "logprob": base64.b64encode(b"odd").decode()}, "logprob: expected a base64 block"),
        ({**blocks(), "runner_up_id": None}, "'runner_up_id': 0"),
    ],
)
def test_blocks_that_do_not_fit_are_refused(meta: dict, reason: str) -> None:
    with pytest.raises(EngineMismatchError, match=reason):
        decode_fields(meta, 3)
