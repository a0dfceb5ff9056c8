"""The README's example runs."""

import re
from pathlib import Path


def test_readme_example_runs():
    (example,) = re.findall(
        r"```python\n(.*?)```", (Path(__file__).parents[1] / "README.md").read_text(), re.S
    )
    assert "assert" in example
    exec(compile(example, "README.md", "exec"), {})
