"""A real SGLang server on the CPU, for the tests here."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def serving():
    """Takes a model's folder, a folder for the log and flags of the server; a context manager that gives the URL."""
    return _serving


@contextmanager
def _serving(model: str, folder: Path, *flags: str) -> Iterator[str]:
    """The URL of a server on the CPU."""
    import psutil  # SGLang depends on it

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url, log = f"http://127.0.0.1:{port}", folder / "server.log"
    command = [sys.executable, "-m", "eduprm.sglang.cpu_server", "--model-path", model, "--port", str(port)]
    with log.open("w") as out:
        process = subprocess.Popen(
            [*command, "--sleep-on-idle", *flags], stdout=out, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + 300
        while True:
            try:
                with urllib.request.urlopen(url + "/health", timeout=5) as answer:
                    if answer.status == 200:
                        break
            except OSError:
                time.sleep(0.5)
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
        yield url
    finally:
        if process.poll() is None:
            for one in (*psutil.Process(process.pid).children(recursive=True), process):
                one.kill()
        process.wait()
