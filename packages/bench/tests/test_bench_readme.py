"""The README's example runs and says what it says."""

import re
from pathlib import Path

import pytest


def test_the_readme_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[1] / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(code, {})
    shown = re.sub(r" +", " ", capsys.readouterr().out)
    assert "PRM min 100.0 [100.0, 100.0]" in shown
    assert re.search(r"majority, plain .* ~2", shown)
