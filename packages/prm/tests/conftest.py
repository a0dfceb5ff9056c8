"""Tiny backbones and made-up trees; nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from eduprm.forest import LABELLED_SCHEMA, PROBLEM_SCHEMA
from eduprm.prm.config import InputFormat
from eduprm.prm.inputs import InputBuilder
from eduprm.prm.model import load_classifier
from eduprm.prm.testing import byte_tokenizer, tiny_backbone
from eduprm.prm.tree import build_tree

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

    def make(seed: int, *, num_nodes: int = 9, chain: bool = False, num_prompt: int = 5):
        rng = np.random.default_rng(seed)
        parents, path = [-1], [0]
        for node in range(1, num_nodes):
            depth = len(path) if chain else int(rng.integers(1, len(path) + 1))
            path = path[:depth]
            parents.append(path[-1])
            path.append(node)
        leaves = np.zeros(num_nodes)
        has_child = set(parents)
        for node in range(num_nodes - 1, -1, -1):
            leaves[node] += node not in has_child
            if parents[node] >= 0:
                leaves[parents[node]] += leaves[node]
        nodes = [rng.integers(0, 256, size=rng.integers(1, 6)).tolist() for _ in range(num_nodes)]
        prompt = rng.integers(0, 256, size=num_prompt).tolist()
        targets = np.where(rng.random(num_nodes) < 0.5, rng.integers(0, 2, num_nodes), rng.random(num_nodes))
        return build_tree(prompt, nodes, parents, name=f"t{seed}", targets=targets, weights=leaves)

    return make


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
