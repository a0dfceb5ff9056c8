"""Arguments of the wrong kind are answered by one line that names what was expected and what came."""

import numpy as np
import pytest
import torch

from eduprm.entropy import (
    entropy_bounds,
    entropy_top2,
    linear_entropy,
    linear_entropy_top2,
    sampled_entropy,
    token_entropy,
)

ROWS = np.zeros((2, 5), np.float32)
HEAD = torch.zeros(7, 5)
HINT = "; torch.as_tensor makes one"


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (
            lambda: token_entropy(ROWS),
            "expected logits as a torch tensor, got ndarray" + HINT,
        ),
        (
            lambda: entropy_top2(ROWS.tolist()),
            "expected logits as a torch tensor, got list" + HINT,
        ),
        (lambda: token_entropy(None), "expected logits as a torch tensor, got NoneType"),
        (
            lambda: linear_entropy(ROWS, HEAD),
            "expected hidden as a torch tensor, got ndarray" + HINT,
        ),
        (
            lambda: linear_entropy_top2(torch.zeros(2, 5), HEAD.numpy()),
            "expected weight as a torch tensor, got ndarray" + HINT,
        ),
        (
            lambda: linear_entropy(torch.zeros(2, 5), HEAD, [0.0] * 7),
            "expected bias as a torch tensor, got list" + HINT,
        ),
        (
            lambda: sampled_entropy(ROWS.tolist(), torch.zeros(2, dtype=torch.int64)),
            "expected logits as a torch tensor, got list" + HINT,
        ),
        (
            lambda: sampled_entropy(torch.zeros(2, 5), [0, 1]),
            "expected token_ids as a torch tensor, got list" + HINT,
        ),
        (lambda: entropy_bounds([-1.0], None), "expected vocab_size as a whole number, got NoneType"),
    ],
)
def test_what_is_no_tensor_is_named(call, told):
    with pytest.raises(TypeError) as caught:
        call()
    assert str(caught.value) == told


def test_token_ids_that_are_no_integers_are_refused():
    with pytest.raises(ValueError, match=r"^expected token ids of int32 or int64, got torch\.float32$"):
        sampled_entropy(torch.zeros(2, 5), torch.zeros(2))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([-1.0, None], "NoneType at top_logprobs[1]"),
        ([[-1.0, -2.0], [-1.0, None]], "NoneType at top_logprobs[1][1]"),
        (None, "NoneType for top_logprobs"),
        (["-1.0"], "str at top_logprobs[0]"),
        ([[-1.0], [-1.0, -2.0]], "lists of several lengths"),
    ],
)
def test_top_log_probs_that_are_no_numbers_are_named_with_their_place(given, told):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        entropy_bounds(given, 10)
    assert (
        str(caught.value) == f"expected top_logprobs as a tensor or lists of numbers, k in each, got {told}"
    )


def test_arrays_of_top_log_probs_are_read():
    lower, upper = entropy_bounds(np.array([-1.0, -1.5]), np.int64(50))
    assert 0 < lower < upper
