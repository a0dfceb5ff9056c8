"""The stepwise-supervision format of TRL's removed trainer, and refusals that name their row."""

from __future__ import annotations

import datasets
import numpy as np
import polars as pl
import pytest

from eduprm.prm import InputBuilder, InputFormat, labelled_trees, stepwise_trees, train_prm
from eduprm.prm.config import TrainConfig
from eduprm.prm.data import fit_to_length
from eduprm.prm.testing import byte_tokenizer

ROWS = [
    {
        "prompt": "Which is larger, 9.8 or 9.11?",
        "completions": ["Compare 8 and 1.", "So 9.8."],
        "labels": [True, False],
    },
    {"prompt": "1+1?", "completions": ["=2"], "labels": [True]},
]


@pytest.fixture
def stepwise() -> InputBuilder:
    return InputBuilder(byte_tokenizer(), InputFormat.stepwise())


def test_ids_and_labels_as_trl_laid_them_out(stepwise):
    tokenizer = stepwise.tokenizer
    tree = stepwise_trees(ROWS, stepwise).trees[0]
    text = "Which is larger, 9.8 or 9.11?Compare 8 and 1.\nSo 9.8.\n"
    assert tree.token_ids.tolist() == tokenizer.encode(text)
    ends = [len("Which is larger, 9.8 or 9.11?Compare 8 and 1.\n") - 1, len(text) - 1]
    assert tree.last_tokens.tolist() == ends
    assert tree.targets.tolist() == [1.0, 0.0]


def test_last_step_only(stepwise):
    tree = stepwise_trees(ROWS, stepwise, last_step_only=True).trees[0]
    assert tree.weights.tolist() == [0.0, 1.0]


@pytest.mark.parametrize("labels", [[1, 0], [True, False], [1.0, 0.0], np.array([1, 0])], ids=repr)
def test_label_types(stepwise, labels):
    data = stepwise_trees([{**ROWS[0], "labels": labels}], stepwise)
    assert data.trees[0].targets.tolist() == [1.0, 0.0]


def test_soft_and_masked_labels(stepwise):
    row = {"prompt": "p", "completions": ["a", "b", "c"], "labels": [0.25, None, -100]}
    tree = stepwise_trees([row], stepwise).trees[0]
    assert tree.weights.tolist() == [1.0, 0.0, 0.0]
    assert tree.targets[0] == 0.25


@pytest.mark.parametrize("kind", ["datasets", "polars"])
def test_frames_give_the_same_trees(stepwise, kind):
    frame = datasets.Dataset.from_list(ROWS) if kind == "datasets" else pl.DataFrame(ROWS)
    ours, reference = stepwise_trees(frame, stepwise), stepwise_trees(ROWS, stepwise)
    for tree, expected in zip(ours.trees, reference.trees, strict=True):
        assert tree.token_ids.tolist() == expected.token_ids.tolist()
        assert tree.targets.tolist() == expected.targets.tolist()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"labels": [None, -100]}, "all 2 labels are masked"),
        ({"labels": [True]}, "expected as many labels as completions, got 1 and 2"),
        ({"labels": ["+", "-"]}, "expected label 0 to be a bool or a number in"),
        ({"labels": [float("nan"), 1]}, "expected label 0"),
        ({"labels": [0, 2]}, "expected label 1"),
        ({"completions": ["a", ""]}, "empty step 1"),
        ({"completions": "ab"}, "expected column 'completions' to be a list"),
        ({"prompt": None}, "expected column 'prompt' to be text"),
    ],
)
def test_bad_rows_are_refused_by_number_and_id(stepwise, change, reason):
    data = stepwise_trees([ROWS[0], {**ROWS[0], "id": "x7", **change}], stepwise)
    assert len(data.trees) == 1
    [refusal] = data.rejected
    assert (refusal.row, refusal.row_id) == (1, "x7")
    assert reason in refusal.reason


def test_training_names_refused_rows_or_skips_them(stepwise, backbone, tmp_path):
    bad = {**ROWS[0], "id": "x7", "labels": [None, None]}
    data = stepwise_trees([*ROWS, bad], stepwise)
    with pytest.raises(ValueError, match=r"row 2 \(id x7\): all 2 labels are masked"):
        train_prm(backbone, data, stepwise, tmp_path / "a", progress=False)
    with pytest.warns(UserWarning, match="left out 1 rows.*x7"):
        result = train_prm(
            backbone, data, stepwise, tmp_path / "b", config=TrainConfig(on_rejected="skip"), progress=False
        )
    assert result.data["rejected_rows"] == 1


def test_cut_labels_are_counted_and_rows_without_any_refused(stepwise):
    data = fit_to_length(stepwise_trees(ROWS, stepwise), 48)  # the first row's second step ends at 54
    assert (data.num_truncated, data.num_dropped_labels, len(data.trees)) == (1, 1, 2)
    data = fit_to_length(stepwise_trees(ROWS, stepwise), 20)
    assert [refusal.row for refusal in data.rejected] == [0]
    assert "all 2 labels are cut off by max_length=20 (the first ends at token 46)" in data.rejected[0].reason


def test_labelled_forest_becomes_trees(builder, make_forest):
    nodes = [(None, "", None, 0.5, 2.0), (0, "ab<eos>", "stop", 1.0, 1.0), (0, "c", "length", 0.25, 1.0)]
    forest, problems = make_forest([("p", "edu", nodes), ("q", "edu", [(None, "x", "length", 1.0, 0.0)])])
    data = labelled_trees(forest, problems, builder)
    [tree] = data.trees
    assert builder.tokenizer.decode(tree.token_ids.tolist()) == "p?=ab<eos>c"
    assert tree.weights.tolist() == [0.0, 1.0, 1.0]  # the empty root has no token to carry a label
    assert tree.targets[1:].tolist() == [1.0, 0.25]
    assert data.num_unplaced_labels == 1
    assert [str(refusal) for refusal in data.rejected] == [
        "row 3 (id q/edu): no node with tokens has a weight above 0"
    ]
    assert data.summary()["path_tokens"] == len("p?=ab") + 1 + len("p?=c")


def test_a_solution_ends_alike_at_each_end_token_of_its_policy():
    tokenizer = byte_tokenizer()
    builder = InputBuilder(tokenizer, InputFormat(kind="plain", template="{problem}="))
    eos, other = tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|user|>")
    text = builder.solution_ids(["ab"])[0]
    body = builder.text_ids("ab")
    assert builder.node_ids([*body, eos], ends=True) == builder.node_ids([*body, other], ends=True) == text
    # Inside a solution nothing is taken away but an EOS.
    assert builder.node_ids([*body, other], ends=False) == [*body, other]
