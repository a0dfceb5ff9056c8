"""A full disk is one line and an exit status, whichever library met it; other errors are not swallowed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from eduprm.core.command_line import exit_status
from eduprm.core.disk import disk_fault

LIMITED = """
import resource, signal, sqlite3, sys
from eduprm.core.command_line import exit_status
from eduprm.core.files import atomic_write_bytes
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))

def bytes_():
    atomic_write_bytes(sys.argv[2] + "/a.bin", bytes(100_000))

def database():
    with sqlite3.connect(sys.argv[2] + "/a.sqlite") as base:
        base.execute("create table a (b)")
        base.executemany("insert into a values (?)", [("x" * 1000,)] * 100)

sys.exit(exit_status("app", {"bytes": bytes_, "database": database}[sys.argv[1]]))
"""


@pytest.mark.parametrize("kind", ["bytes", "database"])
def test_a_file_that_cannot_grow_is_one_line(kind: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", LIMITED, kind, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("app: ")
    assert "same command goes on" in line
    assert not list(tmp_path.glob(".*tmp-*"))


def test_other_errors_are_raised_and_words_in_data_do_not_count(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise ValueError("expected a number, got 'No space left on device'")

    with pytest.raises(ValueError, match="expected a number"):
        exit_status("app", fail)
    with pytest.raises(FileNotFoundError):
        exit_status("app", lambda: Path("/nowhere/at/all").read_text() and None)
    assert capsys.readouterr().err == ""


def test_the_cause_is_looked_for_behind_the_error() -> None:
    error = RuntimeError("cannot save")
    error.__cause__ = OSError(28, "No space left on device", "/runs/x")
    assert disk_fault(error) == "/runs/x: No space left on device"
    loop = RuntimeError("a")
    loop.__context__ = RuntimeError("b")
    loop.__context__.__context__ = loop
    assert disk_fault(loop) is None
