"""Everything here is marked `sglang`; without SGLang (the extra `sglang`) modules are left out and tests skipped."""

import importlib.util
from pathlib import Path

import pytest

HERE = Path(__file__).parent

collect_ignore_glob = [] if importlib.util.find_spec("sglang") else ["src/*", "benchmarks/*"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies below this folder."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("sglang")
