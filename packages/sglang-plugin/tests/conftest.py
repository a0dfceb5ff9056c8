"""One real SGLang server for all tests, and a float64 reference that shares no code with it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")

ASK = {"custom_params": {"eduprm_entropy": True}}
#: On a card the server runs as it is used there: CUDA graphs, the overlap scheduler, Triton attention.
CARD_FLAGS = [
    "--dtype", "float32", "--attention-backend", "triton", "--sampling-backend", "pytorch",
    "--mem-fraction-static", "0.3", "--grammar-backend", "none", "--cuda-graph-max-bs", "16",
]  # fmt: skip
# Small on purpose: prompts come in chunks, and a handful of requests does not fit, so that some are retracted.
CHUNK, POOL = 32, 448


class Server:
    """A client of the server under test."""

    def __init__(self, url: str, log: Path) -> None:
        self.url, self.log = url, log

    def post(self, route: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            self.url + route, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise ValueError(f"HTTP {error.code}: {error.read().decode()}") from None

    def stream(self, body: dict[str, Any]) -> list[Any]:
        """The chunks of a streamed answer."""
        request = urllib.request.Request(
            self.url + "/generate",
            json.dumps({**body, "stream": True}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=300) as lines:
            return [json.loads(line[6:]) for line in lines if line.startswith(b"data: {")]

    def generate(self, ids: list, params: dict | list[dict], **more: Any) -> Any:
        return self.post("/generate", {"input_ids": ids, "sampling_params": params, **more})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def on_card() -> bool:
    import torch

    return torch.cuda.is_available()


def tolerance_nats() -> float:
    """Distance from float64 that is allowed: Triton's attention multiplies float32 in tf32."""
    return 2e-2 if on_card() else 1e-3


def start_server(folder: Path, model: str, *flags: str) -> tuple[Server, subprocess.Popen]:
    """Start a server, on CUDA where there is one, else with the package's own command; wait until it answers."""
    port, log = free_port(), folder / "server.log"
    module, given = ("sglang.launch_server", CARD_FLAGS) if on_card() else ("eduprm.sglang.cpu_server", [])
    command = [sys.executable, "-m", module, "--model-path", model, *given]
    with log.open("w") as out:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port), *flags],
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    server = Server(f"http://127.0.0.1:{port}", log)
    deadline = time.monotonic() + 420  # the first start on a card compiles kernels
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(server.url + "/health", timeout=5) as answer:
                if answer.status == 200:
                    return server, process
        except OSError:
            time.sleep(0.5)
    if process.poll() is None:
        stop_server(process)
    raise RuntimeError(f"the server did not come up:\n{log.read_text()[-4000:]}")


def stop_server(process: subprocess.Popen) -> None:
    import psutil  # SGLang depends on it

    # The scheduler and the detokenizer too.
    for one in (*psutil.Process(process.pid).children(recursive=True), process):
        one.kill()
    process.wait()


@pytest.fixture(scope="session")
def model_folder() -> str:
    from eduprm.policy import BUNDLED_MODEL, resolve_model

    return resolve_model(BUNDLED_MODEL)


@pytest.fixture(scope="session")
def server(tmp_path_factory, model_folder: str) -> Iterator[Server]:
    # An idle scheduler would spin on a core that the reference needs.
    flags = ["--sleep-on-idle", "--chunked-prefill-size", str(CHUNK), "--max-total-tokens", str(POOL)]
    # Other settings by hand: EDUPRM_SGLANG_FLAGS="--tp-size 3".
    flags += os.environ.get("EDUPRM_SGLANG_FLAGS", "").split()
    found, process = start_server(
        # Admit many requests: the pool then runs full in mid-decode.
        tmp_path_factory.mktemp("sglang"), model_folder, *flags, "--schedule-conservativeness", "0.01"
    )  # fmt: skip
    yield found
    stop_server(process)


class Reference:
    """Entropy, log-prob and runner-up by transformers in float64, one full forward over prompt and output."""

    def __init__(self, folder: str) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.known: dict[tuple, dict[str, list]] = {}

    def chat(self, text: str) -> list[int]:
        """Prompt ids of one user message."""
        chat = [{"role": "user", "content": text}]
        return self.tokenizer.apply_chat_template(chat, add_generation_prompt=True)["input_ids"]

    def values(self, prompt: list[int], output: list[int]) -> dict[str, list]:
        """What `meta_info` must hold for this output."""
        key = (tuple(prompt), tuple(output))
        if key not in self.known:
            self.known[key] = self._values(prompt, output)
        return self.known[key]

    def _values(self, prompt: list[int], output: list[int]) -> dict[str, list]:
        import torch

        with torch.inference_mode():
            ids = torch.tensor([prompt + output])
            logits = self.model(ids, logits_to_keep=len(output) + 1).logits[0, :-1]
            logprobs = torch.log_softmax(logits, dim=-1)
        columns: dict[str, list] = {"entropy": [], "logprob": [], "runner_up_id": [], "runner_up_logprob": []}
        for row, token in zip(logprobs, output, strict=True):
            others = row.clone()
            others[token] = -torch.inf
            columns["entropy"].append(float(-(row.exp() * row).sum()))
            columns["logprob"].append(float(row[token]))
            columns["runner_up_id"].append(int(others.argmax()))
            columns["runner_up_logprob"].append(float(others.max()))
        return columns

    def check(self, prompt: list[int], answer: dict[str, Any]) -> None:
        """Assert that an answer's values are those of its tokens: same length, same order, same numbers."""
        tolerance = tolerance_nats()
        output, meta = answer["output_ids"], answer["meta_info"]
        expected = self.values(prompt, output)
        assert len(output) == meta["completion_tokens"]
        for field, column in expected.items():
            assert len(meta[field]) == len(output), (
                f"{field}: {len(meta[field])} values, {len(output)} tokens"
            )
            if field != "runner_up_id":
                assert meta[field] == pytest.approx(column, abs=tolerance), field
        for position, (found, wanted) in enumerate(
            zip(meta["runner_up_id"], expected["runner_up_id"], strict=True)
        ):
            # Two tokens of one probability: either is right, the log-prob above has been compared.
            if found != wanted:
                gap = self.values(prompt, [*output[:position], found])["logprob"][-1]
                assert gap == pytest.approx(expected["runner_up_logprob"][position], abs=tolerance), position


@pytest.fixture(scope="session")
def reference(model_folder: str) -> Reference:
    return Reference(model_folder)
