"""What is trained of backbones that are built otherwise than Llama: adapters, embeddings, dropout, vocabularies."""

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForTokenClassification

from eduprm.prm.adapters import prepare_model
from eduprm.prm.config import InputFormat, LoraSettings, Scoring, TrainConfig
from eduprm.prm.data import TrainingData
from eduprm.prm.inputs import InputBuilder
from eduprm.prm.loading import load_classifier
from eduprm.prm.losses.fork import Loss as ForkLoss
from eduprm.prm.losses.implicit import BETA
from eduprm.prm.model import language_model_output, packed_hidden, to_tensors
from eduprm.prm.packing import pack_rows
from eduprm.prm.reference import reference_logprobs
from eduprm.prm.score import ProcessRewardModel
from eduprm.prm.step_loss import load_losses, loss_weights, step_loss
from eduprm.prm.testing import byte_tokenizer, ragged_tree, tiny_backbone
from eduprm.prm.train import train_prm
from eduprm.prm.tree import build_tree
from eduprm.prm.vocabulary import VocabularyLogits


@pytest.mark.parametrize("losses", [{"cross_entropy": 1.0}, {"cross_entropy": 1.0, "language_model": 1.0}])
def test_a_head_that_could_not_be_saved_is_refused_before_the_training(tmp_path, losses):
    AutoConfig.for_model("gemma3").save_pretrained(tmp_path)  # of text and pictures
    with pytest.raises(ValueError, match=r"is a model of type gemma3, which can have no head: .* likelihood"):
        prepare_model(tmp_path, TrainConfig(losses=losses), trust_remote_code=False)


@pytest.mark.parametrize("losses", [{"cross_entropy": 1.0}, {"cross_entropy": 1.0, "fork": 1.0}])
@pytest.mark.parametrize("architecture", ["olmo2", "granite", "cohere", "gemma3_text"])
def test_a_head_on_a_family_for_which_transformers_has_no_classifier(tmp_path, architecture, losses):
    """The saved PRM is the trained model: its scores are those of the folder's weights by the family's own class."""
    backbone = tiny_backbone(tmp_path / "backbone", architecture=architecture)
    trees, builder = [ragged_tree(seed) for seed in range(3)], InputBuilder(byte_tokenizer(), InputFormat())
    config = TrainConfig(losses=losses, batch_tokens=64, learning_rate=1e-2, last_layers=1)
    result = train_prm(
        backbone, TrainingData(trees), builder, tmp_path / "prm", config=config, progress=False
    )
    prm = ProcessRewardModel.from_pretrained(result.folder)
    saved = load_classifier(result.folder, need_head=True).eval()
    assert saved.score.weight.norm() > 0
    plain = AutoModelForCausalLM.from_pretrained(backbone).eval()
    lacking = plain.base_model.load_state_dict(saved.base_model.state_dict())
    assert not lacking.missing_keys
    ids = torch.from_numpy(trees[0].token_ids[: trees[0].starts[1]]).long()[None]  # the root's path
    with torch.no_grad():
        wanted = saved.score(plain.base_model(input_ids=ids).last_hidden_state).softmax(-1)[0, -1, 1]
    assert prm.score_trees(trees)[0][0] == pytest.approx(wanted.item(), abs=1e-5)


@pytest.mark.parametrize("kind", ["likelihood", "implicit"])
@pytest.mark.parametrize(
    ("architecture", "settings"),
    [("granite", {"logits_scaling": 3.0}), ("gemma2", {"final_logit_softcapping": 2.0})],
)
def test_log_probs_of_models_that_change_their_logits(tmp_path, kind, architecture, settings):
    """A PRM's log-probs are the model's, before and after the training."""
    backbone = tiny_backbone(tmp_path / "backbone", architecture=architecture, **settings)
    trees, builder = [ragged_tree(seed) for seed in range(3)], InputBuilder(byte_tokenizer(), InputFormat())
    losses = {"fork": 1.0, "language_model": 0.5} if kind == "likelihood" else {"implicit": 1.0}
    config = TrainConfig(losses=losses, scoring=Scoring(kind=kind), batch_tokens=64, learning_rate=1e-2)
    result = train_prm(
        backbone, TrainingData(trees), builder, tmp_path / "prm", config=config, progress=False
    )
    prm, tree = ProcessRewardModel.from_pretrained(result.folder), trees[0]
    ids = torch.from_numpy(tree.token_ids[: tree.starts[1]]).long()
    own = torch.arange(tree.num_prompt_tokens, len(ids))

    def logprobs(folder):
        model = AutoModelForCausalLM.from_pretrained(folder).eval()
        with torch.no_grad():
            return model(input_ids=ids[None]).logits[0].log_softmax(-1)[own - 1, ids[own]]

    trained, before = logprobs(result.folder), logprobs(backbone)
    scores = {"likelihood": trained.min().exp(), "implicit": (BETA * (trained - before).sum()).sigmoid()}
    assert prm.score_trees(trees)[0][0] == pytest.approx(scores[kind].item(), abs=1e-5)
    assert (trained - before).abs().max() > 1e-3


def test_adapters_on_gpt2_and_their_merged_scores(tmp_path):
    """Its linear layers are no nn.Linear."""
    folder, trees = (
        tiny_backbone(tmp_path / "gpt2", architecture="gpt2"),
        [ragged_tree(seed) for seed in range(3)],
    )
    builder = InputBuilder(byte_tokenizer(), InputFormat())
    config = TrainConfig(batch_tokens=64, learning_rate=1e-2, last_layers=1)
    result = train_prm(folder, TrainingData(trees), builder, tmp_path / "prm", config=config, progress=False)
    start = AutoModelForTokenClassification.from_pretrained(folder).state_dict()
    end = AutoModelForTokenClassification.from_pretrained(result.folder).state_dict()
    changed = {key for key in end if not torch.equal(start[key], end[key])}
    kinds = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    head = {"classifier.weight", "classifier.bias"}
    assert changed == head | {f"transformer.h.1.{kind}.weight" for kind in kinds}
    prm = ProcessRewardModel.from_pretrained(result.folder)
    assert all(np.isfinite(scores).all() for scores in prm.score_trees(trees))


def test_last_layers_leave_embeddings_of_positions_alone(tmp_path):
    config = TrainConfig(lora=None, last_layers=1)
    model = prepare_model(tiny_backbone(tmp_path, architecture="gpt2"), config, trust_remote_code=False)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name.rsplit(".", 1)[0] for name in trained if not name.startswith("transformer.h.1.")} == {
        "transformer.ln_f",
        "classifier",
    }


def test_a_head_over_a_half_precision_base_is_trained_in_float32(tmp_path):
    folder = tiny_backbone(tmp_path)
    for losses in ({"cross_entropy": 1.0}, {"cross_entropy": 1.0, "language_model": 1.0}):
        model = prepare_model(folder, TrainConfig(dtype="bfloat16", losses=losses), trust_remote_code=False)
        kinds = {name: value.dtype for name, value in model.named_parameters() if value.requires_grad}
        assert any("score" in name for name in kinds)
        assert set(kinds.values()) == {torch.float32}
        frozen = {value.dtype for value in model.parameters() if not value.requires_grad}
        assert frozen == {torch.bfloat16}


def test_the_fork_loss_sees_an_adapter_on_the_output_embedding(tmp_path):
    config = TrainConfig(
        losses={"fork": 1.0},
        scoring=Scoring(kind="likelihood"),
        lora=LoraSettings(rank=2, targets=("q_proj", "lm_head")),
    )
    model = prepare_model(tiny_backbone(tmp_path), config, trust_remote_code=False)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_B" in name:
                value.normal_()
    batch = to_tensors(pack_rows([ragged_tree(0)], [[0]], pad_id=0))
    hidden, output = packed_hidden(model, batch), language_model_output(model)
    adapted = output.embedding
    whole = torch.nn.Linear(32, adapted.weight.shape[0], bias=False)
    whole.weight.data = adapted.get_delta_weight("default") + adapted.weight
    loss = ForkLoss()
    assert loss.total(hidden, output, batch).item() == pytest.approx(
        loss.total(hidden, VocabularyLogits(whole), batch).item(), rel=1e-5
    )
    losses = load_losses(config.losses)
    step_loss(losses, model, hidden, batch, loss_weights(losses, batch)).backward()
    gradients = [value.grad for name, value in model.named_parameters() if "lm_head.lora_A" in name]
    assert all(gradient is not None and gradient.norm() > 0 for gradient in gradients)


def test_the_reference_of_a_backbone_with_dropout_is_one_model(tmp_path):
    config = TrainConfig(losses={"implicit": 1.0}, scoring=Scoring(kind="implicit"))
    model = prepare_model(
        tiny_backbone(tmp_path, architecture="gpt2"), config, trust_remote_code=False
    ).train()
    batch = to_tensors(pack_rows([ragged_tree(0)], [[0]], pad_id=0))
    assert torch.equal(reference_logprobs(model, batch), reference_logprobs(model, batch))
    assert all(module.training for module in model.modules())


def test_tokens_that_the_model_lacks(tmp_path):
    """A padding token beyond the embedding is never looked up; another one is named."""
    # The tokenizer has five special tokens more.
    folder = tiny_backbone(tmp_path / "backbone", vocab_size=256, pad_token_id=None, eos_token_id=None)
    tree = ragged_tree(0)
    builder = InputBuilder(byte_tokenizer(), InputFormat(kind="plain", append_eos=False))
    assert builder.tokenizer.pad_token_id >= 256
    data = TrainingData([tree, ragged_tree(1, num_nodes=3)])
    result = train_prm(
        folder, data, builder, tmp_path / "prm", config=TrainConfig(batch_tokens=200), progress=False
    )
    prm = ProcessRewardModel.from_pretrained(result.folder)
    assert len(prm.score_many([("1 + 1?", ["2\n", "#### 2"]), ("2?", ["2"])])) == 2
    with pytest.raises(ValueError, match=r"expected token ids below 256, .* got 257.*the model lacks"):
        prm.score_ids([([1, 2], [[3], [257]])])
    strange = build_tree([1], [[2], [257]], [-1, 0], name="t", targets=[1.0, 0.0])
    with pytest.raises(ValueError, match=r"tree t: expected token ids below 256"):
        train_prm(folder, TrainingData([strange]), builder, tmp_path / "other", progress=False)
