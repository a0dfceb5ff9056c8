"""apps/rerank by rules of other people's modules: named on the command line, no file of the repository touched."""

import json

import pytest

from eduprm.rank.testing import problems, read_jsonl, write_jsonl

RULE = '''
import polars as pl
from pydantic.dataclasses import dataclass
from eduprm.rank import reward_weight

@dataclass(frozen=True)
class Rule:
    """The last solution, or the first."""
    backwards: bool = True
    label = "position in the file"
    needs = ()
    def score(self):
        return pl.col("rank") * (1.0 if self.backwards else -1.0)

@dataclass(frozen=True)
class Vote:
    aggregate: str = "min"
    label = "largest answer"
    needs = ("step_scores",)
    def score(self):
        return reward_weight(self.aggregate)
    def votes(self):
        return pl.col("answer_key").cast(pl.Float64)

class Broken:
    label, needs = "broken", ()
    def score(self):
        return pl.col("colour")
'''


@pytest.fixture
def module(tmp_path, monkeypatch):
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "rule_of_a_test.py").write_text(RULE)
    monkeypatch.syspath_prepend(folder)
    return "rule_of_a_test"


def test_a_rule_of_a_temporary_module_ranks_and_stands_in_table_and_page(rerank, module, tmp_path):
    write_jsonl(tmp_path / "in.jsonl", problems(6))
    name = f"{module}:Rule"
    status, out, _ = rerank("in.jsonl", "--output", "a.jsonl", "--rule", name)
    assert status == 0
    assert "chosen by position in the file" in out
    assert [[one["index"] for one in row["ranked"]] for row in read_jsonl(tmp_path / "a.jsonl")] == [
        [3, 2, 1, 0]
    ] * 6
    report = json.loads((tmp_path / "a.jsonl.report.json").read_text())
    assert report["chosen_by"] == name
    rules = [row["rule"] for row in report["accuracies"]]
    assert {name, "prm_min", "wrf_prm_mean"} < set(rules)
    assert rules[-1] == "oracle"
    assert {row["rule"]: row["accuracy"] for row in report["accuracies"]}[name] == 1.0  # the last is right
    assert "position in the file" in (tmp_path / "a.jsonl.report.html").read_text(encoding="utf-8")
    arguments = ("--rule", name, "--rule-options", "backwards=false")
    status, out, _ = rerank("in.jsonl", "--output", "b.jsonl", *arguments)
    assert status == 0
    assert [row["ranked"][0]["index"] for row in read_jsonl(tmp_path / "b.jsonl")] == [0] * 6
    assert "chosen by position in the file, False" in out


def test_a_vote_of_a_temporary_module_takes_the_aggregate(rerank, module, tmp_path):
    write_jsonl(tmp_path / "in.jsonl", problems(3))
    arguments = ("--rule", f"{module}:Vote", "--aggregate", "mean")
    assert rerank("in.jsonl", "--output", "out.jsonl", *arguments)[0] == 0
    for number, row in enumerate(read_jsonl(tmp_path / "out.jsonl")):
        order = [int(one["final_answer"]) - number for one in row["ranked"]]
        assert order == [3, 2, 1, 1]
    report = json.loads((tmp_path / "out.jsonl.report.json").read_text())
    assert report["chosen_by"] == f"{module}:Vote_mean"
    rules = {row["rule"] for row in report["accuracies"]}
    assert {f"{module}:Vote_{a}" for a in ("min", "last", "product", "mean")} <= rules


def test_a_rule_that_cannot_be_evaluated_is_one_line(rerank, module, tmp_path):
    write_jsonl(tmp_path / "in.jsonl", problems(1))
    status, _, err = rerank("in.jsonl", "--output", "out.jsonl", "--rule", f"{module}:Broken")
    assert status == 2
    assert err.startswith(f"rerank: --rule: rule '{module}:Broken' cannot be evaluated: ")
    assert err.count("\n") == 1
    assert not (tmp_path / "out.jsonl").exists()


def test_rank_file_gives_what_it_wrote_and_draws_no_page_unasked(prm, tmp_path):
    from eduprm.rank.run import rank_file
    from eduprm.rank.settings import load_settings

    source = write_jsonl(tmp_path / "in.jsonl", [*problems(2), "broken\n"])
    output = tmp_path / "out.jsonl"
    arguments = ["--prm", str(prm), "--output", str(output), "--bootstrap", "50"]
    ranked = rank_file(load_settings([str(source), *arguments]))
    assert (ranked.output, ranked.page) == (output, None)
    assert [row["id"] for row in read_jsonl(output)] == ["p0", "p1"]
    assert ranked.rejected is not None
    assert len(read_jsonl(ranked.rejected)) == ranked.report["rejected"] == 1
    on_disk = json.loads(ranked.report_file.read_text())
    assert on_disk["accuracies"] == ranked.accuracies.to_dicts()
    assert not output.with_name("out.jsonl.report.html").exists()
