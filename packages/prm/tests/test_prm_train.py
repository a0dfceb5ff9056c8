"""Training through transformers' Trainer: accumulation, determinism, resuming, what lands on disk."""

from __future__ import annotations

import hashlib
import json
import warnings

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForTokenClassification, AutoTokenizer

from eduprm.prm import ProcessRewardModel, train_prm
from eduprm.prm.config import LoraSettings, Scoring, TrainConfig
from eduprm.prm.data import TrainingData
from eduprm.prm.train import last_complete_checkpoint
from eduprm.prm.trainer import PrmTrainer
from eduprm.prm.tree import build_tree

FAST = {"learning_rate": 1e-2, "warmup": 0.0, "batch_tokens": 64}
SGD = {"lora": None, "max_grad_norm": 0.0, "scheduler": "constant", "trainer_arguments": {"optim": "sgd"}}


@pytest.fixture
def data(make_tree):
    return TrainingData([make_tree(seed, num_nodes=3 + seed) for seed in range(4)])


def run(backbone, data, builder, folder, **settings):
    return train_prm(
        backbone, data, builder, folder, config=TrainConfig(**{**FAST, **settings}), progress=False
    )


def weights(folder):
    return load_file(folder / "model.safetensors")


def digest(folder):
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_accumulation_of_four_is_a_batch_of_four(backbone, data, builder, tmp_path):
    """Micro-batches hold different weights; a mean of their means would give another step."""
    together = run(backbone, data, builder, tmp_path / "a", batch_tokens=4096, **SGD)
    apart = run(backbone, data, builder, tmp_path / "b", batch_trees=1, accumulation=4, **SGD)
    assert [step for step, _ in together.losses] == [step for step, _ in apart.losses] == [1]
    assert together.losses[0][1] == pytest.approx(apart.losses[0][1], abs=1e-5)
    start = AutoModelForTokenClassification.from_pretrained(together.folder).state_dict()
    first, second = weights(together.folder), weights(apart.folder)
    for name in start:
        assert (first[name] - second[name]).abs().max() < 1e-6, name
    assert first["score.weight"].abs().max() > 1e-4  # a step was taken (the head starts at zero)


def test_a_micro_batch_of_wrong_solutions_trains_beside_others(backbone, builder, tmp_path):
    wrong = build_tree([9, 8], [[1, 2], [3]], [-1, 0], targets=[0.0, 0.0], name="wrong")
    right = build_tree([9, 8], [[1, 2], [4]], [-1, 0], targets=[1.0, 1.0], name="right")
    only = {
        "losses": {"language_model": 1.0},
        "scoring": Scoring(kind="likelihood"),
        "batch_trees": 1,
        "epochs": 1,
    }
    both = run(backbone, TrainingData([wrong, right]), builder, tmp_path / "a", accumulation=2, **only, **SGD)
    one = run(backbone, TrainingData([right]), builder, tmp_path / "b", **only, **SGD)
    assert both.losses[0][1] == pytest.approx(one.losses[0][1], abs=1e-6)
    first, second = weights(both.folder), weights(one.folder)
    assert all((first[name] - second[name]).abs().max() < 1e-6 for name in first)


def test_siblings_parted_by_a_cut_are_said(backbone, data, builder, tmp_path):
    longest = max(tree.num_tokens for tree in data.trees)
    parted = sum(tree.num_tokens > longest - 1 for tree in data.trees)
    ranked = {"losses": {"cross_entropy": 1.0, "ranking": 1.0}, "epochs": 1}
    with pytest.warns(
        UserWarning, match=rf"^{parted} of 4 trees have more than batch_tokens={longest - 1} .*ranking"
    ):
        run(backbone, data, builder, tmp_path / "a", **{**ranked, "batch_tokens": longest - 1})
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        run(backbone, data, builder, tmp_path / "b", **{**ranked, "batch_tokens": longest})


def test_accumulation_by_plain_means_would_differ(backbone, data, builder, tmp_path, monkeypatch):
    together = run(backbone, data, builder, tmp_path / "a", batch_tokens=4096, **SGD)

    def forget_total(self, iterator, count, device):
        return [batch for _, batch in zip(range(count), iterator, strict=False)], None

    monkeypatch.setattr(PrmTrainer, "get_batch_samples", forget_total)
    monkeypatch.setattr(PrmTrainer, "loss_is_scaled_for_ga", False)
    apart = run(backbone, data, builder, tmp_path / "b", batch_trees=1, accumulation=4, **SGD)
    head = "score.weight"
    assert (weights(together.folder)[head] - weights(apart.folder)[head]).abs().max() > 1e-5


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=4)], ids=["full", "lora"])
def test_training_learns_and_repeats_exactly(backbone, data, builder, tmp_path, lora):
    first = run(backbone, data, builder, tmp_path / "a", epochs=8, lora=lora)
    second = run(backbone, data, builder, tmp_path / "b", epochs=8, lora=lora)
    assert first.losses[-1][1] < 0.9 * first.losses[0][1]
    assert digest(first.folder) == digest(second.folder)
    other = run(backbone, data, builder, tmp_path / "c", epochs=8, lora=lora, seed=1)
    assert digest(other.folder) != digest(first.folder)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=4)], ids=["full", "lora"])
def test_killed_training_resumes_to_the_same_bytes(backbone, data, builder, tmp_path, monkeypatch, lora):
    settings = {"epochs": 6, "batch_trees": 1, "save_steps": 4, "lora": lora}
    whole = run(backbone, data, builder, tmp_path / "whole", **settings)
    step = PrmTrainer.training_step
    calls = []

    def dies(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 15:
            raise Killed
        return step(self, *args, **kwargs)

    monkeypatch.setattr(PrmTrainer, "training_step", dies)
    with pytest.raises(Killed):
        run(backbone, data, builder, tmp_path / "killed", **settings)
    assert not (tmp_path / "killed").exists()
    [work] = tmp_path.glob(".killed.train-*")
    (work / "checkpoint-16").mkdir()  # as if the kill had hit the writing of the next checkpoint
    calls.clear()
    resumed = run(backbone, data, builder, tmp_path / "killed", **settings)
    assert resumed.resumed_from_step == 12
    assert len(calls) == 24 - 12
    assert digest(resumed.folder) == digest(whole.folder)
    assert resumed.losses == whole.losses
    assert not work.exists()


def test_another_setting_never_resumes_from_this_one(backbone, data, builder, tmp_path, monkeypatch):
    settings = {"batch_trees": 1, "save_steps": 1}
    monkeypatch.setattr(
        "eduprm.prm.train.shutil.rmtree", lambda *args, **kwargs: None
    )  # keep the checkpoints
    run(backbone, data, builder, tmp_path / "out", **settings)
    [work] = tmp_path.glob(".out.train-*")
    assert last_complete_checkpoint(work) is not None
    changed = TrainConfig(**{**FAST, **settings, "learning_rate": 2e-2})
    result = train_prm(backbone, data, builder, tmp_path / "out2", config=changed, progress=False)
    assert result.resumed_from_step == 0
    assert len(list(tmp_path.glob(".out*.train-*"))) == 2


def test_folder_stands_alone_and_loads_in_plain_transformers(backbone, data, builder, tmp_path):
    folder = run(backbone, data, builder, tmp_path / "prm", epochs=2).folder
    assert {path.suffix for path in folder.iterdir()} <= {".json", ".safetensors", ".jinja"}
    assert not any("lora" in name or "base_model" in name for name in weights(folder))
    model, info = AutoModelForTokenClassification.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert model.config.id2label == {0: "wrong", 1: "right"}
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = builder.solution_tree("2*3", ["a\n", "bc"]).token_ids
    logits = model.eval()(input_ids=torch.tensor(ids[None].astype("int64"))).logits[0].softmax(-1)[:, 1]
    prompt = len(builder.prompt_ids("2*3"))
    prm = ProcessRewardModel.from_pretrained(folder)
    assert prm.builder.format == builder.format
    assert tokenizer.decode(ids.tolist()) == "2*3=a\nbc<eos>"
    # After "a\n"; after "bc" and the end id.
    expected = [logits[prompt + 1].item(), logits[prompt + 4].item()]
    assert prm.score("2*3", ["a\n", "bc"]) == pytest.approx(expected, abs=1e-5)
    notes = json.loads((folder / "config.json").read_text())["eduprm"]
    assert notes["training"]["data"]["trees"] == 4


def test_merged_adapters_score_like_adapters(backbone, data, builder, tmp_path, monkeypatch):
    kept = {}
    original = PrmTrainer.train

    def train(self, *args, **kwargs):
        result = original(self, *args, **kwargs)
        ids = torch.arange(20)[None]
        with torch.no_grad():
            kept["adapters"] = self.model.eval()(input_ids=ids).logits
        return result

    monkeypatch.setattr(PrmTrainer, "train", train)
    folder = run(backbone, data, builder, tmp_path / "prm", epochs=4).folder
    merged = AutoModelForTokenClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        assert (merged(input_ids=torch.arange(20)[None]).logits - kept["adapters"]).abs().max() < 1e-4


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=4)], ids=["full", "lora"])
def test_last_layers_leaves_the_lower_ones_alone(backbone, data, builder, tmp_path, lora):
    folder = run(backbone, data, builder, tmp_path / "prm", epochs=2, last_layers=1, lora=lora).folder
    before, after = load_file(backbone / "model.safetensors"), weights(folder)
    changed = {name for name in after if name in before and not torch.equal(before[name], after[name])}
    assert any(".layers.1." in name for name in changed)
    assert not any(".layers.0." in name or "embed" in name for name in changed)


def test_gradient_checkpointing_changes_nothing(backbone, data, builder, tmp_path):
    plain = run(backbone, data, builder, tmp_path / "a", epochs=2, lora=None)
    saving = run(backbone, data, builder, tmp_path / "b", epochs=2, lora=None, gradient_checkpointing=True)
    for name, tensor in weights(plain.folder).items():
        assert (tensor - weights(saving.folder)[name]).abs().max() < 1e-5, name


def test_bfloat16_trains_and_saves_in_bfloat16(backbone, data, builder, tmp_path):
    folder = run(backbone, data, builder, tmp_path / "a", epochs=8, dtype="bfloat16").folder
    assert {tensor.dtype for tensor in weights(folder).values()} == {torch.bfloat16}


def test_output_folder_is_not_overwritten_unasked(backbone, data, builder, tmp_path):
    (tmp_path / "prm").mkdir()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        run(backbone, data, builder, tmp_path / "prm")


def test_refused_and_cut_rows(backbone, data, builder, tmp_path):
    shortest = min(tree.end_positions.max() for tree in data.trees)
    with pytest.raises(ValueError, match=r"t\d.*cut off by max_length=7"):
        run(backbone, data, builder, tmp_path / "a", max_length=7)
    with pytest.warns(UserWarning, match="max_length cut"):
        result = run(
            backbone, data, builder, tmp_path / "b", max_length=int(shortest) - 1, on_rejected="skip"
        )
    assert result.data["truncated_trees"] > 0
    assert result.data["dropped_labels"] > 0
