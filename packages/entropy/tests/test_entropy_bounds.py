"""The bounds bracket the truth, are attained, and refuse what cannot be a top k."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from eduprm.entropy import entropy_bounds

INF = float("inf")
LOGITS = hnp.arrays(
    "float64",
    st.integers(1, 40),
    elements=st.one_of(st.just(-INF), st.sampled_from([0.0, 2.0]), st.floats(-30, 30)),
)


def entropy(probabilities: torch.Tensor) -> float:
    return torch.special.entr(probabilities).sum(-1).item()


@given(LOGITS, st.data())
@settings(max_examples=400, deadline=None)
def test_bounds_bracket_the_truth(array: object, data: st.DataObject) -> None:
    logits = torch.as_tensor(array)
    if bool((logits == -INF).all()):
        logits[0] = 0.0
    logprobs = logits.log_softmax(-1)
    k = data.draw(st.integers(1, len(logprobs)))
    top = logprobs.sort(descending=True).values[:k]
    truth = entropy(logprobs.exp())
    for tolerance in (0.0, 1e-5):
        lower, upper = entropy_bounds(top, len(logprobs), tolerance=tolerance)
        assert lower.item() - 1e-9 <= truth <= upper.item() + 1e-9
        assert 0.0 <= lower.item() <= upper.item() <= math.log(len(logprobs)) + 1e-12


@given(LOGITS, st.data())
@settings(max_examples=300, deadline=None)
def test_bounds_hold_for_rounded_logprobs(array: object, data: st.DataObject) -> None:
    logits = torch.as_tensor(array).clamp(min=-50.0)
    exact = logits.log_softmax(-1)
    truth = entropy(exact.exp())
    k = data.draw(st.integers(1, len(exact)))
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.bfloat16, 2**-8)):
        top = exact.to(dtype).sort(descending=True).values[:k]
        lower, upper = entropy_bounds(top, len(exact), tolerance=tolerance)
        assert lower.item() <= truth + 1e-12
        assert truth <= upper.item() + 1e-12


@pytest.mark.parametrize(
    ("top", "vocab"), [([0.5, 0.2], 10), ([0.1] * 3, 50), ([0.34, 0.33], 1000), ([0.6], 3)]
)
def test_bounds_are_attained(top: list[float], vocab: int) -> None:
    """Spreading the rest evenly, and piling it up at p_k, are distributions with this very top k."""
    known = torch.tensor(top, dtype=torch.float64)
    rest, others = 1.0 - sum(top), vocab - len(top)
    even = torch.cat([known, torch.full((others,), rest / others, dtype=torch.float64)])
    filled = int(rest / top[-1] + 1e-9)
    remainder = max(0.0, rest - filled * top[-1])
    piled = torch.cat([known, torch.tensor([top[-1]] * filled + [remainder], dtype=torch.float64)])
    lower, upper = entropy_bounds(known.log(), vocab, tolerance=0.0)
    assert upper.item() == pytest.approx(entropy(even), abs=1e-9)
    assert lower.item() == pytest.approx(entropy(piled), abs=1e-9)


def test_all_tokens_known_leaves_nothing_open() -> None:
    logprobs = torch.randn(5, 30, dtype=torch.float64).log_softmax(-1)
    lower, upper = entropy_bounds(logprobs, 30, tolerance=0.0)
    truth = torch.special.entr(logprobs.exp()).sum(-1)
    torch.testing.assert_close(lower, truth, atol=1e-9, rtol=0)
    torch.testing.assert_close(upper, truth, atol=1e-9, rtol=0)


def test_lists_keep_their_digits() -> None:
    lower, upper = entropy_bounds([math.log(0.7), math.log(0.3)], 2, tolerance=0.0)
    want = -0.7 * math.log(0.7) - 0.3 * math.log(0.3)
    assert lower.item() == pytest.approx(want, abs=1e-14)
    assert upper.item() == pytest.approx(want, abs=1e-14)


def test_more_known_tokens_tighten_the_bounds_and_order_does_not_matter() -> None:
    torch.manual_seed(0)
    logprobs = (torch.randn(8, 5000, dtype=torch.float64) * 3).log_softmax(-1).sort(descending=True).values
    widths = []
    for k in (1, 2, 5, 20, 200):
        lower, upper = entropy_bounds(logprobs[:, :k], 5000)
        widths.append(upper - lower)
        mixed = entropy_bounds(logprobs[:, :k].flip(-1), 5000)
        torch.testing.assert_close(mixed, (lower, upper))
    assert all(bool((wide > narrow).all()) for wide, narrow in itertools.pairwise(widths))


def test_the_entropy_of_the_top_k_alone_is_outside_the_bounds() -> None:
    # The fault this guards: a truncated, renormalised top 20 says 2 nats where the truth is above 6.
    torch.manual_seed(0)
    logprobs = torch.randn(50_000, dtype=torch.float64).log_softmax(-1)
    top = logprobs.topk(20).values
    lower, _ = entropy_bounds(top, 50_000)
    assert entropy(top.softmax(-1)) < lower.item()


def test_wider_tolerance_gives_wider_bounds() -> None:
    top = torch.tensor([0.5, 0.1, 0.05]).log()
    tight, loose = entropy_bounds(top, 100, tolerance=0.0), entropy_bounds(top, 100, tolerance=0.01)
    assert loose[0] < tight[0] < tight[1] < loose[1]


@pytest.mark.parametrize(
    ("top", "vocab", "message"),
    [
        ([], 5, r"1 <= k <= vocab_size = 5, got \(0,\)"),
        ([-1.0, -1.0], 1, r"vocab_size = 1, got \(2,\)"),
        ([0.5], 5, "at most 0, got 0.5"),
        ([float("nan")], 5, "at most 0, got nan"),
        ([-0.1, -0.1], 5, "sum to at most 1, got 1.8"),
        ([-3.0], 5, "4 other tokens cannot hold the mass left over"),
        ([-0.7, -INF], 500, "cannot hold the mass left over"),
    ],
)
def test_what_cannot_be_a_top_k_is_refused(top: list[float], vocab: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        entropy_bounds(top, vocab)


def test_wrong_tolerance_is_refused() -> None:
    with pytest.raises(ValueError, match=r"tolerance in \[0, 0.1\), got 1.0"):
        entropy_bounds([-1.0], 5, tolerance=1.0)
