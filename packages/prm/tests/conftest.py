"""Tiny backbones and made-up trees; nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import torch

from eduprm.forest import LABELLED_SCHEMA, PROBLEM_SCHEMA
from eduprm.prm.config import InputFormat
from eduprm.prm.inputs import InputBuilder
from eduprm.prm.loading import load_classifier
from eduprm.prm.testing import byte_tokenizer, ragged_tree, tiny_backbone

PLAIN = InputFormat(kind="plain", template="{problem}=")


@pytest.fixture(autouse=True)
def _one_thread():
    """Tensors here are tiny; on a busy machine a second thread only makes the first one wait at barriers."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def backbone(tmp_path_factory) -> Path:
    return tiny_backbone(tmp_path_factory.mktemp("llama"), architecture="llama")


@pytest.fixture(scope="session", params=["llama", "qwen2"])
def classifier(request, tmp_path_factory):
    """A float32 classifier with a random head, in eval mode."""
    folder = tiny_backbone(tmp_path_factory.mktemp(request.param), architecture=request.param)
    model = load_classifier(folder)
    with torch.no_grad():
        model.score.weight.normal_(std=0.5, generator=torch.Generator().manual_seed(3))
    return model.eval()


@pytest.fixture
def builder() -> InputBuilder:
    return InputBuilder(byte_tokenizer(), PLAIN)


@pytest.fixture
def make_tree():
    """Random ragged trees: `make_tree(seed, num_nodes=..., chain=...)`, weighed by their leaves."""
    return ragged_tree


@pytest.fixture
def make_forest():
    """A labelled forest and its problems from [(problem_id, tree, [(parent, text, finish, label, weight)])]."""

    def make(trees: list[tuple[str, str, list[tuple]]]) -> tuple[pl.DataFrame, pl.DataFrame]:
        tokenizer = byte_tokenizer()
        rows = []
        for problem, tree, nodes in trees:
            for node_id, (parent, text, finish, label, weight) in enumerate(nodes):
                ids = tokenizer.encode(text)
                zeros = [0.0] * len(ids)
                labels = (1, float(label > 0.5), label, label, weight)
                rows.append((problem, tree, node_id, parent, ids, zeros, zeros, text, finish, *labels))
        names = sorted({problem for problem, _, _ in trees})
        problems = [(name, f"{name}?", "1", None, "made_up", "train", None) for name in names]
        return (
            pl.DataFrame(rows, schema=LABELLED_SCHEMA, orient="row"),
            pl.DataFrame(problems, schema=PROBLEM_SCHEMA, orient="row"),
        )

    return make
