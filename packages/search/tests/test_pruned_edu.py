"""P-EDU against a reference that decodes every path anew and looks at every step, and its accounts."""

from __future__ import annotations

import asyncio
import copy
import hashlib

import numpy as np
import pytest

from eduprm.forest import found_leaves, leaf_paths, validate_forest
from eduprm.search import (
    Budget,
    EduSampling,
    PrunedEdu,
    TransformersEngine,
    grow_forest,
)

PROMPTS = [(5, 6, 7), (9, 9), tuple(range(10, 40)), (33, 20, 41, 8)]
BUDGET = Budget(max_leaves=6, max_tokens_per_path=14)


def opinion(problem_id: str, ids: tuple[int, ...]) -> float:
    """A score that only the tokens decide, low for about a third of all prefixes."""
    return hashlib.sha256(repr((problem_id, ids)).encode()).digest()[0] / 255 * 0.6


class Opinions:
    def __init__(self) -> None:
        self.asked: list[tuple[int, ...]] = []

    async def __call__(self, problem_id, prefixes):
        assert all(prefixes), "before the first token there is no step to judge"
        self.asked += prefixes
        return [opinion(problem_id, ids) for ids in prefixes]


def constant(score: float):
    async def scorer(problem_id, prefixes):
        return [score] * len(prefixes)

    return scorer


@pytest.fixture
def engine(tiny_model) -> TransformersEngine:
    return TransformersEngine(copy.deepcopy(tiny_model), stop_ids=frozenset({3}), max_rows=3)


def solutions(forest) -> dict[str, list[tuple[tuple[int, ...], str]]]:
    """Per problem, (token ids, finish) of its leaves in the order found."""
    keys = ["problem_id", "tree", "leaf"]
    leaves = leaf_paths(forest).join(found_leaves(forest), on=keys).sort("problem_id", "order")
    found: dict[str, list[tuple[tuple[int, ...], str]]] = {}
    for problem_id, ids, finish in leaves.select("problem_id", "token_ids", "finish").iter_rows():
        found.setdefault(problem_id, []).append((tuple(ids), finish))
    return found


def reference(plain, prompt, problem_id, *, threshold, max_leaves, max_tokens, best_first, score=opinion):
    """Finished paths in the order found, and the branches that were stopped, up to the rejected step."""
    paths, stopped, waiting = [], [], []

    def follow(forced: tuple[int, ...]) -> None:
        ended = (forced and forced[-1] == 3) or len(forced) == max_tokens
        rest = [] if ended else plain.greedy(prompt + forced, max_tokens - len(forced))
        path = forced + tuple(row[0] for row in rest)
        number = len(paths) + len(stopped)
        for offset, (_, _, entropy, runner, _) in enumerate(rest):
            position = len(forced) + offset
            if entropy <= threshold:
                continue
            if position and not score(problem_id, path[:position]) >= 0.2:
                if forced:
                    stopped.append(path[:position])
                    return
                break
            key = -entropy if best_first else position
            waiting.append((key, position, number, (*path[:position], runner)))
        paths.append(path)

    follow(())
    while waiting and len(paths) < max_leaves:
        entry = min(waiting)
        waiting.remove(entry)
        follow(entry[3])
    return paths, stopped


@pytest.mark.parametrize("order", ["best_first", "chronological"])
@pytest.mark.parametrize("piece_tokens", [1, 3, 64])
def test_solutions_equal_a_reference_whatever_the_size_of_a_piece(
    engine, problems, plain, letters, order, piece_tokens
):
    edu = EduSampling(threshold=0.8, order=order, budget=BUDGET)
    strategy = PrunedEdu(**dict(edu), scorer=Opinions(), piece_tokens=piece_tokens)
    forest = grow_forest(problems(PROMPTS), strategies=[strategy], engine=engine, tokenizer=letters).forest
    validate_forest(forest)
    num_stopped = 0
    for number, prompt in enumerate(PROMPTS):
        found = solutions(forest)[f"p{number}"]
        paths, stopped = reference(
            plain, prompt, f"p{number}", threshold=0.8, max_leaves=6, max_tokens=14, best_first=order == "best_first"
        )  # fmt: skip
        assert [ids for ids, finish in found if finish != "pruned"] == paths
        given_up = [ids for ids, finish in found if finish == "pruned"]
        assert len(given_up) == len(stopped)
        for ids, before in zip(given_up, stopped, strict=True):
            # Beyond the rejected step there is at most the rest of one piece.
            assert ids[: len(before)] == before
            assert 0 < len(ids) - len(before) <= piece_tokens
        num_stopped += len(stopped)
    assert num_stopped > 2


def test_a_prm_that_rejects_nothing_gives_the_edu_tree(engine, problems, letters):
    edu = EduSampling(threshold=0.8, budget=BUDGET)
    plain_growth = grow_forest(problems(PROMPTS), strategies=[edu], engine=engine, tokenizer=letters)
    strategy = PrunedEdu(**dict(edu), scorer=constant(0.2), piece_tokens=5)
    growth = grow_forest(problems(PROMPTS), strategies=[strategy], engine=engine, tokenizer=letters)
    exact = ["problem_id", "node_id", "parent_id", "token_ids", "text", "finish"]
    assert growth.forest.select(exact).equals(plain_growth.forest.select(exact))
    ours, theirs = (np.concatenate(f["entropies"].to_list()) for f in (growth.forest, plain_growth.forest))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    # Pieces go on from held prefixes: nothing is computed again.
    assert growth.costs["recomputed_tokens"].sum() == 0


@pytest.mark.parametrize("score", [0.19, float("nan")])
def test_a_prm_that_rejects_everything_leaves_what_has_no_step_before_its_end(
    engine, problems, plain, letters, score
):
    strategy = PrunedEdu(threshold=0.8, budget=BUDGET, scorer=constant(score))
    forest = grow_forest(problems(PROMPTS), strategies=[strategy], engine=engine, tokenizer=letters).forest
    for number, prompt in enumerate(PROMPTS):
        found = solutions(forest)[f"p{number}"]
        greedy = tuple(row[0] for row in plain.greedy(prompt, 14))
        assert found[0][0] == greedy
        # Forks leave it at the first token alone, before which there is nothing to reject.
        assert all(ids[0] != greedy[0] for ids, _ in found[1:])
        paths, _ = reference(
            plain, prompt, f"p{number}", threshold=0.8, max_leaves=6, max_tokens=14, best_first=True,
            score=lambda problem_id, ids: score,
        )  # fmt: skip
        assert [ids for ids, finish in found if finish != "pruned"] == paths


def test_a_smaller_tree_is_a_prefix_of_a_larger_one(engine, problems, letters):
    def grown(max_leaves: int):
        edu = EduSampling(threshold=0.8, budget=Budget(max_leaves=max_leaves, max_tokens_per_path=14))
        strategy = PrunedEdu(**dict(edu), scorer=Opinions(), piece_tokens=4)
        growth = grow_forest(problems(PROMPTS), strategies=[strategy], engine=engine, tokenizer=letters)
        return solutions(growth.forest)

    large, small = grown(8), grown(3)
    for key, leaves in small.items():
        assert leaves == large[key][: len(leaves)]
        assert sum(finish != "pruned" for _, finish in leaves) <= 3


def test_no_more_forks_after_max_stopped(engine, problems, letters):
    def stopped(most: int) -> int:
        strategy = PrunedEdu(threshold=0.8, budget=BUDGET, scorer=Opinions(), max_stopped=most)
        growth = grow_forest(problems(PROMPTS[2:3]), strategies=[strategy], engine=engine, tokenizer=letters)
        return growth.forest.filter(finish="pruned").height

    assert [stopped(0), stopped(1)] == [0, 1]


def test_a_stopped_branch_is_not_decoded_further(letters, scripted):
    async def scorer(problem_id, prefixes):
        # Whatever left the greedy path at its first fork is rejected at its next step.
        return [0.1 if any(token > 100 for token in ids) else 0.9 for ids in prefixes]

    edu = EduSampling(threshold=1.0, order="chronological", budget=Budget(max_leaves=3))
    strategy = PrunedEdu(**dict(edu), scorer=scorer, piece_tokens=2, max_stopped=1)
    branches = asyncio.run(strategy.grow((9,), problem_id="p", engine=scripted, tokenizer=letters))
    assert branches[0].token_ids.tolist() == [*range(10, 20), 0]
    # Forked at 11 into 111; the next anchor is 113, found in the first piece, and 110 tokens never come.
    assert branches[1].token_ids.tolist() == [111, 112, 113]
    assert branches[1].finish == "pruned"
    assert scripted.decoded == 11 + 2


@pytest.mark.parametrize(
    "wrong", [{"stop_below": 1.5}, {"piece_tokens": 0}, {"max_stopped": -1}], ids=lambda w: next(iter(w))
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PrunedEdu(scorer=constant(1.0), **wrong)


def test_a_scorer_that_forgets_a_step_is_found_out(letters, scripted):
    async def scorer(problem_id, prefixes):
        return [0.9]

    strategy = PrunedEdu(threshold=1.0, scorer=scorer)
    with pytest.raises(ValueError, match="expected a score for each"):
        asyncio.run(strategy.grow((9,), problem_id="p", engine=scripted, tokenizer=letters))


class Quantiles(Opinions):
    """Opinions that know their quantiles among the scores of prefixes seen elsewhere."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.scores, self.shares = sorted(scores), []

    async def quantile(self, share: float) -> float:
        self.shares.append(share)
        return self.scores[int(share * len(self.scores))]


def test_a_quantile_is_the_bound_it_stands_for(engine, problems, letters):
    # Of 0.1, 0.15, 0.2, 0.25, 0.3 two fifths lie below 0.2: the tree is that of stop_below 0.2.
    edu = EduSampling(threshold=0.8, budget=BUDGET)
    scorer = Quantiles([0.3, 0.1, 0.2, 0.15, 0.25])
    by_share = PrunedEdu(**dict(edu), scorer=scorer, stop_quantile=0.4, stop_below=0.0)
    by_bound = PrunedEdu(**dict(edu), scorer=Opinions(), stop_below=0.2)
    grown = [
        grow_forest(problems(PROMPTS), strategies=[one], engine=engine, tokenizer=letters).forest
        for one in (by_share, by_bound)
    ]
    exact = ["problem_id", "node_id", "parent_id", "token_ids", "text", "finish"]
    assert grown[0].select(exact).equals(grown[1].select(exact))
    assert grown[0].filter(finish="pruned").height
    assert set(scorer.shares) == {0.4}
    assert by_share.after_training_trees
    assert not by_bound.after_training_trees


def test_a_quantile_needs_a_scorer_that_knows_it():
    with pytest.raises(ValueError, match="expected a scorer with quantile"):
        PrunedEdu(scorer=Opinions(), stop_quantile=0.4)
