"""Clients that hang up in the middle leave nothing in the service's log, and no trace on those who stay."""

from __future__ import annotations

import json
import re
import signal
import socket
import struct
import subprocess
import sys
import time

import pytest

from eduprm.core.retry import RetrySettings
from eduprm.serve import Solution, score_served

BODY = json.dumps({"solutions": [{"problem": "2*3?", "steps": ["2 * 3 = 6\n", "#### 6"]}] * 200}).encode()
HEAD = f"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()
CHUNKED = b'POST /v1/score HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n{"solutions": ['


def hang_up_after(port: int, sent: bytes, *, reset: bool) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(sent)
        time.sleep(0.2)  # the service has begun on it
        if reset:  # as a client that is killed with unread data would
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def scores(url: str) -> list[float]:
    solution = Solution(problem="2*3?", steps=["#### 6"])
    _, (result,) = score_served(url, [solution], retry=RetrySettings(patience_s=60))
    return result.scores


@pytest.mark.slow
def test_a_client_that_hangs_up_leaves_no_traceback_in_the_log(folder):
    command = [sys.executable, "-m", "eduprm.serve", "--prm", str(folder), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            url = re.search(r"http://127\.0\.0\.1:(\d+)", process.stdout.readline())
            scores(url[0])  # from here on it listens
            for sent in (HEAD[:30], HEAD, HEAD + BODY[: len(BODY) // 2], CHUNKED, HEAD + BODY):
                for reset in (False, True):
                    hang_up_after(int(url[1]), sent, reset=reset)
            left = scores(url[0])
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert len(left) == 1
    assert (process.returncode, out, err) == (0, "", "")
