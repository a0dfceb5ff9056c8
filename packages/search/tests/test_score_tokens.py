"""Teacher-forced measurements against a plain forward, for models that scale, cap or slide; memory stays bounded."""

from __future__ import annotations

import asyncio
import copy

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from eduprm.search import Request, TokenScorer, TransformersEngine, score_tokens
from eduprm.search.embedded.scoring import takes_tree_masks

MODELS = {
    "llama": {},
    "granite": {"logits_scaling": 8.0},
    "cohere": {"logit_scale": 0.0625, "tie_word_embeddings": False},
    "gemma2": {
        "final_logit_softcapping": 3.0,
        "sliding_window": 16,
        "query_pre_attn_scalar": 8,
        "head_dim": 8,
    },
    "mistral": {"sliding_window": 16},
}


def tiny(kind: str) -> PreTrainedModel:
    torch.manual_seed(3)
    config = AutoConfig.for_model(
        kind, vocab_size=61, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=1024, initializer_range=0.25, eos_token_id=3,
        bos_token_id=1, pad_token_id=0, **MODELS[kind],
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize(("num_prefix", "num_text"), [(1, 20), (40, 1), (30, 600), (2, 257)])
def test_scores_equal_a_plain_forward(kind, num_prefix, num_text):
    model = tiny(kind)
    ids = np.random.default_rng(num_text).integers(4, 61, size=num_prefix + num_text).tolist()
    with torch.inference_mode():
        logits = model(torch.tensor([ids]), use_cache=False).logits[0, num_prefix - 1 : -1].double()
    logprobs = torch.log_softmax(logits, dim=-1)
    entropies = -(logprobs.exp() * logprobs).sum(dim=-1)
    taken = logprobs.gather(1, torch.tensor(ids[num_prefix:])[:, None])[:, 0]
    # 257 is a chunk and one token more: a single query behind the cache.
    scores = score_tokens(model, prefix_ids=ids[:num_prefix], token_ids=ids[num_prefix:])
    np.testing.assert_allclose(scores.entropies, entropies, atol=1e-4)
    np.testing.assert_allclose(scores.logprobs, taken, atol=1e-4)
    # Equal to the most probable one, or as probable: random weights give no ties.
    np.testing.assert_array_equal(scores.top_ids, logprobs.argmax(dim=-1))
    if kind in ("granite", "cohere", "gemma2"):
        # What the head alone says is far off: the test would see it.
        with torch.inference_mode():
            bare = model.get_output_embeddings()(model.base_model(torch.tensor([ids])).last_hidden_state[0])
        bare = torch.log_softmax(bare[num_prefix - 1 : -1].double(), dim=-1)
        assert float((-(bare.exp() * bare).sum(dim=-1) - entropies).abs().max()) > 0.1


@pytest.mark.parametrize("kind", ["llama", "granite", "cohere"])
def test_scores_equal_the_measurements_of_decoding(kind):
    engine = TransformersEngine(tiny(kind), stop_ids=frozenset())
    done = asyncio.run(engine.generate(Request(prefix_ids=(5, 6, 7), max_new_tokens=257)))
    # By the engine's own attention and by transformers'.
    for model in (engine.model, tiny(kind)):
        scores = score_tokens(model, prefix_ids=[5, 6, 7], token_ids=done.token_ids.tolist())
        np.testing.assert_allclose(scores.entropies, done.entropies, atol=1e-4)
        np.testing.assert_allclose(scores.logprobs, done.logprobs, atol=1e-4)


def test_no_more_than_a_chunk_of_logits_is_ever_held(tiny_model):
    model = copy.deepcopy(tiny_model)
    scorer = TokenScorer(model)
    shapes: list[tuple[int, ...]] = []
    model.lm_head.register_forward_hook(lambda module, inputs, logits: shapes.append(tuple(logits.shape)))
    scorer.score(prefix_ids=[5] * 100, texts=[[7] * 400])
    assert [shape[1] for shape in shapes] == [256, 144]


def test_an_engine_refuses_attention_that_it_does_not_compute():
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "gemma2", vocab_size=61, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, layer_types=["full_attention"], attn_logit_softcapping=50.0,
    )  # fmt: skip
    with pytest.raises(ValueError, match="caps them"):
        TransformersEngine(AutoModelForCausalLM.from_config(config), stop_ids=frozenset({3}))


@pytest.mark.parametrize("kind", MODELS)
def test_a_scorer_measures_texts_behind_a_shared_prefix_as_each_by_itself(kind):
    model = tiny(kind)
    random = np.random.default_rng(5)
    shots = random.integers(4, 61, size=40).tolist()
    problems = [[*shots, *random.integers(4, 61, size=n).tolist()] for n in (3, 9, 1)]
    texts = [random.integers(4, 61, size=n).tolist() for n in (12, 1, 30)]
    # A text that begins with the whole of another, a prefix that ends within the one before it, and one apart.
    pairs = [(prefix, text) for prefix in problems for text in [*texts, texts[0] + texts[1]]]
    pairs += [(shots[:7], texts[2]), ([5], texts[0]), (random.integers(4, 61, size=8).tolist(), texts[1])]
    shared = TokenScorer(model)
    for prefix, text in pairs:
        together = shared.score(prefix_ids=prefix, texts=[text])[0]
        alone = score_tokens(model, prefix_ids=prefix, token_ids=text)
        np.testing.assert_allclose(together.entropies, alone.entropies, atol=1e-5)
        np.testing.assert_allclose(together.logprobs, alone.logprobs, atol=1e-5)


def test_a_scorer_computes_a_shared_prefix_once(tiny_model):
    model = copy.deepcopy(tiny_model)
    scorer = TokenScorer(model)
    read: list[int] = []
    model.base_model.layers[0].register_forward_pre_hook(
        lambda module, inputs: read.append(inputs[0].shape[1])
    )
    prefix = list(range(4, 44))
    for text in ([5] * 6, [7] * 9, [5] * 3):
        scorer.score(prefix_ids=prefix, texts=[text])
    # 39 of the prefix once; then the prefix's last token with the text, but for the text's last token.
    assert read == [39, 6, 9, 3]
    scorer.reset()
    scorer.score(prefix_ids=prefix, texts=[[5]])
    assert read[4:] == [39, 1]


@pytest.mark.parametrize(("prefix", "text"), [([5, 61], [6]), ([-1], [6]), ([5], [6, 61])])
def test_ids_without_an_embedding_are_refused(tiny_model, prefix, text):
    with pytest.raises(ValueError, match=r"token id (61|-1) is outside of the model's vocabulary of 61"):
        score_tokens(tiny_model, prefix_ids=prefix, token_ids=text)


def test_a_scorer_goes_on_after_a_text_that_it_refused(tiny_model):
    scorer = TokenScorer(tiny_model)
    scorer.score(prefix_ids=[4, 5, 6], texts=[[7]])
    with pytest.raises(ValueError, match="exceed the model's context"):
        scorer.score(prefix_ids=[4, 5], texts=[[7], [7] * 100_000])
    after = scorer.score(prefix_ids=[4, 5, 8], texts=[[9, 9]])[0]
    alone = score_tokens(tiny_model, prefix_ids=[4, 5, 8], token_ids=[9, 9])
    np.testing.assert_allclose(after.entropies, alone.entropies, atol=1e-5)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_texts_measured_together_have_the_values_of_each_alone(kind, attention):
    model = tiny(kind)
    model.set_attn_implementation(attention)
    random = np.random.default_rng(8)
    prefix, stem = (random.integers(4, 61, size=n).tolist() for n in (9, 300))
    ends = [random.integers(4, 61, size=n).tolist() for n in (1, 40, 7)]
    # Beyond a chunk before they part, in the first token, one that begins another, equal ones, an empty one.
    texts = [*(stem + end for end in ends), stem, ends[1], [], stem[:1], ends[1], stem[:250] + ends[1]]
    together = TokenScorer(model).score(prefix_ids=prefix, texts=texts)
    for text, scores in zip(texts, together, strict=True):
        alone = score_tokens(model, prefix_ids=prefix, token_ids=text)
        assert len(scores.entropies) == len(text)
        np.testing.assert_allclose(scores.entropies, alone.entropies, atol=2e-5)
        np.testing.assert_allclose(scores.logprobs, alone.logprobs, atol=2e-5)
        np.testing.assert_array_equal(scores.top_ids, alone.top_ids)
    merges = kind not in ("gemma2", "mistral")  # their layers slide
    assert takes_tree_masks(model) == merges
    for scores in together[:3]:
        shared = np.array_equal(scores.entropies[:300], together[3].entropies)
        assert shared or not merges


def test_texts_measured_together_are_read_once(tiny_model):
    model = copy.deepcopy(tiny_model)
    read: list[int] = []
    scorer = TokenScorer(model)
    scorer.score(prefix_ids=[4], texts=[[5, 5], [6, 7]])  # tries whether the model keeps a mask
    model.base_model.layers[0].register_forward_pre_hook(
        lambda module, inputs: read.append(inputs[0].shape[1])
    )
    stem = list(range(4, 34))
    scorer.score(prefix_ids=[*range(9)], texts=[[*stem, 5, 6], [*stem, 7], [*stem, 5, 8, 9], stem])
    # 8 of the prefix; its last token, the stem, and 5 and 8 behind it.
    assert read == [8, 33]
    # Behind the same prefix, more tokens than are held at once.
    texts = [[number, *[5] * 120] for number in range(10, 50)]
    scorer.score(prefix_ids=[*range(9)], texts=texts)
    assert sum(read[2:]) == 40 * 120 + 3
    assert max(read) <= 256


def test_a_model_that_drops_masks_is_fed_texts_one_by_one(tiny_model, monkeypatch):
    model = copy.deepcopy(tiny_model)
    assert takes_tree_masks(model)
    forward = type(model.model).forward

    def deaf(self, *args, attention_mask=None, **kwargs):
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(model.model), "forward", deaf)
    assert not takes_tree_masks(model)
    texts = [[5, 6, 7], [5, 8, 9, 9]]
    for text, scores in zip(texts, TokenScorer(model).score(prefix_ids=[4, 4], texts=texts), strict=True):
        alone = score_tokens(model, prefix_ids=[4, 4], token_ids=text)
        np.testing.assert_allclose(scores.entropies, alone.entropies, atol=1e-5)
