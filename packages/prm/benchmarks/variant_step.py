"""Sections `floor` and `profile` of bench_variants.py: what one training step of a variant does on the GPU."""

from __future__ import annotations

import argparse
import collections
import contextlib
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback
from variant_trainer import guarded, synchronize, trainer_of

from eduprm.prm.model import packed_hidden
from eduprm.prm.step_loss import loss_weights, step_loss


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
    averages = prof.key_averages()
    print(averages.table(sort_by="self_cpu_time_total", row_limit=12, max_name_column_width=50))
    if not cuda:
        return "three steps"
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
