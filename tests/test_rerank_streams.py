"""apps/rerank as a process: memory does not grow with the file, and a killed run goes on where it was."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from eduprm.rank.testing import problems, read_jsonl, write_jsonl
from eduprm_rerank.cli import main

APP = Path(__file__).resolve().parents[1] / "apps" / "rerank"


pytestmark = pytest.mark.slow

# Runs the app in a fresh process and prints the most memory it ever held, in KiB. Not ru_maxrss: across fork and exec
# that one begins at the parent's peak.
MEASURE = (
    "import re, sys\n"
    "from eduprm_rerank.cli import main\n"
    "status = main(sys.argv[2:])\n"
    "print(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1], file=sys.stderr)\n"
    "sys.exit(status)\n"
)


def peak_mib(*arguments):
    command = [sys.executable, "-c", MEASURE, str(APP), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return int(done.stderr.split()[-1]) / 1024


def fat_rows(count):
    """Rows whose bulk is a column that nobody asked for, so that a large file is soon ranked."""
    for number in range(count):
        yield {
            "id": number,
            "problem": "1?",
            "solutions": ["1", "2"],
            "answer": "1",
            "bulk": f"{number:08d}" * 5000,
        }


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to read the peak of memory")
@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_memory_does_not_grow_with_the_file(prm, tmp_path, suffix):
    peaks, sizes = {}, {}
    few, many = 1000, 3000  # both long enough for the allocators' pools to have reached their full size
    for count in (few, many):
        source, output = tmp_path / f"{count}.{suffix}", tmp_path / f"{count}.out.{suffix}"
        if suffix == "jsonl":
            write_jsonl(source, fat_rows(count))
        else:  # the hard case: all rows in one row group
            pl.DataFrame(list(fat_rows(count))).write_parquet(
                source, compression="uncompressed", row_group_size=count
            )
        sizes[count] = source.stat().st_size / 2**20
        peaks[count] = peak_mib(source, "--prm", prm, "--output", output, "--chunk-solutions", 100)
        rows = len(read_jsonl(output)) if suffix == "jsonl" else pl.read_parquet(output).height
        assert rows == count
    grown, added = peaks[many] - peaks[few], sizes[many] - sizes[few]
    assert added > 70
    # Half of what a reader that holds the file even once would need.
    assert grown < added / 2, f"{grown:.0f} MiB more for {added:.0f} MiB more of file: {peaks}"


def arguments(source, prm, output, *more):
    return [str(source), "--prm", str(prm), "--output", str(output), "--chunk-solutions", "8", *more]


def kill_after_chunks(given, output, count):
    """Start a run and SIGKILL it once so many chunks stand; gives the notes that stood then."""
    command = [sys.executable, str(APP), *given]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    work = Path(f"{output}.work")
    deadline = time.monotonic() + 120
    while len(list(work.glob("chunks/[!.]*/notes.json"))) < count:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not output.exists()
    return sorted(work.glob("chunks/[!.]*/notes.json"))


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_a_killed_run_ends_with_the_same_bytes(prm, tmp_path, suffix):
    rows = [*problems(60), {"id": "bad", "problem": "?", "solutions": ["", "2"]}, *problems(1)]
    rows[-1]["id"] = "last"
    source = tmp_path / f"in.{suffix}"
    if suffix == "jsonl":
        write_jsonl(source, rows)
    else:
        pl.DataFrame(rows).write_parquet(source, row_group_size=40)
    whole, killed = tmp_path / f"whole.{suffix}", tmp_path / f"killed.{suffix}"
    assert main(arguments(source, prm, whole)) == 3
    for count in (2, 10) if suffix == "jsonl" else (10,):
        stood = kill_after_chunks(arguments(source, prm, killed), killed, count)
    # What a kill in the middle of a write leaves beside the output: of this run, and of another's.
    left = tmp_path / f".{killed.name}.report.html.tmp-1-0a"
    others = tmp_path / f".{killed.name}2.tmp-1-0a"
    for path in (left, others):
        path.write_bytes(b"half")
    assert main(arguments(source, prm, killed)) == 3
    assert not left.exists()
    assert others.exists()
    assert killed.read_bytes() == whole.read_bytes()
    assert Path(f"{killed}.report.html").read_bytes() == Path(f"{whole}.report.html").read_bytes()
    assert Path(f"{killed}.rejected.jsonl").read_bytes() == Path(f"{whole}.rejected.jsonl").read_bytes()
    reports = [json.loads(Path(f"{path}.report.json").read_text()) for path in (whole, killed)]
    assert reports[0]["accuracies"] == reports[1]["accuracies"]
    assert (reports[0]["chunks_taken_up"], reports[0]["chunks"]) == (0, 31)
    assert reports[1]["chunks_taken_up"] >= len(stood) >= 10
    assert not Path(f"{killed}.work").exists()


def test_finished_chunks_are_taken_up_unscored_but_only_for_the_same_work(prm, tmp_path):
    from eduprm.prm.testing import tiny_prm

    source, output = write_jsonl(tmp_path / "in.jsonl", problems(60)), tmp_path / "out.jsonl"
    first = kill_after_chunks(arguments(source, prm, output), output, 3)[0]
    rows = first.with_name("rows")
    rows.write_bytes(rows.read_bytes().replace(b'"chosen": "', b'"chosen": "MARK', 1))
    work, other = Path(f"{output}.work"), tmp_path / "other.jsonl"
    changed = write_jsonl(tmp_path / "changed.jsonl", [*problems(59), {**problems(1)[0], "id": "new"}])
    another = tiny_prm(tmp_path / "another-prm", seed=5)
    for given in (
        arguments(source, prm, other, "--aggregate", "last"),
        arguments(changed, prm, other),
        arguments(source, another, other),
    ):
        shutil.copytree(work, Path(f"{other}.work"))
        assert main(given) == 0
        assert not any(row["chosen"].startswith("MARK") for row in read_jsonl(other))
    assert main(arguments(source, prm, output)) == 0
    got = read_jsonl(output)
    assert got[0]["chosen"].startswith("MARK")  # so the first chunk was not scored again
    assert not any(row["chosen"].startswith("MARK") for row in got[1:])


def test_two_runs_do_not_write_the_same_output(prm, tmp_path, capsys):
    import fcntl

    source, output = write_jsonl(tmp_path / "in.jsonl", problems(1)), tmp_path / "out.jsonl"
    work = Path(f"{output}.work")
    work.mkdir()
    with (work / ".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert main(arguments(source, prm, output)) == 2
    message = f"--output: another process is working in {work}; wait for it, or choose another place"
    assert capsys.readouterr().err == f"rerank: {message}\n"


def test_an_interrupt_says_that_the_work_is_kept(prm, tmp_path):
    source, output = write_jsonl(tmp_path / "in.jsonl", problems(200)), tmp_path / "out.jsonl"
    command = [sys.executable, str(APP), *arguments(source, prm, output)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    work = Path(f"{output}.work")
    while not list(work.glob("chunks/[!.]*/notes.json")):
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "rerank: stopped; the same command goes on from here\n")
    assert list(work.glob("chunks/[!.]*/notes.json"))


def test_a_run_killed_while_it_clears_up_is_followed_by_a_whole_one(prm, tmp_path, monkeypatch):
    source = write_jsonl(tmp_path / "in.jsonl", problems(20))
    whole, killed = tmp_path / "whole.jsonl", tmp_path / "killed.jsonl"
    assert main(arguments(source, prm, whole)) == 0

    def die_in_the_middle(folder, **_):
        next(Path(folder).glob("chunks/*/notes.json")).unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("eduprm.core.files.rmtree", die_in_the_middle)
        assert main(arguments(source, prm, killed)) == 130
    assert list(tmp_path.glob(".killed.jsonl.work.tmp-*"))
    assert main(arguments(source, prm, killed)) == 0
    assert killed.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob(".killed*"))
