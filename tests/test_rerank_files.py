"""apps/rerank on files as people have them: paths, packed files, Arrow types, ids, references beside candidates."""

# ruff: noqa: E501
import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eduprm.core.errors import UsageError
from eduprm.rank.files import open_solutions
from eduprm.rank.index import Index
from eduprm.rank.ranking import same_gold
from eduprm.rank.reading import Reader
from eduprm.rank.rows import build_problem
from eduprm.rank.settings import load_settings
from eduprm.rank.testing import flat, problems, read_jsonl, write_jsonl


def read(path, *flags):
    """Problems and rejections of a file, by the app's own reading, up to where a PRM would be loaded."""
    settings = load_settings([str(path), *map(str, flags)])
    work = path.parent / "work"
    work.mkdir(exist_ok=True)
    source, reader, index = open_solutions(path), Reader(settings, work), Index(work / "index.sqlite")
    counts = index.build(source, reader, file=path.name)
    source.prepare(work, in_order=index.in_order)
    shape = source.shape()
    wanted = [] if shape is None else reader.wanted(shape)
    found, faults = [], list(index.rejections())
    for chunk in index.chunks(1):
        for rows in chunk.problems:
            read_rows = [
                (row, reader.read(source.record(source.fetch(place), wanted), index.layout))
                for row, place in rows
            ]
            problem, more = build_problem(read_rows, index.layout, same_gold)
            found.append(problem)
            faults += more
    return found, faults, counts


def write(path, rows):
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        write_jsonl(path, rows)
    return path


def texts(problem):
    return [one.text for one in problem.solutions]


NESTED = {
    "key": {"n": 7},
    "doc": {"question": "2*3?", "gold": {"value": 6.0}},
    "resps": [["6", "5"], ["4"]],
    "response": {"body": {"choices": [{"message": {"content": "6"}}, {"message": {"content": "7"}}]}},
    "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "2*3?"}],
}


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_columns_by_path(tmp_path, suffix):
    path = write(tmp_path / f"in.{suffix}", [NESTED])
    common = ("--columns.id", "key.n", "--columns.answer", "doc.gold.value")
    cases = {
        ("doc.question", "resps"): ["6", "5", "4"],
        ("messages[-1].content", "resps[0]"): ["6", "5"],
        ("messages.1.content", "response.body.choices[].message.content"): ["6", "7"],
        ("doc.question", "response.body.choices[1:].message"): None,
    }
    for (problem, solutions), wanted in cases.items():
        flags = (*common, "--columns.problem", problem, "--columns.solutions", solutions)
        if wanted is None:
            with pytest.raises(UsageError, match=r"'response.body.choices' holds a list; write .*\[\]"):
                read(path, *flags)
            continue
        (got,), faults, _ = read(path, *flags)
        assert (got.id, got.text, got.answer, texts(got)) == ("7", "2*3?", "6", wanted)
        assert faults == []
    flags = (
        "--columns.problem",
        "doc.question",
        "--columns.solution",
        "response.body.choices[0].message.content",
    )
    (got,), _, _ = read(path, *common, *flags)
    assert texts(got) == ["6"]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_a_column_whose_name_holds_dots_wins(tmp_path, suffix):
    row = {"id": 1, "doc.question": "name?", "doc": {"question": "path?"}, "a[].b": ["x"], "a": [{"b": "y"}]}
    path = write(tmp_path / f"in.{suffix}", [row])
    (got,), _, _ = read(path, "--columns.problem", "doc.question", "--columns.solutions", "a[].b")
    assert (got.text, texts(got)) == ("name?", ["x"])


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--columns.problem", "doc.qestion"), "column 'doc.qestion': no 'qestion' in 'doc', got 'question', 'gold'; correct --columns.problem"),
        (("--columns.problem", "dok.question"), "no column 'dok.question', got 'key', 'doc', 'resps', 'response', 'messages'; name it with --columns.problem"),
        (("--columns.problem", "doc.question", "--columns.solutions", "response.body.choices.message"), "'response.body.choices' holds a list; write response.body.choices[].message for all of its items"),
        (("--columns.problem", "doc.question", "--columns.solutions", "resps.text"), "'resps' holds a list"),
        (("--columns.problem", "doc.question.text"), "'doc.question' holds text, not an object with 'text'"),
        (("--columns.problem", "doc.question", "--columns.answer", "doc.gold.valu"), "doc.gold.valu"),
    ],
)  # fmt: skip
def test_a_wrong_path_stops_before_anything_is_scored(tmp_path, suffix, flags, message):
    path = write(tmp_path / f"in.{suffix}", [NESTED])
    extra = () if "--columns.solutions" in flags else ("--columns.solutions", "resps")
    with pytest.raises(UsageError) as caught:
        read(path, "--columns.id", "key.n", *flags, *extra)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_item_without_its_field_costs_only_itself(tmp_path):
    choices = [{"message": {"content": "6"}}, {"message": {}}, {"error": "x"}, {"message": {"content": None}}]
    rows = [
        {"id": 1, "problem": "?", "out": {"choices": choices}},
        {"id": 2, "problem": "?", "out": None},
        {"id": 3, "problem": "?", "out": {"choices": []}},
        {"id": 4, "problem": "?", "out": {"choices": [{"message": {"content": "8"}}]}},
    ]
    path = write(tmp_path / "in.jsonl", rows)
    got, faults, _ = read(path, "--columns.solutions", "out.choices[].message.content")
    assert [(one.id, texts(one)) for one in got] == [("1", ["6"]), ("4", ["8"])]
    assert sorted((one.row, one.solution) for one in faults if one.row == 1) == [(1, 1), (1, 2), (1, 3)]
    assert {one.row for one in faults} == {1, 2, 3}
    (null,) = (one.reason for one in faults if one.row == 2)
    assert null == "column 'out.choices[].message.content': 'out' is null"


def test_objects_in_the_list_say_how_to_name_their_text(tmp_path):
    row = {"id": 1, "problem": "?", "solutions": [{"text": "6"}, "7"]}
    (got,), (fault,), _ = read(write(tmp_path / "in.jsonl", [row]))
    assert texts(got) == ["7"]
    assert "--columns.solutions choices[].message.content" in fault.reason


REFERENCE = {"id": 1, "problem": "?", "solution": "Reference: 14", "answer": "14"}


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
@pytest.mark.parametrize(
    ("columns", "flag"),
    [
        ({"completions": ["14", "15"]}, "--columns.solutions completions"),
        ({"solutions": ["14", "15"]}, "--columns.solutions solutions"),
        ({"model_responses": ["14"]}, "--columns.solutions model_responses"),
        ({"resps": [["14", "15"]]}, "--columns.solutions resps"),
        ({"generated_solution": "14"}, "--columns.solution generated_solution"),
        ({"modelOutput": "14"}, "--columns.solution modelOutput"),
        ({"choices": [{"message": {"content": "14"}}]}, "--columns.solutions choices"),
    ],
)
def test_a_reference_is_not_ranked_beside_candidates(tmp_path, suffix, columns, flag):
    path = write(tmp_path / f"in.{suffix}", [{**REFERENCE, **columns}])
    with pytest.raises(UsageError) as caught:
        read(path)
    message = str(caught.value)
    (name,) = columns
    for part in (repr(name), "'solution'", flag, "--columns.solution solution"):
        assert part in message
    flags = flag.split()
    if name == "choices":
        flags[1] = "choices[].message.content"
    (got,), faults, _ = read(path, *flags)
    assert (texts(got)[0], faults) == ("14", [])
    # The row may also say that its solution is what it looks like.
    assert [texts(one) for one in read(path, "--columns.solution", "solution")[0]] == [["Reference: 14"]]


def test_two_lists_of_candidates_are_an_error_too(tmp_path):
    path = write(tmp_path / "in.jsonl", [{**problems(1)[0], "completions": ["a"]}])
    with pytest.raises(UsageError, match="'completions' and 'solutions' could each hold"):
        read(path)


def test_what_is_no_candidate_is_no_rival(tmp_path):
    extra = {
        "completion_tokens": [20, 20], "scores": [[0.1]], "num_samples": 4, "generation_model": "m", "sample_id": "s",
        "expected_output": "14", "reference_solution": "14", "gold_solutions": ["14"], "completions": None,
        "tags": ["algebra"], "pred": "14", "responses": [],
    }  # fmt: skip
    (got,), _, _ = read(write(tmp_path / "in.jsonl", [{**REFERENCE, **extra}]))
    assert texts(got) == ["Reference: 14"]


def test_a_row_without_the_column_named_does_not_fall_back_on_its_reference(tmp_path):
    rows = [{**REFERENCE, "completions": ["14"]}, {**REFERENCE, "id": 2}]
    (got,), (fault,), _ = read(write(tmp_path / "in.jsonl", rows), "--columns.solutions", "completions")
    assert texts(got) == ["14"]
    assert (fault.row, fault.id) == (2, "2")
    assert "no column 'completions'" in fault.reason


def packed(kind, data):
    return gzip.compress(data) if kind == "gz" else pa.Codec("zstd").compress(data, asbytes=True)


@pytest.mark.parametrize("kind", ["gz", "zst"])
@pytest.mark.parametrize("scattered", [False, True])
def test_packed_files_are_ranked_as_plain_ones(rerank, tmp_path, kind, scattered):
    rows = flat(problems(3))
    rows = rows[::2] + rows[1::2] if scattered else rows
    data = write_jsonl(tmp_path / "in.jsonl", rows).read_bytes()
    (tmp_path / f"in.jsonl.{kind}").write_bytes(packed(kind, data))
    assert rerank("in.jsonl", "--output", "plain.jsonl", "--chunk-solutions", 4)[0] == 0
    assert rerank(f"in.jsonl.{kind}", "--chunk-solutions", 4)[0] == 0
    got = tmp_path / "runs/rerank/in.ranked.jsonl"
    assert got.read_bytes() == (tmp_path / "plain.jsonl").read_bytes()
    assert len(read_jsonl(got)) == 12


def test_packed_files_that_cannot_be_read(rerank, tmp_path):
    data = write_jsonl(tmp_path / "in.jsonl", problems(50)).read_bytes()
    cases = {
        "cut.gz": (gzip.compress(data)[:-30], "broken or cut off gzip"),
        "cut.zst": (packed("zst", data)[:-30], "broken or cut off Zstandard"),
        "other.bz2": (b"BZh91AY&SY123", "is compressed as bzip2; unpack it first"),
        "whole.parquet.gz": (gzip.compress(b"PAR1 and so on"), "is Parquet, compressed as a whole"),
    }
    for name, (content, message) in cases.items():
        (tmp_path / name).write_bytes(content)
        status, out, err = rerank(name, "--output", "out.jsonl")
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert err.startswith(f"rerank: {name}: ")
        assert message in err
    status, _, err = rerank("in.jsonl", "--output", "out.jsonl.gz")
    assert (status, err) == (
        2,
        "rerank: --output: the output is not compressed; got out.jsonl.gz, name it out.jsonl\n",
    )


def arrow_file(path, make):
    """A file whose texts have the type that `make` gives them; a column that no one reads is of it too."""
    rows = problems(2)
    table = pa.table(
        {
            "id": make(pa.array([row["id"] for row in rows])),
            "problem": make(pa.array([row["problem"] for row in rows])),
            "solutions": nested(make, [row["solutions"] for row in rows]),
            "answer": make(pa.array([row["answer"] for row in rows])),
            "note": pa.StructArray.from_arrays([make(pa.array(["a", "b"]))], ["n"]),
        }
    )
    pq.write_table(table, path)
    return rows


def nested(make, lists):
    offsets = pa.array([0, *(sum(map(len, lists[: k + 1])) for k in range(len(lists)))])
    return pa.ListArray.from_arrays(
        offsets.cast(pa.int32()), make(pa.array([t for row in lists for t in row]))
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda array: array.cast(pa.string_view()),
        lambda array: array.cast(pa.large_string()),
        lambda array: array.dictionary_encode(),
    ],
    ids=["string_view", "large_string", "dictionary"],
)
def test_texts_of_other_arrow_types(rerank, tmp_path, make):
    rows = arrow_file(tmp_path / "in.parquet", make)
    assert rerank("in.parquet", "--output", "out.parquet")[0] == 0
    write_jsonl(tmp_path / "in.jsonl", rows)
    assert rerank("in.jsonl", "--output", "out.jsonl")[0] == 0
    table = pq.read_table(tmp_path / "out.parquet")
    assert table["note"].to_pylist() == [{"n": "a"}, {"n": "b"}]
    plain = read_jsonl(tmp_path / "out.jsonl")
    assert table.drop_columns("note").to_pylist() == plain
    kinds = {field.name: field.type for field in pq.read_schema(tmp_path / "in.parquet")}
    if not pa.types.is_string_view(kinds["id"]):  # views become plain strings, all else stays
        assert {name: table.schema.field(name).type for name in kinds} == kinds
    scattered = pa.concat_tables([pq.read_table(tmp_path / "in.parquet")] * 2).drop_columns("solutions")
    scattered = scattered.append_column("solution", make(pa.array(["#### 1", "#### 2", "#### 3", "#### 4"])))
    pq.write_table(scattered, tmp_path / "flat.parquet")
    got, _, _ = read(tmp_path / "flat.parquet")
    assert [texts(one) for one in got] == [["#### 1", "#### 3"], ["#### 2", "#### 4"]]


def test_an_output_that_cannot_be_written_is_found_before_scoring(tmp_path, monkeypatch):
    """No Arrow type that can be read fails today, so one is made to: as string_view did."""
    from eduprm.rank import parquet

    arrow_file(tmp_path / "in.parquet", lambda array: array.cast(pa.string_view()))
    monkeypatch.setattr(parquet, "writable_schema", lambda schema: schema)
    source = open_solutions(tmp_path / "in.parquet")
    with pytest.raises(
        UsageError, match=r"rows of these columns cannot be written as Parquet \(.*string_view"
    ):
        source.check_output(tmp_path, [])


def test_two_columns_of_one_name(rerank, tmp_path):
    pq.write_table(pa.table([["1"], ["2"]], names=["id", "id"]), tmp_path / "in.parquet")
    status, _, err = rerank("in.parquet")
    assert (status, err) == (2, "rerank: in.parquet: two columns are called 'id'; rename one\n")


def test_numbers_and_white_space_make_no_other_problem(tmp_path):
    rows = [
        {"id": 7, "problem": "2*7?", "solution": "a", "answer": "14"},
        {"id": 7.0, "problem": " 2*7?\n", "solution": "b", "answer": 14.0},
        {"id": "7", "problem": "2*7?", "solution": "c", "answer": "14.0"},
        {"id": " 7", "problem": "2*7?", "solution": "d", "answer": "2*7=14\n#### 14"},
        {"id": 7, "problem": "2*7?", "solution": "e", "answer": None},
        {"id": 7, "problem": "2*7?", "solution": "f", "answer": float("nan")},
        {"id": 7, "problem": "2*7?", "solution": "g", "answer": "14.5"},
        {"id": 7, "problem": "2 * 7?", "solution": "h", "answer": "14"},
    ]
    (got,), faults, _ = read(write(tmp_path / "in.jsonl", rows))
    assert (got.id, got.text, got.answer, texts(got)) == ("7", "2*7?", "14", list("abcdef"))
    assert [one.row for one in faults] == [7, 8]


@pytest.mark.parametrize("key", [True, None, "", "  ", [1], 1.5, float("inf")])
def test_ids_that_are_none(tmp_path, key):
    rows = [{"id": "a", "problem": "?", "solution": "x"}, {"id": key, "problem": "?", "solution": "x"}]
    _, (fault,), _ = read(write(tmp_path / "in.jsonl", rows))
    assert "column 'id' must hold a text or a whole number" in fault.reason


def test_rows_chosen_by_a_column(tmp_path):
    rows = [
        {**row, "filter": kind, "n": n, "ok": n > 0} for kind in "ab" for n, row in enumerate(problems(2))
    ]
    path = write(tmp_path / "in.jsonl", rows)
    for where, wanted in {
        "filter=b": ["p0", "p1"],
        "n=1": ["p1"],
        "ok=false": ["p0"],
        " filter = a ": ["p0", "p1"],
    }.items():
        got, _, counts = read(path, "--where", where)
        assert [one.id for one in got] == wanted
        assert counts.left_out >= 2
    with pytest.raises(UsageError, match="none of 4 rows has the value that --where names"):
        read(path, "--where", "filter=c")
    with pytest.raises(UsageError, match="--where: expected COLUMN=VALUE"):
        read(path, "--where", "filter")


def test_the_same_problem_twice_says_what_to_do(tmp_path):
    rows = [*problems(1), *problems(1), {**problems(1)[0], "solutions": ["else"]}]
    got, faults, _ = read(write(tmp_path / "in.jsonl", rows))
    assert len(got) == 1
    assert faults[0].reason.startswith("repeats row 1: the same id, problem and solutions; keep one such row")
    assert "--where filter=strict-match" in faults[0].reason
    assert faults[1].reason.startswith("the id stands already in row 1")


def test_steps_must_be_texts(tmp_path):
    rows = [
        {"id": n, "problem": "?", "s": s}
        for n, s in enumerate([["a", "b "], ["a", ""], "a", [], [["a"]], ["a\n", 3]])
    ]
    (got,), faults, counts = read(write(tmp_path / "in.jsonl", rows), "--columns.steps", "s")
    assert (got.solutions[0].text, got.solutions[0].steps) == ("a\nb ", ("a\n", "b "))
    assert counts.joined == 1
    assert [one.row for one in faults] == [2, 3, 4, 5, 6]
    assert "step 1 must be a text, got an empty one" in faults[0].reason


def test_a_label_for_each_solution_is_remarked(tmp_path):
    row = {"prompt": "?", "completions": ["a", "b"], "labels": [True, False]}
    path = write(tmp_path / "in.jsonl", [{**row, "labels": None}, {**row, "prompt": "!"}])
    flags = ("--columns.id", "prompt", "--columns.problem", "prompt", "--columns.solutions", "completions")
    assert read(path, *flags)[2].labelled == 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--columns.steps", "s", "--columns.solutions", "t"), "--columns: expected steps alone"),
        (
            ("--columns.steps", "s", "--segment", "lines"),
            "--segment: expected nothing beside --columns.steps",
        ),
    ],
)
def test_flags_that_exclude_each_other(flags, message):
    with pytest.raises(UsageError) as caught:
        load_settings(["x", *flags])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ([{"id": "a", "problem": "?"}, {"id": "a", "problem": "!"}], "row 2: the id 'a' stands twice"),
        ([{"id": "a", "problem": ""}], "row 1: column 'problem' must hold the problem's text"),
        ([{"id": "a", "text": "?"}], "row 1: column 'problem': no 'problem', got 'id', 'text'; correct --problems.problem"),
        ([{"id": "b", "problem": "?"}], "no problem of this id in --problems.file"),
    ],
)  # fmt: skip
def test_problems_of_another_file_that_cannot_be_used(tmp_path, known, message):
    write_jsonl(tmp_path / "known.jsonl", known)
    path = write(tmp_path / "in.jsonl", [{"id": "a", "solution": "x"}])
    with pytest.raises(UsageError) as caught:
        read(path, "--problems.file", tmp_path / "known.jsonl")
    assert message in str(caught.value)


def test_problems_of_another_file_bring_gold_answers(tmp_path):
    known = [{"id": 1.0, "problem": "1?", "gold": 1}, {"id": 2, "problem": "2?", "gold": None}]
    write(tmp_path / "known.parquet", known)
    path = write(tmp_path / "in.jsonl", [{"id": n, "solutions": ["x"], "problem": "other"} for n in (2, 1)])
    flags = ("--problems.file", tmp_path / "known.parquet", "--problems.answer", "gold")
    got, _, _ = read(path, *flags)
    assert [(one.id, one.text, one.answer) for one in got] == [("2", "2?", None), ("1", "1?", "1")]


def test_the_settings_of_reading_decide_what_is_taken_up():
    one = load_settings(["x", "--where", "a=b", "--columns.solutions", "c"]).result_settings
    assert json.loads(json.dumps(one))["where"] == "a=b"
    assert one["columns"]["solutions"] == "c"
