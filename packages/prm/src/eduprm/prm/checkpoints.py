"""The state of a training on disk, the same whether its weights were whole, replicated or sharded over processes.

For checkpoints that any number of processes can resume from, with FSDP or without.
Only what is trained is saved, by parameter name, in safetensors; a frozen backbone stays where it came from.
Gathering and scattering are torch.distributed.checkpoint.state_dict's. The first process holds all trained weights and
their optimiser state while it writes or reads: 12 bytes per trained weight with AdamW.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import distributed
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

__all__ = ["last_complete_checkpoint", "load_optimizer", "load_weights", "save_state", "trained_weights"]

WEIGHTS, OPTIMIZER, GROUPS = "trained.safetensors", "optimizer.safetensors", "optimizer.json"
_SAVE = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)


def last_complete_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint that was written to its end (its state file comes last), None if there is none."""
    found = []
    for path in folder.glob("checkpoint-*"):
        try:
            found.append((json.loads((path / "trainer_state.json").read_text())["global_step"], path))
        except (OSError, ValueError, KeyError):
            continue
    return max(found)[1] if found else None


def trained_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return whole trainable parameters by name, on the first process; the others take part and get nothing."""
    weights: dict[str, Any] = get_model_state_dict(model, options=_SAVE)
    return weights


def save_state(
    folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, *, write: bool
) -> None:
    """Gather on all processes and, where `write`, put weights and optimiser state into `folder`."""
    weights = trained_weights(model)
    state = get_optimizer_state_dict(model, optimizer, options=_SAVE)
    if not write:
        return
    folder.mkdir(parents=True, exist_ok=True)
    per_weight: dict[str, dict[str, Any]] = state["state"]  # type: ignore[assignment]  # torch's type is wider
    tensors = {f"{kind}/{name}": value for name, own in per_weight.items() for kind, value in own.items()}
    save_file(_plain(weights), folder / WEIGHTS)
    save_file(_plain(tensors), folder / OPTIMIZER)
    (folder / GROUPS).write_text(json.dumps(state["param_groups"]))


def load_weights(folder: Path, model: torch.nn.Module) -> None:
    """Put saved weights into the trainable parameters of `model`, sharded or not.

    Raises:
        ValueError: a trainable parameter that the checkpoint lacks, or the other way round.
    """
    weights: dict[str, Any] = load_file(folder / WEIGHTS) if _reads() else {}
    if _reads():
        options = StateDictOptions(full_state_dict=False, ignore_frozen_params=True)
        wanted = set(get_model_state_dict(model, options=options))
        if wanted != set(weights):
            strange = sorted(wanted ^ set(weights))
            raise ValueError(f"{folder} is of another training: it and the model differ in {strange[:5]}")
    set_model_state_dict(model, weights, options=_load_options(strict=False))


def load_optimizer(folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put saved optimiser state into `optimizer`, sharded as `model` is."""
    state: dict[str, Any] = {}
    if _reads():
        groups = json.loads((folder / GROUPS).read_text())
        per_weight: dict[str, dict[str, Any]] = {}
        for key, value in load_file(folder / OPTIMIZER).items():
            kind, _, name = key.partition("/")
            per_weight.setdefault(name, {})[kind] = value
        state = {"state": per_weight, "param_groups": groups}
    set_optimizer_state_dict(model, optimizer, state, options=_load_options(strict=True))


def _reads() -> bool:
    return not distributed.is_initialized() or distributed.get_rank() == 0


def _load_options(*, strict: bool) -> StateDictOptions:
    return StateDictOptions(
        full_state_dict=True,
        broadcast_from_rank0=distributed.is_initialized() and distributed.get_world_size() > 1,
        ignore_frozen_params=True,
        strict=strict,
    )


def _plain(tensors: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
