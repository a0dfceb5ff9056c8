"""Each package builds as a wheel, and imports in an environment of its own with only what it declares.

An undeclared import works in the workspace, where everything is installed, and fails for whoever installs one package.
Needs uv and a package index (or uv's cache of it).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = sorted(
    path.parent.name.removesuffix("-plugin") for path in (ROOT / "packages").glob("*/pyproject.toml")
)
# What a package may not load when it is imported, whatever is installed.
LIGHT = {
    "core": ("torch", "transformers", "polars", "pydantic"),
    "forest": ("torch", "transformers"),
    "segment": ("torch", "transformers", "polars"),
    "label": ("torch", "transformers", "math_verify", "reasoning_gym"),
    "policy": ("torch", "transformers", "peft"),
    "search": ("torch", "transformers"),
    "problems": ("torch", "transformers", "reasoning_gym"),
    "rank": ("torch", "transformers", "polars", "pyarrow"),
    "bench": ("torch", "transformers", "polars", "matplotlib"),
    "teach": ("torch", "transformers"),
    "pipeline": ("torch", "transformers", "polars"),
    "prm": ("torch", "transformers"),
    "entropy": ("transformers", "polars"),
    "serve": ("torch", "transformers", "polars", "fastapi", "uvicorn"),
    "report": ("torch", "transformers", "matplotlib"),
    "sglang": ("torch", "sglang", "transformers"),
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("uv") is None, reason="needs uv on the path"),
]


def uv(*arguments: str, **environment: str) -> str:
    clean = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH")}
    done = subprocess.run(
        ["uv", *arguments],
        capture_output=True,
        text=True,
        env={**clean, **environment},
        cwd=ROOT,
        timeout=900,
    )
    assert done.returncode == 0, f"uv {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def wheels(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    uv("build", "--all-packages", "--wheel", "--out-dir", str(folder), "--quiet")
    return folder


def test_every_package_gives_one_wheel_with_all_of_its_files_and_no_others(wheels):
    import zipfile

    found = {path.name.split("-")[0]: path for path in wheels.glob("*.whl") if "eduprm_app" not in path.name}
    assert sorted(found) == sorted(f"eduprm_{name}" for name in PACKAGES)
    for name in PACKAGES:
        names = zipfile.ZipFile(found[f"eduprm_{name}"]).namelist()
        info = f"eduprm_{name}-0.1.0.dist-info/"
        assert f"eduprm/{name}/py.typed" in names
        assert f"{info}licenses/LICENSE" in names
        # All of the package's files, prompts, weights and scripts of pages too, and nothing else: no tests, and no file
        # of the shared namespace, which would make one package hide the others.
        held = {one for one in names if not one.endswith("/") and not one.startswith(info)}
        folder = next(ROOT.glob(f"packages/*/src/eduprm/{name}")).parents[1]
        there = {
            path.relative_to(folder).as_posix() for path in (folder / "eduprm").rglob("*") if path.is_file()
        }
        assert held == {path for path in there if "__pycache__" not in path}


@pytest.mark.parametrize("name", PACKAGES)
def test_package_imports_alone(name, wheels, tmp_path):
    environment = tmp_path / "env"
    uv("venv", "--quiet", "--python", "3.11", str(environment))
    python = str(environment / "bin" / "python")
    uv(
        "pip", "install", "--quiet", "--python", python, "--find-links", str(wheels),
        # The versions of the workspace's lock, so that this tests the packages and not the index's news.
        "--constraints", str(_constraints(tmp_path)), f"eduprm-{name}",
    )  # fmt: skip
    code = (
        f"import sys, eduprm.{name} as module\n"
        f"heavy = [m for m in {LIGHT[name]!r} if m in sys.modules]\n"
        "assert not heavy, f'imported {heavy}'\n"
        "missing = [n for n in module.__all__ if not hasattr(module, n)] if sys.argv[1:] else []\n"
        "assert not missing, missing\n"
        "print(module.__file__)"
    )
    # Every public name too, except those that are promised by an extra.
    every = [] if name in ("search",) else ["every"]
    done = subprocess.run(
        [python, "-c", code, *every], capture_output=True, text=True, timeout=300, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert str(environment) in done.stdout


def test_the_client_of_a_server_needs_neither_torch_nor_sglang(wheels, tmp_path):
    environment = tmp_path / "env"
    uv("venv", "--quiet", "--python", "3.11", str(environment))
    python = str(environment / "bin" / "python")
    uv(
        "pip", "install", "--quiet", "--python", python, "--find-links", str(wheels),
        "--constraints", str(_constraints(tmp_path)), "eduprm-search[sglang-client]",
    )  # fmt: skip
    code = (
        "import importlib.util\n"
        "from eduprm.search import EduSampling, PolicyTokenizer, grow_forest\n"
        "from eduprm.search.sglang import SglangServer\n"
        "import transformers\n"
        "print([name for name in ('torch', 'sglang') if importlib.util.find_spec(name)])\n"
        "try:\n"
        "    SglangServer('http://localhost:1', model='none', entropy='bounds')\n"
        "except ValueError as error:\n"
        "    print(error)"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    heavy, refusal = done.stdout.splitlines()
    assert heavy == "[]"
    assert "eduprm-search[sglang-client,bounds]" in refusal


def _constraints(folder: Path) -> Path:
    path = folder / "constraints.txt"
    text = uv(
        "export", "--frozen", "--no-emit-workspace", "--no-hashes", "--all-extras", "--no-dev", "--quiet"
    )
    path.write_text(text)
    return path
