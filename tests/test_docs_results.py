"""docs/results.md and docs/data/prm-likelihood.md: their tables are what its data says, not what somebody copied."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from matplotlib.image import imread

ROOT = Path(__file__).resolve().parent.parent


def test_the_tables_and_the_figure_come_from_the_data(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    shutil.copytree(ROOT / "docs", docs, ignore=shutil.ignore_patterns("*.png"))
    script = ROOT / "packages" / "bench" / "benchmarks" / "results_tables.py"
    subprocess.run([sys.executable, str(script), str(docs)], check=True, timeout=300)
    for name in ("results.md", "data/prm-likelihood.md"):
        assert (docs / name).read_text() == (ROOT / "docs" / name).read_text()
    assert imread(docs / "prm_tokens.png").shape == imread(ROOT / "docs" / "prm_tokens.png").shape


def test_a_page_without_a_table_is_refused(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    shutil.copytree(ROOT / "docs", docs, ignore=shutil.ignore_patterns("*.png"))
    page = docs / "data" / "prm-likelihood.md"
    page.write_text(page.read_text().replace("<!-- arms -->", ""))
    script = ROOT / "packages" / "bench" / "benchmarks" / "results_tables.py"
    done = subprocess.run(
        [sys.executable, str(script), str(docs)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode
    assert "expected one block <!-- arms -->" in done.stderr


def test_the_readme_has_the_rows_of_the_summary() -> None:
    page, readme = ((ROOT / name).read_text() for name in ("docs/results.md", "README.md"))
    table = re.search(r"<!-- summary -->\n(.*?)<!-- end -->", page, re.DOTALL)
    assert table is not None
    assert len(table[1].splitlines()) == 8  # two of the head, six rows
    assert table[1] in readme
