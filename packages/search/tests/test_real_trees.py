"""Trees of the bundled model, by its own tokenizer, against a plain reference without caches.

In float64, where the engine's batches and the reference's single rows round alike to a dozen digits: no two choices
tie, and the trees are compared to the last token.
"""

from __future__ import annotations

import unicodedata

import pytest
import torch

from eduprm.forest import found_leaves, leaf_paths, validate_forest
from eduprm.policy import BUNDLED_MODEL
from eduprm.search import Budget, EduSampling, PolicyTokenizer, TransformersEngine, grow_forest, load_policy

pytestmark = pytest.mark.slow

QUESTIONS = ("7 * 8 * 2", "6 * 9", "Say hi.")
THRESHOLD, LEAVES, TOKENS = 0.3, 5, 16


@pytest.fixture(scope="module")
def tokenizer() -> PolicyTokenizer:
    return PolicyTokenizer(BUNDLED_MODEL)


@pytest.fixture(scope="module")
def prompts(tokenizer) -> list[tuple[int, ...]]:
    shot = [{"role": "user", "content": "3 * 4"}, {"role": "assistant", "content": "3 * 4 = 12\n#### 12"}]
    return [tuple(tokenizer.encode_chat([*shot, {"role": "user", "content": q}])) for q in QUESTIONS]


@pytest.fixture(scope="module")
def reference(plain_decoder_class):
    model = load_policy(BUNDLED_MODEL, device="cpu", dtype=torch.float64)
    return plain_decoder_class(model, frozenset({2}))


@pytest.fixture(scope="module")
def engine() -> TransformersEngine:
    return TransformersEngine.from_pretrained(BUNDLED_MODEL, device="cpu", dtype=torch.float64, max_rows=4)


@pytest.mark.parametrize("skip_symbols", [False, True])
def test_trees_equal_the_reference(engine, reference, tokenizer, prompts, problems, skip_symbols):
    asked: dict[int, bool] = {}

    def may_fork(token: int) -> bool:
        text = tokenizer.decode([token])
        bare = all(char.isspace() or unicodedata.category(char)[0] == "P" for char in text)
        asked[token] = not skip_symbols or token == 2 or not bare
        return asked[token]

    strategy = EduSampling(
        threshold=THRESHOLD,
        skip_symbols=skip_symbols,
        budget=Budget(max_leaves=LEAVES, max_tokens_per_path=TOKENS),
    )
    forest = grow_forest(problems(prompts), strategies=[strategy], engine=engine, tokenizer=tokenizer).forest
    validate_forest(forest)
    ordered = leaf_paths(forest).join(found_leaves(forest), on=["problem_id", "tree", "leaf"]).sort("order")
    compared = 0
    for number, prompt in enumerate(prompts):
        own = ordered.filter(problem_id=f"p{number}")
        for ids in own["token_ids"].to_list():
            # Saves the reference a forward a token where both agree; where they do not, it goes its own way.
            reference.read((*prompt, *ids[:-1]), least=len(prompt))
        expected = reference.edu(
            prompt,
            threshold=THRESHOLD,
            max_leaves=LEAVES,
            max_tokens=TOKENS,
            best_first=True,
            may_fork=may_fork,
        )
        assert [tuple(ids) for ids in own["token_ids"].to_list()] == expected
        assert own["text"].to_list() == [tokenizer.decode(list(path)) for path in expected]
        compared += sum(map(len, expected))
    assert compared >= 100
    # The rule had something to decide: symbols that were passed over, and an end that was not.
    assert asked[2]
    assert (False in asked.values()) is skip_symbols
