"""Opening a page and going to another problem: records compressed one by one against all of them as plain JSON.

    uv run python packages/report/benchmarks/bench_open.py [problems] [leaves] [rounds]

Needs chromium on the path. Prints the file's size, and seconds until the first tree and until the next one stands:
medians with their range, and the ratio of each pair of rounds (plain over compressed).
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import polars as pl
from playwright.sync_api import Browser, sync_playwright

from eduprm.forest import LABELLED_SCHEMA
from eduprm.report import Entry, Explorer, Page, records, tree_record, write_page


def tree(leaves: int, tokens: int = 10) -> pl.DataFrame:
    """A binary tree, labelled and scored, every token different from its neighbours."""
    rows: list[dict[str, Any]] = []

    def grow(parent: int | None, below: int) -> None:
        node = len(rows)
        ids = [(node * 7919 + at * 104729) % 50_000 for at in range(tokens)]
        rows.append(
            {
                "problem_id": "p", "tree": "edu", "node_id": node, "parent_id": parent, "token_ids": ids,
                "logprobs": [-0.1] * tokens, "entropies": [(number % 250) / 100 for number in ids],
                "text": "".join(f" {number}" for number in ids), "finish": "stop" if below == 1 else None,
                "leaves": below, "correct": 0.0, "value": 0.0, "label": 0.0, "weight": 1.0, "score": node % 97 / 97,
            }
        )  # fmt: skip
        if below > 1:
            grow(node, below // 2)
            grow(node, below - below // 2)

    grow(None, leaves)
    return pl.DataFrame(rows, schema={**LABELLED_SCHEMA, "score": pl.Float64})


def write(folder: Path, name: str, problems: int, leaves: int, *, plain: bool) -> Path:
    """The page of so many equal trees, without a bound of bytes."""
    record = {
        "trees": [tree_record(tree(leaves), decode=lambda ids: "".join(f" {number}" for number in ids))]
    }
    with mock.patch.object(records, "PLAIN_BYTES", 2**40 if plain else 0):
        explorer = Explorer(kind="trees", title="Trees", max_bytes=2**40)
        for number in range(problems):
            explorer.add(Entry(id=str(number), text=f"Problem {number}", record=record))
        return write_page(folder / f"{name}.html", Page(title=name, explorer=explorer))


def timed(browser: Browser, path: Path) -> tuple[float, float]:
    """Seconds until the first tree stands, and until the next one does."""
    page = browser.new_page()
    page.set_default_timeout(180_000)
    began = time.perf_counter()
    page.goto(path.as_uri())
    page.wait_for_selector("#explorer[data-shown='0']", state="attached")
    opened = time.perf_counter() - began
    began = time.perf_counter()
    page.keyboard.press("j")
    page.wait_for_selector("#explorer[data-shown='1']", state="attached")
    switched = time.perf_counter() - began
    page.close()
    return opened, switched


def shown(name: str, values: list[float]) -> str:
    """Median and range."""
    return f"{name} {statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    problems, leaves, rounds = (
        int(given) for given in [*sys.argv[1:], *("500", "64", "5")[len(sys.argv) - 1 :]]
    )
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        paths = [
            write(Path(folder), name, problems, leaves, plain=name == "plain")
            for name in ("plain", "compressed")
        ]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        times = [[timed(browser, path) for path in paths] for _ in range(rounds)]
        browser.close()
        print(f"{problems} problems of {leaves} leaves, {rounds} rounds")
        for at, path in enumerate(paths):
            opened, switched = zip(*(row[at] for row in times), strict=True)
            size = path.stat().st_size / 2**20
            print(
                f"{path.stem}: {size:.1f} MB; {shown('open', list(opened))} s; {shown('next', list(switched))} s"
            )
        for what, name in enumerate(("open", "next")):
            print(shown(f"ratio of {name}:", [row[0][what] / row[1][what] for row in times]))


if __name__ == "__main__":
    main()
