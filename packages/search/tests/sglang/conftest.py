"""Two real SGLang servers behind a real router, once for all tests, with SmolLM2-135M in float32.

On the GPU where there is one (both on the first), else on the CPU. In float32 with torch's own attention the numbers
are those of the transformers engine on either; Triton's attention rounds float32 products to TF32.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MODEL = "smollm2-135m-instruct"


class Process:
    """A server in a process group of its own."""

    def __init__(self, command: list[str], log: Path, port: int, **environment: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.log = log
        with log.open("w") as out:
            self._process = subprocess.Popen(
                [sys.executable, *command],
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=_environment(environment),
            )

    def wait(self, route: str, *, limit_s: float = 240.0) -> None:
        """Until it answers 200."""
        until = time.monotonic() + limit_s
        while time.monotonic() < until:
            assert self._process.poll() is None, self.log.read_text()[-3000:]
            try:
                with urllib.request.urlopen(self.url + route, timeout=10):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        raise AssertionError(f"{self.url} did not answer:\n{self.log.read_text()[-3000:]}")

    def kill(self) -> None:
        """SIGKILL to the whole group: the server, its scheduler, its detokenizer."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self._process.wait()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None


def _environment(more: dict[str, str]) -> dict[str, str]:
    # With byte code on disk, the second start takes half the time.
    own = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return {**own, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **more}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def on_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())


GPU_ARGS: dict[str, object] = {
    "dtype": "float32",
    "attention_backend": "torch_native",
    "sampling_backend": "pytorch",
    "grammar_backend": "none",
    "mem_fraction_static": 0.3,
    "max_total_tokens": 16384,
}
"""Of a server on a GPU; its overlap scheduler stays on."""


def server_flags() -> list[str]:
    """How a server is started here."""
    if not on_gpu():
        return ["-m", "eduprm.sglang.cpu_server"]
    flags = [(f"--{name.replace('_', '-')}", str(value)) for name, value in GPU_ARGS.items()]
    return ["-m", "sglang.launch_server", *(part for flag in flags for part in flag)]


def start_worker(folder: Path, name: str, *flags: str, **environment: str) -> Process:
    from eduprm.policy import resolve_model

    port = free_port()
    command = [*server_flags(), "--model-path", resolve_model(MODEL), "--host", "127.0.0.1"]
    return Process(
        [
            *command,
            "--port",
            str(port),
            "--max-total-tokens",
            "4096",
            "--enable-metrics",
            "--sleep-on-idle",
            *flags,
        ],
        folder / f"{name}.log",
        port,
        **environment,
    )


def start_router(folder: Path, workers: list[Process]) -> Process:
    port = free_port()
    command = [
        "-m", "sglang_router.launch_router", "--host", "127.0.0.1", "--port", str(port), "--policy", "cache_aware",
        "--prometheus-port", str(free_port()), "--worker-startup-check-interval", "1",
        "--health-check-interval-secs", "5", "--worker-urls", *[worker.url for worker in workers],
    ]  # fmt: skip
    return Process(command, folder / "router.log", port)


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[Process, list[Process]]]:
    """(router, two workers), ready."""
    processes: list[Process] = []
    try:
        workers = [start_worker(folder, f"worker{number}") for number in range(2)]
        processes += workers
        for worker in workers:
            worker.wait("/health")
        router = start_router(folder, workers)
        processes.append(router)
        router.wait("/health_generate")
        yield router, workers
    finally:
        for process in processes:
            process.kill()


@pytest.fixture(scope="session")
def engine_arguments() -> tuple[dict[str, object], dict[str, str]]:
    """(arguments, environment) of an engine in a process of its own."""
    from eduprm.sglang.cpu_server import CPU_ENGINE_ARGS

    return (GPU_ARGS, {}) if on_gpu() else (CPU_ENGINE_ARGS, {"SGLANG_PLATFORM": "eduprm_cpu"})


@pytest.fixture(scope="session")
def sglang_cluster(tmp_path_factory) -> Iterator[tuple[Process, list[Process]]]:
    pytest.importorskip("sglang", reason="needs the extra sglang")
    with cluster(tmp_path_factory.mktemp("sglang")) as ready:
        yield ready
