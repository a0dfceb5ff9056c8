"""What asking for entropy adds to a step and to a row, on a CPU, with a model so small that overhead is what one sees.

    uv run --extra sglang packages/sglang-plugin/benchmarks/overhead.py [--rows 1 16 64 256] [--ask blocks]

One server of a random two-layer model; rounds take "asked" and "not asked" turn about. Processor time of the server's
processes (scheduler, detokenizer, and the rest: tokenizer manager and HTTP), which other work on the machine disturbs
less than the wall clock. Differences of neighbours, median over rounds; the fit over the numbers of rows gives
microseconds a step and microseconds a row of a step. On a CPU the entropy itself is computed in the scheduler's thread:
its own time is shown (`measure` alone), and taken off in the last column.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
import psutil
import torch

ASK = {"true": True, "blocks": "blocks"}
VOCAB = 512


def make_model(folder: Path) -> str:
    """A random Llama of two layers; the server gets ids and gives ids, so no tokenizer is needed."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, vocab_size=VOCAB,
        max_position_embeddings=4096, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder / "tiny")
    return str(folder / "tiny")


def start(folder: Path) -> tuple[str, subprocess.Popen]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable, "-m", "eduprm.sglang.cpu_server", "--model-path", make_model(folder), "--port", str(port),
        "--skip-tokenizer-init", "--max-total-tokens", "65536", "--max-running-requests", "256", "--sleep-on-idle",
        "--chunked-prefill-size", "65536", "--overlap",
    ]  # fmt: skip
    log = folder / "server.log"
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    while process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return f"http://127.0.0.1:{port}/generate", process
        except OSError:
            time.sleep(0.5)
    raise SystemExit(f"the server did not come up:\n{log.read_text(errors='replace')[-3000:]}")


def seconds_by_process(pid: int) -> dict[str, float]:
    root = psutil.Process(pid)
    found = {"scheduler": 0.0, "detokenizer": 0.0, "rest": 0.0}
    for one in (root, *root.children(recursive=True)):
        name = " ".join(one.cmdline())
        kind = next((kind for kind in ("scheduler", "detokenizer") if kind in name), "rest")
        times = one.cpu_times()
        found[kind] += times.user + times.system
    return found


def decode(url: str, pid: int, rows: int, tokens: int, ask: object) -> dict[str, float]:
    """Microseconds of processor time a step, by process, and of wall clock."""
    params: dict = {"temperature": 0, "max_new_tokens": tokens, "ignore_eos": True}
    if ask:
        params["custom_params"] = {"eduprm_entropy": ask}
    body = {"input_ids": [[3 + row % 500, *range(10, 18)] for row in range(rows)], "sampling_params": params}
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    before, begin = seconds_by_process(pid), time.perf_counter()
    with urllib.request.urlopen(request, timeout=900) as answer:
        raw = answer.read()
    wall = time.perf_counter() - begin
    assert (b'"entropy"' in raw) == bool(ask), raw[:300]
    used = {name: value - before[name] for name, value in seconds_by_process(pid).items()}
    return {name: value / tokens * 1e6 for name, value in {**used, "wall clock": wall}.items()}


def entropy_us(rows: int) -> float:
    """Microseconds of the step's arithmetic alone, which a GPU would do."""
    from eduprm.entropy import entropy_top2

    logits, times = torch.randn(rows, VOCAB), []
    for _ in range(200):
        begin = time.thread_time()
        entropy_top2(logits, chunk_rows=8)
        times.append(time.thread_time() - begin)
    return statistics.median(times) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 16, 64, 256])
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ask", choices=ASK, default="blocks", help="'true' asks for lists")
    options = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    folder = Path(tempfile.mkdtemp())
    url, process = start(folder)
    added: list[float] = []
    try:
        for rows in options.rows:
            for ask in (None, ASK[options.ask]):
                decode(url, process.pid, rows, 8, ask)
            pairs = []
            for number in range(options.rounds):
                order = (None, ASK[options.ask])
                took = {
                    ask: decode(url, process.pid, rows, options.tokens, ask)
                    for ask in order[:: 1 - number % 2 * 2]
                }
                pairs.append((took[None], took[ASK[options.ask]]))
            names = list(pairs[0][0])
            more = {
                name: statistics.median(asked[name] - plain[name] for plain, asked in pairs) for name in names
            }
            plain = {name: statistics.median(one[name] for one, _ in pairs) for name in names}
            alone = entropy_us(rows)
            total = more["scheduler"] + more["detokenizer"] + more["rest"]
            added.append(total - alone)
            shown = ", ".join(f"{name} {plain[name]:.0f} + {more[name]:.0f}" for name in names)
            print(f"{rows:4d} rows, us a step, not asked + more when asked: {shown}; all processes + {total:.0f}, "
                  f"of it arithmetic {alone:.0f}, plugin {total - alone:.0f}", flush=True)  # fmt: skip
    finally:
        for one in (*psutil.Process(process.pid).children(recursive=True), process):
            one.kill()
        process.wait()
        shutil.rmtree(folder)
    if len(options.rows) > 1:
        row, step = np.polyfit(options.rows, added, 1)
        print(f"plugin: {step:.0f} us a step + {row:.2f} us a row of a step")


if __name__ == "__main__":
    main()
