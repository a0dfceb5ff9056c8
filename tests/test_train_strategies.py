"""apps/train with strategies by name: one of a module outside the repository, P-EDU with a PRM of its own."""

from __future__ import annotations

import json

import polars as pl
import pytest

from eduprm.core.registry import load
from eduprm.forest import found_leaves, leaf_paths, validate_forest
from eduprm.prm.testing import tiny_backbone, tiny_prm

MINE = '''
from pydantic import BaseModel, ConfigDict, Field
from eduprm.core.seeds import derive_seed
from eduprm.search import Budget, CutRule, Request
from eduprm.search.branches import as_branch

class Strategy(BaseModel):
    """The greedy path, then samples that grow hotter."""
    model_config = ConfigDict(frozen=True, extra="forbid")
    step: float = Field(0.5, gt=0)
    budget: Budget = Budget()
    seed: int = 0
    tree = property(lambda self: "warming")
    cut = property(lambda self: CutRule())

    async def grow(self, prompt_ids, *, problem_id, engine, tokenizer):
        branches = []
        for number in range(self.budget.max_leaves):
            request = Request(
                prefix_ids=prompt_ids, max_new_tokens=self.budget.max_tokens_per_path, group=problem_id,
                temperature=number * self.step, seed=derive_seed(self.seed, problem_id, number),
            )
            branches.append(as_branch(await engine.generate(request), greedy=not number))
        return branches
'''


@pytest.fixture
def train(tmp_path, monkeypatch, capfd):
    """Run apps/train in this process on a policy of a few thousand weights: the run's folder and what it says."""
    from eduprm_train.cli import main

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "warming_up.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    policy = tmp_path / "policy"
    tiny_backbone(policy)
    small = [
        "--policy.model", str(policy), "--policy.device", "cpu", "--problem.style", "zero_shot", "--problem.num-train",
        "6", "--problem.num-test", "4", "--search.budget.max-leaves", "3", "--search.budget.max-tokens-per-path", "8",
        "--search.threshold", "4.0", "--samples.num-samples", "3", "--prm.train.epochs", "1", "--bootstrap", "50",
        # A policy that solves nothing: a head learns that, the losses of the default find nothing.
        "--prm.train.losses", "cross_entropy=1", "--prm.train.scoring.kind", "head",
        "--prm.train.last-layers", "1", "--prm.input", '{"kind": "plain", "template": "{problem}\\n"}',
    ]  # fmt: skip

    def run(*arguments: str, expect: int = 0):
        status = main(["--run", str(tmp_path / "run"), *small, *arguments])
        said = capfd.readouterr()
        assert status == expect, said.err
        return tmp_path / "run", said.out + said.err

    return run


def held_out(run):
    return validate_forest(
        pl.concat([pl.read_parquet(path) for path in sorted((run / "forest").glob("test-*"))])
    )


def test_a_strategy_of_ones_own_trains_the_prm_and_is_judged_by_its_name(train):
    run, shown = train(
        "--strategies", "warming_up:Strategy", "edu", "hot=temperature",
        "--strategy-options", '{"warming_up:Strategy": {"step": 2.0}, "hot": {"temperature": 1.5}}',
    )  # fmt: skip
    learned = pl.concat([pl.read_parquet(path) for path in sorted((run / "forest").glob("train-*"))])
    assert learned["tree"].unique().to_list() == ["warming"]
    forest = held_out(run)
    found = found_leaves(forest)
    assert found.filter(tree="warming").height == 4 * 3
    assert found.filter(tree="hot")["greedy"].any() is False
    # The first leaf is greedy decoding, whichever strategy found it.
    leaves = leaf_paths(forest).join(found, on=["problem_id", "tree", "leaf"]).filter("greedy")
    assert (
        leaves.group_by("problem_id").agg(pl.col("text").n_unique(), pl.len())["text", "len"].rows()
        == [(1, 2)] * 4
    )
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["strategies"] == {"first": "warming", "compared": ["EDU", "hot"]}
    assert list(metrics["equal_tokens"]) == ["EDU, =tokens", "greedy+hot, =tokens"]
    tokens = {row["method"]: row["decoded"] for row in metrics["rules"] if row["n"] == 3}
    for title, tree in (("warming", "warming"), ("EDU", "edu"), ("hot", "hot")):
        assert tokens[title] == forest.filter(tree=tree)["token_ids"].list.len().sum() / 4
    for equal in metrics["equal_tokens"].values():
        assert equal["budget_per_problem"] == tokens["warming"]
    assert "warming minus EDU, =tokens" in shown
    assert (run / "solutions.jsonl").read_text().count("\n") == 4
    # Labels of training and of held-out problems are one table.
    labels = pl.concat([pl.read_parquet(path) for path in sorted((run / "labels").glob("*.parquet"))])
    assert labels["problem_id"].n_unique() == 6 + 4


def test_the_bound_of_p_edu_as_a_quantile_of_training_trees(train, tmp_path):
    prm = tmp_path / "a-prm"
    tiny_prm(prm)
    options = {"prm": str(prm), "stop_quantile": 0.5, "piece_tokens": 2}
    given = ["--only", "problems", "search", "--strategy-options"]
    run, said = train("--strategies", "edu", "p_edu", *given, json.dumps({"p_edu": options}))
    forest = held_out(run)
    assert "beginnings of training trees: bound" in said
    assert forest.filter(tree="edu-pruned", finish="pruned").height
    assert (
        forest.filter(tree="edu-pruned", finish="stop").height
        + forest.filter(tree="edu-pruned", finish="length").height
    )


def test_p_edu_is_reached_by_name_and_asks_the_prm_that_is_named(train, tmp_path):
    prm = tmp_path / "a-prm"
    tiny_prm(prm)
    arguments = [
        "--strategies",
        "edu",
        "p_edu",
        "free=p_edu",
        "--only",
        "problems",
        "search",
        "--strategy-options",
    ]
    strict, loose = ({"prm": str(prm), "stop_below": bound, "piece_tokens": 2} for bound in (1.0, 0.0))
    run, _ = train(*arguments, json.dumps({"p_edu": strict, "free": loose}))
    forest = held_out(run)
    edu, free = (
        forest.filter(tree=name).select("problem_id", "token_ids", "finish", "order", "greedy")
        for name in ("edu", "free")
    )
    # A PRM that rejects nothing leaves the EDU trees; one that rejects everything, forks at the first token alone.
    assert free.equals(edu)
    leaves = leaf_paths(forest).join(found_leaves(forest), on=["problem_id", "tree", "leaf"])
    forked = leaves.filter(tree="edu-pruned", greedy=False)
    assert forked.height < leaves.filter(tree="edu", greedy=False).height
    first = dict(leaves.filter("greedy").select("problem_id", pl.col("token_ids").list.first()).iter_rows())
    assert all(
        ids[0] != first[problem] for problem, ids in forked.select("problem_id", "token_ids").iter_rows()
    )


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("beam", {"width": 1, "piece_tokens": 2}),
        ("distinct_leaves", {}),
        ("mcts_edu", {"exploration": 0.5}),
        ("greedy_step", {"accept": 0.0, "piece_tokens": 2}),
        ("particle", {"particles": 3, "piece_tokens": 2}),
    ],
)
def test_other_strategies_are_reached_by_name(train, tmp_path, name, options):
    tiny_prm(tmp_path / "a-prm")
    if "scorer" in load("eduprm.search.strategies", name, "Strategy").model_fields:
        options = options | {"prm": str(tmp_path / "a-prm")}
    run, _ = train(
        "--strategies", "edu", f"mine={name}", "--only", "problems", "search",
        "--strategy-options", json.dumps({"mine": options}),
    )  # fmt: skip
    leaves = held_out(run).filter(pl.col("tree") == "mine", pl.col("finish").is_in(["stop", "length"]))
    counts = leaves.group_by("problem_id").len()["len"]
    assert counts.len() == 4
    assert 2 <= counts.max() <= 3  # --search.budget.max-leaves


EVEN = """
def even(text, problem):
    return sum(map(ord, text)) % 2 == 0
"""


def test_omega_prm_trains_on_trees_that_the_runs_grader_has_searched(train, tmp_path):
    (tmp_path / "grading_by_parity.py").write_text(EVEN)
    run, _ = train(
        "--strategies", "omega_prm", "greedy", "--problem.grader", "grading_by_parity:even", "--only", "problems",
        "search", "--search.budget.max-leaves", "9", "--strategy-options", '{"omega_prm": {"rollouts": 2}}',
    )  # fmt: skip
    forest = validate_forest(pl.concat([pl.read_parquet(path) for path in (run / "forest").glob("train-*")]))
    assert set(forest["tree"]) == {"omega-prm"}
    leaves = leaf_paths(forest).join(found_leaves(forest), on=["problem_id", "tree", "leaf"])
    searched = 0
    for _, own in leaves.sort("order").group_by("problem_id"):
        first, second = (sum(map(ord, text)) % 2 == 0 for text in own["text"][:2])
        # A prompt is searched where one of its rollouts is right and one is wrong.
        assert own.height == 2 or first != second
        searched += own.height > 2
    assert searched


def test_refine_answers_in_turns_of_the_policys_chat_template(tmp_path, monkeypatch):
    from eduprm_train.cli import main

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    run, options = tmp_path / "run", {"refine": {"turns": 2, "critique_tokens": 8}}
    arguments = [
        "--run", str(run), "--strategies", "refine", "--problem.num-train", "1", "--problem.num-test", "1", "--only",
        "problems", "search", "--problem.task-config", '{"min_terms": 2, "max_terms": 3}',
        "--search.budget.max-tokens-per-path", "32", "--strategy-options", json.dumps(options),
    ]  # fmt: skip
    assert main(arguments) == 0
    trees = pl.concat([pl.read_parquet(path) for path in sorted((run / "forest").glob("*.parquet"))])
    leaves = leaf_paths(trees).sort("problem_id", "leaf")
    twice = leaves.filter(pl.len().over("problem_id") == 2)
    assert twice.height
    for first, second in zip(twice["text"][::2], twice["text"][1::2], strict=True):
        assert second.startswith(f"{first}\nuser\nCheck your solution line by line.")
        assert "\nuser\nNow solve the problem again without that mistake.\nassistant\n" in second


@pytest.mark.parametrize("name", ["rollouts", "uncertain_first"])
def test_a_prm_learns_the_values_that_rollouts_give_to_steps(train, name):
    own = {"solutions": 2, "rollouts": 3} | ({"max_rollouts": 6} if name == "uncertain_first" else {})
    arguments = (
        "--strategies", name, "greedy", "--label.rule", "rollouts", "--label.steps", "fixed_length",
        "--label.steps-options", '{"fixed_length": {"size": 3}}', "--strategy-options", json.dumps({name: own}),
    )  # fmt: skip
    run, _ = train(*arguments)
    labelled = pl.concat([pl.read_parquet(path) for path in sorted((run / "labels").glob("train-*"))])
    trees = labelled.filter(pl.col("token_ids").list.len() > 0)
    judged = trees.filter(pl.col("weight") > 0)
    # Steps of three tokens: two solutions of up to 8, each with at most two steps before its last.
    assert judged.filter(pl.col("leaves") > 1)["leaves"].min() >= 3 + 1
    inner = judged.filter(pl.col("leaves") > 1).group_by("problem_id").len()["len"]
    leaves = judged.filter(pl.col("leaves") == 1).group_by("problem_id").len()["len"]
    assert leaves.to_list() == [2] * 6
    assert inner.max() <= (2 if name == "uncertain_first" else 4)
    assert json.loads((run / "metrics.json").read_text())["strategies"]["first"] == name.replace("_", " ")
    # Where the steps of the labels end decides the trees.
    _, said = train(*[word.replace("3}}", "2}}") if "size" in word else word for word in arguments], expect=2)
    assert "stage 'search' made with other settings: label.steps.fixed_length.size was 3, is now 2" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["edo"],
            "expected one of beam, distinct_leaves, edu, greedy, greedy_step, mcts_edu, omega_prm, p_edu, particle, "
            "refine, rollouts, temperature, uncertain_first or package.module:Strategy, got 'edo'",
        ),
        (["nowhere:Strategy"], "'nowhere:Strategy' cannot be imported"),
        (["edu", "edu"], "got 'edu' twice; write NAME=strategy"),
        (["temperature"], "expected one that decodes the policy's greedy path"),
        (["omega_prm"], "raise max_leaves or lower rollouts"),
        (["p_edu"], "p_edu: prm: expected the folder or name of a PRM, got None"),
        (
            ["p_edu", "--strategy-options", '{"p_edu": {"prm": "a-prm", "stop_quantile": 0.2}}'],
            "read off training trees, which the first strategy grows: expected another one before it",
        ),
        (["edu", "--strategy-options", '{"edu": {"treshold": 1}}'], "'treshold'"),
        (["edu", "--strategy-options", '{"hot": {"temperature": 1}}'], "names in --strategies, got 'hot'"),
    ],
)
def test_a_wrong_strategy_is_refused_in_a_line_when_settings_are_read(train, arguments, words):
    _, said = train("--strategies", *arguments, expect=2)
    assert words in said
    assert "Traceback" not in said
