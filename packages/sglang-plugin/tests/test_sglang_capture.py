"""The step's arithmetic and what happens at the edges, without an engine."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("sglang", reason="needs SGLang: uv sync --extra sglang")

import base64

import numpy as np
import torch

from eduprm.search.sglang.blocks import decode_fields
from eduprm.sglang.capture import HostStep, measure
from eduprm.sglang.plugin import finish_meta_info, sample
from eduprm.sglang.values import NULL_ROW, as_blocks, as_lists
from eduprm.sglang.wire import ASK, BLOCKS, FIELDS, NULL_ID, TRACE


def request(*output_ids, asks=True, **more):
    params = SimpleNamespace(custom_params={ASK: True} if asks else None)
    fields = {"output_ids": list(output_ids), "finished_len": None, "customized_info": None, **more}
    return SimpleNamespace(sampling_params=params, **fields)


def run(logits, tokens, asking):
    """One step as SGLang would run it: each token is the first of its request."""
    requests = [request(token, asks=row in asking) for row, token in enumerate(tokens)]
    step = measure(logits, torch.tensor(tokens)).copy_to_host(torch.clone)
    step.take(SimpleNamespace(reqs=requests), [0] * len(tokens))
    return [values(one) for one in requests]


def values(one):
    info = one.customized_info
    return None if info is None else as_lists(b"".join(info[TRACE][0 : len(one.output_ids)]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("asking", [[0], [1, 3], [0, 1, 2, 3]])
def test_values_against_a_plain_reference(dtype, asking):
    torch.manual_seed(1)
    logits = (torch.randn(4, 1009) * 4).to(dtype)
    logits[2, :500] = -torch.inf
    order = logits.double().argsort(dim=-1, descending=True)
    tokens = [int(order[0, 0]), int(order[1, 1]), int(order[2, 2]), int(order[3, 300])]
    expected = torch.log_softmax(logits.double(), dim=-1)
    for row, info in enumerate(run(logits, tokens, asking)):
        if row not in asking:
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
    (info,) = run(logits, [299_999], [0])
    assert info["runner_up_id"] == [300_000]


@pytest.mark.parametrize("greedy", [True, False])
def test_the_raw_logits_are_read_whatever_sampling_writes_into_them(greedy):
    torch.manual_seed(2)
    logits = torch.randn(2, 50)
    raw, tokens = logits.clone(), torch.tensor([3, 4])
    names = (
        "acc_additive_penalties", "acc_scaling_penalties", "grammars", "grammar_mask", "logit_bias",
        "penalizer_orchestrator",
    )  # fmt: skip
    info = SimpleNamespace(**dict.fromkeys(names), is_all_greedy=greedy, has_custom_logit_processor=False)
    batch = SimpleNamespace(sampling_info=info, _eduprm_entropy_asked=True)
    output = SimpleNamespace(next_token_logits=logits, auxiliary_device_output=None)

    def original(runner, logits_output, forward_batch):
        if not greedy:
            logits_output.next_token_logits.fill_(7.0)
        return tokens

    assert sample(original, None, output, batch) is tokens
    assert torch.equal(output.auxiliary_device_output.packed, measure(raw, tokens).packed)


def test_a_row_without_a_distribution_gives_nan_and_does_not_fail():
    (info,) = run(torch.full((1, 8), float("nan")), [3], [0])
    assert all(info[field][0] != info[field][0] for field in FIELDS if field != "runner_up_id")
    assert info["runner_up_id"] == [-1]


def host_step(token: int) -> HostStep:
    floats = torch.tensor([[1.0, -2.0, -2.0, -3.0]]).view(torch.int32)
    return HostStep(torch.cat([floats, torch.tensor([[token, 5, token]]).int()], -1))


def take(one, start: int, token: int = 9):
    host_step(token).take(SimpleNamespace(reqs=[one]), [start])


def test_what_was_not_committed_is_not_kept():
    one = request()
    take(one, 0)
    assert one.customized_info is None


@pytest.mark.parametrize("tokens", [(8,), (8, 9), (9, 9)])
def test_values_of_a_token_that_was_not_sampled_here_are_null(tokens):
    one = request(*tokens)
    take(one, 0)
    expected = [1.0 if tokens[0] == 9 else None, None][: len(tokens)]
    assert values(one)["entropy"] == expected
    blocks = as_blocks(b"".join(one.customized_info[TRACE][0 : len(tokens)]))
    with pytest.raises(Exception, match="vouches for only a part"):
        decode_fields(blocks, len(tokens))


def test_positions_that_were_not_seen_are_null_and_a_restart_begins_anew():
    one = request(7, 7, 9)
    take(one, 2)
    assert values(one)["entropy"] == [None, None, 1.0]
    one.output_ids = [9]
    take(one, 0)  # begun anew
    assert values(one)["entropy"] == [1.0]
    assert values(one)["runner_up_id"] == [5]


def batch_step(requests, tokens, emitted=None):
    """A step that samples `tokens` and commits them to the requests whose token is not None."""
    starts = [len(one.output_ids) for one in requests]
    for one, token in zip(requests, tokens, strict=True):
        if token is not None:
            one.output_ids.append(token)
    sampled = emitted or [0 if token is None else token for token in tokens]
    # The entropy says which step and row it is.
    batch_step.count += 1
    floats = torch.tensor([[batch_step.count + row / 10, 0.0, 0.0, 0.0] for row in range(len(tokens))])
    ids = torch.tensor([[5, 6, token] for token in sampled], dtype=torch.int32)
    step = HostStep(torch.cat([floats.view(torch.int32), ids], -1))
    step.take(SimpleNamespace(reqs=list(requests)), starts)


def test_requests_that_come_go_wait_and_are_retracted_keep_their_own_rows():
    batch_step.count = 0
    a, b, c, silent = request(), request(), request(), request(asks=False)
    batch_step([a, silent], [1, 1])  # step 1
    batch_step([a, silent], [2, 1])
    batch_step([a, b, silent], [3, None, 1])  # b's prompt in chunks
    batch_step([a, b, silent], [4, 1, 1])
    batch_step([a, b, silent], [5, 2, 1])
    first = values(a)
    batch_step([a, b, silent], [6, 3, 1])
    batch_step([a, b, silent], [None, 4, 1])  # a had ended: the overlap scheduler computes one step too many
    batch_step([c, b], [1, 5])
    batch_step([c], [2])  # b is retracted
    batch_step([c], [3])
    batch_step([b, c], [6, 4])  # and comes back in another row
    batch_step([b, c], [7, 5], emitted=[99, 5])
    approx = pytest.approx
    assert first["entropy"] == approx([1.0, 2.0, 3.0, 4.0, 5.0])
    assert values(a)["entropy"] == approx([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert values(b)["entropy"][:6] == approx([4.1, 5.1, 6.1, 7.1, 8.1, 11.0])
    assert values(b)["entropy"][6:] == [None]
    assert values(c)["entropy"] == approx([8.0, 9.0, 10.0, 11.1, 12.1])
    assert silent.customized_info is None
    # A part from the middle, as a later answer takes it.
    assert as_lists(c.customized_info[TRACE][2:4][0])["entropy"] == approx([10.0, 11.1])


def test_another_plugin_may_use_the_same_place_and_the_same_step():
    from sglang.srt.managers.auxiliary_output import CommittedTokens, CompositeHostAuxiliaryOutput

    seen = []
    other = SimpleNamespace(consume=lambda batch, commits: seen.append(commits))
    one, idle = request(9, customized_info={"other": [1]}), request()
    both = CompositeHostAuxiliaryOutput((host_step(9), other))
    both.outputs[0].packed = both.outputs[0].packed.expand(2, -1).contiguous()
    both.consume(SimpleNamespace(reqs=[one, idle]), [CommittedTokens(0, (9,)), None])
    assert one.customized_info["other"] == [1]
    assert values(one)["logprob"] == [-2.0]
    assert idle.customized_info is None
    assert len(seen) == 1


def answer(ask, *, stream=False, parts=((9, 9), (9,))):
    """meta_info after the tokenizer manager saw the parts of a request's output, and after all but the last."""
    from sglang.srt.managers.tokenizer_manager import TokenizerManager

    manager = SimpleNamespace(
        preferred_sampling_params=None,
        _accumulate_request_meta_info=TokenizerManager._accumulate_request_meta_info,
    )
    obj = SimpleNamespace(sampling_params={"custom_params": {ASK: ask}}, stream=stream)
    state = SimpleNamespace(obj=obj, customized_info_accumulated={}, customized_info_reported_keys=set())
    one, metas = request(), []
    for number, tokens in enumerate(parts):
        begin = len(one.output_ids)
        for token in tokens:
            one.output_ids.append(token)
            take(one, len(one.output_ids) - 1)
        sent = {TRACE: [[None], one.customized_info[TRACE][begin : len(one.output_ids)]]}
        meta = {}
        reason = {"type": "length"} if number == len(parts) - 1 else None
        finish_meta_info(TokenizerManager.update_request_meta_info, manager, meta, state, sent, 1, reason)
        metas.append(meta)
    return metas


def test_an_answer_holds_lists_or_blocks_of_the_same_numbers():
    begun, lists = answer(True)
    assert not {*FIELDS} & set(begun)
    assert lists["entropy"] == [1.0] * 3
    _, blocks = answer(BLOCKS)
    assert all(isinstance(blocks[field], str) for field in FIELDS)
    for found in (decode_fields(blocks, 3), decode_fields(lists, 3)):
        assert {field: column.tolist() for field, column in found.items()} == {
            field: lists[field] for field in FIELDS
        }
        assert [found[field].dtype for field in FIELDS] == [np.float32, np.float32, np.int32, np.float32]
    silent = answer(False)
    assert silent == [{}, {}]


def test_a_stream_holds_the_values_so_far():
    begun, ended = answer(BLOCKS, stream=True)
    assert ended["runner_up_id"] == [5, 5, 5]
    assert begun["runner_up_id"] is ended["runner_up_id"]  # SGLang's own way: it cuts or copies them


def test_null_rows_are_null_in_lists_and_marked_in_blocks():
    rows = host_step(9).packed.numpy().tobytes() + NULL_ROW
    assert as_lists(rows)["logprob"] == [-2.0, None]
    assert np.frombuffer(base64.b64decode(as_blocks(rows)["runner_up_id"]), "<i4").tolist() == [
        5,
        NULL_ID,
    ]
