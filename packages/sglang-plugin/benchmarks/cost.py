"""What the plugin costs: decode tokens per second when everybody asks, when nobody does, and without the plugin.

Two servers of one model, one with the plugin and one without (SGLANG_PLUGINS=none), both up, only one at work at a
time. "asked" and "not asked" go to the first, "absent" to the second. Rounds take the three turn about; the ratio is
that of neighbours in one round, so that a machine that slows down slows all three. Beside the wall clock stands the
processor time of the server's processes, which other work on the machine disturbs less. The prompts are in the radix
cache from a first round that is not counted, so that a round is decoding alone.

    uv run --extra sglang packages/sglang-plugin/benchmarks/cost.py --rows 16 --tokens 64 --rounds 8
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

import psutil

from eduprm.policy import resolve_model
from eduprm.sglang import with_entropy


class Server(NamedTuple):
    port: int
    process: subprocess.Popen


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(model: str, folder: Path, *, plugins: str, flags: list[str]) -> Server:
    port, log = free_port(), folder / f"{plugins}.log"
    command = [
        sys.executable,
        "-m",
        "eduprm.sglang.cpu_server",
        "--model-path",
        model,
        "--port",
        str(port),
        *flags,
    ]
    with log.open("w") as out:
        process = subprocess.Popen(
            command,
            env={**os.environ, "SGLANG_PLUGINS": plugins},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    while process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                if answer.status == 200:
                    return Server(port, process)
        except OSError:
            time.sleep(0.5)
    raise SystemExit(f"a server did not come up:\n{log.read_text(errors='replace')[-3000:]}")


def processor_seconds(pid: int) -> float:
    """Processor time that a server's processes have used so far."""
    root = psutil.Process(pid)
    times = [one.cpu_times() for one in (root, *root.children(recursive=True))]
    return sum(one.user + one.system for one in times)


def decode(server: Server, ids: list[list[int]], *, tokens: int, asked: bool) -> tuple[float, float]:
    """Decode one batch; return tokens per second of wall clock, and of processor time."""
    params = {"temperature": 0, "max_new_tokens": tokens, "ignore_eos": True}
    body = {"input_ids": ids, "sampling_params": with_entropy(params) if asked else params}
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.port}/generate",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    used, begin = processor_seconds(server.process.pid), time.perf_counter()
    with urllib.request.urlopen(request, timeout=600) as answer:
        answers = json.loads(answer.read())
    seconds, used = time.perf_counter() - begin, processor_seconds(server.process.pid) - used
    assert all(("entropy" in one["meta_info"]) == asked for one in answers)
    done = sum(len(one["output_ids"]) for one in answers)
    return done / seconds, done / used


def report(name: str, ratios: list[float]) -> None:
    """Print the median ratio, its 95 % interval (bootstrap over rounds) and the quartiles of the rounds."""
    low, middle, high = statistics.quantiles(ratios, n=4)
    draw = random.Random(0)
    medians = sorted(statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(4000))
    print(
        f"{name:<24} {middle:.4f} [95 %: {medians[100]:.4f}, {medians[-101]:.4f}; "
        f"quartiles {low:.4f}, {high:.4f}; {len(ratios)} rounds]"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("flags", nargs="*", help="flags of the servers, after --")
    options = parser.parse_args()

    # Distinct first tokens, so that the rows share no prefix.
    ids = [[1000 + row, *range(2000, 2024)] for row in range(options.rows)]
    flags = ["--sleep-on-idle", *options.flags]
    model = resolve_model(options.model)
    folder = Path(tempfile.mkdtemp())
    servers = [start(model, folder, plugins=plugins, flags=flags) for plugins in ("eduprm_entropy", "none")]
    ways = {
        "asked": (servers[0], True),
        "not asked": (servers[0], False),
        "absent": (servers[1], False),
    }
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    try:
        for server in servers:
            decode(server, ids, tokens=8, asked=False)
        for number in range(options.rounds):
            order = list(ways)
            for name in order[number % 3 :] + order[: number % 3]:
                server, asked = ways[name]
                rates[name].append(decode(server, ids, tokens=options.tokens, asked=asked))
    finally:
        for server in servers:
            for one in (*psutil.Process(server.process.pid).children(recursive=True), server.process):
                one.kill()
            server.process.wait()
        shutil.rmtree(folder)
    for clock, column in (("wall clock", 0), ("processor time", 1)):
        print(f"tokens per second of {clock}, batch {options.rows}")
        for name, found in rates.items():
            print(f"  {name:<22} {statistics.median(row[column] for row in found):8.1f} (median)")
        for upper, lower in (("asked", "not asked"), ("asked", "absent"), ("not asked", "absent")):
            pairs = zip(rates[upper], rates[lower], strict=True)
            report(f"  {upper} / {lower}", [a[column] / b[column] for a, b in pairs])


if __name__ == "__main__":
    main()
