"""Shards are whole or not there, the same bytes for the same frame, and read back with errors that name the file."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from eduprm.core.files import atomic_write, atomic_write_bytes, sweep_temporaries
from eduprm.forest import ForestError, read_forest, scan_forest, write_shard, write_table

# writes shard after shard of the same frame until it is killed; argv: folder, frame file
ENDLESS_WRITER = """
import sys
from itertools import count
from eduprm.forest import read_forest, write_shard
df = read_forest(sys.argv[2])
print("ready", flush=True)
for number in count():
    write_shard(df, sys.argv[1], f"{number % 3:04d}")
"""


def visible_files(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir() if not file.name.startswith("."))


def test_a_forest_comes_back_as_it_was(labelled: pl.DataFrame, nodes: pl.DataFrame, tmp_path: Path) -> None:
    path = write_shard(labelled, tmp_path / "new" / "folder", "0000")
    assert path == tmp_path / "new" / "folder" / "0000.parquet"
    assert read_forest(path).equals(labelled)
    assert write_shard(nodes, tmp_path, "0001.parquet").name == "0001.parquet"


def test_a_folder_is_read_in_order_of_name(nodes: pl.DataFrame, tmp_path: Path) -> None:
    for name in ("0010", "0002", "0001"):
        write_shard(nodes.with_columns(problem_id=pl.lit(name)), tmp_path, name)
    (tmp_path / ".0003.parquet.tmp-1-ab").write_bytes(b"half")
    (tmp_path / ".hidden.parquet").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("not a shard")
    ids = read_forest(tmp_path)["problem_id"].unique(maintain_order=True)
    assert ids.to_list() == ["0001", "0002", "0010"]
    assert scan_forest(tmp_path).collect().equals(read_forest(tmp_path))


def test_a_writer_killed_in_mid_write_leaves_no_half_shard(grow, tmp_path: Path) -> None:
    one = grow([[None, 0, 0]])
    ids = pl.int_range(pl.len()).floordiv(3).hash(7).cast(pl.String)
    big = pl.concat([one] * 60_000).with_columns(problem_id=ids)
    source = write_table(big, tmp_path / "source.parquet")
    folder = tmp_path / "shards"
    folder.mkdir()
    caught_in_mid_write = 0
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", ENDLESS_WRITER, str(folder), str(source)], stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        deadline = time.monotonic() + 60
        while not list(folder.glob(".*.tmp-*")) and time.monotonic() < deadline:
            pass
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        caught_in_mid_write += bool(list(folder.glob(".*.tmp-*")))
        for name in visible_files(folder):  # whatever is there under its own name is whole
            assert (folder / name).read_bytes() == source.read_bytes()
        sweep_temporaries(folder)
        assert not list(folder.glob(".*"))
    assert caught_in_mid_write  # else this test has shown nothing


def test_a_shard_that_is_rewritten_is_old_or_new(tmp_path: Path) -> None:
    target = atomic_write_bytes(tmp_path / "a.bin", b"old")
    code = (
        "import sys, time\nfrom eduprm.core.files import atomic_write\n"
        "with atomic_write(sys.argv[1]) as temporary:\n"
        "    temporary.write_bytes(b'ne'); print('half', flush=True); time.sleep(60)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(target)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"half\n"
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    assert target.read_bytes() == b"old"
    assert sweep_temporaries(tmp_path) == 1
    assert visible_files(tmp_path) == ["a.bin"]


def test_an_error_in_the_block_changes_nothing(tmp_path: Path) -> None:
    target = atomic_write_bytes(tmp_path / "a.bin", b"old")

    def fail() -> None:
        with atomic_write(target) as temporary:
            temporary.write_bytes(b"half")
            raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError, match="disk on fire"):
        fail()
    with pytest.raises(FileNotFoundError), atomic_write(target):
        pass  # the block wrote nothing
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_data_is_synced_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    real_sync, real_replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (events.append("sync"), real_sync(handle))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (events.append("replace"), real_replace(a, b))[1])
    atomic_write_bytes(tmp_path / "a", b"x")
    assert events == ["sync", "replace", "sync"]  # the data, its name, the folder that holds the name


def test_equal_frames_give_equal_bytes(grow, tmp_path: Path) -> None:
    ids = pl.int_range(pl.len()).floordiv(3).cast(pl.String)
    df = pl.concat([grow([[None, 0, 0]])] * 50_000).with_columns(problem_id=ids)  # several row groups
    whole = write_shard(df, tmp_path, "whole").read_bytes()
    pieces = pl.concat([df[:2], df[2:70_001], df[70_001:]], rechunk=False)
    assert pieces.n_chunks() == 3
    assert write_shard(pieces, tmp_path, "pieces").read_bytes() == whole
    for start in (df.height, 3):  # a slice of a larger frame: polars would cut its pages otherwise
        sliced = pl.concat([df[:start], df], rechunk=True)[start:]
        assert write_shard(sliced, tmp_path, "sliced").read_bytes() == whole
    code = (
        "import sys\nfrom eduprm.forest import read_forest, write_shard\n"
        "write_shard(read_forest(sys.argv[1]), sys.argv[2], 'again')\n"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path / "whole.parquet"), str(tmp_path)]
    subprocess.run(arguments, check=True, env={**os.environ, "POLARS_MAX_THREADS": "1"})
    assert (tmp_path / "again.parquet").read_bytes() == whole


def test_a_broken_forest_is_not_written(nodes: pl.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(ForestError, match="'node_id', row 1"):
        write_shard(nodes[1:], tmp_path, "0000")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("name", ["", "a/b", "../a", ".hidden", ".", ".."])
def test_a_shard_has_a_plain_name(name: str, nodes: pl.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a plain file name"):
        write_shard(nodes, tmp_path, name)


def test_reading_errors_name_the_file(nodes: pl.DataFrame, labelled: pl.DataFrame, tmp_path: Path) -> None:
    def message(path: Path) -> str:
        with pytest.raises(ForestError) as caught:
            read_forest(path)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert (
        message(tmp_path / "no")
        == f"{tmp_path / 'no'}: expected a Parquet file or a folder of them, got no such path"
    )
    assert message(tmp_path) == f"{tmp_path}: expected *.parquet files in this folder, got none"
    first, second = write_shard(nodes, tmp_path, "a"), tmp_path / "b.parquet"
    second.write_bytes(first.read_bytes()[:200])
    assert message(tmp_path).startswith(f"{second}: expected a Parquet file, got one that cannot be read")
    write_table(nodes[1:], second)
    assert message(tmp_path).startswith(
        f"{second}: column 'node_id', row 1 (problem 'p', tree 'edu', node 1): expected 0"
    )
    write_shard(nodes[:3], tmp_path, "b")
    assert message(tmp_path).startswith(f"{second}: column 'tree', row 1")
    assert "got one that a.parquet holds too" in message(tmp_path)
    write_shard(labelled.with_columns(problem_id=pl.lit("q")), tmp_path, "b")
    assert "expected the columns of a.parquet" in message(tmp_path)
    write_shard(nodes.with_columns(score=pl.lit(0.5)), tmp_path, "a")
    write_shard(nodes.with_columns(score=pl.lit(1), problem_id=pl.lit("q")), tmp_path, "b")
    assert message(tmp_path) == f"{second}: column 'score': expected type Float64 as in a.parquet, got Int32"


def test_shards_may_order_their_columns_in_any_way(nodes: pl.DataFrame, tmp_path: Path) -> None:
    write_shard(nodes, tmp_path, "a")
    other = nodes.with_columns(problem_id=pl.lit("q"))
    write_shard(other.select(reversed(other.columns)), tmp_path, "b")
    assert read_forest(tmp_path).equals(pl.concat([nodes, other]))


def test_a_name_is_no_pattern(nodes: pl.DataFrame, tmp_path: Path) -> None:
    folder = tmp_path / "run[1]*"
    write_shard(nodes, folder, "0")
    assert read_forest(folder).equals(nodes)
    assert scan_forest(folder).collect().equals(nodes)


def test_any_damage_to_the_footer_is_a_forest_error(nodes: pl.DataFrame, tmp_path: Path) -> None:
    # polars panics at some of these bytes, which is no Exception; in another process, since it writes to stderr too
    code = (
        "import sys\nfrom pathlib import Path\nfrom eduprm.forest import ForestError, read_forest\n"
        "path = Path(sys.argv[1]); whole = path.read_bytes()\n"
        "footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], 'little')\n"
        "refused = 0\n"
        "for at in range(footer + 280, footer + 440):\n"
        "    path.write_bytes(whole[:at] + bytes([whole[at] ^ 64]) + whole[at + 1:])\n"
        "    try: read_forest(path)\n"
        "    except ForestError: refused += 1\n"
        "print(refused)\n"
    )
    path = write_shard(nodes, tmp_path, "0")
    ran = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert (ran.returncode, int(ran.stdout or 0) > 0) == (0, True), ran.stderr[-300:]
