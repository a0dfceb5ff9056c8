"""The experiment's training sets, against plain loops: which chains are taken, what their steps are worth."""

from __future__ import annotations

import random

import polars as pl
import pytest

from eduprm.core.command_line import UsageError
from eduprm.core.seeds import derive_seed
from eduprm.core.store import content_hash
from eduprm.forest import leaf_paths, validate_forest
from eduprm.label import FunctionGrader
from eduprm.pipeline.sampling.experiment import Experiment
from eduprm.pipeline.sampling.grow import Trees
from eduprm.pipeline.sampling.prms import Prm
from eduprm.pipeline.sampling.rollouts import rollout_shares
from eduprm.pipeline.sampling.settings import SamplingSettings
from eduprm.pipeline.sampling.training import _choose_chains, _label_chains, _renumbered
from eduprm.prm.testing import byte_tokenizer, tiny_prm
from eduprm.search import HighTemperature, grow_forest
from eduprm.search.sglang.testing import Letters
from eduprm.search.steps import STEP_SCHEMA

TREE = "samples-0.7"

# A chain: its pieces (token ids, whether it begins a line) and whether its answer is right.
Chain = tuple[list[tuple[list[int], bool]], bool]


def random_chains(rng: random.Random, count: int) -> list[Chain]:
    return [
        (
            [
                ([rng.randrange(1, 20) for _ in range(rng.randrange(1, 4))], rng.random() < 0.5)
                for _ in range(rng.randrange(1, 5))
            ],
            rng.random() < 0.5,
        )
        for _ in range(count)
    ]


def trees_of(chains: dict[str, list[Chain]]) -> Trees:
    """Marked trees as `marked` gives them: each problem's chains below an empty root."""
    rows, grades = [], []
    for problem, own in chains.items():
        rows.append((problem, TREE, 0, None, [], [], [], "", None, False, False, False))
        number = 0
        for pieces, right in own:
            parent = 0
            for place, (ids, line) in enumerate(pieces):
                number += 1
                finish = "stop" if place == len(pieces) - 1 else None
                text = "".join(chr(96 + token) for token in ids)
                zeros = [0.0] * len(ids)
                rows.append(
                    (problem, TREE, number, parent, ids, zeros, zeros, text, finish, False, line, False)
                )
                parent = number
            grades.append((problem, TREE, number, "x", right))
    schema = {"problem_id": pl.String, "tree": pl.String, "leaf": pl.Int32, "answer": pl.String}
    tables = {
        "steps": pl.DataFrame(rows, schema=STEP_SCHEMA, orient="row"),
        "grades": pl.DataFrame(grades, schema={**schema, "correct": pl.Boolean}, orient="row"),
    }
    return Trees("chains", "key", tables)


def length(chain: Chain) -> int:
    return sum(len(ids) for ids, _ in chain[0])


def taken_round_by_round(shards: list[dict[str, list[Chain]]], budget: int) -> dict[str, list[Chain]]:
    """The first chain of every problem, then the second of every problem, until the first that passes the budget."""
    problems = {name: own for shard in shards for name, own in shard.items()}
    spent, found = 0, {}
    for number in range(max(map(len, problems.values()))):
        for name, own in problems.items():
            if number < len(own):
                spent += length(own[number])
                if spent > budget:
                    return found
                found.setdefault(name, []).append(own[number])
    return found


@pytest.mark.parametrize("seed", range(5))
def test_chains_are_taken_round_by_round_as_tokens_allow(seed):
    rng = random.Random(seed)
    shards = [
        {f"p{shard}{number}": random_chains(rng, rng.randrange(1, 6)) for number in range(3)}
        for shard in range(2)
    ]
    total = sum(length(chain) for shard in shards for own in shard.values() for chain in own)
    first = length(next(iter(shards[0].values()))[0])
    for budget in {first, total // 3, total // 2, total - 1, total}:
        chosen = _choose_chains([trees_of(shard) for shard in shards], budget)
        wanted = taken_round_by_round(shards, budget)
        assert chosen["token_ids"].list.len().sum() <= budget
        paths = leaf_paths(chosen).select("problem_id", "token_ids")
        assert paths.rows() == [
            (name, [token for ids, _ in chain[0] for token in ids])
            for name in sorted(wanted, key=list(chosen["problem_id"].unique(maintain_order=True)).index)
            for chain in wanted[name]
        ]
        assert set(paths["problem_id"]) == set(wanted)
        # Every node says whether its chain is right, and begins a line where it began one.
        nodes = chosen.filter(pl.col("token_ids").list.len() > 0)
        for name, own in wanted.items():
            pieces = [(ids, line, chain[1]) for chain in own for ids, line in chain[0]]
            assert (
                nodes.filter(problem_id=name).select("token_ids", "starts_line", "correct").rows() == pieces
            )


def test_all_chains_that_are_fewer_than_the_budget_are_said_and_none_at_all_is_an_error(capsys):
    chains = {"p": [([([1, 2], False), ([3], True)], True)]}
    assert _choose_chains([trees_of(chains)], 3).height == 3
    assert "raise --training.chains" in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"raise --problem\.num-train"):
        _choose_chains([trees_of(chains)], 2)


def test_renumbered_chains_are_a_valid_tree_below_an_empty_root():
    chains = {"p": random_chains(random.Random(0), 4), "q": random_chains(random.Random(1), 2)}
    everything = _choose_chains([trees_of(chains)], 10**6)
    # Chains 0 and 2 of p, chain 1 of q.
    some = everything.filter(
        ((pl.col("problem_id") == "p") & pl.col("chain").is_in([0, 2]))
        | ((pl.col("problem_id") == "q") & (pl.col("chain") == 1))
    )
    new = pl.concat(list(_renumbered(some)))
    validate_forest(new.select(list(STEP_SCHEMA)))
    for name, kept in {"p": [0, 2], "q": [1]}.items():
        own = new.filter(problem_id=name)
        assert own["node_id"].to_list() == list(range(own.height))
        expected, number = [None], 0
        for chain in kept:
            for place in range(len(chains[name][chain][0])):
                expected.append(0 if place == 0 else number)
                number += 1
        assert own["parent_id"].to_list() == expected
        root = own.row(0, named=True)
        assert (root["token_ids"], root["text"], root["finish"]) == ([], "", None)
        assert not any(root[name] for name in root if name.startswith("starts_"))


@pytest.mark.parametrize("target", ["hard", "soft"])
@pytest.mark.parametrize("seed", range(3))
def test_steps_of_chains_are_worth_their_rollouts_all_along_and_the_last_its_answer(seed, target):
    rng = random.Random(seed)
    chains = {name: random_chains(rng, 3) for name in ("p", "q")}
    nodes = _choose_chains([trees_of(chains)], 10**6)
    shares, expected = {}, []
    for name, own in chains.items():
        expected.append((0.0, 0.0))  # the empty root
        number = 0
        for pieces, right in own:
            inside = 0  # nodes of the step before the one that ends it
            for place in range(len(pieces)):
                number += 1
                last = place == len(pieces) - 1
                if not last and not pieces[place + 1][1]:
                    inside += 1
                    continue
                share = float(right) if last else rng.choice([0.0, 0.25, 1.0])
                if not last:
                    shares[name, number] = share
                label = float(share > 0) if target == "hard" else share
                expected += [(label, 0.0)] * inside + [(label, 1.0)]
                inside = 0
    labelled = _label_chains(nodes, shares, "line", target)
    assert labelled.select("label", "weight").rows() == expected
    right = {name: sum(one[1] for one in own) for name, own in chains.items()}
    roots = labelled.filter(pl.col("parent_id").is_null())
    assert dict(roots.select("problem_id", "correct").rows()) == right


def ends_in_an_even_letter(text, problem):
    return ord(text[-1]) % 2 == 0


@pytest.fixture
def experiment(tmp_path, letter_engine):
    """The experiment on a tiny policy with an alphabet of 25 letters and a stop token."""
    settings = SamplingSettings(
        output=tmp_path,
        seed=3,
        shard_problems=1,
        training={"rollouts": 3, "temperature": 1.3},
        grid={"max_tokens_per_path": 6},
    )
    experiment = Experiment(settings)
    experiment.policy_key = {"policy": "tiny"}
    experiment.engine = letter_engine()
    experiment.tokenizer = Letters()
    experiment.grader = FunctionGrader(ends_in_an_even_letter)
    experiment.problems = pl.DataFrame(
        {
            "problem_id": ["p", "q"],
            "question": ["?", "??"],
            "answer": ["a", "e"],
            "prompt_token_ids": [[1, 2, 3], [4, 5]],
            "split": "train",
            "metadata": [None, None],
        },
        schema_overrides={"prompt_token_ids": pl.List(pl.Int32), "metadata": pl.String},
    )
    return experiment


def test_rollout_shares_are_those_of_each_prefix_completed_by_itself(experiment):
    # In p two chains begin alike: what stands before their second steps is one prefix.
    chains = {
        "p": [
            ([([7, 8], False), ([9], True), ([1], True)], True),
            ([([7, 8], False), ([2], True)], False),
        ],
        "q": [([([7, 8], False), ([9], False), ([3], True)], False)],
    }
    nodes = _choose_chains([trees_of(chains)], 10**6)
    shares, tokens = rollout_shares(experiment, nodes, "line")
    prefixes = {("p", 1): [7, 8], ("p", 2): [7, 8, 9], ("p", 4): [7, 8], ("q", 2): [7, 8, 9]}
    assert set(shares) == set(prefixes)
    assert shares["p", 1] == shares["p", 4]
    prompts = {"p": [1, 2, 3], "q": [4, 5]}
    strategy = HighTemperature(
        threshold=experiment.settings.training.threshold,
        temperature=1.3,
        num_samples=3,
        max_tokens_per_path=6,
        seed=derive_seed(experiment.settings.seed, "rollouts"),
    )
    decoded = {}
    for (problem, node), prefix in prefixes.items():
        name = f"{problem}/{content_hash(prefix)}"
        alone = pl.DataFrame(
            {"problem_id": [name], "prompt_token_ids": [prompts[problem] + prefix]},
            schema_overrides={"prompt_token_ids": pl.List(pl.Int32)},
        )
        growth = grow_forest(
            alone, strategies=[strategy], engine=experiment.engine, tokenizer=experiment.tokenizer
        )
        ends = [Letters().decode(prefix + ids) for ids in leaf_paths(growth.forest)["token_ids"].to_list()]
        assert len(ends) == 3
        assert shares[problem, node] == pytest.approx(
            sum(ends_in_an_even_letter(text, None) for text in ends) / 3
        )
        decoded[name] = growth.forest["token_ids"].list.len().sum()
    assert tokens == sum(decoded.values())
    assert len(set(shares.values())) > 1


def test_equal_solutions_have_scores_that_are_equal_to_the_last_bit(experiment, tmp_path):
    folder = tiny_prm(tmp_path / "prm")
    (folder / "training.json").write_text("{}")
    one: Chain = ([([7, 8], False), ([9, 3], True), ([1], True)], True)
    # The first two tokens stand in another node of the second chain; the third chain is the first one again.
    trees = trees_of({"p": [one, ([([7, 8, 5], False), ([6], False)], False), one], "q": [one]})
    steps, tokenizer = trees.tables["steps"], byte_tokenizer()
    texts = [tokenizer.decode(ids) for ids in steps["token_ids"].to_list()]
    trees.tables["steps"] = steps.with_columns(text=pl.Series(texts))
    prm = Prm("edu", "edu", folder, experiment)
    scored = prm.score(trees)
    root, *own = scored.filter(problem_id="p")["score"].to_list()
    assert root is None
    assert own[:3] == own[5:]
    assert len(set(own)) == 5
    # The first two chains, each scored alone.
    model, ids = prm.prefixes.model, steps.filter(problem_id="p")["token_ids"].to_list()
    prompt = model.builder.prompt_ids(experiment.problems.filter(problem_id="p")["question"].item())
    for first, end in ((1, 4), (4, 6)):
        (alone,) = model.score_ids(
            [(prompt, [model.builder.node_ids(one, ends=False) for one in ids[first:end]])]
        )
        assert own[first - 1 : end - 2] == pytest.approx(alone[:-1], abs=1e-5)
    prm.prefixes = None  # what was scored before is read, not scored again
    assert prm.score(trees).equals(scored)
