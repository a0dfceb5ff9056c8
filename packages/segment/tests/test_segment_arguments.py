"""Texts that are none are answered by one line."""

import pytest

from eduprm.segment import entropy_anchors, split_text


def test_a_text_that_is_none():
    with pytest.raises(TypeError, match=r"^expected a text as a string, got NoneType$"):
        split_text(None)


def test_a_tokens_text_that_is_none():
    with pytest.raises(TypeError, match=r"^expected a token's text as a string, got NoneType$"):
        entropy_anchors([2.0, 0.1], [None, "a"])
