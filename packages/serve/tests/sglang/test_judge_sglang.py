"""A language model as a judge on a real SGLang server: its verdicts are those of transformers behind the same text."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import pytest

pytest.importorskip("sglang", reason="needs SGLang: uv sync --extra sglang")

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from eduprm.policy import BUNDLED_MODEL, resolve_model
from eduprm.prm.source import PrmReading
from eduprm.serve.judge.prompts import read_prompts
from eduprm.serve.judge.remote import RemoteJudge, judge_models
from eduprm.serve.judge.settings import JudgeSettings
from eduprm.serve.judge.source import JudgeSource

pytestmark = pytest.mark.sglang

PROBLEM, STEPS = "What is 2 + 3 + 4?", ["2 + 3 = 5\n", "5 + 4 = 10\n", "#### 10"]
TOP = 20


def listed_words(model, tokenizer, prompt: str) -> tuple[float, float]:
    """P(Yes) and P(No) among the most probable tokens, by a plain pass."""
    with torch.inference_mode():
        ids = torch.tensor([tokenizer.encode(prompt)])
        top = model(input_ids=ids).logits[0, -1].float().log_softmax(-1).topk(TOP)
    chances = [
        (tokenizer.decode([int(token)]).strip().lower(), math.exp(float(value)))
        for value, token in zip(top.values, top.indices, strict=True)
    ]
    yes, no = (sum(chance for token, chance in chances if token == word) for word in ("yes", "no"))
    return yes, no


def test_critiques_and_verdicts_of_a_server(serving, tmp_path):
    folder = Path(resolve_model(BUNDLED_MODEL))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval()
    prompts = read_prompts("plain")
    asked = [prompts.asking(PROBLEM, "".join(STEPS[:n]), step) for n, step in enumerate(STEPS)]

    async def judged(judge):
        async with judge.ready():
            found = []
            for one in asked:
                critique = await judge.critique(one, seed=7)
                concluding = prompts.concluding(one, critique.text)
                found.append((critique, concluding, await judge.verdict(concluding)))
            return found

    with serving(str(folder), tmp_path, "--dtype", "float32") as url:
        (name,) = judge_models(url)
        judge = RemoteJudge(url, name, max_tokens=24, temperature=0.7, top_logprobs=TOP)
        found = asyncio.run(judged(judge))
        settings = JudgeSettings(url=url, samples=2, max_tokens=24, least=0.0)
        (scored,) = JudgeSource(settings, PrmReading()).open().score_steps([(PROBLEM, STEPS)], as_cut=True)
    for one, (critique, concluding, verdict) in zip(asked, found, strict=True):
        assert critique.text.strip()
        assert critique.prompt_tokens == len(tokenizer.encode("".join(text for text, _ in one)))
        expected = listed_words(model, tokenizer, "".join(text for text, _ in concluding))
        assert sum(expected) > 0
        assert verdict == pytest.approx(expected, rel=1e-2, abs=1e-4)
    assert scored.rejected is None
    assert len(scored.scores) == len(STEPS)
    assert all(0 < score < 1 for score in scored.scores)
