"""What all stages share: settings, the store, problems, tokenizer; and the policy and grader, opened when first needed.

Does not know what is grown or trained.
"""

from __future__ import annotations

import time
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from eduprm.core.command_line import UsageError
from eduprm.core.progress import say
from eduprm.forest import PROBLEM_SCHEMA, leaf_paths
from eduprm.label import get_grader, grade_leaves
from eduprm.pipeline.sampling.settings import SamplingSettings
from eduprm.pipeline.sampling.store import Store, content_hash
from eduprm.prm.prm_folder import folder_digest
from eduprm.problems import make_split, messages_for, resolve_task, style_for
from eduprm.search import PolicyTokenizer, resolve_model

if TYPE_CHECKING:
    from eduprm.search import TransformersEngine

_COMPUTING = ("eduprm-search", "torch", "transformers", "tokenizers")


class World:
    """A run's surroundings."""

    def __init__(self, settings: SamplingSettings) -> None:
        self.settings = settings
        self.folder = settings.output
        self.store = Store(settings.output / "store")
        self.began = time.monotonic()

    @cached_property
    def policy_key(self) -> dict[str, Any]:
        """What decides the policy's tokens, beside its requests."""
        model = resolve_model(self.settings.policy.model)
        content = folder_digest(Path(model)) if Path(model).is_dir() else model
        return {
            "policy": content,
            "dtype": self.settings.policy.dtype,
            "versions": {name: version(name) for name in _COMPUTING},
        }

    @cached_property
    def tokenizer(self) -> PolicyTokenizer:
        """Of the policy."""
        policy = self.settings.policy
        return PolicyTokenizer(policy.model, trust_remote_code=policy.trust_remote_code)

    @cached_property
    def engine(self) -> TransformersEngine:
        """The policy, loaded when something has to be decoded."""
        say(f"loading {self.settings.policy.model}")
        return self.settings.policy.open_engine()

    @cached_property
    def grader(self) -> Any:
        """The task's own."""
        wanted = self.settings.problem
        return get_grader(resolve_task(wanted.task, config=dict(wanted.task_config)).grader)

    def close(self) -> None:
        """End the grader's processes, if it was used."""
        if "grader" in self.__dict__ and hasattr(self.grader, "close"):
            self.grader.close()

    @cached_property
    def problems(self) -> pl.DataFrame:
        """Training and held-out problems with their prompts; PROBLEM_SCHEMA.

        Raises:
            UsageError: the task does not give them.
        """
        wanted = self.settings.problem
        try:
            found = make_split(
                wanted.task,
                train=wanted.num_train,
                test=wanted.num_test,
                seed=self.settings.seed,
                config=dict(wanted.task_config),
            )
            style = wanted.style or style_for(wanted.task, policy=self.settings.policy.model)
            prompts = [self.tokenizer.encode_chat(messages_for(q, style)) for q in found["question"]]
        except ValueError as error:
            raise UsageError(f"--problem: {error}") from None
        prompt_ids = pl.Series("prompt_token_ids", prompts, dtype=pl.List(pl.Int32))
        return found.with_columns(prompt_ids).select(list(PROBLEM_SCHEMA))

    def shards(self, split: str) -> list[pl.DataFrame]:
        """The problems of a part, some at a time."""
        own, size = self.problems.filter(split=split), self.settings.shard_problems
        return [own.slice(start, size) for start in range(0, own.height, size)]

    def grade(self, forest: pl.DataFrame) -> pl.DataFrame:
        """problem_id, tree, leaf, answer, correct of every leaf."""
        graded = grade_leaves(leaf_paths(forest), self.problems, self.grader)
        return graded.select("problem_id", "tree", "leaf", "answer", "correct")

    def problems_key(self, problems: pl.DataFrame) -> str:
        """Hash of what the policy and the grader are given."""
        return content_hash(problems.select("problem_id", "prompt_token_ids", "answer", "metadata").rows())
