"""Score steps with a trained PRM: one solution, many, or a whole forest with shared prefixes computed once.

With a head, a score is P(right) in [0, 1] at the step's last token: the model's estimate of its training label (for
Monte Carlo labels: the share of correct answers below the step), not a judgement of the step's wording. Other kinds
stand in `eduprm.prm.scorers`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from eduprm.core.registry import load
from eduprm.policy import resolve_model
from eduprm.prm.attention import context_tokens, loaded_implementation, settle_attention
from eduprm.prm.calibration import read_calibration
from eduprm.prm.calibrations._contract import ScoreCalibration
from eduprm.prm.config import InputFormat, Scoring
from eduprm.prm.data import TokenSource, forest_trees
from eduprm.prm.inputs import InputBuilder, StepBuilder, checked_problem
from eduprm.prm.joining import joined_line
from eduprm.prm.loading import (
    LABELS,
    is_prm,
    load_classifier,
    load_language_model,
    read_input_format,
    read_model_config,
    read_scoring,
)
from eduprm.prm.model import unwrap
from eduprm.prm.packing import PAD
from eduprm.prm.reference import attach_reference
from eduprm.prm.solutions import StepScores, score_steps
from eduprm.prm.step_folds import step_scores
from eduprm.prm.token_values import token_values
from eduprm.prm.tree import TokenTree, build_tree

__all__ = ["ProcessRewardModel"]

_OTHERS = "a PRM that others published is loaded by eduprm.prm.load_step_scorer, which reads its form"


class ProcessRewardModel:
    """A model that judges steps, with its tokenizer, its input format and its way of scoring.

    Attributes: `model` (a classifier with `logits` [B, L, 2], or a language model), `scorer` (`eduprm.prm.scorers`),
    `calibration` (`eduprm.prm.calibrations`), `builder` (an `InputBuilder`, or what stands in for it with a published
    PRM), `max_tokens` (context, None if unbounded), `batch_tokens` (most padded tokens per forward pass; a larger tree
    is scored in pieces).
    """

    def __init__(
        self,
        model: Any,
        builder: StepBuilder,
        *,
        scoring: Scoring | None = None,
        calibration: ScoreCalibration | None = None,
        batch_tokens: int = 8192,
    ) -> None:
        scoring = Scoring() if scoring is None else scoring
        self.scorer = load("eduprm.prm.scorers", scoring.kind, "Scorer")(scoring)
        self.calibration = read_calibration(None) if calibration is None else calibration
        self.model = model.eval()
        self.builder = builder
        self.batch_tokens = batch_tokens
        self.max_tokens: int | None = context_tokens(model.config)

    @classmethod
    def from_pretrained(
        cls,
        path_or_name: str | Path,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        *,
        input_format: InputFormat | None = None,
        scoring: Scoring | None = None,
        attn_implementation: str = "auto",
        batch_tokens: int = 8192,
        trust_remote_code: bool = False,
    ) -> ProcessRewardModel:
        """Load a PRM that ships (smollm2-135m-steps-prm; extra `shipped`), a folder or a hub name (safetensors only).

        `scoring` None: as saved in the config, a head where nothing is saved, and calibrated as saved; what was fitted
        to one way of scoring says nothing of another. Scoring by likelihood takes any language model, its own policy
        among them.

        `device` None: CUDA if there is one. `dtype` None: bfloat16 on CUDA; float32 elsewhere, and for a PRM that is
        scored against its reference (small differences of log-probs, lost in 8 bits). `attn_implementation` as in
        `TrainConfig`. A checkpoint without a saved format (no `eduprm` entry in its config) gets `input_format`, or by
        default `InputFormat()` if its tokenizer has a chat template and `InputFormat.stepwise()` if not; a given
        `input_format` always wins.

        Warns:
            UserWarning: a format had to be guessed from the tokenizer.

        Raises:
            ValueError: no such model, one without a trained head of two labels, wrong and right, or one whose attention
                drops tree masks.
        """
        path_or_name = resolve_model(str(path_or_name))
        calibration = None
        if scoring is None:
            saved = read_model_config(path_or_name, trust_remote_code=trust_remote_code)
            scoring, calibration = read_scoring(saved), read_calibration(getattr(saved, "eduprm", None))
        scorer = load("eduprm.prm.scorers", scoring.kind, "Scorer")
        device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if dtype is None:
            half = device.type == "cuda" and not getattr(scorer, "reference", False)
            dtype = torch.bfloat16 if half else torch.float32
        dtype = getattr(torch, dtype) if isinstance(dtype, str) else dtype
        options: dict[str, Any] = {
            "dtype": dtype,
            "attn_implementation": loaded_implementation(attn_implementation),
            "trust_remote_code": trust_remote_code,
        }
        if scorer.needs == "head":
            labels = getattr(scorer, "labels", LABELS)
            try:
                model: Any = load_classifier(path_or_name, need_head=True, labels=labels, **options)
            except ValueError as error:
                own = is_prm(path_or_name, trust_remote_code=trust_remote_code)
                raise ValueError(str(error) if own else f"{error}; {_OTHERS}") from error
        else:
            model = load_language_model(path_or_name, **options)
        chosen = input_format or read_input_format(model.config)
        builder = InputBuilder.from_pretrained(
            path_or_name, chosen or InputFormat.stepwise(), trust_remote_code=trust_remote_code
        )
        if chosen is None:
            if getattr(builder.tokenizer, "chat_template", None):
                builder = InputBuilder(builder.tokenizer, InputFormat())
            warnings.warn(
                f"{path_or_name} does not say in which format it was trained; taking {builder.format.kind!r} (a chat "
                "where the tokenizer has a template, else TRL's stepwise text): pass input_format if that is wrong; "
                + _OTHERS,
                stacklevel=2,
            )
        if getattr(scorer, "reference", False):
            model = attach_reference(model, path_or_name)
        model = model.to(device)
        settle_attention(unwrap(model), attn_implementation, dtype=dtype)
        return cls(model, builder, scoring=scoring, calibration=calibration, batch_tokens=batch_tokens)

    def score(
        self, problem: str, steps: Sequence[str], *, complete: bool = True, as_cut: bool = False
    ) -> list[float]:
        """Return exactly one score per step.

        `complete` says that the last step ends the solution (its end-of-solution id is added where the format has one);
        `as_cut` that the steps are pieces of one text, which join back to it as they are. Otherwise a list without line
        breaks between its steps gets the format's joiner there.

        Warns:
            UserWarning: something was put between steps.

        Raises:
            ValueError: no steps, an empty step, or more tokens than the context holds.

        Examples:
            >>> import tempfile
            >>> from eduprm.prm.testing import tiny_prm
            >>> prm = ProcessRewardModel.from_pretrained(tiny_prm(tempfile.mkdtemp() + "/prm"))
            >>> scores = prm.score("2 * 3 * 4?", ["2 * 3 = 6\\n", "6 * 4 = 24"])
            >>> len(scores), all(0 <= score <= 1 for score in scores)
            (2, True)
        """
        return self.score_many([(problem, steps)], complete=complete, as_cut=as_cut)[0]

    def score_many(
        self,
        solutions: Sequence[tuple[str, Sequence[str]]],
        *,
        complete: bool = True,
        as_cut: bool = False,
    ) -> list[list[float]]:
        """Score (problem, steps) pairs in batches; equal beginnings under one problem are computed once.

        Warns:
            UserWarning: once, how many solutions had something put between their steps (see `score`).

        Raises:
            ValueError: as `score`, naming the solution's index.
        """
        items = []
        joiners: list[str] = []
        for index, pair in enumerate(solutions):
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise ValueError(f"solution {index}: expected a pair of problem and steps, got {pair!r:.60}")
            problem, steps = pair
            try:
                prompt = self.builder.prompt_ids(checked_problem(problem))
                items.append((prompt, self.builder.solution_ids(steps, complete=complete, as_cut=as_cut)))
            except ValueError as error:
                raise ValueError(f"solution {index}: {error}") from error
            joiners += [] if as_cut else filter(None, [self.builder.added_joiner(steps, complete=complete)])
        if joiners:
            warnings.warn(joined_line(len(joiners), len(items), joiners[0]), stacklevel=2)
        return self.score_ids(items)

    def score_steps(
        self, solutions: Sequence[tuple[str, Sequence[str]]], *, complete: bool = True, as_cut: bool = False
    ) -> list[StepScores]:
        """Score (problem, steps) pairs; one that cannot be scored has the reason in place of scores.

        Raises:
            UsageError: out of memory.
        """
        return score_steps(self, solutions, complete=complete, as_cut=as_cut)

    def num_tokens(
        self, problem: str, steps: Sequence[str], *, complete: bool = True, as_cut: bool = False
    ) -> int:
        """Return how many tokens `score` would read, to compare with `max_tokens`."""
        tree = self.builder.solution_tree(problem, steps, complete=complete, as_cut=as_cut)
        return tree.num_tokens

    def score_ids(
        self, solutions: Sequence[tuple[Sequence[int], Sequence[Sequence[int]]]]
    ) -> list[list[float]]:
        """Score (prompt ids, ids of each step) pairs as they are: the caller placed separators and ends.

        Raises:
            ValueError: a step without ids, or a solution longer than the context, with both counts.
        """
        for index, (prompt, steps) in enumerate(solutions):
            if any(len(step) == 0 for step in steps) or len(steps) == 0:
                raise ValueError(
                    f"solution {index}: expected ids in every step, got {[len(s) for s in steps]}"
                )
            total = len(prompt) + sum(len(step) for step in steps)
            if self.max_tokens is not None and total > self.max_tokens:
                raise ValueError(f"solution {index}: expected at most {self.max_tokens} tokens, got {total}")
        trees = [build_tree(prompt, steps, range(-1, len(steps) - 1)) for prompt, steps in solutions]
        return [scores.tolist() for scores in self.score_trees(trees)]

    def score_forest(
        self,
        forest: pl.DataFrame,
        problems: pl.DataFrame,
        *,
        tokens: TokenSource = "ids",
        rules: Sequence[str] = (),
    ) -> pl.DataFrame:
        """Return the forest with a column `score` Float64: each node's score, as a step of its own.

        What begins alike under one question is computed once, in whichever trees it stands. A node without a token of
        its own has its parent's score; an empty root has null. `tokens` as in `forest_trees`.

        Args:
            forest: as above.
            problems: problem_id and question.
            tokens: whose tokenizer.
            rules: names of rules by which steps begin, of forests whose steps are made of several nodes
                (`eduprm.search.steps`): with a bool column `starts_RULE` that says which nodes begin one. Each gives a
                column `score_RULE`: the score of the node's step of that rule, from its beginning to the node's end.

        Raises:
            ValueError: a broken forest, ids of another tokenizer, a path longer than the context, a rule whose column
                is missing, or a published PRM.
        """
        if not isinstance(self.builder, InputBuilder):
            raise ValueError(
                "forests are scored by PRMs trained with eduprm; pass a published PRM problems and steps (score_many)"
            )
        trees = list(forest_trees(forest, problems, self.builder, tokens=tokens))
        for tree in trees:
            longest = int(tree.end_positions.max())
            if self.max_tokens is not None and longest > self.max_tokens:
                leaf = int(tree.end_positions.argmax())
                raise ValueError(
                    f"tree {tree.name}, node {leaf}: expected at most {self.max_tokens} tokens from the prompt to a "
                    f"leaf, got {longest}"
                )
        begins = {"score": np.ones(forest.height, dtype=bool)}
        for rule in rules:
            if f"starts_{rule}" not in forest.columns:
                raise ValueError(f"rules: expected a column starts_{rule} in the forest, got none")
            begins[f"score_{rule}"] = forest[f"starts_{rule}"].to_numpy()
        columns = {name: np.full(forest.height, np.nan) for name in begins}
        for tree, values in zip(trees, self._token_values(trees), strict=True):
            for name, own in begins.items():
                columns[name][tree.rows] = step_scores(
                    self.scorer, self.calibration, tree, values, own[tree.rows]
                )
        found = [pl.Series(name, column, dtype=pl.Float64).fill_nan(None) for name, column in columns.items()]
        return forest.with_columns(found)

    def score_trees(self, trees: Sequence[TokenTree]) -> list[np.ndarray]:
        """Return float64 [N] per tree; NaN for nodes that stand on the prompt alone.

        What trees of one prompt have in common is computed once.
        """
        whole = (np.ones(len(tree.parents), dtype=bool) for tree in trees)
        return [
            step_scores(self.scorer, self.calibration, tree, values, begins)
            for tree, values, begins in zip(trees, self._token_values(trees), whole, strict=True)
        ]

    def _token_values(self, trees: Sequence[TokenTree]) -> list[np.ndarray]:
        """Return the scorer's values of every token per tree."""
        return token_values(self.model, self.scorer, trees, pad_id=PAD, batch_tokens=self.batch_tokens)
