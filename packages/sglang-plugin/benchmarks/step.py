"""What the plugin adds to one decoding step, function by function, without a server.

For a machine too busy for `cost.py`: each call is timed alone and the fastest tenth counts. Between calls 256 MiB are
written, as the weights of a real step go through the cache too.

    uv run --extra sglang packages/sglang-plugin/benchmarks/step.py --rows 16 --vocab 49152
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from types import SimpleNamespace

import torch

from eduprm.entropy import entropy_top2
from eduprm.sglang.capture import finish, start
from eduprm.sglang.plugin import note_rows


def fastest_tenth_ms(call: Callable[[], object], *, repeats: int) -> float:
    flush, times = torch.zeros(64 << 20), []
    for _ in range(repeats):
        flush.add_(1)
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return 1e3 * sorted(times)[repeats // 10]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--vocab", type=int, default=49152)
    parser.add_argument("--repeats", type=int, default=50)
    options = parser.parse_args()

    logits = torch.randn(options.rows, options.vocab) * 3
    tokens = torch.randint(0, options.vocab, (options.rows,))
    rows = list(range(options.rows))
    silent = SimpleNamespace(sampling_params=SimpleNamespace(custom_params=None))
    batch = SimpleNamespace(reqs=[silent] * options.rows)
    started = start(logits, rows, will_change=False)
    calls: dict[str, Callable[[], object]] = {
        "nobody asks: look at every request": lambda: note_rows(lambda cls, batch: batch, object, batch),
        "asked, greedy: before sampling": lambda: start(logits, rows, will_change=False),
        "asked, sampled: before sampling": lambda: start(logits, rows, will_change=True),
        "asked: after sampling": lambda: finish(started, tokens),
        "(entropy_top2 with its own tiles)": lambda: entropy_top2(logits),
        "(torch.softmax alone)": lambda: torch.softmax(logits, -1),
    }
    print(f"ms per step, {options.rows} rows of {options.vocab}, {torch.get_num_threads()} threads of torch")
    for name, call in calls.items():
        print(f"  {name:<38} {fastest_tenth_ms(call, repeats=options.repeats):8.3f}")


if __name__ == "__main__":
    main()
