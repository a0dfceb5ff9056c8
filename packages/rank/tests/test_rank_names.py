"""Rules by name: the folder, anybody's own module, options, labels, and rules that are none."""

from pathlib import Path

import polars as pl
import pytest

from eduprm.rank import CANDIDATE_SCHEMA, RULES, CandidateError, choose, get_rule, make_rule, rule_label
from eduprm.rank.names import reads_gold, variants

OWN = '''
from dataclasses import dataclass
import polars as pl

@dataclass(frozen=True)
class Shortest:
    """Fewest steps above a score."""
    above: float = 0.0
    aggregate: str = "min"
    label = "fewest steps"
    needs = ("step_scores",)
    def score(self):
        return -pl.col("step_scores").list.eval(pl.element() > self.above).list.sum().cast(pl.Float64)

class Heaviest:
    label, needs = "longest answers", ()
    def score(self):
        return pl.col("num_tokens")
    def votes(self):
        return pl.col("_weight").sum().over("problem_id", "answer_key")

class Cheat:
    label, needs = "cheat", ("correct",)
    def score(self):
        return pl.col("correct")

class Unknown:
    label, needs = "unknown column", ()
    def score(self):
        return pl.col("colour")

class NoNumber:
    label, needs = "no number", ()
    def score(self):
        return pl.when(pl.col("leaf") == 2).then(None).otherwise(1.0)

class Greedy:
    label, needs = "x", ("colour",)
    def score(self):
        return pl.lit(1.0)
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "rules_of_a_test.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    return "rules_of_a_test"


def frame() -> pl.DataFrame:
    rows = [
        ["p", "ht", 1, "4", False, -1.5, 3, [0.9, 0.8, 0.7]],
        ["p", "ht", 2, "5", True, -0.5, 4, [0.4, 0.1]],
        ["p", "ht", 3, "4", False, -0.5, 2, [0.4]],
    ]
    return pl.DataFrame(rows, schema=CANDIDATE_SCHEMA, orient="row")


def test_names_of_the_folder_lead_back_to_their_rules() -> None:
    assert {rule.base for rule in RULES.values()} == {
        path.stem
        for path in (Path(__file__).parents[1] / "src/eduprm/rank/rules").glob("*.py")
        if path.stem[0] != "_"
    }
    for name, rule in RULES.items():
        assert get_rule(name) is rule
    assert list(RULES)[-1] == "oracle"
    assert [rule.name for rule in variants("wrf_prm", {"weight": 0.25})] == [
        f"wrf_prm_{a}@0.25" for a in ("min", "last", "product", "mean")
    ]
    made = make_rule("hmr_prm", {"share": 0.8, "aggregate": "mean"})
    assert get_rule(made.name).rule == made.rule
    assert get_rule("wrf_prm_min@weight=0.3").rule == get_rule("wrf_prm_min@0.3").rule


def test_anybodys_rules_choose_by_name(own: str) -> None:
    names = [
        f"{own}:Shortest",
        f"{own}:Shortest_last@above=0.5",
        f"{own}:Heaviest",
        f"{own}:Cheat",
        "prm_min",
    ]
    got = choose(frame(), rules=names)
    assert got["rule"].to_list() == names
    assert got["leaf"].to_list() == [3, 2, 1, 2, 1]
    assert got["score"].to_list() == [-1.0, 0.0, 5.0, 1.0, 0.7]
    # Leaves 2 and 3, of different answers, have no step above 0.5: only the order decided.
    assert got["tied"].to_list() == [False, True, False, False, False]
    labels = ["fewest steps min", "fewest steps last, above=0.5", "longest answers", "cheat", "PRM min"]
    assert [rule_label(name) for name in names] == labels
    assert [reads_gold(name) for name in names] == [False, False, False, True, False]
    made = make_rule(f"{own}:Shortest", {"above": 0.5, "aggregate": "last"})
    assert (made.name, made.is_vote) == (f"{own}:Shortest_last@0.5", False)
    assert get_rule(made.name).rule == made.rule
    assert get_rule(f"{own}:Heaviest").is_vote


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("OWN:Missing", "'OWN:Missing' cannot be imported"),
        ("OWN:pl", "expected .*OWN:pl. to name a class, got module"),
        ("OWN:Greedy", r"OWN:Greedy: expected `needs` to be a tuple out of .*, got \('colour',\)"),
        ("OWN:Unknown", "rule 'OWN:Unknown' cannot be evaluated: .*colour"),
        ("OWN:NoNumber", "must give every candidate a number, got None and None for problem_id='p' .*leaf=2"),
        ("OWN:Cheat@3", "OWN:Cheat: expected no options, got '3'"),
        ("prm_min@weight=1", "prm: expected the options aggregate, got 'weight'"),
        ("prm", "rule must be one of prm_min, .* or package.module:Rule; got 'prm'"),
    ],
)
def test_what_is_no_rule_is_refused_in_one_line(own: str, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("OWN", own)) as caught:
        choose(frame(), rules=[name.replace("OWN", own)])
    assert "\n" not in str(caught.value)


def test_a_rule_that_reads_gold_wants_grades(own: str) -> None:
    ungraded = frame().with_columns(correct=pl.lit(None, dtype=pl.Boolean))
    with pytest.raises(CandidateError, match="'correct' must not be null"):
        choose(ungraded, rules=[f"{own}:Cheat"])
