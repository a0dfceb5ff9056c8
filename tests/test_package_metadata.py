"""What each package says of itself where it is published: the same licence, classifiers and bounds on its siblings."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = sorted(path.parent for path in ROOT.glob("packages/*/pyproject.toml"))


def project(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    return found


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_package_says_what_an_index_shows(folder: Path):
    said, first = project(folder), project(FOLDERS[0])
    for name in ("version", "requires-python", "readme", "license", "license-files", "classifiers"):
        assert said[name] == first[name], name
    assert said["description"]
    assert {"process reward model", "language model"} < set(said["keywords"])
    assert (folder / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_package_takes_siblings_of_its_own_minor_version_only(folder: Path):
    said = project(folder)
    major, minor, _ = map(int, said["version"].split("."))
    extras = said.get("optional-dependencies", {}).values()
    siblings = [
        one for group in (said["dependencies"], *extras) for one in group if one.startswith("eduprm-")
    ]
    for one in siblings:
        assert re.fullmatch(rf"eduprm-[a-z]+(\[[a-z,-]+\])?>={major}\.{minor},<{major}\.{minor + 1}", one), (
            one
        )


def test_what_is_cited_is_this_version() -> None:
    version = project(FOLDERS[0])["version"]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (cited["version"], cited["license"]) == (version, project(FOLDERS[0])["license"])
    assert f"title = {{{cited['title']}}}, version = {{{version}}}" in (ROOT / "README.md").read_text()
