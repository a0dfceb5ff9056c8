"""What bench_variants.py measures: a variant by name as a trainer over EDU-shaped trees, and how a failure is told."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bench_packed
import numpy as np
import torch

from eduprm.prm.adapters import prepare_model
from eduprm.prm.config import LoraSettings, TrainConfig
from eduprm.prm.curricula.none import shuffled
from eduprm.prm.loading import quiet_transformers
from eduprm.prm.model import unwrap
from eduprm.prm.packing import plan_batches
from eduprm.prm.train import _make_trainer

KERNELS = {"efficient": "EFFICIENT_ATTENTION", "cudnn": "CUDNN_ATTENTION", "math": "MATH"}
SIZES = {"short": (4.0, 5, 40), "edu": (5.0, 5, 60), "1k": (32.0, 6, 100), "4k": (100.0, 8, 300)}


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def backbone(name: str, folder: Path) -> str:
    """Return the bundled model if it is there, else random weights of SmolLM2-135M's shape in `folder`."""
    if name == "tiny":
        from eduprm.prm.testing import tiny_backbone

        return str(tiny_backbone(folder / "tiny"))
    try:
        from eduprm.policy import resolve_model

        return str(resolve_model(name))
    except (ImportError, ValueError, OSError) as error:
        print(f"random weights of SmolLM2-135M's shape, since {error}")
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=49_152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3, tie_word_embeddings=True, max_position_embeddings=8192,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder / "random")
    return str(folder / "random")


def trainer_of(variant: str, options: argparse.Namespace, folder: Path) -> tuple[Any, list[int]]:
    """Return a trainer over `--steps` micro-batches, one optimiser step each, and their tokens."""
    attention, weights, how = variant.split("/")
    config = TrainConfig(
        learning_rate=1e-5,
        batch_tokens=options.batch_tokens,
        lora=LoraSettings() if weights == "lora" else None,
        dtype=options.dtype,
        attn_implementation=attention,  # type: ignore[arg-type]  # pydantic checks it
        compile=how == "compile",
        trainer_arguments={"logging_steps": 1000, "dataloader_num_workers": options.workers},
    )
    rng = np.random.default_rng(0)
    segment, depth, prompt = SIZES["edu"]
    trees = [
        bench_packed.edu_tree(rng, leaves=8, num_prompt=prompt, segment=segment, depth=depth)
        for _ in range(options.trees)
    ]
    if options.model == "tiny":
        for tree in trees:
            tree.token_ids[:] %= 200
    lengths = [tree.num_tokens for tree in trees]
    epochs = 1 + options.steps * options.batch_tokens // sum(lengths)
    plan = plan_batches(
        lengths,
        batch_tokens=options.batch_tokens,
        batch_trees=None,
        orders=shuffled(len(lengths), epochs=epochs, seed=0),
    )
    # The last batch of an epoch is not full; a training has few of them, this would have many.
    plan = [batch for batch in plan if sum(lengths[i] for i in batch) > 0.9 * options.batch_tokens][
        : options.steps
    ]
    with quiet_transformers():
        model = prepare_model(options.folder, config, trust_remote_code=False)
        trainer = _make_trainer(model, trees, plan, config, folder, 0)
    if options.unit is not None:
        collator = trainer.data_collator
        collator.attention = dataclasses.replace(collator.attention, dense_unit=options.unit)
    if how in ("whole", "graphs"):
        mode = "reduce-overhead" if how == "graphs" else "default"
        unwrap(model).base_model.compile(mode=mode, dynamic=how == "whole")
    return trainer, [sum(lengths[i] for i in batch) for batch in plan]


def kernel_choice(name: str | None) -> contextlib.AbstractContextManager[Any]:
    from torch.nn.attention import SDPBackend, sdpa_kernel

    return contextlib.nullcontext() if name is None else sdpa_kernel(getattr(SDPBackend, KERNELS[name]))


def guarded(name: str, options: argparse.Namespace, run: Callable[[], str]) -> None:
    """Print the result of `run`, or in one line (and where) why there is none."""
    spent = time.perf_counter() - options.began
    if spent > options.seconds:
        print(f"{name}: not begun, {spent:.0f} s are over", flush=True)
        return
    try:
        print(f"{name}: {run()}   [{spent:.0f} s]", flush=True)
    except Exception as error:  # one variant's failure is a result, the others go on
        where = traceback.extract_tb(error.__traceback__)[-1]
        lines = str(error).strip().splitlines() or [""]
        print(
            f"{name}: FAILED {type(error).__name__}: {lines[0][:300]} ({where.name}, line {where.lineno})",
            flush=True,
        )
    if torch.cuda.is_available():
        import gc

        gc.collect()
        torch.cuda.empty_cache()
