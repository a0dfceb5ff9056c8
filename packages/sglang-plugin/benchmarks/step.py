"""What the plugin adds to a decoding step, function by function, without a server: processor time of the thread.

    uv run --extra sglang packages/sglang-plugin/benchmarks/step.py [--rows 1 16 64 256] [--vocab 49152]

Bookkeeping is what the scheduler does for a step on every device: asking who asked, handing the step over, and, by
row and token, cutting a request's values out when it ends and turning them into blocks or lists (the last two in the
tokenizer manager). The arithmetic is shown for this device: on a CPU it is the scheduler's time too, on a GPU its host
time alone counts.
"""

from __future__ import annotations

import argparse
import statistics
import time
from array import array
from collections.abc import Callable
from types import SimpleNamespace

import torch

from eduprm.sglang.capture import HostStep, measure
from eduprm.sglang.plugin import note_asked, note_starts
from eduprm.sglang.values import as_blocks, as_lists
from eduprm.sglang.wire import TRACE, with_entropy


def microseconds(call: Callable[[], object], *, repeats: int = 200) -> float:
    times = []
    for _ in range(repeats):
        begin = time.thread_time_ns()
        call()
        times.append((time.thread_time_ns() - begin) / 1e3)
    return statistics.median(times)


def make_batch(rows: int, *, asks: bool) -> SimpleNamespace:
    params = SimpleNamespace(custom_params=with_entropy({})["custom_params"] if asks else None)
    requests = [
        SimpleNamespace(
            sampling_params=params, output_ids=array("q"), finished_len=None, customized_info=None
        )
        for _ in range(rows)
    ]
    return SimpleNamespace(reqs=requests)


def bookkeeping(rows: int, tokens: int) -> dict[str, float]:
    """Microseconds a step, and of the end a row and token."""
    batch, steps = make_batch(rows, asks=True), []
    packed = torch.zeros(rows, 7, dtype=torch.int32)
    packed[:, 6] = torch.arange(rows)
    for _ in range(tokens):
        step = HostStep(packed.clone())
        begin = time.thread_time_ns()
        starts = note_starts(lambda *_: None, object, batch, SimpleNamespace(auxiliary_host_output=step))
        used = time.thread_time_ns() - begin
        for row, request in enumerate(batch.reqs):
            request.output_ids.append(row)
        begin = time.thread_time_ns()
        step.take(batch, starts)
        steps.append((used + time.thread_time_ns() - begin) / 1e3)
    begin = time.thread_time_ns()
    traces = [request.customized_info[TRACE][0:tokens][0] for request in batch.reqs]
    cut = (time.thread_time_ns() - begin) / 1e3 / rows / tokens
    each = {name: microseconds(lambda call=call: call(traces[0])) for name, call in ENCODINGS.items()}
    return {
        "step": statistics.median(steps),
        "cut": cut,
        **{name: took / tokens for name, took in each.items()},
    }


ENCODINGS: dict[str, Callable[[bytes], object]] = {"blocks": as_blocks, "lists": as_lists}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 16, 64, 256])
    parser.add_argument("--vocab", type=int, default=49152)
    parser.add_argument("--tokens", type=int, default=256)
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(f"us, {options.tokens} tokens a request; arithmetic on {device}, vocabulary {options.vocab}")
    for rows in options.rows:
        silent = make_batch(rows, asks=False)
        asked = microseconds(lambda batch=silent: note_asked(lambda cls, one: one, object, batch))
        found = bookkeeping(rows, options.tokens)
        logits, ids = (
            torch.randn(rows, options.vocab, device=device),
            torch.zeros(rows, dtype=torch.int64, device=device),
        )
        arithmetic = microseconds(lambda one=logits, two=ids: measure(one, two), repeats=20)
        per_row = found["step"] / rows + found["cut"]
        print(f"{rows:4d} rows: nobody asks {asked:.1f} a step; asked {found['step']:.1f} a step + {found['cut']:.2f} "
              f"a row when it is cut ({per_row:.2f} a row in all); a token as blocks {found['blocks']:.3f}, as lists "
              f"{found['lists']:.3f}; arithmetic {arithmetic:.0f} a step", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
