"""The README's example runs."""

import re
from pathlib import Path

import pytest


def test_readme_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[1] / "README.md").read_text()
    example = re.findall(r"```python\n(.*?)```", text, re.S)[-1]
    exec(compile(example, "README.md", "exec"), {})
    assert "anchors per solution (wanted 5.00)" in capsys.readouterr().out
