"""Texts, thresholds and log-probs that are none are answered by one line."""

import pytest

from eduprm.segment import (
    Solution,
    entropy_anchors,
    get_segmenter,
    low_confidence_anchors,
    low_confidence_threshold,
    split_text,
)


def test_a_text_that_is_none():
    with pytest.raises(TypeError, match=r"^expected a text as a string, got NoneType$"):
        split_text(None)
    with pytest.raises(TypeError, match=r"^expected a text as a string, got list$"):
        Solution.of_text(["a\n", "b"])


def test_a_tokens_text_that_is_none():
    with pytest.raises(TypeError, match=r"^expected a token's text as a string, got NoneType$"):
        entropy_anchors([2.0, 0.1], [None, "a"])


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("entropy", {"threshold": "1.0"}, "entropy: expected a threshold in nats, got '1.0'"),
        ("entropy", {"threshold": None}, "entropy: expected a threshold in nats, got None"),
        ("low_confidence", {"threshold": "-1"}, "low_confidence: expected a threshold in nats, got '-1'"),
        (
            "delimiter",
            {"delimiters": ["a", 1]},
            "delimiter: expected delimiters that are strings and not empty, got ('a', 1)",
        ),
    ],
)
def test_options_of_the_wrong_kind(name, options, told):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        get_segmenter(name, **options)
    assert str(caught.value) == told


@pytest.mark.parametrize("call", [low_confidence_anchors, lambda given: low_confidence_threshold([given])])
def test_probabilities_are_no_log_probs(call):
    with pytest.raises(
        ValueError, match=r"^expected log-probabilities \(nats\) of at most 0, got 0\.9 at position 1$"
    ):
        call([0.02, 0.9])
