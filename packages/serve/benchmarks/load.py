"""Solutions per second and latencies of a PRM service on loopback, against `score_ids` in the same process.

    OMP_NUM_THREADS=1 python packages/serve/benchmarks/load.py [--model FOLDER] [--solutions 256] [--rounds 3]

Each round scores the same solutions directly (in packs as large as the service's) and then through the service with 1,
16 and 64 clients, each sending one solution at a time as soon as it has the last one's scores. The service runs in a
thread of this process, so both share one model and the same cores; clients run in another process, as they would.
Without --model: a tiny random PRM (`eduprm.prm.testing`), where what is measured is the service itself.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time

CLIENTS = (1, 16, 64)


def make_solutions(count, seed=0):
    """Problems with four solutions each, of two to five lines."""
    rng = random.Random(seed)
    made = []
    for index in range(count):
        if index % 4 == 0:
            numbers = [rng.randint(2, 99) for _ in range(5)]
            problem = "What is " + " + ".join(map(str, numbers)) + "?"
        steps, total = [], numbers[0]
        for number in numbers[1 : rng.randint(2, 5)]:
            answer = total + number + rng.choice((0, 0, 1))
            steps.append(f"{total} + {number} = {answer}\n")
            total = answer
        made.append((problem, [*steps, f"#### {total}"]))
    return made


async def drive(url, clients, solutions):
    """Seconds in all, and of each request, with so many clients."""
    from eduprm.serve import PrmClient, Solution

    waiting = iter([Solution(problem=problem, steps=steps) for problem, steps in solutions])
    latencies = []

    async def client():
        async with PrmClient(url, max_requests=1, request_solutions=1) as prm:
            ready.append(None)
            await go.wait()
            for solution in waiting:
                start = time.perf_counter()
                (result,) = await prm.score_many([solution])
                latencies.append(time.perf_counter() - start)
                assert result.scores is not None, result

    ready, go = [], asyncio.Event()
    tasks = [asyncio.create_task(client()) for _ in range(clients)]
    while len(ready) < clients:
        await asyncio.sleep(0.01)
    start = time.perf_counter()
    go.set()
    await asyncio.gather(*tasks)
    return time.perf_counter() - start, latencies


def driver(url):
    """The process of the clients: reads what to do line by line."""
    for line in sys.stdin:
        clients, solutions = json.loads(line)
        print(json.dumps(asyncio.run(drive(url, clients, solutions))), flush=True)


def direct(prm, solutions, batch_tokens):
    """Seconds for scoring everything in packs, without any service."""
    start = time.perf_counter()
    items = [
        (prm.builder.prompt_ids(problem), prm.builder.solution_ids(steps)) for problem, steps in solutions
    ]
    pack, tokens = [], 0
    for item in items:
        cost = len(item[0]) + sum(map(len, item[1]))
        if pack and tokens + cost > batch_tokens:
            prm.score_ids(pack)
            pack, tokens = [], 0
        pack.append(item)
        tokens += cost
    prm.score_ids(pack)
    return time.perf_counter() - start


def one_by_one(prm, solutions):
    """Seconds for scoring each solution by itself."""
    start = time.perf_counter()
    for problem, steps in solutions:
        prm.score_ids([(prm.builder.prompt_ids(problem), prm.builder.solution_ids(steps))])
    return time.perf_counter() - start


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def measure(options):
    import torch

    from eduprm.prm import ProcessRewardModel
    from eduprm.serve.server.testing import Serving

    torch.set_num_threads(1)
    solutions = make_solutions(options.solutions)
    with tempfile.TemporaryDirectory() as folder:
        path = options.model or tiny(folder)
        prm = ProcessRewardModel.from_pretrained(path, batch_tokens=options.batch_tokens)
    tokens = sum(prm.num_tokens(problem, steps) for problem, steps in solutions) / len(solutions)
    print(f"{platform.processor() or platform.machine()}, load average {os.getloadavg()[0]:.1f}")
    print(
        f"{path if options.model else 'tiny'}: {len(solutions)} solutions of {tokens:.0f} tokens on average, "
        f"{options.rounds} rounds"
    )
    rows = {name: [] for name in ("packs", "one by one", *CLIENTS)}
    latencies = {clients: [] for clients in CLIENTS}
    with Serving(prm, batch_tokens=options.batch_tokens) as serving:
        child = subprocess.Popen(
            [sys.executable, __file__, "--drive", serving.url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        one_by_one(prm, solutions[:16])
        for _ in range(options.rounds):
            rows["packs"].append(direct(prm, solutions, options.batch_tokens))
            rows["one by one"].append(one_by_one(prm, solutions))
            for clients in CLIENTS:
                child.stdin.write(json.dumps([clients, solutions]) + "\n")
                child.stdin.flush()
                seconds, each = json.loads(child.stdout.readline())
                rows[clients].append(seconds)
                latencies[clients] += each
        child.stdin.close()
        child.wait()
    show(rows, latencies, len(solutions))


def show(rows, latencies, count):
    print(f"{'':>14}{'solutions/s':>13}{'of packs':>26}{'of one by one':>26}{'p50 ms':>9}{'p99 ms':>9}")
    for name, seconds in rows.items():
        line = f"{name if isinstance(name, str) else f'{name} clients':>14}{count / statistics.median(seconds):>13.1f}"
        for base in ("packs", "one by one"):
            ratios = [other / own for own, other in zip(seconds, rows[base], strict=True)]
            line += f"{f'{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})':>26}"
        if name in latencies:
            line += "".join(f"{1000 * percentile(latencies[name], share):>9.1f}" for share in (0.5, 0.99))
        print(line)


def tiny(folder):
    from eduprm.prm.testing import tiny_prm

    return tiny_prm(f"{folder}/prm")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="folder of a PRM; none: a tiny random one")
    parser.add_argument("--solutions", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-tokens", type=int, default=2048)
    parser.add_argument("--drive", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    driver(chosen.drive) if chosen.drive else measure(chosen)
