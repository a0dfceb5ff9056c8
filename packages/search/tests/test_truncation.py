"""One large tree answers for smaller ones: fewer leaves, higher thresholds (best-first). And how its steps are cut."""

from __future__ import annotations

import copy

import polars as pl
import pytest

from eduprm.forest import found_leaves, leaf_paths, validate_forest
from eduprm.search import (
    Budget,
    CutRule,
    EduSampling,
    HighTemperature,
    TransformersEngine,
    grow_forest,
    leaves_at_threshold,
)
from eduprm.search.steps import STEP_RULES, CutAt, mark_steps, step_ends, steps_of_leaves

PROMPTS = [(5, 6, 7), (9, 9), (4, 30, 12, 17, 50), (33, 20, 41, 8)]
KEYS = ["problem_id", "tree", "leaf"]


class LineDecoder:
    """Letters, of which every seventh is a line break."""

    def decode(self, token_ids: list[int]) -> str:
        return "".join("\n" if token % 7 == 0 else chr(97 + token % 26) for token in token_ids)


@pytest.fixture(scope="module")
def engine(tiny_model) -> TransformersEngine:
    return TransformersEngine(copy.deepcopy(tiny_model), stop_ids=frozenset({3}), max_rows=4)


def edu(threshold: float, leaves: int, order: str = "best_first") -> EduSampling:
    budget = Budget(max_leaves=leaves, max_tokens_per_path=16)
    return EduSampling(threshold=threshold, order=order, budget=budget)


def grown(engine, problems, strategy) -> pl.DataFrame:
    engine.reset()
    return grow_forest(
        problems(PROMPTS), strategies=[strategy], engine=engine, tokenizer=LineDecoder()
    ).forest


def found(forest: pl.DataFrame) -> dict[str, list[tuple[list[int], str]]]:
    leaves = leaf_paths(forest).join(found_leaves(forest), on=KEYS).sort("problem_id", "order")
    rows = leaves.group_by("problem_id", maintain_order=True).agg("token_ids", "finish")
    return {key: list(zip(ids, ends, strict=True)) for key, ids, ends in rows.iter_rows()}


@pytest.fixture(scope="module")
def large(engine, problems) -> pl.DataFrame:
    return grown(engine, problems, edu(0.8, 16))


@pytest.mark.parametrize("threshold", [1.3, 3.0, 3.2])
@pytest.mark.parametrize("leaves", [5, 16])
def test_a_best_first_tree_holds_those_of_higher_thresholds_and_fewer_leaves(
    engine, problems, large, threshold, leaves
):
    smaller = found(grown(engine, problems, edu(threshold, leaves)))
    counts = leaves_at_threshold(large, threshold=threshold)
    most = dict(counts.select("problem_id", "leaves").iter_rows())
    for key, all_leaves in found(large).items():
        assert smaller[key] == all_leaves[: min(leaves, most[key])]


def test_the_thresholds_above_do_cut_trees_short(large):
    sizes = [leaves_at_threshold(large, threshold=t)["leaves"].sum() for t in (0.8, 3.0, 3.2)]
    assert sizes[0] > sizes[1] > sizes[2] >= len(PROMPTS)


def test_a_chronological_tree_holds_those_of_fewer_leaves_only(engine, problems):
    all_leaves = found(grown(engine, problems, edu(0.8, 9, "chronological")))
    fewer = found(grown(engine, problems, edu(0.8, 4, "chronological")))
    assert fewer == {key: leaves[:4] for key, leaves in all_leaves.items()}


@pytest.fixture(scope="module")
def marked(large) -> pl.DataFrame:
    return mark_steps(large, tokenizer=LineDecoder(), threshold=1.6, low_logprob=-2.0)


def test_marking_steps_keeps_trees_paths_and_texts(large, marked):
    validate_forest(marked)
    paths = ["problem_id", "token_ids", "logprobs", "entropies", "text", "finish"]
    assert leaf_paths(marked).select(paths).equals(leaf_paths(large).select(paths))
    assert marked.height > large.height
    assert found(marked) == found(large)


def test_each_rule_s_steps_are_those_of_the_solution_cut_alone(engine, problems, marked):
    # The same search cut at a higher threshold has just the steps of the rule "anchor".
    coarse = grown(engine, problems, CutAt(edu(0.8, 16), CutRule(threshold=1.6)))
    numbered = marked.with_columns(at=pl.col("token_ids").list.len().cast(pl.Float64))
    lengths = _path_lengths(numbered)
    for rule in STEP_RULES:
        steps = steps_of_leaves(lengths, rule, "length")
        leaves = leaf_paths(marked).select(*KEYS, "token_ids", "logprobs")
        for ends, ids, logprobs in (
            steps.join(leaves, on=KEYS, maintain_order="left")
            .select("step_values", "token_ids", "logprobs")
            .iter_rows()
        ):
            if rule == "line":
                texts = [LineDecoder().decode([token]) for token in ids]
                starts = [
                    p for p in range(1, len(ids)) if texts[p].strip() and "\n" in "".join(_gap(texts, p))
                ]
                assert ends == [*starts, len(ids)]
            if rule == "unsure":
                starts = [p for p, logprob in enumerate(logprobs) if logprob < -2.0 and p]
                assert ends == [*starts, len(ids)]
    anchors = steps_of_leaves(lengths, "anchor", "length")
    # Where a fork lies below 1.6 the coarse tree has a node border and no step.
    expected = steps_of_leaves(
        _path_lengths(mark_steps(coarse, tokenizer=LineDecoder(), threshold=1.6, low_logprob=-1e9)),
        "anchor",
        "length",
    )
    assert anchors["step_values"].to_list() == expected["step_values"].to_list()


def _gap(texts: list[str], position: int) -> list[str]:
    """The blank tokens right before a position."""
    start = position
    while start and not texts[start - 1].strip():
        start -= 1
    return texts[start:position]


def _path_lengths(marked: pl.DataFrame) -> pl.DataFrame:
    """Adds `length`, the tokens from the solution's start to each node's end; null for an empty root."""
    lengths = []
    for _, nodes in marked.group_by("problem_id", "tree", maintain_order=True):
        own: list[float] = []
        for ids, parent in nodes.select("token_ids", "parent_id").iter_rows():
            own.append(len(ids) + (0 if parent is None else own[parent]))
        lengths += [length or None for length in own]
    return marked.with_columns(length=pl.Series(lengths, dtype=pl.Float64))


def test_nodes_that_end_a_step_are_those_before_one_that_begins_it(marked):
    for rule in STEP_RULES:
        ends = marked.with_columns(ends=step_ends(marked, rule))
        inner = ends.filter(pl.col("finish").is_null() & pl.col("ends"))
        begun = marked.filter(f"starts_{rule}").select("problem_id", "tree", node_id="parent_id").unique()
        joined = inner.join(begun, on=["problem_id", "tree", "node_id"], how="semi")
        assert joined.height == inner.height > 0
        assert ends.filter(pl.col("finish").is_not_null())["ends"].all()


def test_samples_are_marked_too(engine, problems):
    samples = grown(
        engine,
        problems,
        HighTemperature(threshold=1.6, temperature=1.0, num_samples=3, max_tokens_per_path=16),
    )
    marked = mark_steps(samples, tokenizer=LineDecoder(), threshold=1.6, low_logprob=-2.0)
    assert leaf_paths(marked)["text"].to_list() == leaf_paths(samples)["text"].to_list()
    roots = marked.filter(pl.col("parent_id").is_null())
    assert not step_ends(marked, "anchor").filter(marked["parent_id"].is_null()).any()
    assert roots["token_ids"].list.len().sum() == 0


def test_an_unknown_rule_is_refused(marked):
    for ask in (lambda: step_ends(marked, "word"), lambda: steps_of_leaves(marked, "word", "node_id")):
        with pytest.raises(ValueError, match="expected a rule among anchor, line, unsure"):
            ask()
