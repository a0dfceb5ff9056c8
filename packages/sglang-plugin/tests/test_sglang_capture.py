"""The step's arithmetic and what happens at the edges, without an engine."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("sglang", reason="needs SGLang: uv sync --extra sglang")

import torch

from eduprm.sglang.capture import HostStep, finish, start
from eduprm.sglang.wire import FIELDS


def run(logits, rows, tokens, *, will_change=True, spoil=True):
    """One step as SGLang would run it; sampling spoils the logits in between."""
    started = start(logits, rows, will_change=will_change)
    if spoil:
        logits.fill_(7.0)
    requests = [SimpleNamespace(customized_info=None) for _ in range(len(tokens))]
    commits = [SimpleNamespace(output_index=0, token_ids=(token,)) for token in tokens]
    step = finish(started, torch.tensor(tokens)).copy_to_host(torch.clone)
    step.consume(SimpleNamespace(reqs=requests), commits)
    return [request.customized_info for request in requests]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("rows", [[0], [1, 3], [0, 1, 2, 3]])
def test_values_against_a_plain_reference(dtype, rows):
    torch.manual_seed(1)
    logits = (torch.randn(4, 1009) * 4).to(dtype)
    logits[2, :500] = -torch.inf
    order = logits.double().argsort(dim=-1, descending=True)
    tokens = [int(order[0, 0]), int(order[1, 1]), int(order[2, 2]), int(order[3, 300])]
    expected = torch.log_softmax(logits.double(), dim=-1)
    for row, info in enumerate(run(logits, rows, tokens)):
        if row not in rows:
            assert info is None
            continue
        logprobs = expected[row]
        finite = logprobs[logprobs > -torch.inf]
        runner_up = int(order[row, 1 if tokens[row] == int(order[row, 0]) else 0])
        assert info["entropy"] == pytest.approx([float(-(finite.exp() * finite).sum())], abs=1e-5)
        assert info["logprob"] == pytest.approx([float(logprobs[tokens[row]])], abs=1e-5)
        assert info["runner_up_logprob"] == pytest.approx([float(logprobs[runner_up])], abs=1e-5)
        assert float(logprobs[info["runner_up_id"][0]]) == float(logprobs[runner_up])


def test_ids_of_a_large_vocabulary_survive_the_packing():
    logits = torch.zeros(1, 300_001)
    logits[0, 299_999], logits[0, 300_000] = 9.0, 8.0
    (info,) = run(logits, [0], [299_999])
    assert info["runner_up_id"] == [300_000]


def test_greedy_logits_are_not_copied():
    logits = torch.randn(2, 50)
    assert start(logits, [0, 1], will_change=False).logits is logits
    assert start(logits, [0, 1], will_change=True).logits is not logits


def test_a_row_without_a_distribution_gives_nan_and_does_not_fail():
    logits = torch.full((1, 8), float("nan"))
    (info,) = run(logits, [0], [3], spoil=False)
    assert all(info[field][0] != info[field][0] for field in FIELDS if field != "runner_up_id")


def host_step(token: int) -> HostStep:
    packed = torch.cat(
        [torch.tensor([[1.0], [-2.0], [-3.0]]).view(torch.int32), torch.tensor([[5], [token]]).int()]
    )
    return HostStep(rows=(0,), packed=packed)


def commit(start: int, *tokens: int) -> list:
    return [SimpleNamespace(output_index=start, token_ids=tokens)]


def test_what_was_not_committed_is_not_kept():
    request = SimpleNamespace(customized_info=None)
    host_step(9).consume(SimpleNamespace(reqs=[request]), [None])
    assert request.customized_info is None


@pytest.mark.parametrize("tokens", [(8,), (9, 9)], ids=["another token", "two tokens"])
def test_values_of_a_token_that_was_not_sampled_here_are_null(tokens):
    request = SimpleNamespace(customized_info=None)
    host_step(9).consume(SimpleNamespace(reqs=[request]), commit(0, *tokens))
    assert request.customized_info == {field: [None] * len(tokens) for field in FIELDS}


def test_positions_that_were_not_seen_are_null_and_a_restart_begins_anew():
    request = SimpleNamespace(customized_info=None)
    batch = SimpleNamespace(reqs=[request])
    host_step(9).consume(batch, commit(2, 9))
    assert request.customized_info["entropy"] == [None, None, 1.0]
    host_step(9).consume(batch, commit(0, 9))
    assert request.customized_info["entropy"] == [1.0]
    assert request.customized_info["runner_up_id"] == [5]


def test_another_plugin_may_use_the_same_place():
    request = SimpleNamespace(customized_info={"other": [1]})
    host_step(9).consume(SimpleNamespace(reqs=[request]), commit(0, 9))
    assert request.customized_info["other"] == [1]
    assert request.customized_info["logprob"] == [-2.0]
