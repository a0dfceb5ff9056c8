"""Columns by path, and files packed with gzip or Zstandard."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pytest

from eduprm.core.column_path import PathError, column_of, flattened, value_at
from eduprm.core.compressed import CompressionError, open_plain
from eduprm.forest import ForestError
from eduprm.problems import read_problems

ROW = {
    "a": {"b": {"c": 1}, "b.c": 2},
    "a.b": {"c": 3},
    "x[]": 4,
    "resps": [["p", "q"], ["r"]],
    "response": {"body": {"choices": [{"message": {"content": "p"}}, {"message": {"content": None}}, {}]}},
    "turns": [{"role": "system", "text": "s"}, {"role": "user", "text": "u"}],
    "none": None,
    "name": "text",
    "empty": [],
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("a.b.c", 3),  # the longest name that is there
        ("x[]", 4),
        ("resps", [["p", "q"], ["r"]]),
        ("resps[]", [["p", "q"], ["r"]]),
        ("resps[0][1]", "q"),
        ("resps.1.0", "r"),
        ("resps[][0]", ["p", "r"]),
        ("response.body.choices[].message.content", ["p", None, None]),
        ("response.body.choices[0].message", {"content": "p"}),
        ("turns[-1].text", "u"),
        ("turns[].text", ["s", "u"]),
        ("none", None),
        ("empty[].text", []),
    ],
)
def test_paths(path, value):
    assert value_at(ROW, path) == value


def test_a_name_with_dots_wins_inside_too():
    assert value_at({"a": ROW["a"]}, "a.b.c") == 2


@pytest.mark.parametrize(
    ("path", "message", "by_shape"),
    [
        ("b", "no 'b', got 'a', 'a.b'", True),
        ("response.bdy.choices", "no 'bdy' in 'response', got 'body'", True),
        ("turns.text", "'turns' holds a list; write turns[].text for all of its items, turns[0].text", True),
        ("turns[2].text", "'turns' has 2 items, no [2]", False),
        ("turns[].txt", "no 'txt' in 'turns[]', got 'role', 'text'", True),
        ("none.b", "'none' is null", False),
        ("name.b", "'name' holds text, not an object with 'b'", True),
        ("turns[x]", "'turns' holds a list", True),
        ("[0]", "no '[0]'", True),
    ],
)
def test_paths_that_lead_nowhere_say_where_they_end(path, message, by_shape):
    with pytest.raises(PathError) as caught:
        value_at(ROW, path)
    assert message in str(caught.value)
    assert caught.value.by_shape == by_shape


def test_the_column_that_a_path_begins_in():
    names = ["a", "a.b", "resps", "x[]"]
    paths = ["a.c", "a.b.c", "resps[0]", "x[]", "b.a"]
    assert [column_of(path, names) for path in paths] == ["a", "a.b", "resps", "x[]", None]
    assert list(flattened([[["a"], []], "b", None])) == ["a", "b", None]


def zstd(data: bytes) -> bytes:
    return pa.Codec("zstd").compress(data, asbytes=True)


LINES = b"".join(json.dumps({"doc": {"q": f"{n}?"}, "answer": n}).encode() + b"\n" for n in range(5000))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("rows.jsonl", LINES),
        ("rows.jsonl.gz", gzip.compress(LINES)),
        ("rows.jsonl.gz", gzip.compress(LINES[:1000]) + gzip.compress(LINES[1000:])),
        ("rows.jsonl.zst", zstd(LINES)),
        ("rows.jsonl.zst", zstd(LINES[:1000]) + zstd(LINES[1000:])),
        ("rows.jsonl", zstd(LINES)),  # the bytes tell, not the name
    ],
)
def test_packed_files_are_read_as_plain_ones(tmp_path: Path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    with open_plain(path) as file:
        assert b"".join(file) == LINES
    problems, rejected = read_problems(path, columns={"question": "doc.q"})
    assert (problems.height, rejected.height) == (5000, 0)
    assert problems.select("question", "answer", "source").row(7) == ("7?", "7", "rows")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (gzip.compress(LINES)[:-20], "is broken or cut off gzip"),
        (gzip.compress(LINES)[:50] + b"junk" * 20, "is broken or cut off gzip"),
        (zstd(LINES)[:-20], "is broken or cut off Zstandard"),
        (zstd(LINES)[:50] + b"junk" * 20, "is broken or cut off Zstandard"),
        (b"BZh91AY&SY", "compressed as bzip2; unpack it first"),
        (b"\xfd7zXZ\x00\x00", "compressed as xz"),
        (b"PK\x03\x04", "compressed as zip"),
    ],
)
def test_packed_files_that_are_broken_are_refused_whole(tmp_path: Path, data, message):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(data)
    with pytest.raises(CompressionError, match=message), open_plain(path) as file:
        b"".join(file)
    with pytest.raises(ForestError, match=message):
        read_problems(path)
