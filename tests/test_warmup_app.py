"""The recipe that teaches a policy: a killed training ends with the same adapter, and what it may not do is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from eduprm.core.command_line import load_settings
from eduprm.policy import adapter_folder
from eduprm.teach.examples import cut_batches, make_examples
from eduprm.teach.settings import WarmupSettings
from eduprm.teach.training import usable_checkpoint
from eduprm_warmup.cli import main

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """A random model of a thousandth of the size, with the bundled model's tokenizer."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from eduprm.policy import BUNDLED_MODEL, resolve_model

    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = AutoTokenizer.from_pretrained(resolve_model(BUNDLED_MODEL))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        eos_token_id=2,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def arguments(tiny: Path, run: Path, *more: str) -> list[str]:
    mix = [{"task": "long_sum", "count": 16}, {"task": "equations", "count": 12, "stop": 0.5}]
    flags = {
        "model": tiny,
        "run": run,
        "mix": json.dumps(mix),
        "batch-tokens": 400,
        "save-steps": 2,
        "rise-batches": 1,
        "decay-batches": 2,
        "lora.last-layers": 2,
        "lora.rank": 2,
        "test-tasks": '["equations"]',
        "num-test": 4,
        "max-new-tokens": 8,
    }
    return [*(f"--{name}={value}" for name, value in flags.items()), *more]


@pytest.mark.slow
def test_a_training_that_stopped_goes_on_and_ends_with_the_same_adapter(tiny, tmp_path, capsys):
    assert main(arguments(tiny, tmp_path / "whole")) == 0
    whole = (tmp_path / "whole" / "adapter" / "adapter_model.safetensors").read_bytes()
    config = json.loads((tmp_path / "whole" / "adapter" / "adapter_config.json").read_text())
    assert {name.split(".")[2] for name in config["target_modules"]} == {"1", "2"}
    assert "held-out problems" in capsys.readouterr().out
    rows = (tmp_path / "whole" / "held_out.jsonl").read_text().splitlines()
    assert len(rows) == 4

    # Stopped after four batches, the last two under a falling rate: it goes on from the second.
    assert main(arguments(tiny, tmp_path / "parts", "--max-batches=4")) == 0
    short = (tmp_path / "parts" / "adapter" / "adapter_model.safetensors").read_bytes()
    shutil.rmtree(tmp_path / "parts" / "adapter")
    assert main(arguments(tiny, tmp_path / "parts")) == 0
    assert (tmp_path / "parts" / "adapter" / "adapter_model.safetensors").read_bytes() == whole != short

    assert main(arguments(tiny, tmp_path / "parts", "--learning-rate=0.5")) == 2
    assert "learning_rate" in capsys.readouterr().err


def test_only_checkpoints_of_the_same_training_are_taken_up(tmp_path):
    for step, length in ((20, 100), (80, 100), (100, 100)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text(json.dumps({"global_step": step, "max_steps": length}))
    (tmp_path / "checkpoint-120").mkdir()  # half-written

    def step(num_batches: int) -> str | None:
        path = usable_checkpoint(tmp_path, num_batches=num_batches, decay_batches=30)
        return path and path.name

    assert step(100) == "checkpoint-100"
    assert step(200) == step(60) == "checkpoint-20"
    assert step(40) is None


@pytest.mark.slow
def test_the_recipe_teaches_what_is_apart_from_what_is_held_out():
    recipe = adapter_folder("smollm2-135m-steps") / "recipe.toml"
    settings = load_settings(WarmupSettings, ["--config", str(recipe)])
    few = [part.model_copy(update={"count": 20}) for part in settings.mix]
    settings = settings.model_copy(update={"mix": few})
    examples = make_examples(settings, [None] * len(few), stop_id=2)
    assert [example.place for example in examples] == sorted(example.place for example in examples)
    assert all(example.solution[-1] == 2 for example in examples)
    batches = cut_batches(examples, batch_tokens=settings.batch_tokens, seed=0)
    assert sum(map(len, batches)) == len(examples) == 20 * len(settings.mix)
    for batch in batches:
        assert len(batch) * max(example.num_tokens for example in batch) <= settings.batch_tokens
    padded = sum(len(batch) * max(example.num_tokens for example in batch) for batch in batches)
    assert padded < 1.1 * sum(example.num_tokens for example in examples)


def test_wrong_settings_are_one_line(tmp_path, capsys):
    assert main(["--run", str(tmp_path), "--mix", '[{"task": "long_sum", "count": 1, "start": 1.0}]']) == 2
    assert "start before stop" in capsys.readouterr().err
