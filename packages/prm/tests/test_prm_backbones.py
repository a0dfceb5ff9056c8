"""Whatever backbone a user brings: packed trees are computed as transformers computes single paths, or are refused."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForTokenClassification

from eduprm.prm.attention import (
    TreeAttention,
    check_backbone,
    context_tokens,
    loaded_implementation,
    settle_attention,
)
from eduprm.prm.loading import load_classifier, load_language_model
from eduprm.prm.model import (
    language_model_output,
    packed_hidden,
    packed_logits,
    to_tensors,
)
from eduprm.prm.published import StepMarks
from eduprm.prm.published.load import load_step_scorer
from eduprm.prm.testing import ragged_tree, tiny_backbone
from eduprm.prm.tree import build_tree

EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
BACKBONES = {
    "llama": {"attention_bias": True, "mlp_bias": True},
    "mistral": {"sliding_window": 64},
    "qwen2": {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 1},
    "qwen3": {},
    "qwen2_moe": {**EXPERTS, "shared_expert_intermediate_size": 16},
    "phi3": {},
    "olmo2": {},
    "olmo3": {"sliding_window": 64},
    "granite": {"logits_scaling": 3.0, "residual_multiplier": 0.5, "embedding_multiplier": 2.0},
    "cohere": {"logit_scale": 0.3, "use_qk_norm": True},
    "gemma2": {"attn_logit_softcapping": 0.5, "final_logit_softcapping": 2.0},
    "gemma3_text": {"sliding_window": 64},
    "gpt_oss": EXPERTS,
    "gpt_neox": {},
    "gpt2": {},
    "gptj": {"rotary_dim": 4},
}


def made(folder, architecture, **settings):
    """A backbone whose biases, norms and attention sinks are no zeros and ones either."""
    tiny_backbone(folder, architecture=architecture, **{**BACKBONES.get(architecture, {}), **settings})
    model = AutoModelForCausalLM.from_pretrained(folder)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    model.save_pretrained(folder)
    return folder


def paths(tree):
    """Places in the tree of the tokens of each root-to-leaf path."""
    for leaf in tree.leaves.tolist():
        nodes, node = [], leaf
        while node >= 0:
            nodes.append(node)
            node = int(tree.parents[node])
        spans = [np.arange(tree.starts[node], tree.starts[node + 1]) for node in reversed(nodes)]
        yield np.concatenate([np.arange(tree.num_prompt_tokens), *spans])


def assert_as_single_paths(states, plain, packed, trees):
    """`states` [B, L, *] of packed rows against `plain`, ids [1, T] to the same of one path."""
    for (row, offset), tree in zip(packed.slots, trees, strict=True):
        for places in paths(tree):
            with torch.no_grad():
                wanted = plain(torch.from_numpy(tree.token_ids[places]).long()[None])[0]
            found = states[row, torch.from_numpy(places) + offset]
            assert (found - wanted).norm() <= 1e-5 * wanted.norm()


def rows_of(model, trees):
    attention = TreeAttention(model.config._attn_implementation, scale=128, always=True)
    packed, fields = attention.pack(trees, pad_id=0)
    return packed, {**to_tensors(packed), **fields}


@pytest.mark.parametrize("architecture", BACKBONES)
@pytest.mark.filterwarnings("ignore:attention by eager")
def test_packed_log_probs_are_those_of_single_paths(tmp_path, architecture):
    folder, trees = made(tmp_path, architecture), [ragged_tree(seed, num_nodes=6) for seed in range(3)]
    model = load_language_model(folder).eval()
    check_backbone(model.config, longest=40)
    settle_attention(model, "auto", dtype=torch.float32)
    packed, batch = rows_of(model, trees)
    with torch.no_grad():
        logits = language_model_output(model)(packed_hidden(model, batch))
    plain = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    assert_as_single_paths(logits, lambda ids: plain(input_ids=ids).logits, packed, trees)


@pytest.mark.parametrize("architecture", BACKBONES)
@pytest.mark.filterwarnings("ignore:attention by eager")
def test_packed_logits_of_a_head_are_those_of_single_paths(tmp_path, architecture):
    folder, trees = made(tmp_path, architecture), [ragged_tree(seed, num_nodes=6) for seed in range(3)]
    model = load_classifier(folder).eval()
    head = model.score if hasattr(model, "score") else model.classifier
    torch.nn.init.normal_(head.weight)
    settle_attention(model, "auto", dtype=torch.float32)
    packed, batch = rows_of(model, trees)
    with torch.no_grad():
        logits = packed_logits(model, batch)
    # The states that the language model's own class gives: a head of ours must stand on the same weights.
    plain = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval().base_model
    assert_as_single_paths(logits, lambda ids: head(plain(input_ids=ids).last_hidden_state), packed, trees)


@pytest.mark.parametrize(
    ("architecture", "settings", "said"),
    [
        ("mpt", {"d_model": 32, "n_heads": 4, "n_layers": 2}, "counts positions along the row"),
        ("bloom", {}, "cannot compute packed trees"),
    ],
)
def test_positions_along_the_row_are_refused(tmp_path, architecture, settings, said):
    model = load_language_model(made(tmp_path, architecture, **settings))
    with pytest.raises(ValueError, match=said):
        settle_attention(model, "auto", dtype=torch.float32)


def test_states_that_are_not_finite_are_refused(tmp_path):
    """NaN differs from nothing by more than a tolerance."""
    model = load_language_model(made(tmp_path, "llama"))
    with torch.no_grad():
        model.base_model.norm.weight[0] = torch.nan
    with pytest.raises(ValueError, match="states that are not finite"):
        settle_attention(model, "auto", dtype=torch.float32)


def test_encoders_are_refused():
    """A batch of single paths has no mask of ours, and would be read from both sides."""
    from transformers import AutoConfig

    size = {"vocab_size": 32, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    for decodes in (False, True):
        config = AutoConfig.for_model("bert", intermediate_size=48, is_decoder=decodes, **size)
        model = AutoModelForTokenClassification.from_config(config)
        if decodes:
            settle_attention(model, "auto", dtype=torch.float32)
            continue
        with pytest.raises(ValueError, match="is no decoder"):
            settle_attention(model, "auto", dtype=torch.float32)


def test_a_published_prm_of_such_a_backbone_is_refused_too(tmp_path):
    folder = made(tmp_path, "mpt", d_model=32, n_heads=4, n_layers=2)
    marks = StepMarks(tag="#", good="+", bad="-", prompt="{problem}")
    with pytest.raises(ValueError, match="counts positions along the row"):
        load_step_scorer(folder, format="label-tokens", marks=marks)


@pytest.mark.parametrize(
    ("architecture", "said"),
    [
        ("gemma2", "drops the soft cap"),
        ("gpt_oss", "no s_aux"),
        ("doge", "no mask of the model's own"),
        ("stablelm", "drops the tree mask"),
        ("gptj", "takes no attn_implementation"),
    ],
)
def test_what_gathered_paths_cannot_compute_is_refused_by_name_and_passed_over_by_auto(
    tmp_path, monkeypatch, architecture, said
):
    model = load_language_model(
        made(tmp_path, architecture), attn_implementation=loaded_implementation("varlen")
    )
    with pytest.raises(ValueError, match=said):
        settle_attention(model, "varlen", dtype=torch.float32)
    monkeypatch.setattr(
        "eduprm.prm.attention.backbones.implementation_of", lambda name, **_: "tree_varlen"
    )  # as on a GPU
    with pytest.warns(UserWarning, match=rf"attention by (sdpa|eager): .*{said}"):
        settle_attention(model, "auto", dtype=torch.float32)


def test_short_trees_under_varlen_keep_what_sdpa_would_drop():
    from eduprm.prm.attention.varlen import tree_attention_forward

    states = torch.zeros(1, 2, 3, 8)
    with pytest.raises(ValueError, match="no s_aux"):
        tree_attention_forward(torch.nn.Identity(), states, states, states, None, s_aux=torch.zeros(2))


def test_local_attention_is_refused():
    from transformers import GPTNeoConfig

    with pytest.raises(ValueError, match=r"got \['local'\] in gpt_neo"):
        check_backbone(GPTNeoConfig(num_layers=2, attention_types=[[["global", "local"], 1]]), longest=4)
    check_backbone(GPTNeoConfig(num_layers=2, attention_types=[[["global"], 2]]), longest=4)


def test_angles_that_depend_on_other_trees_are_refused(tmp_path):
    """With longrope a path has other states as soon as a longer one is in its batch."""
    rope = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [3.0] * 4, "rope_theta": 1e4}
    folder = made(tmp_path, "phi3", rope_parameters=rope, original_max_position_embeddings=12)
    model = load_language_model(folder).eval()
    short, long = build_tree([1], [[2] * 9], [-1]), build_tree([1], [[3] * 20], [-1])
    packed, batch = rows_of(model, [short, long])
    row, start = packed.slots[0]
    with torch.no_grad():
        together = packed_hidden(model, batch)[row, start : start + short.num_tokens]
        alone = packed_hidden(model, rows_of(model, [short])[1])[0]
    assert (together - alone).norm() > 0.1 * alone.norm()
    assert context_tokens(model.config) == 12
    check_backbone(model.config, longest=12)
    with pytest.raises(ValueError, match=r"beyond 12 \(longrope\).*got 13; lower max_length"):
        check_backbone(model.config, longest=13)


def test_logits_made_otherwise_than_by_the_output_embedding_are_refused(tmp_path):
    with pytest.raises(ValueError, match="changes its logits behind the output embedding"):
        load_language_model(made(tmp_path, "bert", is_decoder=True))
