"""Train a PRM from token trees to a finished folder, resuming where a killed run stopped.

For one call that a recipe or a script makes.
Checkpoints are transformers' own; they lie beside the output under a name that follows from everything that decides
the result, so that a changed setting never resumes from another run's state.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import set_seed
from transformers.trainer_callback import PrinterCallback, TrainerCallback

from eduprm.core.registry import make
from eduprm.policy import resolve_model
from eduprm.prm.adapters import prepare_model
from eduprm.prm.arguments import training_arguments
from eduprm.prm.attention import TreeAttention, check_backbone, settle_attention
from eduprm.prm.checkpoints import last_complete_checkpoint, trained_weights
from eduprm.prm.compiled import compile_layers, row_unit
from eduprm.prm.config import StepCut, TrainConfig
from eduprm.prm.data import TrainingData, fit_to_length, settle_rejected
from eduprm.prm.fast import prepare_fast, settle_dtype
from eduprm.prm.inputs import InputBuilder
from eduprm.prm.loading import quiet_transformers
from eduprm.prm.loss_weights import learned_from, say_idle_losses, say_parted_pairs
from eduprm.prm.model import check_ids, unwrap
from eduprm.prm.packing import PAD, fill_up, plan_batches
from eduprm.prm.prm_folder import folder_digest
from eduprm.prm.processes import is_first_process, num_processes, share
from eduprm.prm.saving import save_prm
from eduprm.prm.trainer import PackedTreeCollator, PrmTrainer, RichProgress, TreeBatches
from eduprm.prm.tree import TokenTree
from eduprm.prm.tree_cuts import split_tree

__all__ = ["TrainResult", "train_prm"]


class TrainResult(NamedTuple):
    """Where the PRM is and what training it took.

    `losses`: (optimiser step, mean loss since the last logged step); `data`: counts of `TrainingData.summary`;
    `tokens`: tokens computed over all epochs, padding not counted; `seconds`: wall-clock of this call's training loop.
    """

    folder: Path
    losses: list[tuple[int, float]]
    data: dict[str, int]
    tokens: int
    seconds: float
    resumed_from_step: int


def fingerprint(
    backbone: str | Path,
    pieces: Sequence[TokenTree],
    config: TrainConfig,
    builder: InputBuilder,
    *,
    plan: Sequence[Sequence[int]],
) -> str:
    """Return a hash of all that decides the trained weights.

    What a curriculum read is in the plan; how many processes share the plan's batches decides nothing.
    """
    free = {"save_steps", "keep_checkpoints", "on_rejected", "sharding", "kept_states_mb"}
    free |= {"curriculum", "curriculum_options"}
    settings = [
        _backbone_mark(backbone),
        config.model_dump(mode="json", exclude=free),
        builder.format.model_dump(),
    ]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    if config.curriculum != "none":  # whose plan follows from the rest
        digest.update(json.dumps([batch for batch in plan if batch]).encode())
    for tree in pieces:
        arrays = (
            tree.token_ids,
            tree.parents,
            tree.starts,
            tree.targets,
            tree.weights,
            tree.scales,
            *tree.forks,
        )
        for array in arrays:
            digest.update(array.tobytes())
    return digest.hexdigest()[:16]


def _backbone_mark(backbone: str | Path) -> str:
    """Return a hub name as it is; of a local folder, a hash of all that it holds, wherever it lies."""
    return folder_digest(Path(backbone)) if Path(backbone).is_dir() else str(backbone)


def _make_trainer(
    model: Any,
    trees: Sequence[TokenTree],
    plan: list[list[int]],
    config: TrainConfig,
    folder: Path,
) -> PrmTrainer:
    trainer = PrmTrainer(
        model=model,
        args=training_arguments(config, folder, num_batches=len(plan)),
        train_dataset=TreeBatches(trees, plan),
        shares=config.losses,
    )
    trainer.remove_callback(PrinterCallback)
    # By now the model is where it will be trained.
    settle_attention(unwrap(model), config.attn_implementation, dtype=getattr(torch, config.dtype))
    totals = [sum(trees[item].num_tokens for item in batch) for batch in plan]
    attention = TreeAttention(
        model.config._attn_implementation,
        scale=4 * model.config.get_text_config().hidden_size,
        unit=row_unit(totals) if config.compile else 1,
        always=config.attn_implementation == "varlen" or config.compile,
        # CUDA's kernels pad masks to a multiple of 8, layer by layer.
        dense_unit=8 if torch.cuda.is_available() else 1,
    )
    trainer.data_collator = PackedTreeCollator(pad_id=PAD, attention=attention)
    if config.compile:
        compile_layers(unwrap(model))
    return trainer


def _lay_out(
    data: TrainingData, model_config: Any, config: TrainConfig, backbone: str | Path, builder: InputBuilder
) -> tuple[TrainingData, list[TokenTree], list[list[int]]]:
    """Cut to length, split what is larger than a micro-batch, and plan the micro-batches of all epochs."""
    context = getattr(model_config.get_text_config(), "max_position_embeddings", None)
    limits = [limit for limit in (config.max_length, context) if limit is not None]
    data = fit_to_length(data, min(limits)) if limits else data
    with warnings.catch_warnings():
        if not is_first_process():
            warnings.simplefilter("ignore")
        settle_rejected(data, config.on_rejected)
        check_backbone(model_config, longest=max(int(tree.end_positions.max()) for tree in data.trees))
        pieces = [piece for tree in data.trees for piece in split_tree(tree, config.batch_tokens)]
        pieces = [piece for piece in pieces if learned_from(piece, config.losses)]
        say_idle_losses(pieces, config.losses)
        say_parted_pairs(data.trees, config.losses, batch_tokens=config.batch_tokens)
    order = make("eduprm.prm.curricula", config.curriculum, "Curriculum", config.curriculum_options)
    plan = plan_batches(
        [piece.num_tokens for piece in pieces],
        batch_tokens=config.batch_tokens,
        batch_trees=config.batch_trees,
        orders=order.orders(
            pieces, epochs=config.epochs, seed=config.seed, backbone=backbone, builder=builder
        ),
    )
    return data, pieces, fill_up(plan, processes=num_processes())


def train_prm(
    backbone: str | Path,
    data: TrainingData,
    builder: InputBuilder,
    output: str | Path,
    *,
    config: TrainConfig | None = None,
    steps: StepCut | None = None,
    progress: bool = True,
    overwrite: bool = False,
    trust_remote_code: bool = False,
    callbacks: Sequence[TrainerCallback] = (),
) -> TrainResult:
    """Train on packed trees and write a folder that stands alone (safetensors, tokenizer, input format).

    `backbone` is a folder, a hub name or a model that ships. `builder` must be the one that made `data`; `steps` says
    how its solutions were cut, for those who score others. A killed call with `config.save_steps` goes on from its last
    checkpoint when called again with the same arguments, and ends with the same weights. `callbacks` are transformers'
    own, to look at the model while it learns.

    Under torchrun or `accelerate launch` every process calls this with the same arguments; the first one writes and
    shows progress. The number of processes and `config.sharding` change the weights by rounding alone, and a call
    with another number goes on from the same checkpoints.

    Raises:
        ValueError: rows that cannot be trained on (unless skipped), a backbone that cannot take tree masks, or
            processes that the config cannot use.
        FileExistsError: `output` exists and `overwrite` is False.
        FloatingPointError: a loss or a gradient norm that is NaN or infinite.
    """
    config = settle_dtype(TrainConfig() if config is None else config)
    backbone, output = resolve_model(str(backbone)), Path(output)
    if output.exists() and not overwrite:
        raise FileExistsError(f"expected no folder at {output}, pass overwrite=True to replace it")
    _check_processes(config)
    set_seed(config.seed)
    model = prepare_model(backbone, config, trust_remote_code=trust_remote_code)
    data, pieces, plan = _lay_out(data, model.config, config, backbone, builder)
    check_ids(model, pieces)
    mark = fingerprint(backbone, pieces, config, builder, plan=plan)
    work = output.with_name(f".{output.name}.train-{mark}")
    tokens = sum(pieces[item].num_tokens for batch in plan for item in batch)
    layers = prepare_fast(model, config, tokens=tokens)
    with quiet_transformers(), warnings.catch_warnings():
        # FSDP warns of in-place work on the logits; there is none (packed_hidden, the losses).
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
        trainer = _make_trainer(model, pieces, plan, config, work)
        for callback in callbacks:
            trainer.add_callback(callback)
        seconds, resumed = _run(trainer, work, progress=progress)
    losses = [(int(entry["step"]), entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
    trained = _whole_model(trainer, backbone, config, trust_remote_code=trust_remote_code)
    if is_first_process():
        dtype = torch.bfloat16 if config.dtype == "bfloat16" else torch.float32
        notes = {
            "training": {
                "fingerprint": mark,
                "config": config.model_dump(mode="json"),
                "data": data.summary(),
                "decoder_layers": layers,
            }
        }
        save_prm(
            trained,
            builder.tokenizer,
            builder.format,
            output,
            dtype=dtype,
            notes=notes,
            steps=steps,
            scoring=config.scoring,
        )
        shutil.rmtree(work, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    return TrainResult(output, losses, data.summary(), tokens, seconds, resumed)


def _check_processes(config: TrainConfig) -> None:
    count = num_processes()
    if config.accumulation % count:
        raise ValueError(
            f"expected accumulation, the micro-batches of one optimiser step, to be a multiple of the {count} "
            f"processes that share them, got {config.accumulation}"
        )
    if config.sharding == "fsdp" and count == 1:
        raise ValueError(
            "sharding='fsdp' needs several processes, got one: start with torchrun --nproc-per-node"
        )
    if config.sharding == "fsdp" and config.compile:
        raise ValueError("compile is for whole weights: expected sharding='none' with it, got 'fsdp'")


def _whole_model(
    trainer: PrmTrainer, backbone: str | Path, config: TrainConfig, *, trust_remote_code: bool
) -> Any:
    """Return the trained model; weights sharded over processes are gathered into a fresh copy on the first."""
    if not trainer.is_fsdp_enabled:
        return trainer.accelerator.unwrap_model(trainer.model)
    weights = trained_weights(trainer.model)  # every process takes part
    if not is_first_process():
        return None
    whole = prepare_model(backbone, config, trust_remote_code=trust_remote_code)
    whole.load_state_dict(weights, strict=False)  # what is frozen is in the backbone
    return whole


def _run(trainer: PrmTrainer, work: Path, *, progress: bool) -> tuple[float, int]:
    bar = RichProgress() if progress and is_first_process() else None
    if bar is not None:
        trainer.add_callback(bar)
    checkpoint = share(last_complete_checkpoint(work))  # one answer, whatever a shared disk shows the others
    began = time.perf_counter()
    try:
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    finally:
        if bar is not None and bar.progress is not None:
            bar.progress.stop()
    return time.perf_counter() - began, 0 if checkpoint is None else int(checkpoint.name.rsplit("-", 1)[-1])
