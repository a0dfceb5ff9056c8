"""apps/rerank --segment entropy: steps begin where the policy would have been unsure, and nowhere else."""

import json
import shutil
from itertools import accumulate

import pytest
import torch

from eduprm.policy import BUNDLED_MODEL, resolve_model
from eduprm.prm import StepCut
from eduprm.problems import messages_for
from eduprm.rank.testing import read_jsonl, rejected, write_jsonl
from eduprm.segment import is_symbol
from eduprm_rerank.cli import main

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
    likeliest = [tokenizer.decode([token], skip_special_tokens=True) for token in spread.argmax(-1).tolist()]
    ends = spread.argmax(-1) == tokenizer.eos_token_id
    return {
        start
        for (start, _), entropy, text, end in zip(
            own.offset_mapping, entropies.tolist(), likeliest, ends.tolist(), strict=True
        )
        if entropy > threshold and (end or not is_symbol(text))
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


@pytest.fixture
def trained_prm(prm, tmp_path):
    """The tiny PRM, which says that its trees were cut by the bundled policy; gives a way to name another."""
    folder = tmp_path / "trained"
    shutil.copytree(prm, folder)

    def saying(**changed):
        config = json.loads((folder / "config.json").read_text())
        entropy = {"entropy": {"threshold": 0.5, "skip_symbols": True}}
        cut = StepCut(policy=BUNDLED_MODEL, segmenters=entropy, style="products").model_copy(update=changed)
        config["eduprm"] = {**config["eduprm"], "steps": cut.model_dump()}
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    return saying


def run_with(folder, capsys, *arguments):
    status = main([*map(str, arguments), "--prm", str(folder), "--bootstrap", "50"])
    captured = capsys.readouterr()
    return status, captured.err


def steps_of(path):
    return [one["steps"] for one in sorted(read_jsonl(path)[0]["ranked"], key=lambda one: one["index"])]


def test_a_prm_that_says_how_its_steps_were_cut_gets_such_steps(rerank, trained_prm, tmp_path, capsys):
    write_jsonl(tmp_path / "in.jsonl", [{"id": "p", "problem": PROBLEM, "solutions": SOLUTIONS}])
    given = ("--segment", "entropy", "--policy.style", "products", "--policy.threshold", "0.5")
    assert rerank("in.jsonl", "--output", "asked.jsonl", *given)[0] == 0
    status, err = run_with(trained_prm(), capsys, "in.jsonl", "--output", "auto.jsonl")
    assert status == 0
    assert err.strip() == (
        f"rerank: steps end where {BUNDLED_MODEL} is unsure (above 0.5 nats), as in the PRM's training; "
        "--segment lines cuts otherwise"
    )
    assert steps_of(tmp_path / "auto.jsonl") == steps_of(tmp_path / "asked.jsonl")
    # What is asked for wins, in whole or in part.
    status, err = run_with(trained_prm(), capsys, "in.jsonl", "--output", "lines.jsonl", "--segment", "lines")
    assert (status, err) == (0, "")
    assert steps_of(tmp_path / "lines.jsonl")[0] == ["3 * 4 = 12\n", "12 * 5 = 60\n", "#### 60"]
    flags = ("--policy.threshold", "99")
    assert run_with(trained_prm(), capsys, "in.jsonl", "--output", "far.jsonl", *flags)[0] == 0
    assert steps_of(tmp_path / "far.jsonl") == [[solution] for solution in SOLUTIONS]


def test_a_prm_whose_policy_is_gone_is_used_and_that_is_said(trained_prm, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "in.jsonl", [{"id": "p", "problem": PROBLEM, "solutions": SOLUTIONS}])
    status, err = run_with(trained_prm(policy="./gone"), capsys, "in.jsonl", "--output", "out.jsonl")
    assert status == 0
    assert "cut by ./gone, which cannot be loaded here" in err
    assert len(err.splitlines()) == 1
    assert steps_of(tmp_path / "out.jsonl")[0] == ["3 * 4 = 12\n", "12 * 5 = 60\n", "#### 60"]
