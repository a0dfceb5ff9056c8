"""The command serves what it was told to, says which PRM that is, stops cleanly, and answers mistakes in one line."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from eduprm.core.retry import RetrySettings
from eduprm.prm.source import PrmReading, PrmSource
from eduprm.serve import Solution, score_served
from eduprm.serve.server.cli import _listen, main
from eduprm.serve.server.loading import describe
from eduprm.serve.server.settings import ServeSettings

STEPS = ["2 * 3 = 6\n", "#### 6"]


@pytest.mark.slow
def test_the_command_serves_and_ends_with_status_0(folder, prm):
    command = [
        sys.executable,
        "-m",
        "eduprm.serve",
        "--prm",
        str(folder),
        "--port",
        "0",
        "--dtype",
        "float32",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            url = re.search(r"http://127\.0\.0\.1:\d+", line)[0]
            retry = RetrySettings(patience_s=60)
            info, (result,) = score_served(url, [Solution(problem="2*3?", steps=STEPS)], retry=retry)
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert result.scores == pytest.approx(prm.score("2*3?", STEPS), abs=1e-6)
    assert info.identity == describe(prm, PrmSource.at(folder), ServeSettings()).identity
    assert line == f"serving {folder} (identity {info.identity[:12]}) on {url}; Ctrl-C stops it\n"
    assert (process.returncode, out, err) == (0, "", "")


def test_another_weight_or_format_is_another_identity(folder, prm, tmp_path):
    settings = ServeSettings(prm="anywhere")
    first = describe(prm, PrmSource.at(folder), settings)
    assert first == describe(prm, PrmSource.at(folder), settings)
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert describe(prm, PrmSource.at(copy), settings).identity == first.identity  # wherever it lies
    config = copy / "config.json"
    config.write_text(config.read_text().replace('"append_eos": true', '"append_eos": false'))
    assert config.read_text() != (folder / "config.json").read_text()
    assert describe(prm, PrmSource.at(copy), settings).identity != first.identity
    shutil.copy(folder / "config.json", config)
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    assert describe(prm, PrmSource.at(copy), settings).identity != first.identity


def test_rounded_weights_are_another_identity(folder, prm):
    """The layers' parameters are rounded in place: dtype and files are those of the full PRM."""
    full, rounded = (
        describe(prm, PrmSource.at(folder, PrmReading(weights=weights)), ServeSettings(prm="anywhere"))
        for weights in ("full", "int8")
    )
    assert (full.weights, rounded.weights) == ("full", "int8")
    assert full.identity != rounded.identity


def test_a_folder_that_holds_no_prm_is_one_line(tmp_path, capsys):
    (tmp_path / "config.json").write_text("{}")
    assert main(["--prm", str(tmp_path), "--port", "0"]) == 2
    err = capsys.readouterr().err
    assert f"serve: --prm: {tmp_path} cannot be loaded as a PRM" in err
    assert err.count("\n") == 1


def test_mistakes_are_answered_before_anything_is_loaded(folder, tmp_path, capsys):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("[limits]\nmax_stepz = 3\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for arguments, message in (
            (["--prm", "no/such/prm"], "serve: --prm: no PRM at no/such/prm"),
            (["--prm", str(folder), "--port", str(port)], f"cannot listen on 127.0.0.1:{port}"),
            (["--port", "99999"], "--port: expected less than or equal to 65535"),
            (["--limits.max-steps", "0"], "--limits.max-steps: expected greater than or equal to 1"),
            (["--dtype", "int8"], "--dtype: expected 'float32'"),
            (["--shutdown-s", "inf"], "--shutdown-s: expected a finite number"),
            (["--limits.timeout-s", "inf"], "--limits.timeout-s: expected a finite number"),
            (["--config", str(recipe)], "--limits.max-stepz: there is no such setting"),
        ):
            assert main(arguments) == 2
            err = capsys.readouterr().err
            assert message in err
            assert err.count("\n") == 1


def test_a_port_is_taken_while_the_prm_is_still_loading(folder, capsys):
    with _listen(ServeSettings(port=0)) as loading:
        assert main(["--prm", str(folder), "--port", str(loading.getsockname()[1])]) == 2
    assert "(Address already in use); choose others\n" in capsys.readouterr().err


ENDLESS = """
import sys
import torch
from eduprm.prm.source import PrmSource
from eduprm.serve.server.cli import main

load = PrmSource.open

def opened(source):
    prm = load(source)
    prm.score_ids = lambda solutions: [torch.linalg.svd(torch.rand(200, 200)) for _ in iter(int, 1)]
    return prm

PrmSource.open = opened
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_what_is_not_done_when_the_patience_ends_is_answered_503(folder):
    command = [sys.executable, "-c", ENDLESS, "--prm", str(folder), "--port", "0", "--shutdown-s", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            port = int(re.search(r"http://127\.0\.0\.1:(\d+)", process.stdout.readline())[1])
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request("POST", "/v1/score", '{"solutions": [{"problem": "2*3?", "steps": ["6"]}]}')
            time.sleep(0.5)  # the pack is in the model
            process.send_signal(signal.SIGTERM)
            answer = connection.getresponse()
            told = json.loads(answer.read())
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert told == {"error": "the service is being stopped", "status": 503}
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    assert process.returncode == 0
    assert "Traceback" not in err


def test_without_a_prm_the_default_runs_is_taken_and_said(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(folder, tmp_path / "runs/default/prm")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["--port", str(taken.getsockname()[1])]) == 2
    said, refused = capsys.readouterr().err.splitlines()
    assert said.startswith("serve: no --prm: taking runs/default/prm, of the default run; scores by a head")
    assert "cannot listen on 127.0.0.1" in refused


def test_loading_never_runs_code_of_the_checkpoint(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    mark = tmp_path / "ran"
    (copy / "evil.py").write_text(f"open({str(mark)!r}, 'w')\n")
    config = (copy / "config.json").read_text()
    name = '"auto_map": {"AutoConfig": "evil.Config", "AutoModelForTokenClassification": "evil.Model"},'
    (copy / "config.json").write_text(config.replace("{", "{" + name, 1))
    PrmSource.at(copy).open()
    assert not os.path.exists(mark)
