"""Rules of the workspace that no tool checks: what may not be committed, and links that lead nowhere."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


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


PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted(ROOT.glob("packages/*/README.md")),
    ROOT / "examples" / "README.md",
    ROOT / "tests" / "data" / "README.md",
]
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")


def anchors(page: Path) -> set[str]:
    """What a link may name behind a #: a page's headings, as the usual hosts write them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    headings = (
        re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", line) for line in re.findall(r"^#+ (.*)$", text, re.M)
    )
    return {re.sub(r"[^\w\- ]", "", line.strip().lower()).replace(" ", "-") for line in headings}


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "dev" / "log.md"], ids=lambda page: str(page.relative_to(ROOT))
)
def test_a_page_links_to_files_and_headings_that_exist(page: Path):
    text = page.read_text()
    for name, anchor in LINK.findall(text):
        target = page.parent / name if name else page
        assert target.exists(), name
        assert not anchor or anchor in anchors(target), f"{name}#{anchor}"
    if page in PAGES:  # the log names files as they were then
        named = re.findall(r"`((?:apps|docs|examples|packages|tests)/[\w./-]+\.(?:py|md|toml|png))`", text)
        for target in named:
            assert (ROOT / target).exists(), target


def test_every_page_of_docs_is_linked_from_another():
    linked = {
        (page.parent / name).resolve() for page in PAGES for name, _ in LINK.findall(page.read_text()) if name
    }
    assert [page for page in (ROOT / "docs").rglob("*.md") if page.resolve() not in linked] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_is_for_users_and_its_lines_can_be_read(page: Path):
    text = page.read_text()
    if ROOT / "docs" in page.parents:
        assert not [target for target, _ in LINK.findall(text) if "dev/" in target]
    if page.parent != ROOT / "docs" / "data":  # written by a script, a row of a table a line
        assert max(map(len, text.splitlines())) <= 300


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_names_modules_and_objects_that_exist(page: Path):
    for name in set(re.findall(r"`(eduprm(?!\.json)(?:\.\w+)+)", page.read_text())):
        parts = name.split(".")
        # The longest beginning that is a module; what follows must stand in its text.
        for stop in range(len(parts), 1, -1):
            place = "/".join(parts[:stop])
            files = [
                *ROOT.glob(f"packages/*/src/{place}.py"),
                *ROOT.glob(f"packages/*/src/{place}/__init__.py"),
            ]
            if files or next(ROOT.glob(f"packages/*/src/{place}"), None):
                break
        else:
            pytest.fail(f"no module of {name}")
        if parts[stop:]:
            assert files, name
            assert re.search(rf"\b{parts[stop]}\b", files[0].read_text()), name


def test_the_workflow_runs_the_script_that_runs_here_and_nothing_else():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert [step["run"] for step in steps if "run" in step] == ["bash .ci/run"]
    assert any(step.get("uses", "").startswith("astral-sh/setup-uv@") for step in steps)
