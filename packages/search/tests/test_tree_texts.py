"""Texts of nodes join to the text of their path, whatever way a tokenizer has of writing spaces and bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from eduprm.forest import leaf_paths
from eduprm.search import Branch, CutRule, to_rows
from eduprm.search.token_table import ByteTable, PieceTable, table_of

BYTES = [f"<0x{byte:02X}>" for byte in "é€😀".encode()]


class Bytes:
    """Tokens are single bytes of UTF-8."""

    data = "xabé€😀".encode()

    def decode(self, token_ids: list[int]) -> str:
        return bytes(self.data[token] for token in token_ids).decode(errors="replace")


class Spiece:
    """A SentencePiece vocabulary as Llama 2 has it: words with a mark for the space before them, and bytes."""

    def __init__(self, kind: str) -> None:
        vocabulary = ["<unk>", *BYTES, "▁", "▁so", "▁we", "▁add", "we", "▁▁", ","]
        self.tokenizer = Tokenizer(
            models.BPE({p: i for i, p in enumerate(vocabulary)}, [], unk_token="<unk>")
        )
        self.tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        self.tokenizer.decoder = {
            "llama": decoders.Sequence(
                [
                    decoders.Replace("▁", " "),
                    decoders.ByteFallback(),
                    decoders.Fuse(),
                    decoders.Strip(content=" ", left=1),
                ]
            ),
            "metaspace": decoders.Metaspace(),
        }[kind]
        self.ids = {piece: self.tokenizer.token_to_id(piece) for piece in vocabulary}
        self.tokenizer.add_special_tokens(["</s>"])
        self.ids["</s>"] = self.tokenizer.token_to_id("</s>")

    def decode(self, token_ids: list[int]) -> str:
        return self.tokenizer.decode(token_ids, skip_special_tokens=True)


class Tabled:
    """The same tokenizer with its table, as `PolicyTokenizer` has it; `decoded` counts what the table did not serve."""

    def __init__(self, spiece: Spiece) -> None:
        self.ids, self.tokenizer, self.decoded = spiece.ids, spiece.tokenizer, 0
        wrapped = PreTrainedTokenizerFast(tokenizer_object=spiece.tokenizer, eos_token="</s>")
        self.table = table_of(wrapped, spiece.decode)

    def decode(self, token_ids: list[int]) -> str:
        self.decoded += 1
        return self.tokenizer.decode(token_ids, skip_special_tokens=True)


class ByteLevel:
    """A byte-level vocabulary as GPT-2 has it: every byte, two halves of characters in one token, a special token."""

    def __init__(self) -> None:
        letters = pre_tokenizers.ByteLevel.alphabet()
        pieces = [*sorted(letters), "\u00a9\u013d", "\u0120we"]
        tokenizer = Tokenizer(models.BPE({piece: at for at, piece in enumerate(pieces)}, []))
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.add_special_tokens(["<|end|>"])
        tokenizer.add_tokens(["<think>"])
        self.wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")
        self.table = table_of(self.wrapped, self.decode)
        self.decoded = 0

    def decode(self, token_ids: list[int]) -> str:
        self.decoded = getattr(self, "decoded", 0) + 1
        return self.wrapped.decode(token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def branch(ids: list[int], *, cuts: list[int], parent: Branch | None = None, start: int = 0) -> Branch:
    """A branch whose entropy is high at the positions `cuts` of the path."""
    entropies = np.array([float(start + at in cuts) for at in range(len(ids))], np.float32)
    zeros = np.zeros(len(ids), np.float32)
    if parent is not None:
        parent.forks.append(start)
    return Branch(
        parent=parent, start=start, token_ids=np.array(ids, np.int32), logprobs=zeros, entropies=entropies,
        runner_up_ids=np.zeros(len(ids), np.int32), runner_up_logprobs=zeros - 1, finish="length",
    )  # fmt: skip


def rows(branches: list[Branch], decoder):
    cut = CutRule(threshold=0.5, skip_symbols=False)
    return to_rows(branches, problem_id="p", tree="edu", cut=cut, tokenizer=decoder, stop_ids=frozenset())


def test_only_the_unfinished_character_moves_to_the_children():
    # x a b half-é | other half, x
    #              | other half, a
    path = branch([0, 1, 2, 3, 4, 0], cuts=[])
    fork = branch([4, 1], cuts=[], parent=path, start=4)
    assert rows([path, fork], Bytes())["text"].to_list() == ["xab", "éx", "éa"]


def test_a_character_over_three_nodes_belongs_to_the_last():
    path = branch([0, *range(8, 12), 0], cuts=[2, 3])
    assert rows([path], Bytes())["text"].to_list() == ["x", "", "😀x"]


@pytest.mark.parametrize("kind", ["llama", "metaspace"])
def test_spaces_between_nodes_are_kept(kind):
    spiece = Spiece(kind)
    ids = [spiece.ids[piece] for piece in ("▁so", "▁we", "▁add", "</s>")]
    assert rows([branch(ids, cuts=[1, 2, 3])], spiece)["text"].to_list() == ["so", " we", " add", ""]
    assert rows([branch(ids[:3], cuts=[2])], spiece)["text"].to_list() == ["so we", " add"]
    # A special token alone in a node is no start of a text.
    ids = [spiece.ids[piece] for piece in ("▁so", "</s>", "▁we")]
    assert rows([branch(ids, cuts=[1, 2])], spiece)["text"].to_list() == ["so", "", " we"]


@settings(deadline=None, max_examples=150)
@given(data=st.data(), kind=st.sampled_from(["bytes", "llama", "metaspace"]))
def test_texts_of_a_path_join_to_its_text(data, kind):
    if kind == "bytes":
        decoder, pieces = Bytes(), [[token] for token in range(len(Bytes.data))]
    else:
        decoder = Spiece(kind)
        # Bytes in whole characters: of a broken one tokenizers' ByteFallback takes its neighbours along.
        whole = [BYTES[:2], BYTES[2:5], BYTES[5:9]] if kind == "llama" else []
        pieces = [[piece] for piece in ("▁", "▁so", "▁we", "▁add", "we", "▁▁", ",", "</s>")] + whole
        pieces = [[decoder.ids[one] for one in piece] for piece in pieces]

    def path(least: int) -> list[int]:
        drawn = data.draw(st.lists(st.sampled_from(pieces), min_size=least, max_size=12))
        return [token for piece in drawn for token in piece]

    first = path(2)
    cuts = data.draw(st.lists(st.integers(0, 40), max_size=20))
    branches = [branch(first, cuts=cuts)]
    starts = data.draw(st.lists(st.integers(0, len(first) - 1), max_size=3, unique=True))
    for start in starts:
        rest = path(1)
        if kind != "bytes":
            # A fork inside of a character breaks it for good.
            joined = [*first[:start], *rest]
            if "\ufffd" in decoder.decode(joined):
                continue
        branches.append(branch(rest, cuts=cuts, parent=branches[0], start=start))
    forest = rows(branches, decoder)
    for leaf in leaf_paths(forest).iter_rows(named=True):
        assert leaf["text"] == decoder.decode(leaf["token_ids"])


def test_the_cost_of_texts_is_linear_in_the_path():
    class Counting(Bytes):
        decoded = 0

        def decode(self, token_ids: list[int]) -> str:
            self.decoded += len(token_ids)
            return super().decode(token_ids)

    def cost(length: int) -> int:
        decoder = Counting()
        path = branch([0, 1, 2, 3, 4] * (length // 5), cuts=list(range(0, length, 3)))
        cut = CutRule(threshold=2.0)  # forks alone, so that only texts are decoded
        path.forks.extend(range(3, length, 3))
        to_rows([path], problem_id="p", tree="edu", cut=cut, tokenizer=decoder, stop_ids=frozenset())
        return decoder.decoded

    assert cost(3000) <= 10.5 * cost(300)


class Plain:
    """A decoder without its table."""

    def __init__(self, decoder) -> None:
        self.decode = decoder.decode


@settings(deadline=None, max_examples=150)
@given(data=st.data(), kind=st.sampled_from(["byte level", "llama", "metaspace"]))
def test_the_table_gives_the_texts_that_decoding_gives(data, kind):
    decoder = ByteLevel() if kind == "byte level" else Tabled(Spiece(kind))
    assert isinstance(decoder.table, ByteTable if kind == "byte level" else PieceTable)
    size = len(decoder.wrapped) if kind == "byte level" else decoder.tokenizer.get_vocab_size()
    # Broken characters too: a fork or a budget may end a path in the middle of one.
    tokens = st.lists(st.integers(0, size - 1), min_size=1, max_size=12)
    first = data.draw(tokens)
    cuts = data.draw(st.lists(st.integers(0, 12), max_size=8))
    branches = [branch(first, cuts=cuts)]
    for start in data.draw(st.lists(st.integers(0, len(first) - 1), max_size=3, unique=True)):
        branches.append(branch(data.draw(tokens), cuts=cuts, parent=branches[0], start=start))
    before = decoder.decoded
    found = rows(branches, decoder)
    if kind != "llama":
        assert decoder.decoded == before
    assert found.equals(rows(branches, Plain(decoder)))


def test_a_tokenizer_of_another_kind_has_no_table_and_is_decoded():
    spiece = Spiece("llama")
    spiece.tokenizer.decoder = decoders.WordPiece()
    decoder = Tabled(spiece)
    assert decoder.table is None
    path = [spiece.ids[piece] for piece in ("▁so", "we", "▁add")]
    assert "".join(rows([branch(path, cuts=[2])], decoder)["text"]) == decoder.decode(path)


def test_a_table_that_is_not_the_tokenizer_s_is_not_used():
    spiece = Spiece("metaspace")
    wrapped = PreTrainedTokenizerFast(tokenizer_object=spiece.tokenizer, eos_token="</s>")
    assert table_of(wrapped, spiece.decode) is not None
    assert table_of(wrapped, lambda ids: spiece.decode(ids).upper()) is None
