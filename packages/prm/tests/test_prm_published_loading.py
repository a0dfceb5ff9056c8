"""Published PRMs from disk: which form a checkpoint has, and that nothing but its own complete weights is taken.

Guards against what makes a PRM score at random without a word: a head that the checkpoint lacks, one of another form,
a format chosen by a folder's name.
"""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from eduprm.prm import load_step_scorer
from eduprm.prm.published import StepMarks, choose_format
from eduprm.prm.published.convert import main as convert
from eduprm.prm.published.testing import tiny_published
from eduprm.prm.testing import tiny_prm

SCORED = ("What is 2 * 3 * 4?", ["First, 2 * 3 = 6.", "Then 6 * 4 = 24."])
MARKS = StepMarks(tag="<step>", good="<yes>", bad="<no>")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """`made(name)`: a checkpoint of that form, written once, not to be changed."""
    root, folders = tmp_path_factory.mktemp("made"), {}

    def get(name):
        if name not in folders:
            folders[name] = tiny_published(root / name, name)
        return folders[name]

    return get


@pytest.fixture
def change(made, tmp_path):
    """`change(name, function)`: a copy of a checkpoint whose weights went through `function`."""

    def get(name, function):
        folder = shutil.copytree(made(name), tmp_path / "copy")
        weights = function(load_file(folder / "model.safetensors"))
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return folder

    return get


@pytest.mark.parametrize("name", ["qwen2.5-math-prm", "skywork-o1-open-prm", "trl"])
def test_the_config_tells_the_form_and_the_folders_name_does_not(name, made, tmp_path):
    folder = shutil.copytree(made(name), tmp_path / "math-shepherd-mistral-7b-prm")
    assert load_step_scorer(folder).score(*SCORED) == load_step_scorer(folder, format=name).score(*SCORED)


def test_a_prm_of_ours_is_loaded_as_before(tmp_path):
    from eduprm.prm import ProcessRewardModel

    folder = tiny_prm(tmp_path / "m")
    assert load_step_scorer(folder).score(*SCORED) == ProcessRewardModel.from_pretrained(folder).score(
        *SCORED
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"architectures": ["MistralForCausalLM"]},
            r"x is a causal language model \(MistralForCausalLM\).*: label-tokens, math-shepherd, rlhflow$",
        ),
        (
            {"architectures": ["Qwen2ForRewardModel"]},
            r"x says Qwen2ForRewardModel.*no known PRM.*qwen2.5-math",
        ),
        ({}, "x says no architecture"),
    ],
)
def test_a_form_that_cannot_be_told_is_asked_for_in_one_line(config, message):
    with pytest.raises(ValueError, match=message) as caught:
        choose_format(config, path="x")
    assert "\n" not in str(caught.value)


def test_unknown_names_and_unused_marks_are_refused(made):
    with pytest.raises(
        ValueError, match=r"a format of eduprm, label-tokens,.*qwen2\.5-math-prm,.* got 'shepherd'"
    ):
        load_step_scorer(made("math-shepherd"), format="shepherd")
    with pytest.raises(ValueError, match=r"rlhflow fixes its marks.*got tag, good, bad; .*label-tokens"):
        load_step_scorer(made("rlhflow"), format="rlhflow", marks=MARKS)
    with pytest.raises(ValueError, match="needs a tag"):
        load_step_scorer(made("label-tokens"), format="label-tokens")
    with pytest.raises(ValueError, match=r"one token as good, got 'yes', which .* reads as \d"):
        load_step_scorer(
            made("label-tokens"), format="label-tokens", marks=MARKS.model_copy(update={"good": "yes"})
        )
    with pytest.raises(ValueError, match=r"nowhere': no such folder; give a folder, a hub name"):
        load_step_scorer(made("trl").parent / "nowhere")


def test_the_loader_of_our_own_prms_names_the_one_for_others(made):
    """Qwen's head is elsewhere; TRL's loads, but is read in another form: its scores are not the same."""
    from eduprm.prm import ProcessRewardModel

    named = r"a PRM that others published is loaded by eduprm\.prm\.load_step_scorer"
    with pytest.raises(ValueError, match=rf"a model without \['score\.bias', 'score\.weight'\]; {named}"):
        ProcessRewardModel.from_pretrained(made("qwen2.5-math-prm"))
    with pytest.warns(UserWarning, match=f"pass input_format if that is wrong; {named}"):
        ProcessRewardModel.from_pretrained(made("trl"))


def test_a_head_of_other_outputs_points_to_a_format_of_ones_own(made, tmp_path):
    own = r"package\.module:Format \(docs/extend\.md\)$"
    folder = shutil.copytree(made("trl"), tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    names = {"0": "bad", "1": "neutral", "2": "good"}
    (folder / "config.json").write_text(json.dumps({**config, "id2label": names}))
    with pytest.raises(ValueError, match=rf"a head with two labels in .*, got 3: .*{own}"):
        load_step_scorer(folder)
    with pytest.raises(ValueError, match=rf"mark of no known PRM; name the format: .*{own}"):
        choose_format({"architectures": ["LlamaForSequenceClassification"]}, path="x")


HEADS = {
    "qwen2.5-math-prm": ["score.0.weight", "score.0.bias", "score.2.weight", "score.2.bias"],
    "skywork-o1-open-prm": ["v_head.summary.weight", "v_head.summary.bias"],
    "math-shepherd": ["lm_head.weight"],
}


@pytest.mark.parametrize(("name", "key"), [(name, key) for name, keys in HEADS.items() for key in keys])
def test_a_missing_head_is_never_made_up(name, key, change):
    folder = change(name, lambda weights: {k: v for k, v in weights.items() if k != key})
    with pytest.raises(ValueError, match=rf"missing weights \['{key}'\]"):
        load_step_scorer(folder, format=name)


def test_other_incomplete_or_foreign_weights_are_refused(made, change, tmp_path):
    layer = "model.layers.1.mlp.up_proj.weight"
    folder = change("rlhflow", lambda weights: {k: v for k, v in weights.items() if k != layer})
    with pytest.raises(ValueError, match=f"missing weights .*{layer}"):
        load_step_scorer(folder, format="rlhflow")
    with pytest.raises(ValueError, match=r"unknown weights \['score.0.bias'"):
        load_step_scorer(made("qwen2.5-math-prm"), format="label-tokens", marks=StepMarks(tag="<extra_0>"))
    with pytest.raises(ValueError, match=r"expected a qwen2 backbone in .*, got llama"):
        load_step_scorer(made("trl"), format="skywork-o1-open-prm")
    with pytest.raises(ValueError, match=r"got a model without \['score\.bias', 'score\.weight'\]"):
        load_step_scorer(made("qwen2.5-math-prm"), format="trl")


def test_weights_of_another_shape_are_refused(change):
    key = "score.2.weight"
    folder = change("qwen2.5-math-prm", lambda weights: {**weights, key: torch.zeros(3, 32)})
    with pytest.raises(ValueError, match="other shapes than its config says"):
        load_step_scorer(folder)


def test_files_of_2023_with_rotary_buffers_load(change, made):
    buffer = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(4)}
    folder = change("math-shepherd", lambda weights: {**weights, **buffer})
    original = load_step_scorer(made("math-shepherd"), format="math-shepherd")
    assert load_step_scorer(folder, format="math-shepherd").score(*SCORED) == original.score(*SCORED)


def test_a_tied_head_without_weights_of_its_own_is_the_embedding(change):
    """Skywork's 1.5B and small language models tie: no lm_head in the file, and none missed."""

    def tie(weights):
        return {key: value for key, value in weights.items() if key != "lm_head.weight"}

    folder = change("label-tokens", tie)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    prm = load_step_scorer(folder, format="label-tokens", marks=MARKS)
    embeddings = load_file(folder / "model.safetensors")["model.embed_tokens.weight"]
    rows = [prm.builder.bad_id, prm.builder.good_id]
    assert torch.equal(prm.model.get_output_embeddings().weight, embeddings[rows])
    assert torch.equal(prm.model.get_input_embeddings().weight, embeddings)


def test_the_head_gives_two_logits_not_a_vocabulary(made):
    prm = load_step_scorer(made("rlhflow"), format="rlhflow")
    assert prm.model(torch.tensor([[1, 2, 3]])).logits.shape == (1, 3, 2)


@pytest.mark.parametrize("name", ["skywork-o1-open-prm", "math-shepherd", "trl"])
def test_pickled_weights_are_refused_with_the_way_out(name, made, tmp_path):
    folder = shutil.copytree(made(name), tmp_path / "copy")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(
        ValueError, match=r"pickled weights \(pytorch_model.bin\).*published.convert"
    ) as caught:
        load_step_scorer(folder, format=name)
    assert "\n" not in str(caught.value)
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(ValueError, match=r"expected weights \(\*\.safetensors\)"):
        load_step_scorer(folder, format=name)


def test_converted_weights_score_as_before(made, tmp_path):
    """Sharded and tied as on the hub; the copy brings config and tokenizer along, and no code."""
    source = shutil.copytree(made("skywork-o1-open-prm"), tmp_path / "source")
    weights = load_file(source / "model.safetensors")
    (source / "model.safetensors").unlink()
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"]  # one storage under two names
    names = sorted(weights)
    for number, keys in enumerate((names[::2], names[1::2]), start=1):
        shard = f"pytorch_model-0000{number}-of-00002.bin"
        torch.save({key: weights[key] for key in keys}, source / shard)
    (source / "modeling_qwen2_rm.py").write_text("raise SystemExit('remote code ran')")
    target = tmp_path / "target"
    assert convert([str(source), str(target)]) == 0
    assert not [file for file in target.iterdir() if file.suffix in (".py", ".bin")]
    before = load_step_scorer(made("skywork-o1-open-prm")).score(*SCORED)
    # Where weights lie in memory may change the last digit.
    assert load_step_scorer(target).score(*SCORED) == pytest.approx(before, rel=1e-5)


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_a_pickle_that_would_run_code_is_not_converted(made, tmp_path, capsys):
    source = shutil.copytree(made("trl"), tmp_path / "source")
    (source / "model.safetensors").unlink()
    torch.save({"w": Touch(str(tmp_path / "ran"))}, source / "pytorch_model.bin")
    assert convert([str(source), str(tmp_path / "target")]) == 2
    assert "pytorch_model.bin holds more than weights" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize(("arguments", "message"), [([], "FOLDER NEW_FOLDER"), (["a", "b"], "no *.bin in a")])
def test_convert_says_what_it_needs(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert convert(arguments) == 2
    assert message in capsys.readouterr().err


def test_bfloat16_stays_near_float32(made):
    exact = load_step_scorer(made("skywork-o1-open-prm")).score(*SCORED)
    half = load_step_scorer(made("skywork-o1-open-prm"), dtype="bfloat16")
    assert next(half.model.parameters()).dtype == torch.bfloat16
    assert half.score(*SCORED) == pytest.approx(exact, abs=0.05)
