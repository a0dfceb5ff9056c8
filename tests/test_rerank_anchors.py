"""apps/rerank --segment entropy: steps begin where the policy would have been unsure, and nowhere else."""

import sys
from itertools import accumulate
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "apps" / "rerank"))

from rerank_app.testing import prm, read_jsonl, rejected, rerank, write_jsonl

from eduprm.bench import messages_for
from eduprm.search import BUNDLED_MODEL, resolve_model
from eduprm.segment import is_symbol

__all__ = ["prm", "rerank"]  # fixtures

pytestmark = pytest.mark.slow

PROBLEM = "Solve the following multiplication: 3 * 4 * 5. Give only the result as your final answer."
SOLUTIONS = ["3 * 4 = 12\n12 * 5 = 60\n#### 60", "Étape 🙂🙃: 3 × 4 → 12, then 60.", "4"]


@torch.inference_mode()
def places(solution: str, threshold: float) -> set[int]:
    """Characters at which a token stands whose entropy, computed plainly, is above the threshold."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = resolve_model(BUNDLED_MODEL)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompt = tokenizer.apply_chat_template(
        messages_for(PROBLEM, "products"), add_generation_prompt=True, tokenize=False
    )
    before = tokenizer(prompt, add_special_tokens=False).input_ids
    own = tokenizer(solution, add_special_tokens=False, return_offsets_mapping=True)
    logits = AutoModelForCausalLM.from_pretrained(folder)(torch.tensor([[*before, *own.input_ids]])).logits[0]
    spread = torch.log_softmax(logits[len(before) - 1 : -1].double(), dim=-1)
    entropies = -(spread.exp() * spread).sum(-1)
    return {
        start
        for (start, stop), entropy in zip(own.offset_mapping, entropies.tolist(), strict=True)
        if entropy > threshold and not is_symbol(solution[start:stop])
    }


def test_steps_begin_at_the_policys_anchors(rerank, tmp_path):
    write_jsonl(tmp_path / "in.jsonl", [{"id": "p", "problem": PROBLEM, "solutions": SOLUTIONS}])
    given = ("--segment", "entropy", "--policy.style", "products", "--policy.threshold", "0.5")
    status, _, err = rerank("in.jsonl", "--output", "out.jsonl", *given)
    assert (status, err) == (0, "")
    cut = {one["index"]: one["steps"] for one in read_jsonl(tmp_path / "out.jsonl")[0]["ranked"]}
    for index, solution in enumerate(SOLUTIONS):
        assert "".join(cut[index]) == solution
        starts = set(accumulate(map(len, cut[index][:-1])))
        assert starts == places(solution, 0.5) - {0}
    assert len(cut[0]) > 1
    assert cut[2] == ["4"]


def test_what_cannot_be_cut_is_said(rerank, tmp_path):
    rows = [{"id": "p", "problem": PROBLEM, "solutions": ["4", "1 + 1 = 2\n" * 2000]}]
    write_jsonl(tmp_path / "in.jsonl", rows)
    status, _, err = rerank("in.jsonl", "--output", "out.jsonl", "--segment", "entropy")
    assert status == 3
    assert "exceed the model's context of" in err
    ((_, _, index, reason),) = rejected(tmp_path / "out.jsonl.rejected.jsonl")
    assert index == 1
    assert "cannot be cut by the policy" in reason
    for flag, value in (("--policy.model", "./nowhere"), ("--policy.style", "haiku")):
        status, _, err = rerank("in.jsonl", "--output", "b.jsonl", "--segment", "entropy", flag, value)
        assert status == 2
        assert flag in err
        assert value in err
        assert "Traceback" not in err
