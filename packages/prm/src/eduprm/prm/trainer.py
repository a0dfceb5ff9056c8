"""transformers' Trainer for packed trees: the losses, their normalisation, progress.

For one optimiser step over accumulated, packed micro-batches on any number of processes. Source: cross-entropy
against [1 - v, v] at step ends (arXiv 2503.22233); rows packed as in arXiv 2511.00413.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.data import Dataset, SequentialSampler
from transformers import Trainer, TrainerCallback

from eduprm.prm.attention import TreeAttention
from eduprm.prm.checkpoints import load_optimizer, load_weights, save_state
from eduprm.prm.model import packed_hidden, to_tensors
from eduprm.prm.reference import reference_logprobs
from eduprm.prm.step_loss import load_losses, loss_weights, step_loss
from eduprm.prm.tree import TokenTree

__all__ = [
    "PackedTreeCollator",
    "PrmTrainer",
    "RichProgress",
    "TreeBatches",
]

SCHEDULE = "schedule.json"


class TreeBatches(Dataset):
    """The micro-batches of the whole training, in order: item i is a list of trees."""

    def __init__(self, trees: Sequence[TokenTree], batches: Sequence[Sequence[int]]) -> None:
        self.trees = trees
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> list[TokenTree]:
        return [self.trees[item] for item in self.batches[index]]


class PackedTreeCollator:
    """Turn lists of trees into one batch of packed rows."""

    def __init__(self, *, pad_id: int, attention: TreeAttention) -> None:
        self.pad_id = pad_id
        self.attention = attention

    def __call__(self, items: Sequence[Sequence[TokenTree]]) -> dict[str, Any]:
        """Pack the trees of all `items`."""
        trees = [tree for item in items for tree in item]
        packed, fields = self.attention.pack(trees, pad_id=self.pad_id)
        return {**to_tensors(packed), **fields}


class PrmTrainer(Trainer):
    """Trainer whose losses are weighted means over a whole optimiser step.

    Micro-batches hold different weights, so a mean of their means would be wrong: the sum of each is divided by the
    total weight of the step, over all accumulated micro-batches and all processes, loss by loss.

    `shares` holds the share of each loss by name (`eduprm.prm.losses`).
    """

    def __init__(self, *args: Any, shares: Mapping[str, float], **options: Any) -> None:
        self.losses = load_losses(shares)
        self._step_loss: torch.Tensor | float = 0.0
        self._late: tuple[int, torch.Tensor, torch.cuda.Event | None] | None = None
        self._bad: torch.Tensor | None = None
        super().__init__(*args, **options)

    loss_is_scaled_for_ga = True
    # Never None once training has begun, and wrapped as the layout demands.
    model: Any
    optimizer: Any
    lr_scheduler: Any

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], torch.Tensor | int | None]:
        """Take the step's micro-batches and add up their weights, float32 [losses]."""
        samples = [batch for _, batch in zip(range(num_batches), epoch_iterator, strict=False)]
        if not samples:
            return samples, None
        total = torch.stack([self._weights(batch) for batch in samples]).sum(0).to(device)
        if self.args.world_size > 1:
            total = self.accelerator.reduce(total, reduction="sum")
        return samples, total

    def _weights(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return loss_weights(self.losses, batch)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Return this micro-batch's share of the step's weighted means."""
        with torch.autocast(inputs["input_ids"].device.type, torch.bfloat16, enabled=self.args.bf16):
            hidden = packed_hidden(model, inputs)
            if any(getattr(loss, "reference", False) for loss, _ in self.losses):
                # Afterwards: FSDP looks at the first pass which weights are trained, and with adapters off none is.
                inputs = {**inputs, "reference_logprobs": reference_logprobs(model, inputs)}
        totals = self._weights(inputs) if num_items_in_batch is None else num_items_in_batch
        # Gradients are averaged over processes, the sum was divided by the weight of all of them.
        processes = 1 if num_items_in_batch is None else self.accelerator.num_processes
        # accelerate's autocast ends with the model's forward; the losses' matrix products are as large as a layer's.
        with torch.autocast(hidden.device.type, torch.bfloat16, enabled=self.args.bf16):
            loss = processes * step_loss(self.losses, model, hidden, inputs, torch.as_tensor(totals))
        return (loss, {"hidden_states": hidden}) if return_outputs else loss

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Compute a micro-batch's loss and gradients.

        The loss is only added up here, and looked at once a step: each look waits for the GPU.
        """
        loss = super().training_step(*args, **kwargs)
        self._step_loss = loss.detach() + self._step_loss
        return loss

    def _get_grad_norm(self, model: torch.nn.Module, grad_norm: Any = None) -> Any:
        """Return the norm, just before the optimiser's step.

        On one GPU the numbers are looked at while the next step is computed, and the optimiser is told on the GPU to
        leave its weights alone; elsewhere at once.

        Raises:
            FloatingPointError: it, or the step's loss in this process, is NaN or infinite.
        """
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        loss, self._step_loss = self._step_loss, 0.0
        if not self._looks_late():
            self._refuse(self.state.global_step + 1, loss, norm)
            return norm
        self._look()
        numbers = torch.stack((torch.as_tensor(loss, device=norm.device), norm.detach())).float()
        bad = ~torch.isfinite(numbers).all()
        if self._bad is not None:
            bad = bad | self._bad  # nothing is learned behind a step that was refused
        self._bad = bad
        # Read by fused optimisers as GradScaler sets it: where it is 1 a step changes neither weights nor moments.
        self.optimizer.optimizer.found_inf = bad.float()
        kept = numbers.to("cpu", non_blocking=True)  # pinned; the event says when it is there
        copied = torch.cuda.Event() if numbers.is_cuda else None
        if copied is not None:
            copied.record()
        self._late = (self.state.global_step + 1, kept, copied)
        return norm

    def _looks_late(self) -> bool:
        fused = self.optimizer.optimizer.defaults.get("fused")
        return bool(fused) and self.args.device.type == "cuda" and self.args.world_size == 1

    def _look(self) -> None:
        """Look at the numbers of the step before, which the GPU has long computed."""
        if self._late is not None:
            (step, kept, copied), self._late = self._late, None
            if copied is not None:
                copied.synchronize()
            self._refuse(step, *kept)

    @staticmethod
    def _refuse(step: int, loss: Any, norm: Any) -> None:
        for what, value in (("loss", loss), ("gradient norm", norm)):
            number = float(value.full_tensor() if hasattr(value, "full_tensor") else value)
            if not math.isfinite(number):
                raise FloatingPointError(
                    f"training step {step}: expected a finite {what}, got {number}; this step changed no weight. "
                    "Lower learning_rate, or set dtype to float32 or cpu_layers to transformers"
                )

    def _finalize_training(self, *args: Any, **kwargs: Any) -> Any:
        self._look()  # at the last step's
        return super()._finalize_training(*args, **kwargs)

    def floating_point_ops(self, inputs: Any) -> int:
        """Return 0: transformers would go through all parameters in every micro-batch for a number nobody reads."""
        return 0

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        # The plan of batches is already in its final, seeded order.
        dataset: Any = self.train_dataset if train_dataset is None else train_dataset
        return SequentialSampler(dataset)

    def create_accelerator_and_postprocess(self) -> None:
        """Make the accelerator; let FSDP take effect on CPUs too, where accelerate leaves it out without a word."""
        super().create_accelerator_and_postprocess()
        state, plugin_args = self.accelerator.state, self.args.fsdp_plugin_args
        if plugin_args is None or state.distributed_type != DistributedType.MULTI_CPU:
            return
        state.fsdp_plugin = FullyShardedDataParallelPlugin(**plugin_args)
        if state.mixed_precision != "no":
            state.fsdp_plugin.set_mixed_precision(state.mixed_precision)
        state.distributed_type = DistributedType.FSDP
        self.is_fsdp_enabled = True

    # ---- checkpoints: transformers says when, eduprm.prm.checkpoints what, so that any number of processes can resume

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Leave a checkpoint's weights to `_save_optimizer_and_scheduler`."""
        if not _internal_call:
            super().save_model(output_dir, _internal_call)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        self._look()  # no checkpoint of a step that is refused
        folder, write = Path(output_dir), self.args.should_save
        save_state(folder, self.model, self.optimizer.optimizer, write=write)
        if write:
            (folder / SCHEDULE).write_text(json.dumps(self.lr_scheduler.state_dict()))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_weights(Path(resume_from_checkpoint), self.model if model is None else model)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        load_optimizer(Path(checkpoint), self.model, self.optimizer.optimizer)
        self.lr_scheduler.load_state_dict(json.loads((Path(checkpoint) / SCHEDULE).read_text()))


class RichProgress(TrainerCallback):
    """A bar with the running loss; quiet on all processes but the first."""

    def __init__(self) -> None:
        self.progress: Progress | None = None
        self.task: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Open the bar at the step to resume from."""
        if not state.is_world_process_zero:
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        # On standard error, like every bar: standard output is for results.
        self.progress = Progress(*columns, TextColumn("{task.fields[loss]}"), console=Console(stderr=True))
        self.progress.start()
        self.task = self.progress.add_task(
            "training", total=state.max_steps, completed=state.global_step, loss=""
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Move on by one optimiser step."""
        if self.progress is not None:
            self.progress.update(self.task, completed=state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Show the loss."""
        logs = kwargs.get("logs") or {}
        if self.progress is not None and "loss" in logs:
            self.progress.update(self.task, loss=f"loss {logs['loss']:.4f}")

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the bar."""
        if self.progress is not None:
            self.progress.stop()
            self.progress = None
