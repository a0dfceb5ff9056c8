"""Whatever the cuts, the steps join back to the input: spans, anchors and delimiters over arbitrary input."""

import math
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from eduprm.core import registry
from eduprm.segment import (
    NEWLINE,
    SEGMENTERS,
    Solution,
    Span,
    check_spans,
    delimiter_spans,
    entropy_anchors,
    fixed_length_spans,
    get_segmenter,
    is_symbol,
    joint_segmenter,
    judged_texts,
    line_starts,
    low_confidence_anchors,
    low_confidence_threshold,
    spans_from_anchors,
    split_text,
    token_spans,
)

# a busy machine must not fail a property that holds
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

# texts with many delimiters and white space of every kind, and any unicode (surrogates included) beside them
pieces = st.sampled_from(
    ["\n", "\r\n", "\r", "\n\n", " ", "\t", "\u2028", "\u00a0", "a", "=", ".", "é", "\U0001f600"]
)
texts = st.one_of(st.lists(pieces, max_size=30).map("".join), st.text(st.characters(codec=None), max_size=60))
delimiters = st.lists(
    st.one_of(
        st.sampled_from(["\n\n", "\n", "\r\n", ". ", "\n\n\n", "a\nb"]), st.text(min_size=1, max_size=3)
    ),
    min_size=1,
    max_size=3,
)


@relaxed
@given(texts, delimiters)
@example("", ["\n\n"])
@example(" \n\n\t\n", ["\n\n"])
@example("a\r\n\r\nb\r\n", ["\n\n"])
@example("\n\na", ["\n"])
@example("a" * 50, ["a"])
def test_delimited_steps_join_back_and_none_is_blank(text: str, ends: list[str]) -> None:
    steps = split_text(text, ends)
    assert "".join(steps) == text
    check_spans(delimiter_spans(text, ends), len(text))
    assert len(steps) == 1 or all(step.strip() for step in steps) or not text


@relaxed
@given(st.lists(st.text(st.characters(codec=None), max_size=4), max_size=40), st.data())
def test_every_segmenter_covers_the_tokens(token_texts: list[str], data: st.DataObject) -> None:
    length = len(token_texts)
    floats = st.lists(st.floats(0, 12), min_size=length, max_size=length)
    entropies, confidences = data.draw(floats), data.draw(floats)
    solution = Solution(
        token_texts,
        entropies=entropies,
        logprobs=[-value for value in confidences],
        top_texts=data.draw(st.lists(st.text(max_size=2), min_size=length, max_size=length)),
    )
    names = registry.names(SEGMENTERS)
    own = {"fixed_length": {"size": data.draw(st.integers(1, 50))}, "delimiter": {"delimiters": ". "}}
    options = {name: own.get(name, {}) for name in names}
    starts = set()
    for name in names:
        spans = get_segmenter(name, **options[name])(solution)
        check_spans(spans, length)
        assert [text for start, stop in spans for text in token_texts[start:stop]] == token_texts
        starts |= {span.start for span in spans}
    assert {span.start for span in joint_segmenter(options)(solution)} == starts


@relaxed
@given(st.integers(0, 200), st.data())
def test_each_anchor_begins_a_step(length: int, data: st.DataObject) -> None:
    anchors = data.draw(st.lists(st.integers(0, max(length - 1, 0)), max_size=20)) if length else []
    starts = [span.start for span in spans_from_anchors(anchors, length)]
    assert starts == (sorted({0, *anchors}) if length else [])


@relaxed
@given(st.integers(0, 300), st.integers(1, 40))
def test_fixed_length_steps_are_full_but_the_last(length: int, size: int) -> None:
    sizes = [span.size for span in fixed_length_spans(length, size)]
    assert sizes == [size] * (length // size) + [length % size] * (length % size > 0)


@relaxed
@given(st.text(max_size=6))
def test_a_symbol_is_white_space_and_punctuation(text: str) -> None:
    by_hand = all(unicodedata.category(char)[0] == "P" for char in text if not char.isspace())
    assert is_symbol(text) == by_hand


@pytest.mark.parametrize("text", ["", " ", "\n\n", "\r\n", "\u00a0", ",", " ).", "“", "…", "-", "*", "。"])
def test_symbols(text: str) -> None:
    assert is_symbol(text)


@pytest.mark.parametrize("text", ["+", " =", "<", "$", "a", "7", ".5", "²", "<|im_end|>", "\ufffd", "\x00"])
def test_not_symbols(text: str) -> None:
    assert not is_symbol(text)


def test_entropy_anchors_follow_the_rule() -> None:
    token_texts = ["2", " *", " 3", " =", " 6", "\n", "6"]
    entropies = np.array([1.5, 1.5, 1.0, 1.5, 0.3, 9.0, 1.01], dtype=np.float32)
    assert entropy_anchors(entropies, token_texts) == [
        0,
        3,
        6,
    ]  # over 1.0, not at it; " *" and newline are symbols
    assert entropy_anchors(entropies, token_texts, skip_symbols=False) == [0, 1, 3, 5, 6]
    assert entropy_anchors(entropies, token_texts, threshold=8.0) == []
    assert entropy_anchors([], []) == []


def test_the_step_ends_before_the_anchor() -> None:
    texts = ["a", "b", "c"]
    spans = get_segmenter("entropy")(Solution(texts, entropies=[2.0, 0.0, 1.2], top_texts=texts))
    assert spans == [Span(0, 2), Span(2, 3)]


def test_the_most_probable_token_decides_not_the_one_that_stands_there() -> None:
    # 12, -, 3 where the policy would have said +, and 12, +, 3 where it would have said a bracket.
    entropies = [0.0, 1.5, 1.2]
    minus = Solution(["12", " -", " 3"], entropies=entropies, top_texts=["12", " +", " ("])
    assert get_segmenter("entropy")(minus) == [Span(0, 1), Span(1, 3)]
    plus = Solution(["12", " +", " 3"], entropies=entropies, top_texts=["12", " )", " 4"])
    assert get_segmenter("entropy")(plus) == [Span(0, 2), Span(2, 3)]
    without = get_segmenter("entropy", skip_symbols=False)
    assert without(minus) == without(Solution(["12", " -", " 3"], entropies=entropies))
    assert len(without(minus)) == 3


def test_a_threshold_is_compared_as_engines_measure() -> None:
    # As a double, float32's 0.1 is above 0.1: a tree and its text read back from a file would differ.
    at = float(np.float32(0.1))
    assert at > 0.1
    for entropies in ([at, 0.2], np.array([0.1, 0.2], np.float32), np.array([at, 0.2])):
        assert entropy_anchors(entropies, ["a", "b"], threshold=0.1) == [1]


def test_stop_tokens_are_words_and_other_special_tokens_symbols() -> None:
    texts = {1: "a", 2: "", 3: "", 4: ","}
    decoded: list[int] = []

    def decode(ids: list[int]) -> str:
        decoded.extend(ids)
        return "".join(texts[token] for token in ids)

    judged = judged_texts([1, 2, 3, 4, 1], decode, stop_ids={3}, where=[True, True, True, True, False])
    assert [is_symbol(text) for text in judged] == [False, True, False, True, True]
    assert decoded == [1, 2, 4]


@relaxed
@given(
    st.lists(st.sampled_from(["a", " ", "\n", ".\n", "\n\n", "", "\nb", " c"]), max_size=12),
    st.integers(0, 12),
)
def test_a_line_ends_with_the_token_that_holds_its_break(texts: list[str], cut: int) -> None:
    starts, pending = line_starts(texts)
    for position, text in enumerate(texts):
        # By hand: text, and of what stands before it the last that is not blank or holds a break does hold one.
        before = [one for one in texts[:position] if one.strip() or "\n" in one]
        assert (position in starts) == bool(text.strip() and before and "\n" in before[-1])
    # Read in two pieces it comes to the same.
    first = line_starts(texts[:cut])
    second = line_starts(texts[cut:], pending=first.pending)
    assert [*first.starts, *(start + min(cut, len(texts)) for start in second.starts)] == starts
    assert second.pending == pending


def test_lines_of_tokens_are_a_segmenter() -> None:
    texts = ["2", ".\n", " ", "so", "\n\n", "4", "\n"]
    assert get_segmenter("lines")(Solution(texts)) == [Span(0, 3), Span(3, 5), Span(5, 7)]


def test_low_confidence_takes_the_lowest_share() -> None:
    logprobs = -np.arange(1.0, 101.0)
    assert low_confidence_anchors(logprobs) == [98, 99]
    assert low_confidence_anchors(logprobs, threshold=-97.0) == [97, 98, 99]
    corpus = [logprobs[:50], logprobs[50:]]
    assert low_confidence_anchors(corpus[0], threshold=low_confidence_threshold(corpus)) == []
    assert low_confidence_anchors(corpus[1], threshold=low_confidence_threshold(corpus)) == [48, 49]


def test_a_probability_is_no_threshold_of_low_confidence() -> None:
    hint = r"at most 0.*got 0\.02; for a probability of 0\.02 give ln 0\.02 = -3\.912"
    with pytest.raises(ValueError, match=hint):
        low_confidence_anchors([-0.1, -2.5], threshold=0.02)
    with pytest.raises(ValueError, match=hint):  # before any solution is cut
        get_segmenter("low_confidence", threshold=0.02)
    assert low_confidence_anchors([0.0, -1e-3], threshold=0.0) == [1]


def test_a_sure_solution_has_no_low_confidence() -> None:
    # guards a real trap: with <= every token of an all-certain greedy solution would be an anchor
    assert low_confidence_anchors([0.0] * 40) == []
    assert low_confidence_anchors([-0.5]) == []
    assert low_confidence_anchors([-math.inf, -1.0, -1.0], quantile=0.1) == [0]


@pytest.mark.parametrize(
    ("text", "ends", "steps"),
    [
        ("a\n\nb", "\n\n", ["a\n\n", "b"]),
        ("a\r\n\r\nb\nc", "\n\n", ["a\r\n\r\n", "b\nc"]),
        ("a\n \t\nb", "\n\n", ["a\n \t\n", "b"]),  # a blank line may hold blanks
        ("a\n\n\n\n  b", "\n\n", ["a\n\n\n\n", "  b"]),
        ("a\nb\r\nc", "\n", ["a\n", "b\r\n", "c"]),
        ("\n\na\n\n", "\n\n", ["\n\na\n\n"]),
        (" \n ", "\n", [" \n "]),
        ("a. b! c", (". ", "! "), ["a. ", "b! ", "c"]),
        ("a--b-c", ("-", "--"), ["a--", "b-", "c"]),
        ("a.b", ".", ["a.", "b"]),  # a delimiter is a string, not a regular expression
        ("", "\n\n", []),
    ],
)
def test_delimiters(text: str, ends: str | tuple[str, ...], steps: list[str]) -> None:
    assert split_text(text, ends) == steps


def test_a_hostile_text_is_cut_in_linear_time() -> None:
    text = ("\n" + " \t" * 200) * 2000
    assert "".join(split_text(text + "a", "\n\n")) == text + "a"
    assert len(split_text("a\n\n" * 100_000)) == 100_000


def test_token_spans_round_to_tokens() -> None:
    texts = ["a.\n", "\nb", "\n\n", "c", ""]
    assert get_segmenter("paragraphs")(Solution(texts)) == [Span(0, 1), Span(1, 3), Span(3, 5)]
    # the word after ". " carries the blank: it begins its sentence, and does not end the one before
    sentences = get_segmenter("delimiter", delimiters=". ")(
        Solution(["Add", " two", ".", " Then", " stop", "."])
    )
    assert sentences == [Span(0, 3), Span(3, 6)]
    assert token_spans([Span(0, 1), Span(1, 2), Span(2, 4)], ["a", "bc", "d"]) == [Span(0, 1), Span(1, 3)]
    with pytest.raises(ValueError, match="up to 2, got spans up to 3"):
        token_spans([Span(0, 3)], ["ab"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: spans_from_anchors([3], 3), r"anchors from 0 to 2 \(length 3\), got 3"),
        (lambda: spans_from_anchors([-1], 3), "got -1"),
        (lambda: spans_from_anchors([], -1), "length of 0 or more, got -1"),
        (lambda: fixed_length_spans(3, 0), "size of 1 or more, got 0"),
        (lambda: entropy_anchors([1.0], ["a", "b"]), "1 token texts, one per entropy, got 2"),
        (lambda: entropy_anchors([0.0, math.nan], ["a", "b"]), "NaN at position 1"),
        (lambda: entropy_anchors([0.0, -0.5], ["a", "b"]), "0 or more nats, got -0.5 at position 1"),
        (lambda: entropy_anchors([[1.0]], ["a"]), r"one dimension, got shape \(1, 1\)"),
        (lambda: low_confidence_anchors([-1.0], quantile=0.1, threshold=-1.0), "got both"),
        (lambda: low_confidence_anchors([-1.0], quantile=1.5), "between 0 and 1, got 1.5"),
        (lambda: low_confidence_threshold([]), "at least one log-prob"),
        (lambda: split_text("a", ""), "not empty"),
        (lambda: split_text("a", ()), "not empty"),
        (
            lambda: get_segmenter("paragraph"),
            "one of delimiter, entropy, fixed, fixed_length, lines, low_confidence, none, paragraphs or .* 'paragraph'",
        ),
        (
            lambda: get_segmenter("fixed_length"),
            "fixed_length: .* argument: 'size'; it takes the options size",
        ),
        (
            lambda: get_segmenter("entropy", limit=1),
            "entropy: expected the options threshold, skip_symbols, got 'limit'",
        ),
        (
            lambda: get_segmenter("entropy")(Solution(["a"])),
            "with entropies for segmenter 'entropy', got none",
        ),
        (
            lambda: get_segmenter("entropy")(Solution(["a"], entropies=[0.5])),
            "with top_texts for segmenter 'entropy', got none",
        ),
        (lambda: get_segmenter("fixed", words=0), "fixed: expected words of 1 or more, got 0"),
        (lambda: get_segmenter("fixed", words="two"), "fixed: expected words of 1 or more, got 'two'"),
        (
            lambda: get_segmenter("fixed_length", size=2.5),
            "fixed_length: expected a size of 1 or more, got 2.5",
        ),
        (
            lambda: get_segmenter("delimiter", delimiters=""),
            "delimiter: expected delimiters that are strings and not empty",
        ),
        (
            lambda: get_segmenter("low_confidence", quantile=2),
            "low_confidence: expected a quantile between 0 and 1",
        ),
        (
            lambda: get_segmenter("entropy", threshold=math.nan),
            "entropy: expected a threshold in nats, got nan",
        ),
        (lambda: joint_segmenter({}), "at least one segmenter, got none"),
        (lambda: joint_segmenter({"entropy": {}, "words": {}}), "got 'words'"),
        (lambda: Solution(["a"], top_texts=["a", "b"]), "1 top_texts, one per token, got 2"),
        (lambda: Solution(["a"], logprobs=[]), "1 logprobs, one per token, got 0"),
        (
            lambda: check_spans([Span(0, 1), Span(2, 3)], 3),
            r"span 1 to begin at 1 and not be empty, got \(2, 3\)",
        ),
    ],
)
def test_errors_say_what_was_expected_and_what_came(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@relaxed
@given(st.text(alphabet="ab. \n\r\t", max_size=40))
def test_a_text_without_tokens_is_cut_by_its_characters(text: str) -> None:
    solution = Solution.of_text(text)
    for name, expected in (("lines", split_text(text, NEWLINE)), ("paragraphs", split_text(text))):
        assert [text[start:stop] for start, stop in get_segmenter(name)(solution)] == expected
    words = [text[slice(*span)] for span in get_segmenter("fixed", words=2)(solution)]
    assert "".join(words) == text
    assert all(len(part.split()) <= 2 for part in words)
    assert len(get_segmenter("none")(solution)) == bool(text)


def test_imports_without_torch_and_polars() -> None:
    code = "import sys, eduprm.segment; print([m for m in ('torch', 'polars', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
