"""Packages as a project elsewhere takes them, straight out of the repository: `uv add "NAME @ git+..."`.

Nothing is published; this is the way that the READMEs show. Siblings come out of the same commit by themselves. Needs
uv, git and a package index (or uv's cache of it).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("uv") and (ROOT / ".git").exists()),
        reason="needs uv on the path and a git checkout",
    ),
]


def run(*command: str, cwd: Path) -> str:
    clean = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH")}
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=clean, timeout=900)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def add(project: Path, requirement: str, folder: str, *options: str) -> dict[str, str]:
    """`uv add` in a project of its own; names that were locked, with where each comes from."""
    (project / "pyproject.toml").write_text(
        '[project]\nname = "user"\nversion = "0.1.0"\nrequires-python = ">=3.11"\ndependencies = []\n'
    )
    commit = run("git", "rev-parse", "HEAD", cwd=ROOT).strip()
    place = f"git+{ROOT.as_uri()}@{commit}#subdirectory={folder}"
    run("uv", "add", "--quiet", *options, f"{requirement} @ {place}", cwd=project)
    locked = tomllib.loads((project / "uv.lock").read_text())["package"]
    return {package["name"]: next(iter(package["source"])) for package in locked}


def test_a_package_with_a_sibling_is_installed_from_the_repository(tmp_path):
    locked = add(tmp_path, "eduprm-label", "packages/label")
    assert (locked["eduprm-label"], locked["eduprm-forest"]) == ("git", "git")
    code = "from eduprm.label import number_equal; import eduprm.forest; print(number_equal('1/2', '0.5'))"
    assert run("uv", "run", "--no-sync", "python", "-c", code, cwd=tmp_path) == "True\n"
    assert "torch" not in locked


def test_the_service_takes_no_library_for_figures(tmp_path):
    locked = add(tmp_path, "eduprm-serve[server]", "packages/serve", "--no-sync")
    ours = {name for name in locked if name.startswith("eduprm-")}
    # The policy and its search come along: the service opens the PRM that ships by its name.
    assert not ours & {"eduprm-bench", "eduprm-label", "eduprm-report"}
    assert {
        "eduprm-core",
        "eduprm-forest",
        "eduprm-policy",
        "eduprm-prm",
        "eduprm-search",
        "eduprm-serve",
    } <= ours
    assert {locked[name] for name in ours} == {"git"}
    assert {"fastapi", "pydantic-settings", "torch"} <= set(locked)
    assert "matplotlib" not in locked
