"""Hostile texts through apps/rerank to its page: the page has the elements of a page of harmless texts, and no more.

`EDUPRM_HOSTILE_TEXTS=10000 uv run pytest tests/test_rerank_hostile_page.py` is the campaign of docs/reliability.md.
"""

from __future__ import annotations

import json
import os
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from eduprm.label.testing import hostile_texts
from eduprm.rank.testing import write_jsonl

COUNT = int(os.environ.get("EDUPRM_HOSTILE_TEXTS", "320"))
PER_PROBLEM = 10
CHROMIUM = os.environ.get("EDUPRM_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


class Elements(HTMLParser):
    """Every element with its attributes' names, and the values of those that could load or run something."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds: set[tuple[str, tuple[str, ...]]] = set()
        self.numbers: dict[str, int] = {}
        self.targets: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.kinds.add((tag, tuple(sorted(name for name, _ in attrs))))
        self.numbers[tag] = self.numbers.get(tag, 0) + 1
        self.targets |= {str(value) for name, value in attrs if name in ("href", "src", "action", "srcdoc")}


def elements(page: Path) -> Elements:
    found = Elements()
    found.feed(page.read_text(encoding="utf-8"))
    return found


def rows(texts: list[str]) -> list[dict[str, object]]:
    """Problems of ten solutions each; what is hostile stands in ids, problems and answers too."""
    parts = [texts[at : at + PER_PROBLEM] for at in range(0, len(texts), PER_PROBLEM)]
    return [
        {"id": f"{n} {part[0][:40]}", "problem": part[-1][:60], "solutions": part, "answer": part[1][:40]}
        for n, part in enumerate(parts)
    ]


@pytest.fixture
def pages(rerank, tmp_path) -> tuple[Path, Path, int]:
    """The page of hostile texts, that of harmless ones of the same number, and how many texts the first shows."""
    # Half a surrogate pair is no text that a PRM could read: such rows are rejected, one by one.
    texts = [text.strip() or "1" for _, text in hostile_texts(COUNT, seed=9, most_chars=100)]
    hostile = write_jsonl(tmp_path / "<script>window.injected=1<svg onload=x>.jsonl", rows(texts))
    harmless = write_jsonl(tmp_path / "harmless.jsonl", rows([f"so it is {n}" for n in range(COUNT)]))
    status, _, err = rerank(hostile, "--output", "hostile.out.jsonl", "--prefix", "r_")
    assert status == 3, err
    status, _, err = rerank(harmless, "--output", "harmless.out.jsonl", "--prefix", "r_")
    assert status == 0, err
    report = json.loads(Path("hostile.out.jsonl.report.json").read_text())
    names = ("hostile.out.jsonl.report.html", "harmless.out.jsonl.report.html")
    return (*(tmp_path / name for name in names), report["solutions"])


def test_no_element_or_attribute_comes_from_a_text(pages):
    hostile, harmless, shown = pages
    assert shown > 0.5 * COUNT
    found, wanted = elements(hostile), elements(harmless)
    allowed = {kind for kind in found.kinds if kind[0] in ("rect", "text", "line", "circle", "path", "g")}
    # Figures have as many marks as the data have; all else is the page's own.
    assert found.kinds - allowed <= wanted.kinds
    assert not [
        name for _, names in found.kinds for name in names if name.startswith("on") or name == "srcdoc"
    ]
    assert found.targets == wanted.targets
    for tag in ("script", "style", "meta", "iframe", "img", "base", "link", "object", "form"):
        assert found.numbers.get(tag) == wanted.numbers.get(tag), tag


@pytest.mark.slow
@pytest.mark.skipif(
    CHROMIUM is None, reason="needs a browser: apt-get install chromium, or EDUPRM_CHROMIUM=path"
)
def test_a_browser_runs_nothing_of_a_text(pages):
    from playwright.sync_api import sync_playwright

    hostile, _, _ = pages
    faults, requests = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: (faults.append("dialog"), dialog.dismiss()))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(hostile.as_uri())
        page.wait_for_selector("#explorer[data-shown='0']", state="attached")
        number = page.locator("#problems [role=option]").count()
        kinds = "() => [...new Set([...document.querySelectorAll('*')].map(e => e.tagName.toLowerCase()))]"
        seen: set[str] = set()
        for at in range(number):
            if at:
                page.keyboard.press("j")
                page.wait_for_selector(f"#explorer[data-shown='{at}']", state="attached")
            # Unfold every solution, so that its steps stand on the page.
            for button in range(page.locator("button[data-solution]").count()):
                page.evaluate(f"document.querySelector(\"button[data-solution='{button}']\").click()")
            seen |= set(page.evaluate(kinds))
        assert page.evaluate("window.injected") is None
        browser.close()
    assert number >= 0.5 * COUNT / PER_PROBLEM
    assert (faults, requests) == ([], [hostile.as_uri()])
    assert not seen & {"iframe", "img", "base", "object", "embed", "form"}
