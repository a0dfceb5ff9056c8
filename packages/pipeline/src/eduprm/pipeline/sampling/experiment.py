"""What all stages share: settings, store, problems, tokenizer; policy and grader are opened when first needed."""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from eduprm.core.progress import say
from eduprm.core.store import Store, content_hash
from eduprm.pipeline.label_trees import grader_name, open_grader
from eduprm.pipeline.make_problems import problems_of
from eduprm.pipeline.sampling.settings import SamplingSettings
from eduprm.policy import resolve_model
from eduprm.prm.prm_folder import folder_digest
from eduprm.search import PolicyTokenizer

if TYPE_CHECKING:
    from eduprm.search import TransformersEngine

_COMPUTING = ("eduprm-search", "torch", "transformers", "tokenizers")


class Experiment:
    """What the experiment runs in."""

    def __init__(self, settings: SamplingSettings) -> None:
        self.settings = settings
        self.folder = settings.output
        self.store = Store(settings.output / "store")
        self.began = time.monotonic()
        self._opened = ExitStack()

    @cached_property
    def policy_key(self) -> dict[str, Any]:
        """What decides the policy's tokens, beside its requests."""
        return {
            "policy": model_content(self.settings.policy.model),
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
        """Grades the answers, opened when something has to be graded."""
        problem = self.settings.problem
        return self._opened.enter_context(open_grader(grader_name(problem, None), problem.grader_options))

    def close(self) -> None:
        """End the grader's processes, if it was used."""
        self._opened.close()

    @cached_property
    def problems(self) -> pl.DataFrame:
        """Training and held-out problems with their prompts; PROBLEM_SCHEMA.

        Raises:
            UsageError: the source does not give them.
        """
        settings = self.settings
        problems, _ = problems_of(
            settings.problem, policy=settings.policy, seed=settings.seed, folder=self.folder
        )
        return problems

    def shards(self, split: str) -> list[pl.DataFrame]:
        """The problems of a part, some at a time."""
        own, size = self.problems.filter(split=split), self.settings.shard_problems
        return [own.slice(start, size) for start in range(0, own.height, size)]

    def problems_key(self, problems: pl.DataFrame) -> str:
        """Hash of what the policy and the grader are given."""
        return content_hash(problems.select("problem_id", "prompt_token_ids", "answer", "metadata").rows())


def model_content(name: str) -> str:
    """What tells a model's weights from others: the digest of its folder; of a model of the hub, its name."""
    model = resolve_model(name)
    return folder_digest(Path(model)) if Path(model).is_dir() else model
