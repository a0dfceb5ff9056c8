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
import collections
import contextlib
import dataclasses
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bench_packed
import numpy as np
import torch
from transformers import TrainerCallback

from eduprm.prm.adapters import prepare_model
from eduprm.prm.attention import TreeAttention, attention_inputs
from eduprm.prm.attention.varlen import VARLEN, tree_attention_forward
from eduprm.prm.config import LoraSettings, TrainConfig
from eduprm.prm.curricula.none import shuffled
from eduprm.prm.loading import quiet_transformers
from eduprm.prm.model import packed_hidden, unwrap
from eduprm.prm.packing import plan_batches
from eduprm.prm.step_loss import loss_weights, step_loss
from eduprm.prm.train import _make_trainer

VARIANTS = [
    "sdpa/all/compile", "sdpa/lora/compile", "sdpa/all/eager", "varlen/all/compile", "varlen/lora/compile",
    "sdpa/lora/eager", "varlen/all/eager", "varlen/lora/eager", "flex_attention/all/compile",
    "flex_attention/all/eager",
]  # fmt: skip
KERNELS = {"efficient": "EFFICIENT_ATTENTION", "cudnn": "CUDNN_ATTENTION", "math": "MATH"}
SIZES = {"short": (4.0, 5, 40), "edu": (5.0, 5, 60), "1k": (32.0, 6, 100), "4k": (100.0, 8, 300)}


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


def floor(options: argparse.Namespace) -> None:
    for variant in options.variants:
        guarded(f"floor {variant}", options, lambda variant=variant: floor_variant(variant, options))


def floor_variant(variant: str, options: argparse.Namespace) -> str:
    """Time the whole step of one batch that lies on the GPU: forward, loss, backward, clipping, AdamW."""
    torch._dynamo.reset()
    cuda = options.device == "cuda"
    with tempfile.TemporaryDirectory() as folder:
        trainer, tokens = trainer_of(variant, options, Path(folder))
        batch = trainer._prepare_inputs(trainer.data_collator([trainer.train_dataset[0]]))
    model = trainer.model
    model.train()
    totals = loss_weights(trainer.losses, batch)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-5, fused=True, capturable=cuda)

    def once() -> None:
        with torch.autocast(options.device, torch.bfloat16, enabled=options.dtype == "bfloat16"):
            hidden = packed_hidden(model, batch)
            loss = step_loss(trainer.losses, model, hidden, batch, totals)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    stream = torch.cuda.Stream() if cuda else contextlib.nullcontext()
    with torch.cuda.stream(stream) if cuda else stream:
        for _ in range(4):
            once()
    synchronize()
    launched, took = timed(once, 10)
    where = f"{batch['stops'].shape[0]} rows of {batch['stops'].shape[1]}"
    said = (
        f"{tokens[0] / took:9.0f} tokens/s, {1e3 * took:6.1f} ms a step (host {1e3 * launched:.1f}), {where}"
    )
    if not cuda:
        return said
    try:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            once()
        graph.replay()
        _, replayed = timed(graph.replay, 10)
    except RuntimeError as error:  # the first figure stands without
        return f"{said}, no CUDA graph: {str(error).splitlines()[0][:150]}"
    return f"{said}, as a CUDA graph {tokens[0] / replayed:.0f} tokens/s, {1e3 * replayed:.1f} ms"


def timed(run: Callable[[], Any], times: int) -> tuple[float, float]:
    """Return seconds a run until the host is free, and until the GPU is."""
    synchronize()
    began = time.perf_counter()
    for _ in range(times):
        run()
    launched = time.perf_counter() - began
    synchronize()
    return launched / times, (time.perf_counter() - began) / times


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


def profile(options: argparse.Namespace) -> None:
    for variant in options.variants[:2]:
        guarded(f"profile {variant}", options, lambda variant=variant: profile_variant(variant, options))


def profile_variant(variant: str, options: argparse.Namespace) -> str:
    """Print where the time of three steps goes, and which lines of two more wait for the GPU."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    cuda = options.device == "cuda"
    first, last = options.warm, options.warm + 3
    clock: dict[str, float] = {}
    waits: collections.Counter[str] = collections.Counter()
    torch._dynamo.reset()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        trainer, tokens = trainer_of(variant, options, Path(folder))
        prof = profiler(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])])
        shown = warnings.showwarning

        def count(message: Any, category: Any, filename: str, lineno: int, *rest: Any) -> None:
            if "synchron" in str(message):
                calls = [
                    f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_stack()[:-1]
                ]
                waits[" < ".join(calls[:-8:-1])] += 1
            else:
                shown(message, category, filename, lineno, *rest)

        class Window(TrainerCallback):
            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                if state.global_step == first:
                    synchronize()
                    prof.start()
                    clock["began"] = time.perf_counter()
                if state.global_step == last:
                    synchronize()
                    clock["took"] = time.perf_counter() - clock["began"]
                    prof.stop()
                    if cuda:
                        warnings.simplefilter("always")
                        warnings.showwarning = count
                        torch.cuda.set_sync_debug_mode("warn")
                if state.global_step == last + 2:
                    if cuda:
                        torch.cuda.set_sync_debug_mode("default")
                    control.should_training_stop = True

        assert len(tokens) >= last + 2, f"--steps: expected at least {last + 2}, got {len(tokens)} batches"
        trainer.add_callback(Window())
        trainer.train()
    sort = "self_device_time_total" if cuda else "self_cpu_time_total"
    averages = prof.key_averages()
    print(averages.table(sort_by="self_cpu_time_total", row_limit=12, max_name_column_width=50))
    if not cuda:
        return f"three steps, sorted by {sort}"
    kernels: collections.Counter[str] = collections.Counter()
    calls: collections.Counter[str] = collections.Counter()
    spans = []
    for event in prof.events():
        if event.device_type == torch.autograd.DeviceType.CUDA and not is_annotation(event):
            kernels[event.name] += event.time_range.elapsed_us()
            calls[event.name] += 1
            spans.append((event.time_range.start, event.time_range.end))
    for name, spent in kernels.most_common(25):
        print(f"{spent / 3e3:8.2f} ms a step {calls[name] / 3:6.0f} calls  {name[:120]}")
    for line, number in waits.most_common(12):
        print(f"{number / 2:5.1f} waits a step at {line}")
    busy = union(spans) / 1e6
    return (
        f"three steps of {1e3 * clock['took'] / 3:.1f} ms under the profiler, {sum(calls.values()) / 3:.0f} kernels a "
        f"step, GPU busy {1e3 * busy / 3:.1f} ms a step, idle {1 - busy / clock['took']:.1%}"
    )


def is_annotation(event: Any) -> bool:
    """Return whether an event of the GPU's lane only spans kernels."""
    ranges = ("Optimizer.", "## Call", "Torch-Compiled", "CompiledFunction", "ProfilerStep", "aten::")
    return bool(getattr(event, "is_user_annotation", False)) or event.name.startswith(ranges)


def union(spans: list[tuple[float, float]]) -> float:
    """Return the length that spans cover together."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total


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
