"""Stages `prm` and `score`: train the PRM on the labelled training trees, score the held-out ones with it."""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path
from typing import Any, Literal

import polars as pl

from eduprm.core.command_line import UsageError
from eduprm.core.progress import Bar, bar, say
from eduprm.core.seeds import derive_seed
from eduprm.forest import leaf_paths, write_shard, write_table
from eduprm.label import grade_leaves
from eduprm.pipeline.label_trees import grader_of, step_segmenters
from eduprm.pipeline.run_folder import RunFolder
from eduprm.pipeline.settings import TrainSettings
from eduprm.prm import (
    InputBuilder,
    InputFormat,
    ProcessRewardModel,
    StepCut,
    TrainResult,
    labelled_trees,
    train_prm,
)
from eduprm.prm.model import is_prm
from eduprm.prm.processes import num_processes
from eduprm.problems import messages_for
from eduprm.problems.prompts import STEPS
from eduprm.search import PolicySettings, PolicyTokenizer, resolve_model
from eduprm.search.grow import Growth, Job, collect, grow_trees
from eduprm.search.strategies import Greedy

_PLAIN = InputFormat(kind="plain", append_eos=False)


def prm_stage(settings: TrainSettings, folder: RunFolder) -> dict[str, Any]:
    """Write prm/ and training.json."""
    result = train(settings, folder)
    folder.write_json("training.json", {"losses": result.losses, "data": result.data})
    rate = result.tokens / max(result.seconds, 1e-9)
    first, last = (
        statistics.fmean(loss for _, loss in part) for part in (result.losses[:9], result.losses[-9:])
    )
    say(
        f"prm: {result.data['trees']} trees, {result.data['labels']} labels, "
        f"loss {first:.3f} at first, {last:.3f} at last (means of 9 records), {rate:.0f} tokens/s"
    )
    return {
        "data": result.data,
        "tokens": result.tokens,
        "training_s": round(result.seconds, 1),
        "processes": num_processes(),
    }


def train(settings: TrainSettings, folder: RunFolder) -> TrainResult:
    """Train with all processes there are; the first one writes prm/ and shows progress."""
    backbone = resolve_model(settings.backbone)
    trust = settings.policy.trust_remote_code
    style = folder.facts("problems").get("style")
    builder = InputBuilder.from_pretrained(
        backbone, settings.prm.input or _input_format(style), trust_remote_code=trust
    )
    problems = pl.read_parquet(folder.path("problems.parquet"))
    labelled = pl.read_parquet(folder.path("labels", "train-*.parquet"))
    try:
        data = labelled_trees(labelled, problems, builder, tokens=_tokens(settings, builder.tokenizer))
        config = settings.prm.train
        if config.seed == 0:
            config = config.model_copy(update={"seed": derive_seed(settings.seed, "prm") % 2**31})
        return train_prm(
            backbone,
            data,
            builder,
            folder.path("prm"),
            config=config,
            steps=_cut(settings, folder),
            overwrite=True,
            trust_remote_code=trust,
        )
    except ValueError as error:
        raise UsageError(f"prm: {error}") from None


def _tokens(settings: TrainSettings, tokenizer: Any) -> Literal["ids", "text"]:
    """Trees speak the policy's token ids; a backbone with another vocabulary reads their texts."""
    if settings.backbone == settings.policy.model:
        return "ids"
    policy = settings.policy
    own = InputBuilder.from_pretrained(
        resolve_model(policy.model),
        _PLAIN,
        trust_remote_code=policy.trust_remote_code,
    )
    return "ids" if own.tokenizer.get_vocab() == tokenizer.get_vocab() else "text"


def _input_format(style: str | None) -> InputFormat:
    """The policy's own prompt where it is one question: by likelihood, a PRM is asked what the policy was asked."""
    if style == STEPS:
        system, user = (turn["content"] for turn in messages_for("{problem}", STEPS))
        return InputFormat(kind="chat", system=system, template=user)
    return InputFormat(kind="plain", template="{problem}\n")


def _cut(settings: TrainSettings, folder: RunFolder) -> StepCut | None:
    """How the run's trees are cut; None for problems that came with prompts of their own."""
    style = folder.facts("problems").get("style")
    if style is None:
        return None
    return StepCut(segmenters=step_segmenters(settings), policy=settings.policy.model, style=style)


def score_stage(settings: TrainSettings, folder: RunFolder) -> dict[str, Any]:
    """Write scores/*.parquet: the held-out trees with a column `score`."""
    problems = pl.read_parquet(folder.path("problems.parquet"))
    files = sorted(folder.path("labels").glob("test-*.parquet"))
    todo = [path for path in files if not folder.path("scores", path.name).is_file()]
    began, nodes = time.monotonic(), 0
    if todo:
        prm = ProcessRewardModel.from_pretrained(
            folder.path("prm"), settings.policy.device, trust_remote_code=settings.policy.trust_remote_code
        )
        tokens = _tokens(settings, prm.builder.tokenizer)
        with bar("score", total=len(todo)) as shown:
            for path in todo:
                labelled = pl.read_parquet(path)
                scored = prm.score_forest(labelled, problems, tokens=tokens)
                write_shard(scored, folder.path("scores"), path.stem)
                nodes += scored.height
                shown.advance(note=f"{nodes / max(shown.seconds, 1e-9):.0f} fragments/s")
    _score_before(settings, folder, problems, files)
    _decode_by_prm(settings, folder, problems)
    seconds = time.monotonic() - began
    say(f"score: {nodes} fragments in {seconds:.0f} s")
    return {"nodes": nodes}


def _score_before(
    settings: TrainSettings, folder: RunFolder, problems: pl.DataFrame, files: list[Path]
) -> None:
    """Write before/*.parquet, the EDU trees scored by what the PRM was trained from, where that is a PRM itself."""
    todo = [path for path in files if not folder.path("before", path.name).is_file()]
    if not todo or not is_prm(resolve_model(settings.backbone)):
        return
    trust = settings.policy.trust_remote_code
    prm = ProcessRewardModel.from_pretrained(
        resolve_model(settings.backbone), settings.policy.device, trust_remote_code=trust
    )
    tokens = _tokens(settings, prm.builder.tokenizer)
    with bar("score before", total=len(todo)) as shown:
        for path in todo:
            edu = pl.read_parquet(path).filter(tree="edu")
            write_shard(prm.score_forest(edu, problems, tokens=tokens), folder.path("before"), path.stem)
            shown.advance()


def _decode_by_prm(settings: TrainSettings, folder: RunFolder, problems: pl.DataFrame) -> None:
    """Write scores/greedy-by-prm.parquet: a PRM by likelihood is a policy too, and its own answers are a rival.

    Columns problem_id, answer, correct, text. Nothing where the PRM is a classifier or reads other tokens.
    """
    target = folder.path("scores", "greedy-by-prm.parquet")
    if settings.prm.train.scoring.kind != "likelihood" or target.is_file():
        return
    if _tokens(settings, InputBuilder.from_pretrained(folder.path("prm"), _PLAIN).tokenizer) != "ids":
        return
    policy = settings.policy.model_copy(update={"model": str(folder.path("prm"))})
    held_out = problems.filter(split="test")
    greedy = Greedy(max_tokens_per_path=settings.search.budget.max_tokens_per_path)
    prompts = held_out.select("problem_id", "prompt_token_ids").iter_rows()
    jobs = [Job(problem_id, tuple(ids), greedy) for problem_id, ids in prompts]
    with bar("decode by the PRM", total=len(jobs)) as shown:
        leaves = leaf_paths(asyncio.run(_grow(jobs, policy, shown)).forest)
    with grader_of(settings) as grader:
        graded = grade_leaves(leaves, held_out, grader)
    texts = leaves.select("problem_id", "tree", "leaf", "text")
    joined = graded.join(texts, on=["problem_id", "tree", "leaf"], how="left", maintain_order="left")
    write_table(joined.select("problem_id", "answer", "correct", "text"), target)


async def _grow(jobs: list[Job], policy: PolicySettings, shown: Bar) -> Growth:
    engine, done = policy.open_engine(), []
    decoder = PolicyTokenizer(policy.model, trust_remote_code=policy.trust_remote_code)
    async for grown in grow_trees(jobs, engine=engine, decoder=decoder, concurrency=2 * policy.max_rows):
        done.append(grown)
        shown.advance(note=f"{engine.num_decoded / max(shown.seconds, 1e-9):.0f} tokens/s")
    return collect(done)
