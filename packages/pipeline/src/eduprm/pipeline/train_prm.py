"""Stages `prm` and `score`: train the PRM on the labelled training trees, score the held-out ones with it."""

from __future__ import annotations

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
from eduprm.pipeline.calibrating import calibrate, left_to_train, score_trees
from eduprm.pipeline.gold_check import gradable
from eduprm.pipeline.growing import grow_shard
from eduprm.pipeline.label_steps import step_segmenters
from eduprm.pipeline.label_trees import grader_name, open_grader
from eduprm.pipeline.prefix_prm import open_prm
from eduprm.pipeline.prm_input import chosen_format
from eduprm.pipeline.run_folder import RunFolder
from eduprm.pipeline.settings import TrainSettings
from eduprm.pipeline.settings_parts import LabelSettings
from eduprm.pipeline.strategies import run_strategies
from eduprm.policy import resolve_model
from eduprm.prm import (
    InputBuilder,
    InputFormat,
    StepCut,
    TrainConfig,
    TrainResult,
    labelled_trees,
    train_prm,
)
from eduprm.prm.loading import is_prm
from eduprm.prm.processes import num_processes
from eduprm.search import PolicySettings, PolicyTokenizer
from eduprm.search.grow import Grown, Growth, Job
from eduprm.search.strategies.greedy import Greedy

_PLAIN = InputFormat(kind="plain", append_eos=False)


def prm_stage(settings: TrainSettings, folder: RunFolder) -> dict[str, Any]:
    """Write prm/ and training.json."""
    result = train(settings, folder)
    by_none = settings.prm.calibrate == "none"
    calibrated = {} if by_none else calibrate(settings, folder, _tokens(settings, folder))
    folder.write_json("training.json", {"losses": result.losses, "data": result.data})
    rate = result.tokens / max(result.seconds, 1e-9)
    count = max(
        1, min(9, len(result.losses) // 3)
    )  # else the two means of a short training would share records
    first, last = (
        statistics.fmean(loss for _, loss in part) for part in (result.losses[:count], result.losses[-count:])
    )
    say(
        f"prm: {result.data['trees']} trees, {result.data['labels']} labels, "
        f"loss {first:.3f} at first, {last:.3f} at last (means of {count} of "
        f"{len(result.losses)} records), {rate:.0f} tokens/s"
    )
    return {
        "data": result.data,
        "tokens": result.tokens,
        "training_s": round(result.seconds, 1),
        "processes": num_processes(),
        **({"calibration": calibrated} if calibrated else {}),
    }


def _tokens(settings: TrainSettings, folder: RunFolder) -> Literal["ids", "text"]:
    own = InputBuilder.from_pretrained(folder.path("prm"), _PLAIN).tokenizer
    return token_source(settings.backbone, settings.policy, own)


def train(settings: TrainSettings, folder: RunFolder) -> TrainResult:
    """Train with all processes there are; the first one writes prm/ and shows progress."""
    format, line = _format(settings, folder)
    say(f"prm: {line}")
    labelled = left_to_train(settings, pl.read_parquet(folder.path("labels", "train-*.parquet")))
    return train_on(
        _weighed(labelled, settings.label),
        pl.read_parquet(folder.path("problems.parquet")),
        folder.path("prm"),
        backbone=settings.backbone,
        policy=settings.policy,
        format=format,
        config=seeded(settings.prm.train, settings.seed, "prm"),
        steps=_cut(settings, folder),
    )


def _weighed(labelled: pl.DataFrame, label: LabelSettings) -> pl.DataFrame:
    """The trees of questions that count; the others are said.

    Raises:
        UsageError: no question counts.
    """
    named = {} if label.weights == "one" else {"--label.weights": label.weights}
    named |= {} if label.filter is None else {"--label.filter": label.filter}
    if not named:
        return labelled
    kept = labelled.filter((pl.col("weight") > 0).any().over("problem_id"))
    count, left = labelled["problem_id"].n_unique(), kept["problem_id"].n_unique()
    if not left:
        flags = ", ".join(" ".join(one) for one in named.items())
        raise UsageError(f"{flags}: none of the {count} questions weighs more than 0")
    if left < count:
        say(
            f"prm: {count - left} of {count} questions weigh 0 by {' and '.join(named.values())} and are left out"
        )
    return kept


def seeded(config: TrainConfig, *parts: int | str) -> TrainConfig:
    """The config with a seed of the run's, unless it has one of its own."""
    return config if config.seed else config.model_copy(update={"seed": derive_seed(*parts) % 2**31})


def train_on(
    labelled: pl.DataFrame,
    problems: pl.DataFrame,
    output: Path,
    *,
    backbone: str,
    policy: PolicySettings,
    format: InputFormat,
    config: TrainConfig,
    steps: StepCut | None = None,
) -> TrainResult:
    """Train a PRM on labelled trees of the policy.

    Args:
        labelled: the trees, `eduprm.label.label_forest`.
        problems: PROBLEM_SCHEMA.
        output: folder of the PRM.
        backbone: model it is trained from.
        policy: what grew the trees.
        format: how problem and steps become tokens.
        config: of the training.
        steps: how the trees were cut, for those who score other solutions.

    Raises:
        UsageError: trees or settings that cannot be trained on.
    """
    path, trust = resolve_model(backbone), policy.trust_remote_code
    if isinstance(frozen := config.curriculum_options.get("prm"), str):
        named = {**config.curriculum_options, "prm": resolve_model(frozen)}
        config = config.model_copy(update={"curriculum_options": named})
    builder = InputBuilder.from_pretrained(path, format, trust_remote_code=trust)
    try:
        data = labelled_trees(
            labelled, problems, builder, tokens=token_source(backbone, policy, builder.tokenizer)
        )
        return train_prm(
            path, data, builder, output, config=config, steps=steps, overwrite=True, trust_remote_code=trust
        )
    except ValueError as error:
        raise UsageError(f"prm: {error}") from None


def token_source(backbone: str, policy: PolicySettings, tokenizer: Any) -> Literal["ids", "text"]:
    """Trees speak the policy's token ids; a backbone with another vocabulary reads their texts."""
    if backbone == policy.model:
        return "ids"
    own = _tokenizer(policy.model, policy)
    return "ids" if own.get_vocab() == tokenizer.get_vocab() else "text"


def _format(settings: TrainSettings, folder: RunFolder) -> tuple[InputFormat, str]:
    """How the PRM reads problems, and the line that says so."""
    tokenizer = _tokenizer(settings.backbone, settings.policy)
    return chosen_format(
        settings.prm.input,
        folder.facts("problems").get("style"),
        has_chat_template=bool(getattr(tokenizer, "chat_template", None)),
    )


def _tokenizer(model: str, policy: PolicySettings) -> Any:
    trust = policy.trust_remote_code
    return InputBuilder.from_pretrained(resolve_model(model), _PLAIN, trust_remote_code=trust).tokenizer


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
        prm = open_prm(folder.path("prm"), settings.policy)
        tokens = token_source(settings.backbone, settings.policy, prm.builder.tokenizer)
        with bar("score", total=len(todo)) as shown:
            for path in todo:
                labelled = pl.read_parquet(path)
                scored = score_trees(prm, labelled, problems, tokens=tokens)
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
    """Write before/*.parquet: the first strategy's trees, scored by what the PRM was trained from, if that is a PRM."""
    todo = [path for path in files if not folder.path("before", path.name).is_file()]
    if not todo or not is_prm(resolve_model(settings.backbone)):
        return
    prm = open_prm(settings.backbone, settings.policy)
    tokens = token_source(settings.backbone, settings.policy, prm.builder.tokenizer)
    tree = run_strategies(settings)[0].tree
    with bar("score before", total=len(todo)) as shown:
        for path in todo:
            own = pl.read_parquet(path).filter(tree=tree)
            write_shard(prm.score_forest(own, problems, tokens=tokens), folder.path("before"), path.stem)
            shown.advance()


def _decode_by_prm(settings: TrainSettings, folder: RunFolder, problems: pl.DataFrame) -> None:
    """Write scores/greedy-by-prm.parquet: a PRM by likelihood is a policy too, and its own answers are a rival.

    Columns problem_id, answer, correct, text. Nothing where the PRM is a classifier or reads other tokens.
    """
    target = folder.path("scores", "greedy-by-prm.parquet")
    if settings.prm.train.scoring.kind != "likelihood" or target.is_file():
        return
    if _tokens(settings, folder) != "ids":
        return
    policy = settings.policy.model_copy(update={"model": str(folder.path("prm"))})
    held_out = gradable(folder, problems.filter(split="test"))
    greedy = Greedy(max_tokens_per_path=settings.search.budget.max_tokens_per_path)
    prompts = held_out.select("problem_id", "prompt_token_ids").iter_rows()
    jobs = [Job(problem_id, tuple(ids), greedy) for problem_id, ids in prompts]
    with bar("decode by the PRM", total=len(jobs)) as shown:
        leaves = leaf_paths(_grow(jobs, policy, shown).forest)
    name = grader_name(settings.problem, settings.problems)
    with open_grader(name, settings.problem.grader_options) as grader:
        graded = grade_leaves(leaves, held_out, grader)
    texts = leaves.select("problem_id", "tree", "leaf", "text")
    joined = graded.join(texts, on=["problem_id", "tree", "leaf"], how="left", maintain_order="left")
    write_table(joined.select("problem_id", "answer", "correct", "text"), target)


def _grow(jobs: list[Job], policy: PolicySettings, shown: Bar) -> Growth:
    engine = policy.open_engine()
    tokenizer = PolicyTokenizer(policy.model, trust_remote_code=policy.trust_remote_code)

    def told(_: Grown) -> None:
        shown.advance(note=f"{engine.num_decoded / max(shown.seconds, 1e-9):.0f} tokens/s")

    return grow_shard(jobs, engine=engine, tokenizer=tokenizer, max_rows=policy.max_rows, on_tree=told)
