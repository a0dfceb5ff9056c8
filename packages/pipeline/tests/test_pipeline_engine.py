"""Trees of a server and of this process differ by rounding: a run does not go on with another engine unasked."""

from __future__ import annotations

from pathlib import Path

import pytest

from eduprm.core.errors import UsageError
from eduprm.pipeline.run_folder import RunFolder, stage_settings
from eduprm.pipeline.settings import TrainSettings

SERVED = TrainSettings(_cli_parse_args=[], engine="sglang", url="http://127.0.0.1:1")
HERE = TrainSettings(_cli_parse_args=[])


def test_another_engine_is_refused_by_name(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.begin("search", stage_settings(SERVED)["search"], {})
    folder.check("search", stage_settings(SERVED)["search"], {})
    with pytest.raises(UsageError, match="settings: engine was 'sglang', is now 'transformers'"):
        folder.check("search", stage_settings(HERE)["search"], {})


def test_a_record_without_an_engine_is_of_this_process(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    before = stage_settings(HERE)["search"]
    folder.begin("search", {k: v for k, v in before.items() if k not in ("engine", "server.entropy")}, {})
    folder.check("search", before, {})
    with pytest.raises(UsageError, match="engine was 'transformers', is now 'sglang'"):
        folder.check("search", stage_settings(SERVED)["search"], {})
