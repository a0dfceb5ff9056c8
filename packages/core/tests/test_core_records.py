"""Rows of files in every format, and what cannot be read said row by row."""

from __future__ import annotations

import gzip
import json
import tracemalloc

import pytest

from eduprm.core import records
from eduprm.core.records import RecordsError, RowError, parse_line, read_records

ROWS = [{"a": 1, "b": "x"}, {"a": 2, "b": "\u00e9\u2028"}, {"a": None, "b": ""}]


def write(path, rows):
    if path.name.endswith(".parquet"):
        polars = pytest.importorskip("polars")
        polars.DataFrame(rows, schema={"a": polars.Int64, "b": polars.String}).write_parquet(path)
        return path
    array = ".json" in path.name and ".jsonl" not in path.name
    text = json.dumps(rows, indent=1) if array else "\n".join(map(json.dumps, rows))
    data = text.encode()
    if path.suffix == ".zst":
        pyarrow = pytest.importorskip("pyarrow")
        data = pyarrow.compress(data, codec="zstd", asbytes=True)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize(
    "name", ["a.json", "a.json.gz", "a.jsonl", "a.ndjson", "a.jsonl.gz", "a.jsonl.zst", "a.parquet"]
)
def test_every_format_gives_the_same_rows(tmp_path, name):
    assert list(read_records(write(tmp_path / name, ROWS))) == list(enumerate(ROWS, start=1))


def test_batches_of_parquet_join_without_a_seam(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "_BATCH_ROWS", 4)
    for count in (0, 1, 4, 5, 8, 11):
        rows = [{"a": number, "b": str(number)} for number in range(count)]
        path = write(tmp_path / "a.parquet", rows)
        assert list(read_records(path)) == list(enumerate(rows, start=1))


def test_objects_a_line_are_read_as_such_also_from_a_json_file(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"\xef\xbb\xbf\n" + b"\n\n".join(json.dumps(row).encode() for row in ROWS[:2]))
    assert list(read_records(path)) == [(2, ROWS[0]), (4, ROWS[1])]


def test_a_broken_row_is_an_error_in_its_place_and_the_rest_is_read(tmp_path):
    path = tmp_path / "a.jsonl"
    bad = {
        b'{"a": ': "not JSON (Expecting value at column 7); write one JSON object a line",
        b'{"a": "\xff"}': "not UTF-8 (byte 7 of the line); save the file as UTF-8",
        b"[" * 100_000: "JSON nested too deep; write one flat JSON object a line",
        b'{"a": ' + b"9" * 5000 + b"}": "not JSON that can be read (",
        b'["a\\u001b"]': "expected a JSON object, got ['a\\x1b']; write one object a line",
    }
    path.write_bytes(b"\n".join([b'{"a": 1}', *bad, b'{"a": 2}', b""]))
    found = list(read_records(path))
    assert [row for row, _ in found] == list(range(1, 8))
    assert (found[0][1], found[-1][1]) == ({"a": 1}, {"a": 2})
    for (_, error), wanted in zip(found[1:-1], bad.values(), strict=True):
        assert isinstance(error, RowError)
        assert str(error).startswith(wanted)
        assert "\n" not in str(error)


def test_items_of_an_array_that_are_no_objects_are_errors_in_their_place(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('[{"a": 1}, 7, {"a": 2}]')
    first, second, third = read_records(path)
    assert (first, third) == ((1, {"a": 1}), (3, {"a": 2}))
    assert str(second[1]) == "expected a JSON object, got 7; write one object a line"
    assert str(parse_line(b"7")) == str(second[1])


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.csv", b"a", "expected a name ending in .json, .jsonl, .ndjson, .parquet (or"),
        ("a", b"a", "got no suffix"),
        ("a.json", b'[{"a": 1},', "broken JSON"),
        ("a.json", b'["\xff"]', "expected UTF-8, got another encoding at byte 2"),
        ("a.jsonl", gzip.compress(b'{"a": 1}\n' * 99, mtime=0)[:-9], "is broken or cut off gzip"),
        ("a.jsonl", b"BZh91AY", "is compressed as bzip2"),
        ("a.parquet", b"PAR1", "expected a Parquet file, got one that cannot be read"),
        ("none.jsonl", None, "got no such file"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path, name, data, words):
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(RecordsError) as caught:
        list(read_records(tmp_path / name))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_lines_are_streamed(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    line = json.dumps({"a": "x" * 1000}).encode() + b"\n"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(20_000):  # 20 MB
            file.write(line)
    tracemalloc.start()
    assert sum(1 for _ in read_records(path)) == 20_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000
