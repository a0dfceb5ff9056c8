"""A text is cut where its tree was: EDU trees of a tiny policy, each leaf's text cut as apps/rerank cuts it."""

import polars as pl
import pytest
import torch

from eduprm.forest import leaf_paths
from eduprm.prm import StepCut
from eduprm.problems import messages_for
from eduprm.rank.anchors import EntropyCutter
from eduprm.rank.settings import RankSettings
from eduprm.rank.trained_cut import as_trained
from eduprm.search import (
    Budget,
    EduSampling,
    HighTemperature,
    PolicyTokenizer,
    TransformersEngine,
    grow_forest,
    load_policy,
)
from eduprm.search.steps import mark_steps
from eduprm.segment import is_symbol

STYLE = "steps"
THRESHOLD = 1.2
PROBLEMS = ["1 + 2?", "2 * (3 - 1) =", "a, b and c", "<eos>7/8"]
TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    """Folder of a policy of random weights, whose tokens are few: digits, letters, symbols, line breaks."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = ["<unk>", *"0123456789abc+-*/=.,()", "Ġ", "Ċ", ".Ċ", "Ġa"]
    core = Tokenizer(
        models.BPE(
            vocab={letter: index for index, letter in enumerate(letters)},
            merges=[(".", "Ċ"), ("Ġ", "a")],
            unk_token="<unk>",
        )
    )
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>", unk_token="<unk>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|system|>", "<|user|>", "<|assistant|>"]})
    tokenizer.chat_template = TEMPLATE
    torch.manual_seed(11)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=48, intermediate_size=96, num_hidden_layers=2,
            num_attention_heads=6, num_key_value_heads=2, max_position_embeddings=512, initializer_range=0.25,
            eos_token_id=tokenizer.eos_token_id, bos_token_id=None, pad_token_id=0,
        )
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("policy") / "policy"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def grown(policy, tokenizer, *, skip_symbols):
    """EDU trees, and samples: in both, tokens stand that are not the most probable ones."""
    prompts = [tokenizer.encode_chat(messages_for(problem, STYLE)) for problem in PROBLEMS]
    problems = pl.DataFrame(
        {"problem_id": [f"p{number}" for number in range(len(PROBLEMS))], "prompt_token_ids": prompts},
        schema={"problem_id": pl.String, "prompt_token_ids": pl.List(pl.Int32)},
    )
    cut = {"threshold": THRESHOLD, "skip_symbols": skip_symbols}
    strategies = [
        EduSampling(**cut, budget=Budget(max_leaves=30, max_tokens_per_path=20)),
        HighTemperature(**cut, temperature=1.0, num_samples=16, max_tokens_per_path=20),
    ]
    engine = TransformersEngine(load_policy(str(policy), device="cpu"), max_rows=8)
    return grow_forest(problems, strategies=strategies, engine=engine, tokenizer=tokenizer).forest


def paths(nodes, begins):
    """Per leaf its text, and the characters in it at which a node of `begins` starts."""
    parents, texts = nodes["parent_id"].to_list(), nodes["text"].to_list()
    held = []
    for node, (parent, text) in enumerate(zip(parents, texts, strict=True)):
        before, borders = ("", frozenset()) if parent is None else held[parent]
        held.append((before + text, borders | {len(before)} if begins[node] else borders))
    inner = set(parents)
    for node, (text, borders) in enumerate(held):
        if node not in inner:
            yield node, text, {border for border in borders if 0 < border < len(text)}


def cutter_of(policy, segmenters, *, skip_symbols):
    """What apps/rerank cuts with, given a PRM that says it was trained on such steps."""
    cut = StepCut(
        policy=str(policy),
        style=STYLE,
        segmenters={
            name: {"threshold": THRESHOLD, "skip_symbols": skip_symbols} if name == "entropy" else {}
            for name in segmenters
        },
    )
    settings, line = as_trained(RankSettings(file="in.jsonl"), cut.model_dump(mode="json"))
    assert settings.segment == "entropy"
    assert "as in the PRM's training" in line
    assert ("line breaks" in line) == ("lines" in segmenters)
    return EntropyCutter(settings.policy, settings.policy.cut, device="cpu")


@pytest.mark.parametrize("skip_symbols", [True, False])
@pytest.mark.parametrize("segmenters", [("entropy",), ("lines",), ("entropy", "lines")])
def test_texts_are_cut_where_their_trees_were(policy, segmenters, skip_symbols):
    tokenizer = PolicyTokenizer(str(policy))
    forest = grown(policy, tokenizer, skip_symbols=skip_symbols)
    marked = mark_steps(forest, tokenizer=tokenizer, threshold=THRESHOLD, low_logprob=-1e9)
    cutter = cutter_of(policy, segmenters, skip_symbols=skip_symbols)
    known = known_paths(forest)
    compared = cuts = by_actual = 0
    for (problem_id, tree), nodes in marked.group_by("problem_id", "tree", maintain_order=True):
        problem = PROBLEMS[int(problem_id[1:])]
        # In the tree as it was grown every node begins at an anchor or a fork, and every fork is an anchor.
        whole = forest.filter(problem_id=problem_id, tree=tree)
        anchors = {text: borders for _, text, borders in paths(whole, [True] * whole.height)}
        lines = {text: borders for _, text, borders in paths(nodes, nodes["starts_line"].to_list())}
        assert anchors.keys() == lines.keys()
        for text, borders in anchors.items():
            ids, starts = tokenizer.encode_with_starts(text)
            if not text or (problem_id, tree, tuple(ids)) not in known:
                continue  # the text has another spelling in tokens than the one that was generated
            wanted = set()
            wanted |= borders if "entropy" in segmenters else set()
            wanted |= lines[text] if "lines" in segmenters else set()
            (steps,) = cutter.steps(problem, [text])
            assert "".join(steps) == text
            assert {sum(map(len, steps[:k])) for k in range(1, len(steps))} == wanted, (
                problem_id,
                tree,
                text,
            )
            compared += 1
            cuts += len(wanted)
            by_actual += sum(is_symbol(tokenizer.decode([ids[starts.index(border)]])) for border in borders)
    assert compared > 40
    assert cuts > 100 or "entropy" not in segmenters
    assert cuts > 10
    # Symbols stand behind some of the anchors: judged by the token that stands there, these cuts would be missed.
    assert by_actual > 10


def known_paths(forest):
    """(problem, tree, token ids without a stop token) of all leaves."""
    leaves = leaf_paths(forest).select("problem_id", "tree", "token_ids", "finish").iter_rows()
    return {
        (problem_id, tree, tuple(ids[:-1] if finish == "stop" else ids))
        for problem_id, tree, ids, finish in leaves
    }
