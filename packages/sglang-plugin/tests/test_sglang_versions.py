"""An SGLang that the plugin does not fit stops the server with a message that names the version."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("sglang", reason="needs SGLang: uv sync --extra sglang")

from importlib.metadata import version

from eduprm.sglang import IncompatibleSGLang, versions
from eduprm.sglang.platform import activate
from eduprm.sglang.plugin import check_request


@pytest.mark.parametrize("found", ["0.5.22", "0.5.24", "0.6.0", "0.5.24.post1", "1.0", "unknown"])
def test_a_version_outside_of_the_range_is_refused_by_name(found):
    with pytest.raises(IncompatibleSGLang, match=rf"sglang {found}\b.*Install a supported"):
        versions.check_version(found)


@pytest.mark.parametrize("found", ["0.5.23", "0.5.23.post1"])
def test_a_version_inside_of_the_range_is_taken(found):
    versions.check_version(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        ("versions.SUPPORTED = ((9, 0, 0), (9, 1, 0))", ["supports sglang >=9.0.0,<9.1.0"]),
        (
            "first, *_ = versions._FUNCTIONS; versions._FUNCTIONS[first] = ('self', 'renamed')\n"
            "first, *_ = versions._FIELDS; versions._FIELDS[first] = ('gone',)\n"
            "versions._FUNCTIONS['sglang.srt.managers.scheduler.Scheduler.moved'] = ()",
            ["expected ('self', 'renamed') first", "has no gone", "Scheduler.moved is missing"],
        ),
    ],
    ids=["version", "hooks"],
)
def test_sglang_does_not_start_with_a_hook_that_does_not_fit(change, reasons):
    # SGLang's own loader, which swallows ordinary exceptions of plugins.
    code = (
        f"from eduprm.sglang import versions\n{change}\n"
        "from sglang.srt.plugins import load_plugins\nload_plugins()\nprint('served')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "SGLANG_PLATFORM": "eduprm_cpu"},
    )
    assert done.returncode == 1
    assert "served" not in done.stdout
    assert f"does not fit sglang {version('sglang')}" in done.stderr
    for reason in reasons:
        assert reason in done.stderr


def test_the_cpu_platform_is_never_chosen_by_accident(monkeypatch):
    import torch

    monkeypatch.delenv("SGLANG_PLATFORM", raising=False)
    assert activate() is None
    monkeypatch.setenv("SGLANG_PLATFORM", "eduprm_cpu")
    assert activate() == "eduprm.sglang.eager_cpu.EagerCpuPlatform"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(RuntimeError, match="CUDA_VISIBLE_DEVICES="):
        activate()


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ({"speculative_algorithm": "EAGLE"}, "speculative decoding"),
        ({"pp_size": 2}, "pipeline parallelism"),
        ({"disaggregation_mode": "decode"}, "different servers"),
    ],
)
def test_a_server_that_cannot_answer_refuses_who_asks_and_nobody_else(setting, reason):
    from types import SimpleNamespace

    args = {"speculative_algorithm": None, "pp_size": 1, "disaggregation_mode": "null", **setting}
    manager = SimpleNamespace(server_args=SimpleNamespace(**args), preferred_sampling_params=None)
    check_request(manager, SimpleNamespace(sampling_params={"temperature": 0}))
    asking = SimpleNamespace(sampling_params={"custom_params": {"eduprm_entropy": True}})
    with pytest.raises(ValueError, match=reason):
        check_request(manager, asking)
    with pytest.raises(ValueError, match=reason):
        check_request(manager, SimpleNamespace(sampling_params={}, return_entropy=True))
