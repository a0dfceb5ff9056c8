"""The content store and the lock: made once, whole or not at all, one process at a time."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eduprm.core.errors import UsageError
from eduprm.core.files import atomic_write, locked
from eduprm.core.store import Store


def test_a_file_or_folder_is_made_once_per_content(tmp_path):
    store, made = Store(tmp_path), []

    def file(path: Path) -> None:
        made.append("file")
        path.write_text("x")

    def folder(path: Path) -> None:
        made.append("folder")
        path.mkdir()
        (path / "inside").write_text("y")

    for _ in range(2):
        assert store.get("a", "file", {"k": 1}, file).read_text() == "x"
        assert (store.get("a", "folder", {"k": 1}, folder) / "inside").read_text() == "y"
    assert store.get("a", "file", {"k": 2}, file) != store.place("a", "file", {"k": 1})
    assert made == ["file", "folder", "file"]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == sorted(
        [store.place("a", name, {"k": k}).name for name, k in (("file", 1), ("file", 2), ("folder", 1))]
    )


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_fails_leaves_nothing(tmp_path, error):
    store = Store(tmp_path)

    def fails(path: Path) -> None:
        path.mkdir()
        (path / "half").write_text("h")
        raise error

    with pytest.raises(error):
        store.get("a", "x", {}, fails)
    assert list((tmp_path / "a").iterdir()) == []
    with pytest.raises(FileNotFoundError):
        store.get("a", "x", {}, lambda path: None)


KILLED = """
import sys, time
from pathlib import Path
from eduprm.core.files import locked
from eduprm.core.store import Store

def make(path):
    path.mkdir()
    (path / "half").write_text("h")
    print("half", flush=True)
    time.sleep(60)

folder = Path(sys.argv[1])
with locked(folder, "--run"):
    (folder / ".a.json.tmp-1-ab").write_text("left")
    Store(folder).get("a", "x", {}, make)
"""


def test_a_killed_process_leaves_nothing_that_counts_and_gives_its_lock_back(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    with (
        pytest.raises(UsageError, match=r"^--run: another process is working in .*; wait for it"),
        locked(tmp_path, "--run"),
    ):
        pass
    assert (tmp_path / ".a.json.tmp-1-ab").exists()
    process.send_signal(signal.SIGKILL)
    process.wait()
    with locked(tmp_path, "--run"):
        assert not (tmp_path / ".a.json.tmp-1-ab").exists()
        store = Store(tmp_path)
        assert not store.place("a", "x", {}).exists()
        made = store.get("a", "x", {}, lambda path: path.write_text("whole"))
    assert made.read_text() == "whole"
    assert [path.name for path in (tmp_path / "a").iterdir()] == [made.name]


def test_temporaries_are_swept_below_but_not_where_another_may_write(tmp_path):
    inner, other = tmp_path / "scores", tmp_path / "another-run"
    for folder in (inner, other):
        folder.mkdir()
        (folder / ".x.json.tmp-1-ab").write_text("left")
        (folder / ".hidden").write_text("mine")
    with locked(other, "--run"):
        (other / ".x.json.tmp-1-ab").write_text("being written")
    with locked(tmp_path, "--run"):
        assert not (inner / ".x.json.tmp-1-ab").exists()
        assert (inner / ".hidden").exists()
        assert (other / ".x.json.tmp-1-ab").exists()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UsageError, match=r"^--output: cannot write in .*file/x \(.*\); choose another place$"),
        locked(tmp_path / "file" / "x", "--output"),
    ):
        pass


def test_the_lock_holds_while_files_are_written(tmp_path):
    with locked(tmp_path, "--run"), atomic_write(tmp_path / "a.txt") as path:
        path.write_text("a")
        began = time.monotonic()
        with pytest.raises(UsageError), locked(tmp_path, "--run"):
            pass
        assert time.monotonic() - began < 5  # refused at once, not waited for
        assert path.exists()
