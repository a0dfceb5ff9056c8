"""Where apps/rerank writes when nobody names a place: over its own earlier output, not over another file's."""

from pathlib import Path

from eduprm.rank.testing import problems, read_jsonl, write_jsonl

OUTPUT = Path("runs/rerank/s.ranked.jsonl")


def test_a_file_of_the_same_name_does_not_replace_what_another_was_ranked_to(rerank, tmp_path):
    for folder in "ab":
        (tmp_path / folder).mkdir()
    write_jsonl(tmp_path / "a" / "s.jsonl", problems(1))
    write_jsonl(tmp_path / "b" / "s.jsonl", problems(2))
    assert rerank("a/s.jsonl")[0] == 0
    first = OUTPUT.read_bytes()
    status, _, err = rerank("b/s.jsonl")
    assert status == 2
    assert err == (
        "rerank: --output: runs/rerank/s.ranked.jsonl holds the ranked rows of a/s.jsonl, not of b/s.jsonl; "
        "name another place, as in --output runs/rerank/b-s.ranked.jsonl\n"
    )
    assert OUTPUT.read_bytes() == first

    # The same file is ranked again, by whatever path, when it was moved, and when it was changed.
    assert rerank((tmp_path / "a" / "s.jsonl").resolve(), "--aggregate", "last")[0] == 0
    (tmp_path / "a" / "s.jsonl").rename(tmp_path / "s.jsonl")
    assert rerank("s.jsonl")[0] == 0
    write_jsonl(tmp_path / "s.jsonl", problems(2))
    assert rerank("s.jsonl")[0] == 0
    assert len(read_jsonl(OUTPUT)) == 2
    assert rerank("b/s.jsonl")[0] == 0  # by now the same content
