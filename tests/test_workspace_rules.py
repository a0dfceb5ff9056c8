"""Rules of the workspace that no tool checks: who may import whom, and what may not be committed."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = sorted(path.parent.name for path in (ROOT / "packages").glob("*/pyproject.toml"))


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def imported_siblings(package: str) -> set[str]:
    found: set[str] = set()
    for path in (ROOT / "packages" / package / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module)
            elif isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
    return {name.split(".")[1] for name in found if name.startswith("eduprm.")} - {module_name(package)}


def module_name(package: str) -> str:
    """Name under `eduprm` of what a folder of packages/ holds."""
    settings = tomllib.loads((ROOT / "packages" / package / "pyproject.toml").read_text())
    return settings["tool"]["uv"]["build-backend"]["module-name"].removeprefix("eduprm.")


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_siblings_that_it_declares(package):
    project = tomllib.loads((ROOT / "packages" / package / "pyproject.toml").read_text())["project"]
    extras = project.get("optional-dependencies", {}).values()
    declared = [*project["dependencies"], *(line for extra in extras for line in extra)]
    names = {re.match(r"eduprm-(\w+)", line)[1] for line in declared if line.startswith("eduprm-")}
    assert imported_siblings(package) <= names


def test_dependencies_point_one_way():
    level = {
        "entropy": 0,
        "segment": 0,
        "forest": 0,
        "policy": 0,
        "search": 1,
        "label": 1,
        "prm": 1,
        "report": 1,
        "sglang": 1,
        "bench": 2,
        "serve": 3,
    }
    for package in PACKAGES:
        for other in imported_siblings(package):
            assert level[other] < level[module_name(package)], f"{package} imports {other}"


def test_only_the_lock_file_names_a_package_registry():
    # Put together here, so that this file does not hold what it looks for.
    hosts = re.compile(
        "|".join(["files.pythonhosted" + r"\.org", "pypi" + r"\.org", "registry.npmjs" + r"\.org"])
    )
    for path in tracked():
        if path.name != "uv.lock" and path.suffix != ".png":
            assert not hosts.search(path.read_text(errors="replace")), path


def test_no_pickle_eval_or_remote_code_by_default():
    for path in tracked():
        if path.suffix != ".py" or "src" not in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec"), f"{path}:{node.lineno}"
            if isinstance(node, ast.Import):
                assert not {alias.name for alias in node.names} & {"pickle", "dill", "joblib"}, path
            if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
                assert not (isinstance(node.value, ast.Constant) and node.value.value is True), path


def test_readme_and_docs_link_to_files_that_exist():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "packages").glob("*/README.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"
        for target in re.findall(
            r"`((?:apps|docs|packages|tests)/[\w./-]+\.(?:py|md|toml|png))`", page.read_text()
        ):
            assert (ROOT / target).exists(), f"{page.relative_to(ROOT)} names {target}"
