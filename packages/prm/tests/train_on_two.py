"""What two processes of test_prm_processes.py do: train on the same trees, job after job.

    python train_on_two.py JOBS.json     or     torchrun --standalone --nproc-per-node 2 train_on_two.py JOBS.json

The first way starts both from one process that has imported everything, which takes half of the time.

JOBS.json holds `backbone` and `jobs`; a job is {"output", "config", "backbone", "die_at", "plain_means"}: `backbone`,
if it has one, stands in for the other; `die_at` ends the
training, as a kill would, before that micro-batch of each process; `plain_means` divides each micro-batch by its own
weight, the mistake that the trainer must not make. The first process writes what it saw to {output}.json.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

import torch

from eduprm.prm.config import InputFormat, TrainConfig
from eduprm.prm.data import TrainingData
from eduprm.prm.inputs import InputBuilder
from eduprm.prm.processes import is_first_process
from eduprm.prm.testing import byte_tokenizer, ragged_tree
from eduprm.prm.train import train_prm
from eduprm.prm.trainer import PrmTrainer


class Killed(BaseException):
    """Not an Exception, so that nothing on the way catches it."""


def ragged_data() -> TrainingData:
    """Seven trees of 3 to 27 nodes: no two micro-batches hold the same number of tokens or weight."""
    return TrainingData([ragged_tree(seed, num_nodes=3 + 4 * seed) for seed in range(7)])


def train(backbone: str, job: dict[str, Any]) -> dict[str, Any]:
    builder = InputBuilder(byte_tokenizer(), InputFormat(kind="plain", template="{problem}="))
    step, calls, layouts = PrmTrainer.training_step, [], set()

    def counted(self: PrmTrainer, model: Any, inputs: Any, *args: Any) -> torch.Tensor:
        if len(calls) == job.get("die_at"):
            raise Killed
        calls.append(inputs["input_ids"].numel())
        layouts.add(type(next(p for p in model.parameters() if p.requires_grad).data).__name__)
        layouts.add(type(model).__name__)
        return step(self, model, inputs, *args)

    def own_weight(
        self: PrmTrainer, iterator: Any, count: int, device: torch.device
    ) -> tuple[list[Any], None]:
        return [batch for _, batch in zip(range(count), iterator, strict=False)], None

    total = PrmTrainer.get_batch_samples
    PrmTrainer.training_step = counted
    if job.get("plain_means"):
        PrmTrainer.get_batch_samples, PrmTrainer.loss_is_scaled_for_ga = own_weight, False
    try:
        result = train_prm(
            backbone, ragged_data(), builder, job["output"], config=TrainConfig(**job["config"])
        )
    except Killed:
        return {"killed": True}
    finally:
        PrmTrainer.training_step = step
        PrmTrainer.get_batch_samples, PrmTrainer.loss_is_scaled_for_ga = total, True
    return {
        "losses": result.losses,
        "resumed": result.resumed_from_step,
        "layouts": sorted(layouts),
        "slots": calls,
    }


def main(path: str) -> None:
    torch.set_num_threads(1)
    plan = json.loads(Path(path).read_text())
    for job in plan["jobs"]:
        seen = train(job.get("backbone", plan["backbone"]), job)
        if is_first_process():
            Path(job["output"] + ".json").write_text(json.dumps(seen))


def fork_two(path: str) -> int:
    """Be torchrun for two processes of this one; return how many failed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    children = []
    for rank in ("0", "1"):
        child = os.fork()
        if child == 0:
            os.environ.update(place, RANK=rank, LOCAL_RANK=rank)
            try:
                main(path)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            sys.stdout.flush()
            os._exit(0)
        children.append(child)
    return sum(os.waitpid(child, 0)[1] != 0 for child in children)


if __name__ == "__main__":
    if "RANK" in os.environ:
        main(sys.argv[1])
    else:
        sys.exit(fork_two(sys.argv[1]))
