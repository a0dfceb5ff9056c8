"""A PRM service under abuse: malformed bodies, clients that hang up, and load; memory, scores and log are watched.

    uv run python packages/serve/benchmarks/abuse.py --bodies 1000 --clients 64 --seconds 120

The service is a process of its own with a tiny random PRM. Every malformed body must be answered with 4xx and one line
of JSON; every score under load must be the PRM's own, within 1e-5; its log must stay empty, and its resident memory
must not grow from the first third of the load to the last by more than --grow-mib. Prints JSON; exit status 1 on any
fault.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

GOOD = {"solutions": [{"problem": "2*3?", "steps": ["2 * 3 = 6\n", "#### 6"]}]}
HEAD = "POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n"


def malformed(rng: random.Random) -> bytes:
    """One body that is no request."""
    good = json.dumps(GOOD)
    values = (None, 1, -1, 1e308, "x", [], {}, [[]], True, "\ud800", {"a": {}}, [None], "x" * 1000, 10**30)
    kind = rng.randrange(8)
    if kind == 0:
        return rng.randbytes(rng.randint(0, 2000))
    if kind == 1:
        return good[: rng.randint(1, len(good) - 1)].encode()
    if kind == 2:
        return json.dumps({"solutions": rng.choice(values)}).encode()
    if kind == 3:
        one = {"problem": rng.choice(values), "steps": rng.choice((["a"], *values))}
        return json.dumps({"solutions": [one, {"steps": []}]}).encode()
    if kind == 4:
        return (b"[" if rng.random() < 0.5 else b'{"solutions":') * rng.choice((10, 1000, 100_000))
    if kind == 5:
        return good.replace("6", rng.choice(("\x00", "\\ud800", "\\u00zz", "\\x"))).encode() + b"}"
    if kind == 6:
        return json.dumps({**GOOD, rng.choice(("model", "extra", "")): rng.choice(values)}).encode()[:-2]
    return good.encode("utf-16")


def ask(port: int, body: bytes) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", "/v1/score", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def wait_for(port: int) -> None:
    """Until it listens and has scored once: it says its address while the PRM is still being loaded."""
    for _ in range(600):
        try:
            ask(port, json.dumps(GOOD).encode())
            return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError("the service does not answer")


def hang_up(port: int, rng: random.Random) -> None:
    """Send a part of a request, or all of it, and go: in order, or with a reset."""
    body = json.dumps({"solutions": GOOD["solutions"] * rng.randint(1, 100)})
    whole = (HEAD.format(len(body)) + body).encode()
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(whole[: rng.randint(1, len(whole))])
        time.sleep(rng.uniform(0, 0.05))
        if rng.random() < 0.5:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def rss_mib(pid: int) -> float:
    line = next(
        row for row in Path(f"/proc/{pid}/status").read_text().splitlines() if row.startswith("VmRSS")
    )
    return int(line.split()[1]) / 1024


class Load:
    """Clients that score, hang up or send nonsense until the time is up."""

    def __init__(self, port: int, solutions: list[dict], scores: list[list[float]], until: float) -> None:
        self.port, self.solutions, self.scores, self.until = port, solutions, scores, until
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []

    def client(self, seed: int) -> None:
        rng = random.Random(seed)
        while time.monotonic() < self.until:
            try:
                self._once(rng)
            except (OSError, http.client.HTTPException) as error:
                self.faults.append(f"{type(error).__name__}: {error}")

    def _once(self, rng: random.Random) -> None:
        kind = rng.random()
        if kind < 0.3:
            hang_up(self.port, rng)
            self.counts["hung up"] += 1
        elif kind < 0.4:
            status, _ = ask(self.port, malformed(rng))
            self.counts["malformed"] += 1
            if not 400 <= status < 500:
                self.faults.append(f"a malformed body was answered {status}")
        else:
            at = [rng.randrange(len(self.solutions)) for _ in range(rng.randint(1, 8))]
            status, answer = ask(
                self.port, json.dumps({"solutions": [self.solutions[k] for k in at]}).encode()
            )
            self.counts[f"scored, {status}"] += 1
            if status == 200:
                results = json.loads(answer)["results"]
                gaps = [
                    abs(ours - known)
                    for k, result in zip(at, results, strict=True)
                    for ours, known in zip(result["scores"], self.scores[k], strict=True)
                ]
                self.counts["scores"] += len(gaps)
                if max(gaps) > 1e-5:
                    self.faults.append(f"a score is off by {max(gaps)}")
            elif status not in (429, 503):
                self.faults.append(f"a request was answered {status}: {answer[:200]!r}")


def campaign(given: argparse.Namespace, folder: Path) -> dict[str, object]:
    from eduprm.prm import ProcessRewardModel
    from eduprm.prm.testing import tiny_prm

    prm = tiny_prm(folder / "prm")
    rng = random.Random(given.seed)
    solutions = [
        {"problem": f"{a}+{b}?", "steps": [f"{a} + {b} = {a + b}\n", f"#### {a + b}"]}
        for a, b in ((rng.randint(0, 999), rng.randint(0, 999)) for _ in range(64))
    ]
    model = ProcessRewardModel.from_pretrained(prm)
    scores = model.score_many([(one["problem"], one["steps"]) for one in solutions])
    faults: list[str] = []
    command = [sys.executable, "-m", "eduprm.serve", "--prm", str(prm), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:(\d+)", process.stdout.readline())
        assert found
        port = int(found[1])
        wait_for(port)
        memory = {"at first": rss_mib(process.pid)}
        statuses: Counter[int] = Counter()
        for _ in range(given.bodies):
            body = malformed(rng)
            status, answer = ask(port, body)
            statuses[status] += 1
            if not 400 <= status < 500 or not isinstance(json.loads(answer), dict) or b"Traceback" in answer:
                faults.append(f"{body[:80]!r} was answered {status}: {answer[:200]!r}")
        memory["after the bodies"] = rss_mib(process.pid)
        load = Load(port, solutions, scores, time.monotonic() + given.seconds)
        threads = [threading.Thread(target=load.client, args=(seed,)) for seed in range(given.clients)]
        for thread in threads:
            thread.start()
        for third in ("first", "second", "last"):
            time.sleep(given.seconds / 3)
            memory[f"after the {third} third of the load"] = rss_mib(process.pid)
        for thread in threads:
            thread.join()
        faults += load.faults
        grown = memory["after the last third of the load"] - memory["after the first third of the load"]
        if grown > given.grow_mib:
            faults.append(f"memory grew by {grown:.0f} MiB")
        status, answer = ask(port, json.dumps({"solutions": solutions[:1]}).encode())
        if status != 200:
            faults.append(f"after all that a request is answered {status}")
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=120)
        if err or process.returncode:
            faults.append(f"exit status {process.returncode}, log: {err[-500:]}")
    finally:
        process.kill()
    counts = {"malformed bodies": given.bodies, "answered": dict(statuses), **load.counts}
    return {**counts, "memory MiB": {name: round(mib) for name, mib in memory.items()}, "faults": faults[:20]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bodies", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--grow-mib", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = campaign(given, Path(folder))
    print(json.dumps(found, indent=1))
    return int(bool(found["faults"]))


if __name__ == "__main__":
    sys.exit(main())
