"""Training variants on a GPU: attention back ends, all weights or LoRA, compiled or not; one command, one table.

    python packages/prm/benchmarks/bench_variants.py                      # all sections, about two minutes on an H100
    python packages/prm/benchmarks/bench_variants.py --sections train --only varlen
    python packages/prm/benchmarks/bench_variants.py --sections profile   # where a step's time goes
    python packages/prm/benchmarks/bench_variants.py --sections floor     # what the GPU needs without Trainer

A variant is attention/weights/how. how: eager, compile (each decoder layer), whole (the backbone as one), graphs
(whole, in CUDA graphs, one for each shape). --kernel, --workers and --unit try SDPA's kernels, the collator's
processes and the length of rows.

attention: one layer's attention, forward and backward, for trees of several sizes, and how far apart the back ends are.
train: tokens/s of PrmTrainer itself, SmolLM2-135M, EDU-shaped trees of 8 leaves (140 to 240 tokens), 8,192 a step.
floor: one batch again and again, its step without Trainer: as launched, the host's part, and replayed as a CUDA graph.
profile: time by kernel, how long the GPU was idle, and the lines that wait for it.
ratio: packed against path by path for a random model of Qwen2.5-1.5B's shape (bench_packed.py's default on a GPU).
A variant that fails says so and the next one runs; none is begun after --seconds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bench_packed
import numpy as np
import torch
from transformers import TrainerCallback
from variant_step import floor, profile
from variant_trainer import KERNELS, SIZES, backbone, guarded, kernel_choice, synchronize, trainer_of

from eduprm.prm.attention import TreeAttention, attention_inputs
from eduprm.prm.attention.varlen import VARLEN, tree_attention_forward

VARIANTS = [
    "sdpa/all/compile", "sdpa/lora/compile", "sdpa/all/eager", "varlen/all/compile", "varlen/lora/compile",
    "sdpa/lora/eager", "varlen/all/eager", "varlen/lora/eager", "flex_attention/all/compile",
    "flex_attention/all/eager",
]  # fmt: skip


class StepClock(TrainerCallback):
    """Seconds from the end of the `warm` first steps to the end, the GPU waited for at both ends only."""

    def __init__(self, warm: int, last: int) -> None:
        self.warm, self.last, self.began, self.ended = warm, last, 0.0, 0.0
        self.first = time.perf_counter()
        self.warmed = 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.warm:
            synchronize()
            self.began = time.perf_counter()
            self.warmed = self.began - self.first
        if state.global_step == self.last:
            synchronize()
            self.ended = time.perf_counter()


def train(options: argparse.Namespace) -> None:
    for variant in options.variants:
        for tokens in options.all_batch_tokens:
            options.batch_tokens = tokens
            guarded(f"{variant} {tokens}", options, lambda variant=variant: train_variant(variant, options))
    options.batch_tokens = options.all_batch_tokens[0]


def train_variant(variant: str, options: argparse.Namespace) -> str:
    if options.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    torch._dynamo.reset()
    with tempfile.TemporaryDirectory() as folder:
        trainer, tokens = trainer_of(variant, options, Path(folder))
        clock = StepClock(options.warm, len(tokens))
        trainer.add_callback(clock)
        trainer.train()
    seconds = clock.ended - clock.began
    timed = tokens[options.warm :]
    peak = torch.cuda.max_memory_allocated() / 2**30 if options.device == "cuda" else 0.0
    losses = trainer.state.log_history[-1].get("train_loss", float("nan"))
    return (
        f"{sum(timed) / seconds:9.0f} tokens/s, {1e3 * seconds / len(timed):6.1f} ms a step, first {options.warm} "
        f"steps {clock.warmed:5.1f} s, peak {peak:5.1f} GiB, loss {losses:.4f}"
    )


def attention(options: argparse.Namespace) -> None:
    for size, (segment, depth, prompt) in SIZES.items():
        rng = np.random.default_rng(0)
        trees = [
            bench_packed.edu_tree(rng, leaves=8, num_prompt=prompt, segment=segment, depth=depth)
            for _ in range(60)
        ]
        while sum(tree.num_tokens for tree in trees) > max(options.batch_tokens, trees[0].num_tokens):
            trees.pop()
        reference: list[torch.Tensor] = []
        for name in ("sdpa", VARLEN, "flex_attention"):
            label = f"attention {size} ({len(trees)} trees of {trees[0].num_tokens}) {name}"
            guarded(label, options, lambda n=name, t=trees, r=reference: attention_layer(n, t, r, options))


def attention_layer(
    name: str, trees: list[Any], reference: list[torch.Tensor], options: argparse.Namespace
) -> str:
    """Time one layer's attention forward and backward; compare with the first one called for these trees."""
    dtype = getattr(torch, options.dtype)
    layout = TreeAttention(name, scale=4 * 576, always=True)
    packed, fields = layout.pack(trees, pad_id=0)
    batch = {"stops": torch.from_numpy(packed.stops).to(options.device), **fields}
    inputs = attention_inputs(batch, implementation=name, dtype=dtype)
    rows, width = packed.stops.shape
    generator = torch.Generator().manual_seed(0)
    whole = torch.randn(sum(tree.num_tokens for tree in trees), 15, 64, generator=generator)
    states = torch.zeros(rows, width, 15, 64)
    places, begin = [], 0
    for tree, (row, offset) in zip(trees, packed.slots, strict=True):
        states[row, offset : offset + tree.num_tokens] = whole[begin : begin + tree.num_tokens]
        places.append(torch.arange(tree.num_tokens) + row * width + offset)
        begin += tree.num_tokens
    leaf = states.to(options.device, dtype).requires_grad_()
    place = torch.cat(places).to(options.device)
    function = attention_function(name)

    def once() -> torch.Tensor:
        leaf.grad = None
        query, key, value = leaf.transpose(1, 2).split([9, 3, 3], dim=1)
        output = function(query, key, value, inputs).flatten(0, 1)[place]
        (output.float() ** 2).sum().backward()
        return torch.cat((output.detach().flatten(), leaf.grad.flatten(0, 1)[place].flatten())).float()

    result = once()
    once()
    synchronize()
    began = time.perf_counter()
    for _ in range(10):
        once()
    synchronize()
    took = (time.perf_counter() - began) / 10
    reference.append(result)
    away = ((result - reference[0]).norm() / reference[0].norm()).item()
    return (
        f"{1e3 * took:7.2f} ms forward and backward, {rows} rows of {width}, {away:.1e} away from the first"
    )


def attention_function(name: str) -> Callable[..., torch.Tensor]:
    from transformers.integrations.flex_attention import flex_attention_forward

    module = torch.nn.Module()
    module.num_key_value_groups, module.is_causal = 3, True  # type: ignore[assignment]

    def call(query: Any, key: Any, value: Any, inputs: dict[str, Any]) -> torch.Tensor:
        function = flex_attention_forward if name == "flex_attention" else tree_attention_forward
        return function(module, query, key, value, scaling=0.125, **inputs)[0]

    return call


def ratio(options: argparse.Namespace) -> None:
    def run() -> str:
        shape = bench_packed.GPU_DEFAULTS
        rng = np.random.default_rng(0)
        trees = [
            bench_packed.edu_tree(
                rng,
                leaves=shape["leaves"],
                num_prompt=shape["prompt"],
                segment=shape["segment"],
                depth=shape["depth"],
            )
            for _ in range(shape["trees"])
        ]
        model = bench_packed.load(shape["model"], options.device, getattr(torch, options.dtype))
        names = ["varlen", "sdpa"]
        bench_packed.compare(model, trees, names, batch_tokens=shape["batch_tokens"], rounds=2, clock="wall")
        return f"peak {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB" if options.device == "cuda" else ""

    guarded("ratio", options, run)


SECTIONS = {"attention": attention, "train": train, "ratio": ratio, "profile": profile, "floor": floor}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=["attention", "train", "ratio"])
    parser.add_argument(
        "--variants", nargs="+", default=VARIANTS, help="attention/weights/how, in this order"
    )
    parser.add_argument("--only", default="", help="only variants whose name holds this")
    parser.add_argument("--model", default="smollm2-135m-steps", help="or tiny, to try the script on a CPU")
    parser.add_argument("--batch-tokens", type=int, nargs="+", default=[8192], help="all of them in train")
    parser.add_argument("--kernel", choices=KERNELS, help="SDPA's kernel; without, torch chooses")
    parser.add_argument("--workers", type=int, default=0, help="processes that pack; 0: the training's own")
    parser.add_argument("--unit", type=int, help="rows under a dense mask are a multiple of it long")
    parser.add_argument("--trees", type=int, default=300)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--warm", type=int, default=8, help="steps before the clock starts")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="bfloat16")
    parser.add_argument("--seconds", type=float, default=150.0, help="begin nothing after these")
    options = parser.parse_args()
    options.began = time.perf_counter()
    options.all_batch_tokens, options.batch_tokens = options.batch_tokens, options.batch_tokens[0]
    options.device = "cuda" if torch.cuda.is_available() else "cpu"
    options.variants = [variant for variant in options.variants if options.only in variant]
    where = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    print(
        f"{where}, torch {torch.__version__}, {options.dtype}, {options.model}, {options.batch_tokens} tokens a step"
    )
    with tempfile.TemporaryDirectory() as folder, kernel_choice(options.kernel):
        options.folder = backbone(options.model, Path(folder))
        for section in options.sections:
            SECTIONS[section](options)


if __name__ == "__main__":
    main()
