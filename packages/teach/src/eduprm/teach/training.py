"""The adapter's training: transformers' Trainer over batches that are given, loss on solutions alone.

The output embedding, a fifth of the work, is computed only where a solution's token is predicted. Rows are padded on
the right and seen causally, so no token sees padding and no mask is needed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch.nn import functional
from torch.utils.data import SequentialSampler
from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.pytorch_utils import Conv1D
from transformers.trainer_callback import PrinterCallback

from eduprm.policy import resolve_model
from eduprm.teach.examples import Example
from eduprm.teach.settings import WarmupSettings

_IGNORED = -100


class SolutionTrainer(Trainer):
    """Trainer whose items are whole batches, in their final order."""

    model: Any
    half: bool  # whether it computes in bfloat16

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean cross-entropy over the solutions' tokens, in nats."""
        causal = model.get_base_model()
        targets = inputs["labels"][:, 1:]
        taught = targets != _IGNORED
        # The model's own forward, whatever it does behind its output embedding (scales, soft caps).
        chosen = causal.get_output_embeddings().register_forward_pre_hook(
            lambda _, states: (states[0][:, :-1][taught],)
        )
        try:
            # Not by TrainingArguments' bf16, which would make float32 of all that the model returns.
            with torch.autocast(targets.device.type, dtype=torch.bfloat16, enabled=self.half):
                logits = causal(input_ids=inputs["input_ids"], use_cache=False).logits
        finally:
            chosen.remove()
        return functional.cross_entropy(logits.float(), targets[taught])

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return SequentialSampler(self.train_dataset)  # type: ignore[arg-type]


class _Lines(TrainerCallback):
    """A line now and then, seen at once also where the output goes into a file."""

    def __init__(self, tokens: Sequence[int]) -> None:
        """`tokens`: of each batch."""
        self._tokens = tokens

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._began, self._first = time.monotonic(), state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if logs and "loss" in logs:
            rate, step = logs["learning_rate"], state.global_step
            speed = sum(self._tokens[self._first : step]) / (time.monotonic() - self._began)
            left = sum(self._tokens[step : state.max_steps]) / speed
            print(
                f"batch {step} of {state.max_steps}: loss {logs['loss']:.4f}, rate {rate:.2e}, "
                f"{speed:,.0f} tokens/s, about {left:.0f} s left",
                flush=True,
            )


def collate(items: Sequence[Sequence[Example]]) -> dict[str, torch.Tensor]:
    """Pad a batch on the right: `input_ids` and `labels` [B, L], labels -100 outside solutions."""
    (batch,) = items
    length = max(example.num_tokens for example in batch)
    ids = torch.zeros(len(batch), length, dtype=torch.long)
    labels = torch.full_like(ids, _IGNORED)
    for row, example in enumerate(batch):
        ids[row, : example.num_tokens] = torch.tensor(example.prompt + example.solution)
        labels[row, len(example.prompt) : example.num_tokens] = torch.tensor(example.solution)
    return {"input_ids": ids, "labels": labels}


def adapted_model(settings: WarmupSettings) -> PeftModel:
    """The policy in float32 with a fresh adapter on all linear layers of its upper part."""
    model = AutoModelForCausalLM.from_pretrained(resolve_model(settings.model), dtype=torch.float32)
    layers = model.config.num_hidden_layers
    first = layers - min(settings.lora.last_layers or layers, layers)
    set_seed(settings.seed)
    linear = torch.nn.Linear, Conv1D  # the latter: GPT-2's
    config = LoraConfig(
        r=settings.lora.rank,
        lora_alpha=settings.lora.alpha,  # type: ignore[arg-type]
        target_modules=[  # peft takes no layers_to_transform beside "all-linear"
            name
            for name, module in model.named_modules()
            if isinstance(module, linear) and first <= _layer_of(name) < layers
        ],
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def _layer_of(name: str) -> int:
    """Number of the decoder layer a module belongs to; -1 outside of them."""
    numbers = [int(part) for part in name.split(".") if part.isdecimal()]
    return numbers[0] if numbers else -1


def training_arguments(settings: WarmupSettings, folder: Path, *, num_batches: int) -> TrainingArguments:
    """One batch a step, a rate that rises, stays and falls to 0."""
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=num_batches,
        per_device_train_batch_size=1,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="warmup_stable_decay",
        lr_scheduler_kwargs={"num_decay_steps": settings.decay_batches, "decay_type": "linear"},
        warmup_steps=settings.rise_batches,
        weight_decay=0.0,
        max_grad_norm=1.0,
        logging_first_step=True,
        logging_steps=10,
        save_steps=settings.save_steps,
        report_to=[],
        seed=settings.seed,
        data_seed=settings.seed,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        disable_tqdm=True,
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # with several, Trainer would cut batches by DataParallel
    return arguments


def train_adapter(settings: WarmupSettings, batches: Sequence[Sequence[Example]], folder: Path) -> PeftModel:
    """Train, going on from the last checkpoint in `folder` if there is one."""
    model = adapted_model(settings)
    trainer = SolutionTrainer(
        model=model,
        args=training_arguments(settings, folder, num_batches=len(batches)),
        train_dataset=list(batches),  # type: ignore[arg-type]
        data_collator=collate,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.half = settings.dtype == "bfloat16"
    trainer.add_callback(_Lines([sum(example.num_tokens for example in batch) for batch in batches]))
    checkpoint = usable_checkpoint(folder, num_batches=len(batches), decay_batches=settings.decay_batches)
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    return model


def usable_checkpoint(folder: Path, *, num_batches: int, decay_batches: int) -> Path | None:
    """The newest whole checkpoint that a training of so many batches would itself have written; None without one.

    Before the rate falls, trainings of any length are the same; from there on only those of one length are.
    """
    found = []
    for path in folder.glob("checkpoint-*"):
        try:
            state = json.loads((path / "trainer_state.json").read_text())  # written last
            step, length = int(state["global_step"]), int(state["max_steps"])
        except (OSError, ValueError, KeyError):
            continue
        if length == num_batches or step <= min(length, num_batches) - decay_batches:
            found.append((step, path))
    return max(found)[1] if found else None
