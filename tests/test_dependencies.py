"""Every import is declared, every declared package is used, and packages import downwards only.

deptry holds the third-party packages (its exceptions, with reasons, stand in each pyproject.toml) and import-linter the
levels (`[tool.importlinter]`). deptry takes all that is called `eduprm` for one; siblings are held by the import graph.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {
    "eduprm." + path.parent.name.removesuffix("-plugin"): path.parent
    for path in sorted((ROOT / "packages").glob("*/pyproject.toml"))
}
APPS = sorted(path.parent.name for path in (ROOT / "apps").glob("*/pyproject.toml"))
BIN = Path(sys.executable).parent
OURS = "--package-module-name-map=" + ",".join(f"{name.replace('.', '-')}=eduprm" for name in FOLDERS)


def tool(name: str, *arguments: str, cwd: Path) -> tuple[int, str]:
    # The plugin of SGLang is not installed beside the others; to read its imports its folder is enough.
    path = os.pathsep.join(str(folder / "src") for folder in FOLDERS.values())
    done = subprocess.run(
        [str(BIN / name), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": path},
    )
    return done.returncode, done.stdout + done.stderr


def deptry(folder: Path) -> tuple[int, str]:
    return tool("deptry", "src", "--experimental-namespace-package", "--no-ansi", OURS, cwd=folder)


@pytest.mark.parametrize("module", FOLDERS)
def test_a_package_declares_what_it_imports_and_nothing_else(module):
    code, said = deptry(FOLDERS[module])
    assert code == 0, said


@pytest.mark.parametrize("app", APPS)
def test_an_app_is_thin_and_imports_what_it_declares(app):
    folder = ROOT / "apps" / app
    lines = sum(len(path.read_text().splitlines()) for path in folder.rglob("*.py"))
    assert lines <= 200, f"apps/{app}: {lines} lines; what another project could want belongs into a package"
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    declared = {
        "eduprm." + found[1] for line in project["dependencies"] if (found := re.match(r"eduprm-(\w+)", line))
    }
    imported = {
        ".".join(name.split(".")[:2])
        for path in folder.rglob("*.py")
        for name in re.findall(r"(?:from |import |\")(eduprm\.[\w.]+)", path.read_text())
    }
    assert imported == declared


def test_an_undeclared_import_would_be_found(tmp_path):
    folder = tmp_path / "segment"
    shutil.copytree(FOLDERS["eduprm.segment"], folder)
    assert deptry(folder)[0] == 0
    (folder / "src/eduprm/segment/more.py").write_text("import rich\n")
    code, said = deptry(folder)
    assert code == 1
    assert "'rich' imported but" in said


def test_packages_import_downwards_only():
    code, said = tool("lint-imports", "--no-cache", "--no-logo", cwd=ROOT)
    assert code == 0, said


def test_every_package_has_a_level():
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    levels = [name.strip() for row in linter["contracts"][0]["layers"] for name in row.split("|")]
    assert sorted(levels) == sorted(linter["root_packages"]) == sorted(FOLDERS)


def test_siblings_that_are_imported_are_declared_and_used(monkeypatch):
    from grimp import build_graph

    for folder in FOLDERS.values():
        monkeypatch.syspath_prepend(str(folder / "src"))
    graph = build_graph(*FOLDERS, cache_dir=None)
    for module, folder in FOLDERS.items():
        own = {module, *graph.find_descendants(module)}
        imported = {
            ".".join(other.split(".")[:2])
            for name in own
            for other in graph.find_modules_directly_imported_by(name)
        }
        project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        extras = project.get("optional-dependencies", {}).values()
        lines = [*project["dependencies"], *(line for extra in extras for line in extra)]
        declared = {"eduprm." + found[1] for line in lines if (found := re.match(r"eduprm-(\w+)", line))}
        assert imported - {module} == declared, folder.name
