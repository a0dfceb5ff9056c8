"""Score steps with a trained PRM: one solution, many, or a whole forest with shared prefixes computed once.

For everything that asks "how good is this step?".
A score is P(right) in [0, 1] at the step's last token: the model's estimate of its training label (for Monte Carlo
labels: the share of correct answers below the step), not a judgement of the step's wording.
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
from eduprm.prm.attention import (
    TreeAttention,
    check_backbone,
    check_mask_honoured,
    context_tokens,
    implementation_of,
)
from eduprm.prm.config import InputFormat, Scoring
from eduprm.prm.data import TokenSource, forest_trees
from eduprm.prm.inputs import InputBuilder, StepBuilder, checked_problem
from eduprm.prm.joining import joined_line
from eduprm.prm.model import (
    load_classifier,
    load_language_model,
    read_input_format,
    read_model_config,
    read_scoring,
    to_tensors,
    unwrap,
)
from eduprm.prm.packing import PackedRows, group_by_length
from eduprm.prm.solutions import StepScores, score_steps
from eduprm.prm.tree import TokenTree, build_tree, split_tree

__all__ = ["ProcessRewardModel"]


class ProcessRewardModel:
    """A model that judges steps, with its tokenizer, its input format and its way of scoring.

    Attributes: `model` (a classifier with `logits` [B, L, 2], or a language model), `scorer`
    (`eduprm.prm.scorers`), `builder` (an `InputBuilder`, or what stands in for it with
    a published PRM), `max_tokens` (context, None if unbounded), `batch_tokens` (most padded tokens per forward pass; a
    larger tree is scored in pieces).
    """

    def __init__(
        self, model: Any, builder: StepBuilder, *, scoring: Scoring | None = None, batch_tokens: int = 8192
    ) -> None:
        scoring = Scoring() if scoring is None else scoring
        self.scorer = load("eduprm.prm.scorers", scoring.kind, "Scorer")(scoring)
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
        """Load a PRM folder or hub name (safetensors only).

        `scoring` None: as saved in the config, a head where nothing is saved. Scoring by likelihood takes any language
        model, its own policy among them.

        `device` None: CUDA if there is one. `dtype` None: bfloat16 on CUDA, float32 elsewhere. A checkpoint without a
        `attn_implementation` as in `TrainConfig`. A checkpoint without a
        saved format (no `eduprm` entry in its config) gets `input_format`, or by default `InputFormat()` if its
        tokenizer has a chat template and `InputFormat.stepwise()` if not; a given `input_format` always wins.

        Warns:
            UserWarning: a format had to be guessed from the tokenizer.

        Raises:
            ValueError: no such model, one without a trained head of two labels, wrong and right, or one whose attention
                drops tree masks.
        """
        device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if dtype is None:
            dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        dtype = getattr(torch, dtype) if isinstance(dtype, str) else dtype
        options: dict[str, Any] = {
            "dtype": dtype,
            "attn_implementation": implementation_of(attn_implementation, device=device, dtype=dtype),
            "trust_remote_code": trust_remote_code,
        }
        if scoring is None:
            scoring = read_scoring(read_model_config(str(path_or_name), trust_remote_code=trust_remote_code))
        if load("eduprm.prm.scorers", scoring.kind, "Scorer").needs == "head":
            model: Any = load_classifier(path_or_name, need_head=True, **options)
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
                "where the tokenizer has a template, else TRL's stepwise text): pass input_format if that is wrong",
                stacklevel=2,
            )
        model = model.to(device)
        check_mask_honoured(model)
        return cls(model, builder, scoring=scoring, batch_tokens=batch_tokens)

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
        trees, places = _merge_prefixes(solutions)
        scores = self.score_trees(trees)
        return [[float(scores[tree][node]) for node in nodes] for tree, nodes in places]

    def score_forest(
        self, forest: pl.DataFrame, problems: pl.DataFrame, *, tokens: TokenSource = "ids"
    ) -> pl.DataFrame:
        """Return the forest with a column `score` Float64: each node's score at its last token.

        Every shared prefix is computed once. A node without a token of its own has its parent's score; an empty root
        has null. `tokens` as in `forest_trees`.

        Raises:
            ValueError: a broken forest, ids of another tokenizer, a path longer than the context, or a published PRM.
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
        column = np.full(forest.height, np.nan)
        for tree, scores in zip(trees, self.score_trees(trees), strict=True):
            column[tree.rows] = scores
        return forest.with_columns(pl.Series("score", column, dtype=pl.Float64).fill_nan(None))

    def score_trees(self, trees: Sequence[TokenTree]) -> list[np.ndarray]:
        """Return float64 [N] per tree; NaN for nodes that stand on the prompt alone."""
        results = [np.full(len(tree.parents), np.nan) for tree in trees]
        pieces: list[tuple[int, TokenTree]] = []
        for index, tree in enumerate(trees):
            # Inside a tree, rows are renumbered to its own nodes so that pieces can write their scores back.
            local = build_local(tree)
            pieces += [(index, piece) for piece in split_tree(local, self.batch_tokens)]
        if not pieces:
            return results
        longest = max(int(piece.positions.max()) + 1 for _, piece in pieces)
        check_backbone(self.model.config, longest=longest)
        lengths = [piece.num_tokens for _, piece in pieces]
        for batch in group_by_length(lengths, batch_tokens=self.batch_tokens):
            chosen = [pieces[item] for item in batch]
            for (index, piece), scores in zip(
                chosen, self._forward([piece for _, piece in chosen]), strict=True
            ):
                results[index][piece.rows[piece.owned]] = scores[piece.owned]
        return results

    @torch.inference_mode()
    def _forward(self, trees: Sequence[TokenTree]) -> list[np.ndarray]:
        config = unwrap(self.model).config
        attention = TreeAttention(config._attn_implementation, scale=4 * config.get_text_config().hidden_size)
        packed, fields = attention.pack(trees, pad_id=self.builder.tokenizer.pad_token_id or 0)
        device = self.model.device
        batch = {**{name: tensor.to(device) for name, tensor in to_tensors(packed).items()}, **fields}
        values = self.scorer.scores(self.model, batch, _token_nodes(packed).to(device)).cpu().numpy()
        scores, done = [], 0
        for tree in trees:
            own = tree.lengths > 0
            column = np.full(len(own) + 1, np.nan)  # the last entry is the prompt, which has no score
            column[:-1][own] = values[done : done + int(own.sum())]
            done += int(own.sum())
            for node in np.flatnonzero(~own):
                column[node] = column[tree.parents[node]]
            scores.append(column[:-1])
        return scores


def _token_nodes(packed: PackedRows) -> torch.Tensor:
    """Return the node (its place in the table) that holds each token, int64 [B, L]; -1 for prompts and padding."""
    nodes = np.full(packed.input_ids.shape, -1, dtype=np.int64)
    firsts = packed.nodes.columns - packed.nodes.lengths + 1
    for index, (row, first, last) in enumerate(
        zip(packed.nodes.rows, firsts, packed.nodes.columns, strict=True)
    ):
        nodes[row, first : last + 1] = index
    return torch.from_numpy(nodes)


def build_local(tree: TokenTree) -> TokenTree:
    """Return the tree with `rows` numbering its own nodes."""
    import dataclasses

    return dataclasses.replace(tree, rows=np.arange(len(tree.parents)))


def _merge_prefixes(
    solutions: Sequence[tuple[Sequence[int], Sequence[Sequence[int]]]],
) -> tuple[list[TokenTree], list[tuple[int, list[int]]]]:
    """Join solutions of one prompt into a trie of steps; return the trees and each solution's (tree, its nodes)."""
    tries: dict[tuple[int, ...], dict[tuple[tuple[int, ...], ...], None]] = {}
    keyed = [(tuple(prompt), tuple(tuple(step) for step in steps)) for prompt, steps in solutions]
    for prompt, steps in keyed:
        tries.setdefault(prompt, {})[steps] = None
    trees: list[TokenTree] = []
    found: dict[tuple[Any, Any], tuple[int, list[int]]] = {}
    for prompt, unique in tries.items():
        nodes: list[tuple[int, ...]] = []
        parents: list[int] = []
        path: list[int] = []
        before: tuple[tuple[int, ...], ...] = ()
        for steps in sorted(unique):  # sorted, equal beginnings are neighbours and nodes come out in preorder
            shared = 0
            while shared < min(len(steps), len(before)) and steps[shared] == before[shared]:
                shared += 1
            path = path[:shared]
            for step in steps[shared:]:
                parents.append(path[-1] if path else -1)
                path.append(len(nodes))
                nodes.append(step)
            before = steps
            found[prompt, steps] = (len(trees), list(path))
        trees.append(build_tree(prompt, nodes, parents))
    return trees, [found[key] for key in keyed]
