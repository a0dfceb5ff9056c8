"""The Triton kernel behind entropy_top2 on a GPU: time against naive torch, as a share of a device copy's bandwidth.

    uv run packages/entropy/benchmarks/bench_entropy_gpu.py [--shapes 256x152064 4096x152064] [--dtype bfloat16]

NOT RUN YET: no GPU was at hand when this was written. Needs CUDA and Triton; says so in one line otherwise.

Wanted: at least 80 % of the copy's bandwidth at [256, 152064] and [4096, 152064] in bfloat16. The kernel reads every
logit once and writes next to nothing, so its bandwidth is (bytes of the logits) / time; a device copy reads and writes,
so its bandwidth is 2 * bytes / time. Both run here, turn about, on the same tensor, with CUDA events; a buffer larger
than the level-2 cache is overwritten before each, so that no logit is found there. Naive torch: log_softmax of
float32 logits, its sum with the exponentials, topk(2). The largest error is against float64, on 16 rows. Exit status 1
on a miss.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
from collections.abc import Callable

import torch
from torch import Tensor

from eduprm.entropy import entropy_top2

MIN_SHARE, MAX_ERROR_NATS = 0.8, 2e-4
FLUSH_BYTES = 256 << 20


def naive(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    logprobs = torch.log_softmax(logits.float(), -1)
    top = logprobs.topk(2)
    return -(logprobs.exp() * logprobs).sum(-1), top.indices, top.values


def milliseconds(call: Callable[[], object], flush: Tensor) -> float:
    flush.zero_()
    start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    call()
    stop.record()
    stop.synchronize()
    return start.elapsed_time(stop)


def spread(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.3f} (quartiles {low:.3f} to {high:.3f}, range {min(values):.3f} to {max(values):.3f})"


def error_nats(logits: Tensor) -> float:
    rows = logits[:16]
    logprobs = torch.log_softmax(rows.double(), -1)
    exact = -(logprobs.exp() * logprobs).sum(-1)
    return (entropy_top2(rows, backend="triton").entropy_nats.double() - exact).abs().max().item()


def measure(rows: int, vocab: int, dtype: torch.dtype, repeats: int) -> bool:
    torch.manual_seed(0)
    logits = torch.randn(rows, vocab, device="cuda", dtype=torch.float32).mul_(3.0).add_(10.0).to(dtype)
    target, flush = torch.empty_like(logits), torch.empty(FLUSH_BYTES, dtype=torch.uint8, device="cuda")
    calls: dict[str, Callable[[], object]] = {
        "kernel": lambda: entropy_top2(logits, backend="triton"),
        "copy": lambda: target.copy_(logits),
        "naive torch": lambda: naive(logits),
    }
    for call in calls.values():  # compiles, and warms up
        for _ in range(3):
            call()
    torch.cuda.synchronize()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            times[name].append(milliseconds(call, flush))
    size = logits.numel() * logits.element_size()
    shares = [copy / (2 * kernel) for kernel, copy in zip(times["kernel"], times["copy"], strict=True)]
    speedups = [theirs / ours for ours, theirs in zip(times["kernel"], times["naive torch"], strict=True)]
    print(f"[{rows}, {vocab}] {dtype}, {size / 2**20:.0f} MiB, {repeats} rounds")
    for name, values in times.items():
        moved = 2 if name == "copy" else 1
        rate = "" if name == "naive torch" else f", {moved * size / statistics.median(values) / 1e6:.0f} GB/s"
        print(f"  {name}: {spread(values)} ms{rate}")
    print(f"  naive torch / kernel: {spread(speedups)}")
    share, error = statistics.median(shares), error_nats(logits)
    met = share >= MIN_SHARE and error <= MAX_ERROR_NATS
    print(f"  {'met ' if met else 'MISS'} share of the copy's bandwidth {spread(shares)}, wanted {MIN_SHARE}; "
          f"error {error:.2g} nats, wanted {MAX_ERROR_NATS}")  # fmt: skip
    return met


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", nargs="+", default=["256x152064", "4096x152064"], help="ROWSxVOCABULARY")
    parser.add_argument("--dtype", choices=["bfloat16", "float16", "float32"], default="bfloat16")
    parser.add_argument("--repeats", type=int, default=50)
    options = parser.parse_args()
    if not torch.cuda.is_available() or importlib.util.find_spec("triton") is None:
        print(
            f"bench_entropy_gpu: expected a CUDA device and Triton, got torch {torch.__version__} with "
            f"{torch.cuda.device_count()} CUDA devices; on a CPU run bench_entropy.py",
            file=sys.stderr,
        )
        return 2
    import triton

    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, CUDA {torch.version.cuda}, "
          f"Triton {triton.__version__}; {' '.join(sys.argv)}")  # fmt: skip
    shapes = [tuple(int(part) for part in shape.split("x")) for shape in options.shapes]
    dtype = getattr(torch, options.dtype)
    return 0 if all([measure(*shape, dtype, options.repeats) for shape in shapes]) else 1


if __name__ == "__main__":
    sys.exit(main())
