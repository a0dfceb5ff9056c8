"""Files of the search stage after a kill between any two of them: what is missing is asked for, and nothing else."""

from __future__ import annotations

import shutil

import numpy as np
import polars as pl
import pytest

from eduprm.pipeline.run_folder import RunFolder
from eduprm.pipeline.shards import Shard, missing, rejected_of, store
from eduprm.search import Completion, Greedy, Request, TransientError, grow_forest

PROBLEMS = pl.DataFrame({"problem_id": ["a", "b", "c"], "prompt_token_ids": [[5], [6], [7]]})


class Letters:
    def decode(self, token_ids: list[int]) -> str:
        return "x" * len(token_ids)


class Losing:
    """An engine that ends every path at once, and has lost its workers for some prompts."""

    stop_ids = frozenset({0})
    context_length = 64

    def __init__(self, lost: set[int]) -> None:
        self._lost = lost

    async def generate(self, request: Request) -> Completion:
        if request.prefix_ids[0] in self._lost:
            raise TransientError("worker lost")
        zeros = np.zeros(1, np.float32)
        return Completion(
            token_ids=np.zeros(1, np.int32), logprobs=zeros, entropies=zeros, runner_up_ids=np.ones(1, np.int32),
            runner_up_logprobs=zeros - 1, finish="stop", prefix_tokens=1, cached_tokens=0,
        )  # fmt: skip


def grown(shard: Shard, folder: RunFolder, lost: set[int]) -> None:
    """What the search stage does of a shard at one start."""
    names = [job.problem_id for job in missing(folder, shard)]
    if names:
        wanted = PROBLEMS.filter(pl.col("problem_id").is_in(names))
        store(
            folder,
            shard,
            grow_forest(wanted, strategies=shard.strategies, engine=Losing(lost), tokenizer=Letters()),
        )


@pytest.mark.parametrize("killed_before", ["costs", "forest", "rejected"])
def test_a_kill_while_missing_trees_are_stored_leaves_nothing_missing_for_ever(tmp_path, killed_before):
    shard = Shard("train-00000", PROBLEMS, [Greedy(max_tokens_per_path=4)])
    before, after = RunFolder(tmp_path / "before"), RunFolder(tmp_path / "after")
    grown(shard, before, {6, 7})
    assert [job.problem_id for job in missing(before, shard)] == ["b", "c"]
    shutil.copytree(before.root, after.root)
    grown(shard, after, set())
    assert (missing(after, shard), rejected_of(after).height) == ([], 0)
    # Files are written in this order; the ones from the kill on are as they were.
    files = ["costs", "forest", "rejected"]
    for name in files[files.index(killed_before) :]:
        shutil.rmtree(after.path(name))
        shutil.copytree(before.path(name), after.path(name))
    grown(shard, after, set())
    assert (missing(after, shard), rejected_of(after).height) == ([], 0)
    assert pl.read_parquet(after.path("forest", "train-00000.parquet"))["problem_id"].to_list() == [
        "a",
        "b",
        "c",
    ]
    assert pl.read_parquet(after.path("costs", "train-00000.parquet")).height == 3
