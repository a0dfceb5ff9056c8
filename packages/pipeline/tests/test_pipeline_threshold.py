"""What is said of the threshold after a search, on trees whose anchors can be counted."""

import polars as pl

from eduprm.forest import FOUND_COLUMNS, NODE_SCHEMA
from eduprm.pipeline.threshold_advice import threshold_advice
from eduprm.search import Budget, EduSampling


class Letters:
    def decode(self, token_ids):
        return "".join(chr(token) for token in token_ids)


def chain(problem: str, entropies: list[float]) -> pl.DataFrame:
    # Every second token is a symbol, which is never an anchor.
    ids = list(b"a." * len(entropies))[: len(entropies)]
    row = (problem, "edu", 0, None, ids, [-0.1] * len(ids), entropies, "", "length", 0, True)
    return pl.DataFrame([row], schema={**NODE_SCHEMA, **FOUND_COLUMNS}, orient="row")


def test_trees_that_hardly_fork_get_the_threshold_that_would_suit():
    # Letters stand at even places: five of them are unsure by 0.1 to 0.5, no symbol counts.
    entropies = [0.5, 3.0, 0.4, 3.0, 0.3, 3.0, 0.2, 3.0, 0.1, 3.0]
    forest = pl.concat([chain(name, entropies) for name in "pq"])
    said = threshold_advice(forest, EduSampling(threshold=0.45), tokenizer=Letters())
    assert said == (
        "search: 1.0 leaves a tree: a greedy solution is unsure 1.0 times at --search.threshold 0.45; "
        "0.15 would make it 4.0"
    )


def test_a_policy_that_is_never_unsure_is_called_so():
    said = threshold_advice(chain("p", [0.2, 0.1, 0.0]), EduSampling(threshold=1.0), tokenizer=Letters())
    assert (
        said == "search: 1.0 leaves a tree: the policy is hardly ever unsure; EDU sampling finds little here"
    )


def test_nothing_is_said_where_trees_fork_or_may_not():
    two = chain("p", [0.5] * 4)
    leaf = two.with_columns(node_id=pl.lit(1, pl.Int32), parent_id=pl.lit(0, pl.Int32))
    assert threshold_advice(pl.concat([two, leaf]), EduSampling(threshold=1.0), tokenizer=Letters()) is None
    samples = two.with_columns(greedy=False)
    assert threshold_advice(samples, EduSampling(threshold=1.0), tokenizer=Letters()) is None
    single = EduSampling(threshold=1.0, budget=Budget(max_leaves=1))
    assert threshold_advice(two, single, tokenizer=Letters()) is None
