"""Training steps on a CPU: our own decoder layers against transformers', in one process, in turn.

Both do what a step of `train_prm` does (forward, losses of `TrainConfig.for_small_model`, backward, clipping, AdamW) on
the same trees with the same model, LoRA on the last 15 layers; they differ in `prepare_fast` alone. Hidden states below
the trained layers are kept from a first pass on, which is timed apart ("first epoch").

    python packages/prm/benchmarks/bench_cpu.py --dtype auto --layers eager compiled

On a busy machine: `--clock cpu --threads 1`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from bench_packed import batches_of, edu_tree

from eduprm.core.registry import load
from eduprm.prm.adapters import prepare_model
from eduprm.prm.attention import TreeAttention
from eduprm.prm.config import LoraSettings, TrainConfig
from eduprm.prm.fast import has_fast_bfloat16, prepare_fast, settle_dtype
from eduprm.prm.fast.prepare import PLACE
from eduprm.prm.model import head_output, language_model_output, packed_hidden

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
Batches = list[dict[str, Any]]


def steps(model: Any, optimizer: torch.optim.Optimizer, batches: Batches, config: TrainConfig) -> float:
    """Train one step a batch; return the last loss."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    losses = [(load("eduprm.prm.losses", name, "Loss")(), share) for name, share in config.losses.items()]
    loss = torch.zeros(())
    for batch in batches:
        loss = torch.zeros(())
        with torch.autocast("cpu", torch.bfloat16, enabled=config.dtype == "bfloat16"):
            hidden = packed_hidden(model, batch)
            for function, share in losses:
                output = head_output(model) if function.needs == "head" else language_model_output(model)
                loss = loss + share * function.total(hidden, output, batch) / function.weight(batch)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(weights, 1.0)
        assert torch.isfinite(norm)
        assert torch.isfinite(loss)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return loss.item()


def contestant(
    path: str, config: TrainConfig, batches: Batches, tokens: int
) -> tuple[str, Callable[[], float]]:
    """Return what computes, and a call that trains once over `batches`."""
    torch.manual_seed(0)
    model = prepare_model(path, config, trust_remote_code=False).train()
    chosen = prepare_fast(model, config, tokens=tokens)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=2.5e-4, weight_decay=0.0)
    kept = getattr(getattr(model, PLACE, None), "kept", None)

    def call() -> float:
        loss = steps(model, optimizer, batches, config)
        if kept is not None and not kept.hits:
            print(f"{chosen}: {kept.bytes / 2**20:.1f} MB of hidden states kept for {tokens} tokens")
        return loss

    return chosen, call


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2-135m-steps", help="bundled model, path or name")
    parser.add_argument("--trees", type=int, default=48)
    parser.add_argument("--batch-tokens", type=int, default=2048, help="tokens of a step")
    parser.add_argument("--last-layers", type=int, default=15)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtype", choices=["auto", "float32", "bfloat16"], default="auto")
    parser.add_argument("--layers", nargs="+", choices=["eager", "compiled"], default=["eager", "compiled"])
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--threads", type=int, default=None)
    options = parser.parse_args()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    from eduprm.policy import resolve_model

    path = str(resolve_model(options.model))
    rng = np.random.default_rng(0)
    trees = [edu_tree(rng, leaves=5, num_prompt=40, segment=12, depth=5) for _ in range(options.trees)]
    tokens = sum(tree.num_tokens for tree in trees)
    batches = batches_of(trees, options.batch_tokens, TreeAttention("sdpa", scale=4 * 576))
    changes = {
        "lora": LoraSettings(rank=options.rank, alpha=2.0 * options.rank),
        "last_layers": options.last_layers,
        "dtype": options.dtype,
    }
    base = settle_dtype(TrainConfig.for_small_model().model_copy(update=changes))
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}, "
        f"bfloat16 is {'fast' if has_fast_bfloat16() else 'emulated'} here; {base.dtype}, {len(trees)} trees, "
        f"{tokens} tokens, {len(batches)} steps a round"
    )
    now = CLOCKS[options.clock]
    runs, first = {}, {}
    for layers in ("transformers", *options.layers):
        chosen, runs[layers] = contestant(
            path, base.model_copy(update={"cpu_layers": layers}), batches, tokens
        )
        began = now()
        runs[layers]()
        first[layers] = now() - began
        print(f"{layers}: {chosen}; first epoch {tokens / first[layers]:.0f} tokens/s")
    seconds: dict[str, list[float]] = {layers: [] for layers in runs}
    for _ in range(options.rounds):
        for layers, call in runs.items():
            began = now()
            call()
            seconds[layers].append(now() - began)
    for layers, own in seconds.items():
        ratios = sorted(theirs / ours for theirs, ours in zip(seconds["transformers"], own, strict=True))
        print(
            f"{layers}: {tokens / statistics.median(own):.0f} tokens/s ({options.clock}), "
            f"x{statistics.median(ratios):.2f} of transformers' layers ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )


if __name__ == "__main__":
    main()
