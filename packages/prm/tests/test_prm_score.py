"""Scores: one per step, the same however solutions are batched, packed, padded or split."""

from __future__ import annotations

import json
import shutil

import polars as pl
import pytest
import torch

from eduprm.prm import ProcessRewardModel, token_values
from eduprm.prm.config import InputFormat
from eduprm.prm.testing import tiny_backbone, tiny_prm

PLAIN = InputFormat(kind="plain", template="{problem}=")
NODES = [
    (None, "2*3", None, 0.5, 3.0),
    (0, "=6", None, 0.5, 2.0),
    (1, "\n#### 6<eos>", "stop", 1.0, 1.0),
    (1, "<eos>", "stop", 0.0, 1.0),
    (0, "=7 because", "length", 0.0, 1.0),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_prm(tmp_path_factory.mktemp("prm") / "m", input_format=PLAIN)


@pytest.fixture
def prm(folder):
    return ProcessRewardModel.from_pretrained(folder)


def plain_scores(prm, prompt, steps):
    """The ten-line reference: one unpadded causal pass."""
    ids, ends = list(prompt), []
    for step in steps:
        ids += step
        ends.append(len(ids) - 1)
    with torch.no_grad():
        return prm.model(input_ids=torch.tensor([ids])).logits[0].softmax(-1)[ends, 1].tolist()


def test_one_number_per_step_at_its_last_token(prm):
    steps = ["2*3=6", "\n", "6*4=24\n", "#### 24"]
    builder = prm.builder
    expected = plain_scores(prm, builder.prompt_ids("2*3*4"), builder.solution_ids(steps))
    scores = prm.score("2*3*4", steps)
    assert scores == pytest.approx(expected, abs=1e-5)
    assert len(set(scores)) == len(steps)


def test_complete_decides_only_the_last_score(prm):
    whole, part = prm.score("p", ["a", "b"]), prm.score("p", ["a", "b"], complete=False)
    assert whole[0] == pytest.approx(part[0], abs=1e-6)
    assert abs(whole[1] - part[1]) > 1e-4


SOLUTIONS = [
    ("p", ["a", "bb", "c" * 30]),
    ("p", ["a", "bb", "d"]),
    ("q" * 20, ["a"]),
    ("p", ["a", "bb"]),
    ("p", ["a", "bb", "d"]),
    ("p", ["ab", "b"]),
]


@pytest.mark.parametrize("batch_tokens", [1, 40, 100, 4096])
def test_batching_and_sharing_do_not_change_scores(prm, batch_tokens):
    alone = [prm.score(problem, steps) for problem, steps in SOLUTIONS]
    prm.batch_tokens = batch_tokens
    together = prm.score_many(SOLUTIONS)
    assert [len(scores) for scores in together] == [len(steps) for _, steps in SOLUTIONS]
    for ours, reference in zip(together, alone, strict=True):
        assert ours == pytest.approx(reference, abs=1e-5)
    assert prm.score_many(SOLUTIONS[::-1])[::-1] == [pytest.approx(scores, abs=1e-6) for scores in together]


@pytest.fixture
def seen(monkeypatch):
    """Tokens of each tree that goes through the model, in order."""
    counts: list[int] = []
    forward = token_values._forward

    def counted(model, scorer, trees, pad_id):
        counts.extend(tree.num_tokens for tree in trees)
        return forward(model, scorer, trees, pad_id)

    monkeypatch.setattr(token_values, "_forward", counted)
    return counts


def test_equal_beginnings_are_computed_once(prm, seen):
    prompt, first, ends = [1] * 50, [2] * 10, [[3], [4], [5]]
    prm.score_ids([(prompt, [first, end]) for end in ends])
    assert sum(seen) == 50 + 10 + 3


def test_steps_cut_elsewhere_share_their_beginning(prm, seen):
    """Solutions that begin alike token by token, whatever their steps, and equal ones have equal scores."""
    solutions = [([1] * 9, [[2, 3], [4, 5]]), ([1] * 9, [[2], [3, 4, 6]]), ([1] * 9, [[2, 3], [4, 5]])]
    first, other, again = prm.score_ids(solutions)
    assert seen == [9 + 5]
    assert first == again
    for solution, scores in zip(solutions[:2], (first, other), strict=True):
        assert prm.score_ids([solution])[0] == pytest.approx(scores, abs=1e-6)


def test_trees_of_one_problem_are_computed_together(prm, make_forest, seen):
    forest, problems = make_forest([("a", "edu", NODES), ("a", "ht", NODES)])
    scored = prm.score_forest(forest, problems)["score"].to_list()
    both, seen[:] = sum(seen), []
    prm.score_forest(forest.filter(tree="edu"), problems)
    assert both == sum(seen)
    assert scored[: len(NODES)] == scored[len(NODES) :]


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (["a", ""], "empty step 1 of 2"),
        ([], "non-empty list of steps"),
        ("abc", "non-empty list of steps"),
        (["a", None], "step 1 to be a string, got NoneType"),
        (["a" * 300], "at most 256 tokens, got 303"),
    ],
)
def test_clear_errors(prm, steps, message):
    with pytest.raises(ValueError, match=message):
        prm.score("p", steps)
    with pytest.raises(ValueError, match=f"solution 1: .*{message}"):
        prm.score_many([("p", ["fine"]), ("p", steps)])


def test_num_tokens_is_what_score_reads(prm):
    assert prm.num_tokens("p", ["ab", "c"]) == len("p=ab\nc") + 1
    assert prm.num_tokens("p", ["ab", "c"], as_cut=True) == len("p=abc") + 1
    assert prm.max_tokens == 256


@pytest.mark.parametrize("batch_tokens", [1, 20, 4096])
def test_forest_scores_equal_each_leaf_alone(prm, make_forest, batch_tokens):
    forest, problems = make_forest(
        [("a", "edu", NODES), ("b", "edu", [*NODES[:2], (1, "x", "length", 0, 1)])]
    )
    prm.batch_tokens = batch_tokens
    scored = prm.score_forest(forest, problems)
    assert scored.columns == [*forest.columns, "score"]
    scores = scored["score"].to_list()
    a_leaf = prm.score("a?", ["2*3", "=6", "\n#### 6"], as_cut=True)
    assert scores[:3] == pytest.approx(a_leaf, abs=1e-5)
    ids = [prm.builder.text_ids("2*3"), prm.builder.text_ids("=6"), [prm.builder.eos_id]]
    eos_only = prm.score_ids([(prm.builder.prompt_ids("a?"), ids)])
    assert scores[3] == pytest.approx(eos_only[0][2], abs=1e-5)
    assert scores[4] == pytest.approx(
        prm.score("a?", ["2*3", "=7 because"], complete=False, as_cut=True)[1], abs=1e-5
    )
    assert scores[5] == pytest.approx(prm.score("b?", ["2*3"], complete=False, as_cut=True)[0], abs=1e-5)


def test_forest_scored_from_text_equals_ids_of_the_same_tokenizer(prm, make_forest):
    forest, problems = make_forest([("a", "edu", NODES)])
    by_ids, by_text = prm.score_forest(forest, problems), prm.score_forest(forest, problems, tokens="text")
    assert by_text["score"].to_list() == pytest.approx(by_ids["score"].to_list(), abs=1e-6)


def test_empty_root_has_no_score_and_a_bare_end_has_its_parents(folder, make_forest):
    no_end = PLAIN.model_copy(update={"append_eos": False})
    prm = ProcessRewardModel.from_pretrained(folder, input_format=no_end)
    nodes = [
        (None, "", None, 0.5, 2),
        (0, "ab", None, 1, 1),
        (1, "<eos>", "stop", 1, 1),
        (0, "c", "length", 0, 1),
    ]
    scores = prm.score_forest(*make_forest([("a", "ht", nodes)]))["score"].to_list()
    assert scores[0] is None
    assert scores[2] == scores[1] == pytest.approx(prm.score("a?", ["ab"])[0], abs=1e-6)
    assert scores[3] == pytest.approx(prm.score("a?", ["c"])[0], abs=1e-6)


def test_steps_of_several_nodes_have_a_score_of_their_own(prm, make_forest):
    """The head reads a step at its last token; a likelihood folds all of its nodes (test_prm_step_folds)."""
    nodes = [(None, "2*", None, 1.0, 1.0), (0, "3", "stop", 1.0, 1.0), (0, "4\n", None, 1.0, 1.0)]
    forest, problems = make_forest([("a", "edu", [*nodes, (2, "5", "stop", 1.0, 1.0)])])
    marked = forest.with_columns(starts_line=pl.Series([True, False, False, True]))
    scored = prm.score_forest(marked, problems, rules=["line"])
    assert scored["score_line"].to_list() == pytest.approx(scored["score"].to_list())
    with pytest.raises(ValueError, match="expected a column starts_anchor in the forest"):
        prm.score_forest(marked, problems, rules=["anchor"])


def test_forest_errors(prm, make_forest):
    forest, problems = make_forest([("a", "edu", NODES)])
    with pytest.raises(ValueError, match=r"problem_id.*in problems.*\['a'\]"):
        prm.score_forest(forest, problems.clear())
    shifted = forest.with_columns(token_ids=forest["token_ids"].list.eval(pl.element() + 7))
    with pytest.raises(ValueError, match="another model's ids"):
        prm.score_forest(shifted, problems)
    long = [(None, "x" * 300, "length", 0.0, 1.0)]
    with pytest.raises(ValueError, match=r"tree a/edu, node 0: expected at most 256 tokens.*got 303"):
        prm.score_forest(*make_forest([("a", "edu", long)]))


def test_separator_ids_close_every_step_and_carry_the_score(folder):
    format_ = InputFormat(kind="plain", separator="<|user|>", append_eos=True)
    prm = ProcessRewardModel.from_pretrained(folder, input_format=format_)
    separator = prm.builder.tokenizer.convert_tokens_to_ids("<|user|>")
    steps = prm.builder.solution_ids(["a<|user|>", "b"])
    assert [step[-1] for step in steps] == [separator] * 2
    assert steps[0].count(separator) == 1  # a separator written in the text is text
    assert steps[1][-2] == prm.builder.eos_id
    assert prm.score("p", ["a", "b"]) == pytest.approx(
        plain_scores(prm, prm.builder.prompt_ids("p"), prm.builder.solution_ids(["a", "b"])), abs=1e-5
    )


def test_chat_prompt_and_default_for_a_plain_checkpoint(tmp_path):
    folder = tiny_prm(tmp_path / "m")
    prm = ProcessRewardModel.from_pretrained(folder)
    assert (
        prm.builder.tokenizer.decode(prm.builder.prompt_ids("1+1 {x}?"))
        == "<|user|>1+1 {x}?<eos><|assistant|>"
    )
    with_system = InputFormat(system="S", template="Q {problem}")
    prm = ProcessRewardModel.from_pretrained(folder, input_format=with_system)
    assert prm.builder.tokenizer.decode(prm.builder.prompt_ids("p")) == (
        "<|system|>S<eos><|user|>Q p<eos><|assistant|>"
    )


def test_a_checkpoint_without_format_gets_the_documented_default(tmp_path):
    from transformers import AutoModelForTokenClassification

    folder = tiny_prm(tmp_path / "m", input_format=PLAIN)
    model = AutoModelForTokenClassification.from_pretrained(folder)
    del model.config.eduprm
    model.save_pretrained(folder)
    with pytest.warns(UserWarning, match="does not say in which format"):
        assert ProcessRewardModel.from_pretrained(folder).builder.format == InputFormat()
    (folder / "chat_template.jinja").unlink()
    with pytest.warns(UserWarning, match="taking 'plain'"):
        assert ProcessRewardModel.from_pretrained(folder).builder.format == InputFormat.stepwise()


def test_a_backbone_without_head_is_not_a_prm(tmp_path):
    with pytest.raises(ValueError, match="expected a trained process reward model"):
        ProcessRewardModel.from_pretrained(tiny_backbone(tmp_path / "b"))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({0: "right", 1: "wrong"}, "label 0 to mean wrong"),
        ({0: "a", 1: "b", 2: "c"}, "two labels.*got 3"),
        ({0: "LABEL_0"}, "two labels.*got 1"),
    ],
)
def test_a_head_of_other_labels_is_refused(folder, tmp_path, labels, message):
    shutil.copytree(folder, tmp_path / "m")
    config = json.loads((tmp_path / "m/config.json").read_text())
    config |= {"id2label": labels, "label2id": {name: index for index, name in labels.items()}}
    (tmp_path / "m/config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message):
        ProcessRewardModel.from_pretrained(tmp_path / "m")


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere': no such folder; give a folder, a hub name"):
        ProcessRewardModel.from_pretrained(tmp_path / "nowhere")


def test_half_a_surrogate_pair_is_no_text(prm):
    with pytest.raises(ValueError, match="step 1, got half a surrogate pair at character 2"):
        prm.score("p", ["fine", "6 \ud83d"])


def test_pickled_weights_are_refused(tmp_path):
    folder = tiny_prm(tmp_path / "m")
    from safetensors.torch import load_file

    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(OSError, match="safetensors"):
        ProcessRewardModel.from_pretrained(folder)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="FlexAttention on the CPU compiles with g++")
def test_flex_attention_scores_like_sdpa(folder, prm):
    """Forward only: FlexAttention has no backward on the CPU."""
    flex = ProcessRewardModel.from_pretrained(folder, attn_implementation="flex_attention")
    for ours, reference in zip(flex.score_many(SOLUTIONS[:3]), prm.score_many(SOLUTIONS[:3]), strict=True):
        assert ours == pytest.approx(reference, abs=1e-5)
