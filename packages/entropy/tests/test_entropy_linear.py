"""Entropy from hidden states and the LM head equals that of the logits, and never holds them all."""

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from eduprm.entropy import entropy_top2, linear_entropy, linear_entropy_top2

INF = float("inf")


def check(hidden: Tensor, weight: Tensor, bias: Tensor | None = None, **options: int) -> None:
    logits = hidden.double() @ weight.double().t()
    if bias is not None:
        logits = logits + bias.double()
    want, got = entropy_top2(logits), linear_entropy_top2(hidden, weight, bias, **options)
    torch.testing.assert_close(got.entropy_nats, want.entropy_nats, atol=2e-5, rtol=1e-5, equal_nan=True)
    torch.testing.assert_close(got.top_logprobs, want.top_logprobs, atol=2e-5, rtol=1e-5, equal_nan=True)
    assert torch.equal(got.top_ids, want.top_ids)
    alone = linear_entropy(hidden, weight, bias, **options)
    torch.testing.assert_close(alone, want.entropy_nats, atol=2e-5, rtol=1e-5, equal_nan=True)


@pytest.mark.parametrize("tile_elements", [2, 17, 300, 5000, 1 << 22])
def test_tiles_do_not_change_the_result(tile_elements: int) -> None:
    torch.manual_seed(0)
    check(torch.randn(2, 5, 16), torch.randn(201, 16), tile_elements=tile_elements)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_half_precisions_are_summed_in_float32(dtype: torch.dtype) -> None:
    # Logits rounded to bfloat16 would miss by about 1e-2 nats.
    torch.manual_seed(1)
    check(torch.randn(7, 64).to(dtype), torch.randn(3001, 64).to(dtype), tile_elements=7 * 500)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_autocast_does_not_round_the_products(dtype: torch.dtype) -> None:
    hidden, weight = torch.randn(9, 64).to(dtype), torch.randn(500, 64).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = linear_entropy(hidden, weight)
    assert torch.equal(inside, linear_entropy(hidden, weight))


def test_mixed_types_and_bias_with_masked_tokens() -> None:
    torch.manual_seed(2)
    bias = torch.randn(1000)
    bias[: 2 * 123] = -INF  # whole tiles are masked
    check(torch.randn(3, 8).bfloat16(), torch.randn(1000, 8), bias, tile_elements=3 * 123)
    check(torch.randn(3, 8), torch.randn(1000, 8), torch.full((1000,), -INF), tile_elements=3 * 123)


def test_ties_across_tiles_go_to_the_lower_id() -> None:
    weight = torch.zeros(50, 4)
    weight[[9, 30, 41]] = 1.0
    got = linear_entropy_top2(torch.ones(1, 4), weight, tile_elements=10)
    assert got.top_ids.tolist() == [[9, 30]]


@pytest.mark.parametrize("vocab", [1, 2, 3])
def test_tiny_vocabularies(vocab: int) -> None:
    hidden, weight = torch.randn(4, 3), torch.randn(vocab, 3)
    want = torch.distributions.Categorical(logits=hidden @ weight.t()).entropy()
    torch.testing.assert_close(linear_entropy(hidden, weight, tile_elements=2), want, atol=1e-6, rtol=0)


def test_strided_and_empty_hidden_states() -> None:
    torch.manual_seed(3)
    check(torch.randn(6, 4, 12).transpose(0, 1)[..., ::2], torch.randn(6, 500).t(), tile_elements=600)
    assert linear_entropy_top2(torch.empty(0, 5, 6), torch.randn(9, 6)).top_ids.shape == (0, 5, 2)


class LargestOutput(TorchDispatchMode):
    """Records the most elements any operation under it returns."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        for item in out if isinstance(out, tuple | list) else (out,):
            if isinstance(item, Tensor):
                self.elements = max(self.elements, item.numel())
        return out


def test_tokens_by_vocab_is_never_held() -> None:
    hidden, weight = torch.randn(300, 4), torch.randn(5000, 4)  # 1.5 M logits
    with LargestOutput() as seen:
        linear_entropy_top2(hidden, weight, tile_elements=1 << 14)
    assert 0 < seen.elements <= weight.numel()


@pytest.mark.parametrize(
    ("hidden", "weight", "bias", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(5, 4), None, r"\(2, 3\) and \(5, 4\)"),
        (torch.zeros(2, 3), torch.zeros(5, 3), torch.zeros(4), r"bias \[5\], got \(4,\)"),
        (torch.zeros(2, 3).long(), torch.zeros(5, 3), None, "hidden of a floating type, got torch.int64"),
        (torch.zeros(2, 3), torch.zeros(0, 3), None, r"at least 1, got weight \(0, 3\)"),
        (torch.zeros(2, 3), torch.zeros(5, 3, device="meta"), None, "weight on cpu like hidden, got meta"),
    ],
)
def test_wrong_inputs_are_refused(hidden: Tensor, weight: Tensor, bias: Tensor | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        linear_entropy(hidden, weight, bias)
