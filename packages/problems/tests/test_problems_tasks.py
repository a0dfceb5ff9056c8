"""Problems: distinct, without zeros, apart, gradable; prompts: true steps in reasoning-gym's own words."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from eduprm.forest import PROBLEM_SCHEMA, validate_problems
from eduprm.label import ReasoningGymGrader, check_gold, grade_frame
from eduprm.problems import make_problems, make_split, messages_for, style_for
from eduprm.problems.arithmetic import product_question, sum_question, worked_chain
from eduprm.problems.making import HELD_OUT_SHARE, part_of, resolve_task
from eduprm.problems.prompts import shot_questions, shot_styles, shots_of

reasoning_gym = pytest.importorskip("reasoning_gym", reason="needs the extra eduprm-bench[reasoning-gym]")

TASK_NAMES = [
    "products", "products12", "chain_sum", "long_sum", "long_product", "mixed", "equations", "fractions",
]  # fmt: skip
EQUATION = re.compile(r"(\d+(?: [-+*/] \d+)+) = (-?\d+)|(-\d+ [-+*/] \d+) = (-?\d+)")


def expression_of(problem: Mapping[str, Any]) -> str:
    return json.loads(problem["metadata"])["entry"]["metadata"]["expression"]


@pytest.mark.parametrize("task", TASK_NAMES)
def test_problems_are_valid_distinct_and_hold_their_gold(task: str) -> None:
    problems = make_split(task, train=60, test=20, seed=3)
    validate_problems(problems)
    assert problems.schema == pl.Schema(PROBLEM_SCHEMA)
    assert problems["question"].n_unique() == problems["problem_id"].n_unique() == 80
    assert problems["split"].to_list() == ["train"] * 60 + ["test"] * 20
    assert not set(problems["question"]) & shot_questions()
    if resolve_task(task).dataset not in ("simple_equations", "fraction_simplification"):
        for problem in problems.iter_rows(named=True):
            assert (
                str(eval(expression_of(problem))) == problem["answer"]
            )  # digits and + - * of our own making


@pytest.mark.parametrize(
    ("task", "terms", "digits"), [("products", {2, 3, 4}, {1}), ("products12", {2}, {1, 2})]
)
def test_products_have_the_wanted_terms_and_no_zero(task: str, terms: set[int], digits: set[int]) -> None:
    expressions = [expression_of(p) for p in make_problems(task, count=120, seed=1).iter_rows(named=True)]
    operands = [e.split(" * ") for e in expressions]
    assert {len(o) for o in operands} == terms
    assert {len(term) for o in operands for term in o} == digits
    assert not any(int(term) == 0 for o in operands for term in o)


def test_parts_never_share_a_question_whatever_is_asked_for() -> None:
    train = [set(make_problems("chain_sum", count=300, seed=s, split="train")["question"]) for s in (1, 2)]
    test = [set(make_problems("chain_sum", count=100, seed=s, split="test")["question"]) for s in (1, 2)]
    assert not (train[0] | train[1]) & (test[0] | test[1])
    # The task is small enough that seeds do meet the same questions: the check above is not empty.
    assert train[0] & train[1]
    share = sum(part_of(f"question {k}") == "test" for k in range(4000)) / 4000
    assert abs(share - HELD_OUT_SHARE) < 0.03


def test_seeds_repeat_and_neighbours_differ() -> None:
    one = make_problems("products", count=40, seed=5)
    assert one.equals(make_problems("products", count=40, seed=5))
    assert one[:15].equals(make_problems("products", count=15, seed=5))
    # Guards a fault of a peer: seed plus index, so that neighbouring seeds share almost all items.
    shared = set(one["question"]) & set(make_problems("products", count=40, seed=6)["question"])
    assert len(shared) < 10


def test_later_chunks_of_a_seed_are_not_those_of_its_neighbour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eduprm.problems.tasks._reasoning_gym._CHUNK", 8)
    config = {"min_digits": 3, "max_digits": 4}  # so many questions that equal ones mean equal draws
    one, two = (set(make_problems("products", count=40, seed=s, config=config)["question"]) for s in (5, 6))
    assert not one & two


def test_any_data_set_is_reached_by_name_and_config() -> None:
    config = '{"min_numbers": 2, "max_numbers": 2, "max_value": 30}'
    problems = make_problems("rg:gcd", count=5, seed=0, config=config)
    assert problems["source"].unique().to_list() == ["reasoning_gym:gcd"]
    assert json.loads(problems["metadata"][0])["config"] == json.loads(config)
    entries = [json.loads(text)["entry"] for text in problems["metadata"]]
    dataset = reasoning_gym.create_dataset("gcd", size=1, seed=0, **json.loads(config))
    assert [dataset.score_answer(e["answer"], e) for e in entries] == [1.0] * 5
    assert [e["question"] for e in entries] == problems["question"].to_list()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"task": "sums"},
            "task must be one of chain_sum, equations, fractions, gsm8k, long_product, long_sum, mixed, products, "
            "products12, 'rg:<dataset>' or package.module:Task; got 'sums'",
        ),
        ({"task": "rg:nothing"}, "reasoning-gym refused 'nothing'"),
        ({"config": {"min_term": 2}}, "reasoning-gym refused 'products'"),
        ({"config": {"min_terms": 5}}, "max_terms must be >= min_terms"),
        ({"config": {"seed": 2}}, "config must not set 'seed'"),
        ({"config": "[1]"}, "config must be a JSON object"),
        ({"count": 0}, "count must be at least 1, got 0"),
        ({"split": "dev"}, "split must be 'train' or 'test', got 'dev'"),
        (
            {"config": {"max_terms": 2}, "count": 90},
            r"gave only \d+ distinct questions for split 'train', wanted 90",
        ),
    ],
)
def test_mistakes_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_problems(**{"task": "products", "count": 2, "seed": 0, **arguments})


def test_a_gold_answer_its_own_scorer_rejects_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from reasoning_gym.arithmetic.products import ProductsDataset

    monkeypatch.setattr(ProductsDataset, "score_answer", lambda self, answer, entry: 0.01)
    with pytest.raises(ValueError, match=r"scores its own answer '.*' with 0.01, not 1"):
        make_problems("products", count=1, seed=0)


@pytest.mark.parametrize("task", ["products", "rg:countdown", "rg:propositional_logic"])
def test_generated_problems_are_what_the_grader_reads(task: str) -> None:
    problems = make_problems(task, count=2, seed=0)
    entries = [json.loads(kept)["entry"] for kept in problems["metadata"]]
    assert problems["answer"].to_list() == [
        entry["answer"] for entry in entries
    ]  # null where the data set has none
    texts = ["#### " + (entry["answer"] or entry["metadata"]["example_answer"]) for entry in entries]
    with ReasoningGymGrader() as grader:
        assert check_gold(problems, grader).height == 0
        solutions = problems.select("problem_id", text=pl.Series(texts))
        assert grade_frame(solutions, problems, grader)["correct"].all()


def test_questions_of_the_shots_have_the_generators_wording() -> None:
    for task, wording in (
        ("products", product_question),
        ("products12", product_question),
        ("chain_sum", sum_question),
    ):
        resolved = resolve_task(task)
        entry = reasoning_gym.create_dataset(resolved.dataset, size=1, seed=4, **resolved.config)[0]
        assert wording(entry["metadata"]["expression"]) == entry["question"]


@pytest.mark.parametrize("style", shot_styles())
def test_every_step_of_a_worked_example_is_true(style: str) -> None:
    assert len(shots_of(style)) == 4
    for question, solution in shots_of(style):
        *steps, last = solution.split("\n")
        results = []
        for line in steps:
            found = [m for m in EQUATION.finditer(line)]
            assert len(found) == 1, line
            left, right = [g for g in found[0].groups() if g is not None]
            assert eval(left) == int(right), line
            results.append(right)
        assert last == f"#### {results[-1]}"
        if style != "gsm8k":
            expression = re.search(r"-?\d+(?: [-+*] \d+)+", question)
            assert expression is not None
            assert eval(expression[0]) == int(results[-1])


def test_worked_chains_go_below_zero() -> None:
    assert worked_chain("2 - 8 + 3") == "2 - 8 = -6\n-6 + 3 = -3\n#### -3"


def test_messages_alternate_and_end_with_the_question() -> None:
    for style in shot_styles():
        messages = messages_for("What now?", style)
        assert [m["role"] for m in messages] == ["user", "assistant"] * 4 + ["user"]
        assert messages[-1]["content"] == "What now?"
    system, only = messages_for("What now?", "steps")
    assert (system["role"], only) == ("system", {"role": "user", "content": "What now?"})
    (only,) = messages_for("What now?", "zero_shot")
    assert only["content"].startswith("What now?\n\n")
    assert "####" in only["content"]
    with pytest.raises(ValueError, match=r"style must be one of chain_sum, .*, zero_shot, steps; got 'few'"):
        messages_for("What now?", "few")
    own = ["products", "products12", "chain_sum"]
    assert [style_for(task) for task in (*own, "long_sum", "rg:gcd")] == [*own, "zero_shot", "zero_shot"]


def test_a_task_of_ones_own_keeps_its_parts_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_own_tasks.py").write_text(
        "class Few:\n"
        "    shots, grader = (('What is 1?', '#### 1'),), 'number'\n"
        "    def __init__(self, kinds: int = 3): self.kinds = kinds\n"
        "    def rows(self, seed):\n"
        "        for k in range(1_000_000):\n"
        "            k %= self.kinds\n"
        "            yield {'question': f'What is {k}?', 'answer': str(k), 'split': 'train'}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    name = "my_own_tasks:Few"
    problems = make_problems(name, count=9, seed=0, config={"kinds": 5}, take_what_there_is=True)
    # The worked example's question is no problem; a million repeats are not waited for.
    assert problems["answer"].to_list() == ["0", "2", "3", "4"]
    assert (style_for(name), len(messages_for("Now?", name))) == (name, 3)
    with pytest.raises(ValueError, match="split 'test', wanted 1"):
        make_problems(name, count=1, seed=0, split="test")
    with pytest.raises(ValueError, match="expected the options kinds, got 'sorts'"):
        make_problems(name, count=1, seed=0, config={"sorts": 1})


def test_gsm8k_is_a_data_set_with_parts_of_its_own(tmp_path: Path) -> None:
    for split, rows in (("train", [3, 4]), ("test", [5])):
        lines = [{"question": f"What is {k} + {k}?", "answer": f"So.\n#### {2 * k}"} for k in rows]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    problems = make_split("gsm8k", train=2, test=1, seed=0, config={"dataset": str(tmp_path), "config": ""})
    assert problems.select("answer", "split").rows() == [("6", "train"), ("8", "train"), ("10", "test")]


def test_our_gsm8k_examples_are_not_gsm8ks(real_data, own_data) -> None:
    files = [real_data("gsm8k_train.jsonl"), real_data("gsm8k_test_dev.jsonl")]
    known = {re.sub(r"\W+", " ", json.loads(line)["question"]).lower() for f in files for line in f.open()}
    words = {frozenset(text.split()) for text in known}
    own_rows = own_data("gsm8k_form.jsonl").read_text().splitlines()
    for question in [
        *(one for one, _ in shots_of("gsm8k")),
        *(json.loads(row)["question"] for row in own_rows),
    ]:
        own = frozenset(re.sub(r"\W+", " ", question).lower().split())
        closest = max(len(own & other) / len(own | other) for other in words)
        assert closest < 0.6


def test_the_label_packages_grader_scores_these_problems() -> None:
    from eduprm.label import get_grader, grade_frame

    problems = pl.concat([make_problems(task, count=8, seed=2) for task in TASK_NAMES])
    right = problems.select("problem_id", text="some step\n#### " + pl.col("answer"))
    wrong = problems.select("problem_id", text="some step\n#### 1" + pl.col("answer"))
    with get_grader("reasoning-gym") as grader:
        assert grade_frame(right, problems, grader)["correct"].all()
        assert not grade_frame(wrong, problems, grader)["correct"].any()
