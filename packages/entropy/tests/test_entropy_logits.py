"""token_entropy and entropy_top2 against a plain float64 reference."""

import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from eduprm.entropy import EntropyTop2, entropy_top2, token_entropy
from eduprm.entropy.chunked import BLOCK

INF = float("inf")
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
# 152,064 is Qwen2.5's vocabulary; the others sit around the block size and are multiples of nothing.
VOCABS = [2, 3, 7, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 1000, 49153, 152064]


def reference(logits: Tensor) -> EntropyTop2:
    """Ten plain lines in float64; ties to the lower id by a stable sort."""
    exact = logits.detach().to(torch.float64)
    logprobs = exact - exact.logsumexp(-1, keepdim=True)
    terms = torch.where(logprobs == -INF, 0.0, logprobs.exp() * logprobs)
    order = exact.sort(dim=-1, descending=True, stable=True).indices[..., :2]
    return EntropyTop2(-terms.sum(-1), order, logprobs.gather(-1, order))


def check(logits: Tensor, *, atol: float = 1e-5, **options: int) -> None:
    want, got = reference(logits), entropy_top2(logits, **options)
    assert got.entropy_nats.dtype == torch.float32
    assert got.top_ids.dtype == torch.int64
    assert got.entropy_nats.shape == logits.shape[:-1]
    torch.testing.assert_close(got.entropy_nats.double(), want.entropy_nats, atol=atol, rtol=2e-6)
    torch.testing.assert_close(got.top_logprobs.double(), want.top_logprobs, atol=atol, rtol=2e-6)
    assert torch.equal(got.top_ids, want.top_ids)
    alone = token_entropy(logits, **options)
    torch.testing.assert_close(alone.double(), want.entropy_nats, atol=atol, rtol=2e-6)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("vocab", VOCABS)
def test_matches_float64_at_odd_shapes_in_every_dtype(vocab: int, dtype: torch.dtype) -> None:
    torch.manual_seed(vocab)
    check((torch.randn(3, vocab) * 4).to(dtype))


def test_single_token_vocabulary_has_no_entropy_and_no_runner_up() -> None:
    assert token_entropy(torch.tensor([[3.0], [-7.0]])).tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match=r"at least 2.*\(2, 1\)"):
        entropy_top2(torch.zeros(2, 1))


@pytest.mark.parametrize("vocab", [2, 3, 1000, 152064])
@pytest.mark.parametrize("level", [0.0, 55.0, -1e4, 3e37])
def test_all_equal_is_log_vocab(vocab: int, level: float) -> None:
    got = entropy_top2(torch.full((2, vocab), level))
    torch.testing.assert_close(got.entropy_nats, torch.full((2,), math.log(vocab)), atol=1e-5, rtol=0)
    assert got.top_ids.tolist() == [[0, 1]] * 2


@pytest.mark.parametrize("place", [0, 1, BLOCK, 999])
def test_one_huge_logit_takes_all_the_mass(place: int) -> None:
    logits = torch.zeros(1, 1000)
    logits[0, place] = 1e30
    got = entropy_top2(logits)
    assert got.entropy_nats.item() == 0.0
    assert got.top_ids.tolist() == [[place, 1 if place == 0 else 0]]
    assert got.top_logprobs[0, 0].item() == 0.0


def test_largest_finite_logits_do_not_overflow() -> None:
    top = torch.finfo(torch.float32).max
    assert token_entropy(torch.tensor([[top, -top, -top], [top, top, -top]])).tolist() == pytest.approx(
        [0, math.log(2)]
    )
    half = torch.finfo(torch.float16).max
    assert token_entropy(torch.tensor([[half, half, -half]], dtype=torch.float16)).item() == pytest.approx(
        math.log(2)
    )


def test_large_common_offset_costs_no_digits() -> None:
    # The formula logsumexp - sum(p * x) without the maximum subtracted loses about 1e-3 nats here.
    torch.manual_seed(0)
    check(torch.randn(4, 152064) + 300.0, atol=2e-5)


@pytest.mark.parametrize("keep", [1, 2, 5, 300])
def test_masked_tokens_count_as_impossible(keep: int) -> None:
    torch.manual_seed(keep)
    logits = torch.full((4, 1500), -INF)
    for row in logits:
        row[torch.randperm(1500)[:keep]] = torch.randn(keep)
    check(logits)


def test_masked_runner_up_is_the_lowest_other_id() -> None:
    logits = torch.full((2, 3 * BLOCK), -INF)
    logits[0, 0] = logits[1, 2 * BLOCK + 5] = 1.0
    got = entropy_top2(logits)
    assert got.top_ids.tolist() == [[0, 1], [2 * BLOCK + 5, 0]]
    assert got.top_logprobs.tolist() == [[0.0, -INF]] * 2


def test_one_masked_row_leaves_its_neighbours_alone() -> None:
    torch.manual_seed(1)
    logits = torch.randn(40, 700)
    logits[17, 3:] = -INF
    check(logits, chunk_rows=4)


@pytest.mark.parametrize("bad", [float("nan"), INF])
@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_rows_without_a_distribution_are_nan_and_minus_one(bad: float, backend: str) -> None:
    logits = torch.randn(3, 600)
    logits[0, 400] = bad
    logits[2] = -INF
    got = entropy_top2(logits, backend=backend)  # type: ignore[arg-type]
    assert got.entropy_nats.isnan().tolist() == [True, False, True]
    assert got.top_logprobs.isnan().all(-1).tolist() == [True, False, True]
    assert (got.top_ids == -1).all(-1).tolist() == [True, False, True]
    assert token_entropy(logits).isnan().tolist() == [True, False, True]


@given(
    hnp.arrays(
        "float32",
        st.tuples(st.integers(1, 4), st.sampled_from([2, 3, 5, BLOCK, BLOCK + 1, 2 * BLOCK + 3])),
        elements=st.sampled_from([-INF, -80.0, -1.0, 0.0, 0.5, 3.0, 90.0]),
        fill=st.sampled_from([-INF, 0.0, 3.0]),
    )
)
@settings(max_examples=200, deadline=None)
def test_ties_and_masks_anywhere(array: object) -> None:
    logits = torch.as_tensor(array)
    logits = logits[(logits > -INF).any(-1)]
    check(logits)
    check(logits.to(torch.bfloat16), chunk_rows=1)


@pytest.mark.parametrize("chunk_rows", [1, 2, 5, 64, 1000])
def test_chunks_do_not_change_the_result(chunk_rows: int) -> None:
    torch.manual_seed(2)
    logits = torch.randn(101, 1003) * 3
    got, want = entropy_top2(logits, chunk_rows=chunk_rows), entropy_top2(logits, chunk_rows=101)
    torch.testing.assert_close(got.entropy_nats, want.entropy_nats, atol=1e-6, rtol=0)
    torch.testing.assert_close(got.top_logprobs, want.top_logprobs, atol=1e-6, rtol=0)
    assert torch.equal(got.top_ids, want.top_ids)


def test_many_tasks_and_tiles() -> None:
    torch.manual_seed(3)
    check(torch.randn(50, 32_512 + 9), chunk_rows=3)
    check(torch.randn(300, 2 * BLOCK + 9))
    check(torch.randn(3, 3 * 32_512 + 1))


@pytest.mark.parametrize("shape", [(5,), (2, 5), (2, 3, 5), (2, 1, 3, 5)])
def test_any_leading_shape(shape: tuple[int, ...]) -> None:
    torch.manual_seed(4)
    check(torch.randn(shape))


@pytest.mark.parametrize("shape", [(0, 5), (3, 0, 5), (0, 3, 5)])
def test_no_rows(shape: tuple[int, ...]) -> None:
    got = entropy_top2(torch.empty(shape))
    assert got.entropy_nats.shape == shape[:-1]
    assert got.top_ids.shape == got.top_logprobs.shape == (*shape[:-1], 2)
    assert token_entropy(torch.empty(shape).transpose(0, -2)).numel() == 0


def test_strided_inputs() -> None:
    torch.manual_seed(5)
    base = torch.randn(6, 4, 1030)
    check(base.transpose(0, 1))
    check(base[:, ::2, 5::3])
    check(base.permute(2, 0, 1))
    check(base[0].t().contiguous().t())
    check(base[:1].expand(3, 4, 1030))
    check(base.flip(0).transpose(0, 1).to(torch.bfloat16))


def test_input_is_left_alone_and_gets_no_gradient() -> None:
    logits = torch.randn(3, 10, requires_grad=True)
    before = logits.detach().clone()
    got = entropy_top2(logits)
    assert torch.equal(logits, before)
    assert not got.entropy_nats.requires_grad
    assert not got.top_logprobs.requires_grad


class SoftmaxRows(TorchDispatchMode):
    """Rows of each softmax that its own thread is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[int] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if "softmax" in str(func):
            self.rows.append(args[0].shape[0])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("shape", [(1, 3000), (8, 1000), (64, 2048), (4, 49152)], ids=str)
def test_torch_splits_nothing_on_the_calling_thread(shape: tuple[int, int]) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with SoftmaxRows() as seen:
            entropy_top2(torch.randn(shape))
    finally:
        torch.set_num_threads(before)
    # It splits a softmax of two rows, however short they are: on busy cores a thousand times slower.
    assert set(seen.rows) <= {1}


def test_threads_stay_few_whatever_the_sizes() -> None:
    code = (
        "import threading, torch; from eduprm.entropy import token_entropy; torch.set_num_threads(16)\n"
        "for rows in range(1, 40): token_entropy(torch.zeros(rows, 60_000))\n"
        "print(threading.active_count() - 1)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0 < int(ran.stdout) < 2 * 16


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_threads_do_not_change_a_bit(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(6)
    logits = torch.randn(33, 40_000)
    logits[20, 5:] = -INF
    want = entropy_top2(logits)
    monkeypatch.setattr("eduprm.entropy.chunked._num_workers", lambda *_: workers)
    got = entropy_top2(logits)
    assert all(torch.equal(one, other) for one, other in zip(got, want, strict=True))


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        (torch.zeros(2, 3, dtype=torch.int64), "floating type, got torch.int64"),
        (torch.tensor(1.0), r"got shape \(\)"),
        (torch.zeros(3, 0), r"got shape \(3, 0\)"),
    ],
)
def test_wrong_logits_are_refused(logits: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        token_entropy(logits)


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ValueError, match=r"chunk_rows of at least 1.*got 0"):
        token_entropy(torch.zeros(1, 2), chunk_rows=0)
    with pytest.raises(ValueError, match="got 'cuda'"):
        token_entropy(torch.zeros(1, 2), backend="cuda")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"got .*cpu tensor"):
        token_entropy(torch.zeros(1, 2), backend="triton")
