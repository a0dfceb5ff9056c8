"""Problems from files: the field's column names, worked gold answers, and bad rows handed back with reasons."""

import json
from pathlib import Path

import polars as pl
import pytest

from eduprm.forest import PROBLEM_SCHEMA, ForestError, write_table
from eduprm.problems import ProblemColumns, Problems, read_problems


def read(folder: Path, *rows: object, **options: object) -> Problems:
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    path = folder / "some.jsonl"
    path.write_bytes(b"\n".join(lines))
    return read_problems(path, **options)


def test_gsm8k_rows(tmp_path: Path) -> None:
    row = {"question": "How many?", "answer": "48/2 = <<48/2=24>>24\n48+24 = 72\n#### 1,072 "}
    problems, rejected = read(tmp_path, row)
    assert problems.schema == PROBLEM_SCHEMA
    assert problems["answer"].item() == "1,072"
    assert problems.select("source", "split", "metadata").row(0) == ("some", "train", None)
    assert rejected.height == 0
    # the id is the question's: another file, order or answer gives the same one
    assert (
        read(tmp_path, {"q": 1}, {**row, "answer": "3"})[0]["problem_id"].item()
        == problems["problem_id"].item()
    )


@pytest.mark.parametrize("question", ["question", "problem", "prompt"])
@pytest.mark.parametrize("answer", ["answer", "solution", "final_answer"])
@pytest.mark.parametrize("own_id", ["id", "problem_id", "unique_id", "idx"])
def test_common_names(question: str, answer: str, own_id: str, tmp_path: Path) -> None:
    problems, _ = read(tmp_path, {question: "2 + 2?", answer: "4", own_id: 7, "else": [1]})
    assert problems.select("problem_id", "question", "answer").row(0) == ("7", "2 + 2?", "4")
    assert read(tmp_path, {question: "2 + 2?", own_id: 7.0})[0]["problem_id"].item() == "7"


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        (72, "72"),
        (0.5, "0.5"),
        ("\\frac{14}{3}", "\\frac{14}{3}"),
        ("So it is\n$\\boxed{\\left( 3, \\frac{\\pi}{2} \\right)}.$", "\\left( 3, \\frac{\\pi}{2} \\right)"),
        ("\\boxed{1}\nno, \\boxed{2}", "2"),
        ("a\n#### 1\n#### 2", "2"),
        ("a\r\n#### 18\r\n", "18"),
        (None, None),
        ("", None),
    ],
)
def test_gold_answers(answer: object, gold: str | None, tmp_path: Path) -> None:
    problems, rejected = read(tmp_path, {"question": "q", "answer": answer})
    assert rejected.height == 0
    assert problems["answer"].item() == gold


def test_a_mapping_overrides_the_common_names(tmp_path: Path) -> None:
    row = {"question": "no", "query": "yes", "answer": "1", "target": "2", "uid": "u"}
    columns = {"question": "query", "answer": "target", "problem_id": "uid"}
    problems, _ = read(tmp_path, row, columns=columns)
    assert problems.select("problem_id", "question", "answer").row(0) == ("u", "yes", "2")
    assert read(tmp_path, row, columns=ProblemColumns(**columns))[0].equals(problems)


BAD_ROWS = {
    "not JSON": (b'{"question": ', "not JSON"),
    "not UTF-8": (b'{"question": "\xff"}', "not UTF-8"),
    "not an object": (["q"], "expected a JSON object, got ['q']"),
    "too deep": (b"[" * 100_000, "nested too deep"),
    "huge number": (b'{"question": "q", "answer": ' + b"9" * 5000 + b"}", "not JSON"),
    "no question": (
        {"text": "q"},
        "no question in question, problem, prompt (the row has text); map its column",
    ),
    "null question": ({"question": None}, "no question in question, problem, prompt"),
    "blank question": ({"question": " \n"}, "the question is missing or empty; fill it in or drop the row"),
    "question of another type": ({"question": ["q"]}, "column 'question': expected text, got ['q']"),
    "answer of another type": (
        {"question": "q", "answer": ["4"]},
        "column 'answer': expected an answer as text",
    ),
    "answer bool": (
        {"question": "q", "answer": True},
        "expected an answer as text or number, got True",
    ),
    "a number that is none": (
        b'{"question": "q", "answer": NaN}',
        "expected an answer as text or number, got nan",
    ),
    "worked answer": ({"question": "q", "answer": "First.\nThen."}, "a worked answer without '#### x'"),
    "open box": ({"question": "q", "answer": "\\boxed{1} or \\boxed{2"}, "a worked answer without"),
    "half a pair": (b'{"question": "\\ud800"}', "half a surrogate pair at character 0"),
    "id of another type": ({"question": "q", "id": 1.5}, "column 'id': expected text, got 1.5"),
    "metadata": ({"question": "q", "metadata": "{x"}, "column 'metadata': expected an object or JSON"),
    "prompt": (
        {"question": "q", "prompt_token_ids": ["a"]},
        "column 'prompt_token_ids': expected a list of ids",
    ),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_row_is_handed_back_and_the_rest_is_read(case: str, tmp_path: Path) -> None:
    row, why = BAD_ROWS[case]
    problems, rejected = read(
        tmp_path, {"question": "first", "answer": "1"}, row, {"question": "last", "answer": "2"}
    )
    assert problems["question"].to_list() == ["first", "last"]
    assert rejected["row"].to_list() == [2]
    assert rejected["reason"].item().startswith("some.jsonl, row 2: ")
    assert why in rejected["reason"].item()
    assert "\n" not in rejected["reason"].item()


def test_a_repeated_id_or_question_is_refused(tmp_path: Path) -> None:
    same = {"question": "same", "answer": "1"}
    rows = [{"id": "a", "question": "q"}, {"id": "a", "question": "r"}, same, same]
    problems, rejected = read(tmp_path, *rows)
    assert problems.height == 2
    assert rejected["row"].to_list() == [2, 4]
    assert "problem id 'a' was used by row 1" in rejected["reason"][0]


def test_rows_without_gold_pass_unless_gold_is_required(tmp_path: Path) -> None:
    rows = [{"question": "q"}, {"question": "r", "answer": 3}]
    assert read(tmp_path, *rows).problems["answer"].to_list() == [None, "3"]
    problems, rejected = read(tmp_path, *rows, require_answer=True)
    assert problems["answer"].to_list() == ["3"]
    assert "no gold answer" in rejected["reason"].item()


def test_limit_counts_good_rows_and_stops(tmp_path: Path) -> None:
    rows = [{"x": 1}, {"question": "a"}, {"question": "b"}, {"x": 1}]
    problems, rejected = read(tmp_path, *rows, limit=2)
    assert (problems.height, rejected["row"].to_list()) == (2, [1])


def test_a_problems_table_reads_back_as_it_was(tmp_path: Path) -> None:
    rows = [
        ["a", "q", "6", [1, 2], "gsm8k", "test", None],
        ["b", "r", None, None, "reasoning_gym:products", "train", '{"x": 1}'],
    ]
    table = pl.DataFrame(rows, schema=PROBLEM_SCHEMA, orient="row")
    problems, rejected = read_problems(write_table(table, tmp_path / "problems.parquet"))
    assert problems.equals(table)
    assert rejected.height == 0


def test_blank_lines_and_a_byte_order_mark_do_no_harm(tmp_path: Path) -> None:
    problems, rejected = read(
        tmp_path, b"\xef\xbb\xbf" + b'{"question": "q"}', b"", b"  ", {"question": "r"}, {}
    )
    assert problems.height == 2
    assert rejected["row"].to_list() == [5]  # rows are lines of the file


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"columns": {"qestion": "q"}},
            "expected columns to map question, answer, problem_id to column names",
        ),
        ({"columns": {"question": 3}}, "question: Input should be a valid string"),
        ({"limit": 0}, "expected limit to be 1 or more or None, got 0"),
        ({"split": "dev"}, "expected split to be one of train, test, got 'dev'"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path, {"question": "q"}, **options)
    assert "\n" not in str(caught.value)


def test_a_mapped_column_that_is_not_there_rejects_the_row(tmp_path: Path) -> None:
    _, rejected = read(tmp_path, {"question": "q", "answer": "1"}, columns={"answer": "target"})
    assert "no column 'target' for the answer, only question, answer" in rejected["reason"].item()


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ForestError, match="got no such file"):
        read_problems(tmp_path / "none.jsonl")
    (tmp_path / "a.csv").write_text("question\nq\n")
    with pytest.raises(ForestError, match=r"a name ending in \.json, .*got \.csv"):
        read_problems(tmp_path / "a.csv")
    (tmp_path / "a.parquet").write_text("no")
    with pytest.raises(ForestError, match="expected a Parquet file"):
        read_problems(tmp_path / "a.parquet")


@pytest.mark.parametrize("name", ["gsm8k", "math"])
def test_files_of_data_sets(name: str, data_set) -> None:
    path = data_set(name)
    count = len(path.read_bytes().splitlines())
    assert count in (14, 18, 7473, 250)
    problems, rejected = read_problems(path, require_answer=True)
    assert (problems.height, rejected.height) == (count, 0)
    assert problems["answer"].str.len_chars().max() < 100
    assert problems["problem_id"].n_unique() == count
