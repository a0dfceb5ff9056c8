"""What tests of all packages share: data sets, as small files of our own and as the real ones where there are any."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
OWN = ROOT / "tests" / "data"
REAL = Path(os.environ.get("EDUPRM_DATA", ROOT.parent / "shared" / "data"))
FILES = {  # name: our own file of that form, the real one
    "gsm8k": ("gsm8k_form.jsonl", "gsm8k_train.jsonl"),
    "math": ("math_form.jsonl", "math500_dev.jsonl"),
    "solutions": ("solutions_form.jsonl", "solutions_gsm8k_dev.jsonl"),
    "processbench_gsm8k": ("processbench_gsm8k_form.json", "processbench_gsm8k_dev.json"),
    "processbench_math": ("processbench_math_form.json", "processbench_math_dev.json"),
    "prmbench": ("prmbench_form.jsonl", "prmbench_dev.jsonl"),
}


def real_data(name: str) -> Path:
    """A file of a real data set; the test is skipped where there is none."""
    path = REAL / name
    if not path.is_file():
        pytest.skip(f"{name} is not at hand: set EDUPRM_DATA to its folder")
    return path


@pytest.fixture(params=["own", "real"])
def data_set(request: pytest.FixtureRequest) -> Callable[[str], Path]:
    """Gives the file of a name in FILES: the test runs on our own rows, then on the real ones if they are there."""

    def find(name: str) -> Path:
        own, real = FILES[name]
        return OWN / own if request.param == "own" else real_data(real)

    return find


@pytest.fixture
def own_data() -> Callable[[str], Path]:
    """Gives a file of tests/data."""
    return OWN.joinpath


@pytest.fixture(name="real_data")
def real_data_fixture() -> Callable[[str], Path]:
    """Gives a real file, for tests that mean nothing on rows of our own."""
    return real_data
