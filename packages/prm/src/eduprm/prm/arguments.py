"""From our settings to transformers' TrainingArguments.

For one process or many, whole weights or FSDP2. FSDP1 is not offered: transformers drops
it in its next version.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import SchedulerType, TrainingArguments

from eduprm.prm.config import TrainConfig
from eduprm.prm.processes import num_processes

__all__ = ["check_scheduler", "training_arguments"]


def check_scheduler(name: str) -> None:
    """Raise ValueError where transformers has no learning-rate schedule of that name.

    Examples:
        >>> check_scheduler("cosin")
        Traceback (most recent call last):
        ValueError: expected one of linear, cosine, ... got 'cosin'
    """
    known = [one.value for one in SchedulerType]
    if name not in known:
        raise ValueError(f"expected one of {', '.join(known)}, got {name!r}")


def training_arguments(config: TrainConfig, folder: Path, *, num_batches: int) -> TrainingArguments:
    """Return the arguments of a training over `num_batches` micro-batches (of all processes) into `folder`."""
    steps = -(-num_batches // config.accumulation)
    cuda = torch.cuda.is_available()
    options: dict[str, Any] = {
        "output_dir": str(folder),
        "num_train_epochs": 1,  # the plan of batches spans all epochs
        "per_device_train_batch_size": 1,  # one planned micro-batch
        "gradient_accumulation_steps": config.accumulation // num_processes(),
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": config.scheduler,
        "warmup_steps": round(config.warmup * steps),
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "seed": config.seed,
        "bf16": config.dtype == "bfloat16",
        "save_strategy": "no" if config.save_steps is None else "steps",
        "save_steps": config.save_steps or 500,
        # One more than wanted: the newest may be half-written when the run is killed.
        "save_total_limit": config.keep_checkpoints + 1,
        "logging_steps": max(1, steps // 200),
        "report_to": "none",
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "use_cpu": not cuda,
        "dataloader_pin_memory": cuda,
        "ddp_find_unused_parameters": False,
        # The filter waits for the GPU in every micro-batch, and shows an average instead of a loss that is not finite.
        "logging_nan_inf_filter": False,
    }
    options |= _sharded(config) if config.sharding == "fsdp" else _whole(config)
    # Batches are copied from pinned memory while the GPU still computes.
    options["accelerator_config"] = {**options.get("accelerator_config", {}), "non_blocking": cuda}
    return TrainingArguments(**{**options, **config.trainer_arguments})


def _whole(config: TrainConfig) -> dict[str, Any]:
    if not config.gradient_checkpointing:
        return {}
    return {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}}


def _sharded(config: TrainConfig) -> dict[str, Any]:
    return {
        "fsdp": True,
        # FSDP recomputes activations itself, which gathers the weights once less.
        "fsdp_config": {"version": 2, "activation_checkpointing": config.gradient_checkpointing},
        # Otherwise every process would hold whole gradients until its last micro-batch of a step.
        "accelerator_config": {"gradient_accumulation_kwargs": {"sync_each_batch": True}},
    }
