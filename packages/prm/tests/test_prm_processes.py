"""Training on two processes (gloo, CPU), replicated and sharded by FSDP2, against one process on the same trees.

All trainings on two processes run in one call of train_on_two.py, since starting Python is what takes time.
tests/test_train_job.py trains under torchrun itself.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from eduprm.prm.config import TrainConfig
from eduprm.prm.testing import tiny_backbone
from eduprm.prm.train import train_prm

HERE = Path(__file__).parent
LORA = {"rank": 4}
ADAMW = {"learning_rate": 1e-2, "warmup": 0.0, "batch_trees": 1, "accumulation": 2, "save_steps": 1}
SGD = {"lora": None, "max_grad_norm": 0.0, "scheduler": "constant", "trainer_arguments": {"optim": "sgd"}}
FOUR = {"learning_rate": 1e-1, "warmup": 0.0, "batch_trees": 1, "accumulation": 4, **SGD}
TOKENS = {**ADAMW, "lora": None, "losses": {"language_model": 1.0}, "scoring": {"kind": "likelihood"}}
COMPARED = {"losses": {"implicit": 1.0}, "scoring": {"kind": "implicit"}, "dtype": "bfloat16"}
REFERENCE = {**ADAMW, "lora": LORA, **COMPARED}
LOSS, WEIGHT = 1e-5, 1e-4  # float32 rounding in another order; AdamW divides by small second moments

JOBS = {
    "replicated full": {"config": {**ADAMW, "lora": None}},
    "replicated lora": {"config": {**ADAMW, "lora": LORA}},
    "sharded full": {"config": {**ADAMW, "lora": None, "sharding": "fsdp"}},
    "sharded lora": {"config": {**ADAMW, "lora": LORA, "sharding": "fsdp"}},
    "sharded recomputed": {
        "config": {**ADAMW, "lora": None, "sharding": "fsdp", "gradient_checkpointing": True}
    },
    "replicated four": {"config": FOUR},
    "sharded four": {"config": {**FOUR, "sharding": "fsdp"}},
    "replicated tokens": {"config": TOKENS},
    "sharded tied": {"config": {**TOKENS, "sharding": "fsdp"}},
    "sharded reference": {"config": {**REFERENCE, "sharding": "fsdp"}},
    "plain means": {"config": FOUR, "plain_means": True},
    "killed full": {"config": {**ADAMW, "lora": None, "sharding": "fsdp"}, "die_at": 2},
    "killed lora": {"config": {**ADAMW, "lora": LORA, "sharding": "fsdp"}, "die_at": 2},
    "killed on one": {"config": {**ADAMW, "lora": LORA, "sharding": "fsdp"}},
}
pytestmark = pytest.mark.slow

_spec = importlib.util.spec_from_file_location("train_on_two", HERE / "train_on_two.py")
assert _spec is not None
assert _spec.loader is not None
train_on_two = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(train_on_two)


@pytest.fixture(scope="module")
def on_one(backbone, tmp_path_factory):
    """Train on this process alone: `on_one(name, config, die_at=...)` gives what the first of two would have seen."""
    folder = tmp_path_factory.mktemp("one")

    def train(name: str, config: dict, **job) -> dict:
        return train_on_two.train(str(backbone), {"output": str(folder / name), "config": config, **job})

    train.folder = folder
    return train


@pytest.fixture(scope="module")
def reference(on_one):
    """The same settings on one process."""
    runs = {"full": {**ADAMW, "lora": None}, "lora": {**ADAMW, "lora": LORA}}
    return {name: (on_one(name, config), on_one.folder / name) for name, config in runs.items()}


@pytest.fixture(scope="module")
def together(on_one):
    """Four trees a micro-batch and one micro-batch a step, on one process."""
    return on_one("together", {**FOUR, "batch_trees": 4, "accumulation": 1}), on_one.folder / "together"


@pytest.fixture(scope="module")
def tied(tmp_path_factory):
    """A backbone whose output embedding is its input embedding, as that of most small models."""
    return str(tiny_backbone(tmp_path_factory.mktemp("tied"), tie_word_embeddings=True))


@pytest.fixture(scope="module")
def two(backbone, tied, tmp_path_factory, on_one):
    """What two processes saw and wrote, job by job, and what they printed."""
    folder = tmp_path_factory.mktemp("two")
    on_one("killed on one", {**ADAMW, "lora": LORA}, die_at=4)
    [checkpoints] = on_one.folder.glob(".killed on one.train-*")
    checkpoints.rename(folder / checkpoints.name)
    jobs = [{"output": str(folder / name), **job} for name, job in JOBS.items()]
    jobs = [{**job, "backbone": tied} if job["output"].endswith(" tied") else job for job in jobs]
    (folder / "jobs.json").write_text(json.dumps({"backbone": str(backbone), "jobs": jobs}))
    done = subprocess.run(
        [sys.executable, str(HERE / "train_on_two.py"), str(folder / "jobs.json")],
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {
        "printed": done.stdout + done.stderr,
        "folder": folder,
        **{name: json.loads((folder / f"{name}.json").read_text()) for name in JOBS},
    }


def assert_same_weights(first: Path, second: Path, tolerance: float = WEIGHT) -> None:
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (first, second))
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert (ours[name] - theirs[name]).abs().max() < tolerance, name


def losses(seen: dict) -> list[float]:
    return [loss for _, loss in seen["losses"]]


@pytest.mark.parametrize(
    "job", ["replicated full", "replicated lora", "sharded full", "sharded lora", "sharded recomputed"]
)
def test_two_processes_train_as_one(two, reference, job):
    alone, folder = reference["lora" if "lora" in job else "full"]
    assert [step for step, _ in two[job]["losses"]] == [1, 2, 3, 4]
    assert losses(two[job]) == pytest.approx(losses(alone), abs=LOSS)
    assert_same_weights(two["folder"] / job, folder)
    sharded = "sharded" in job
    assert ("DTensor" in two[job]["layouts"]) is sharded  # each process held a share, or all
    assert ("DistributedDataParallel" in two[job]["layouts"]) is not sharded
    # Seven micro-batches on two processes: each had four, the eighth being one token of padding.
    assert len(two[job]["slots"]) == 4


def test_a_process_without_a_token_to_learn_does_not_keep_the_other_waiting(two, on_one):
    """The eighth micro-batch is empty, and the output embedding, trained too, has no place in it."""
    alone = on_one("tokens", TOKENS)
    assert losses(two["replicated tokens"]) == pytest.approx(losses(alone), abs=LOSS)
    assert_same_weights(two["folder"] / "replicated tokens", on_one.folder / "tokens")


def test_shards_of_tied_embeddings_are_trained_as_whole_ones(two, on_one, tied):
    job = {"output": str(on_one.folder / "tied"), "config": TOKENS}
    alone = train_on_two.train(tied, job)
    assert losses(two["sharded tied"]) == pytest.approx(losses(alone), abs=LOSS)
    assert_same_weights(two["folder"] / "sharded tied", on_one.folder / "tied")


def test_shards_of_half_precision_are_compared_with_their_reference(two, on_one):
    alone = on_one("reference", REFERENCE)
    assert losses(two["sharded reference"]) == pytest.approx(losses(alone), abs=2e-3)
    assert max(losses(alone)) - min(losses(alone)) > 5e-3


@pytest.mark.parametrize("job", ["replicated four", "sharded four"])
def test_accumulation_on_two_processes_is_one_big_batch(two, together, job):
    """Ragged trees: every micro-batch, and each process's half of a step, weighs something else."""
    alone, folder = together
    assert len(losses(alone)) == 2
    assert losses(two[job]) == pytest.approx(losses(alone), abs=LOSS)
    assert_same_weights(two["folder"] / job, folder, tolerance=1e-6)


def test_a_mean_of_means_would_be_noticed(two, together):
    """The same comparison fails by far when each micro-batch is divided by its own weight."""
    alone, folder = together
    assert abs(losses(two["plain means"])[1] - losses(alone)[1]) > 20 * LOSS
    ours, theirs = (
        load_file(place / "model.safetensors")["score.weight"]
        for place in (two["folder"] / "plain means", folder)
    )
    assert (ours - theirs).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_one_process_goes_on_from_the_checkpoint_of_two(two, reference, on_one, backbone, kind):
    alone, folder = reference[kind]
    name = f"killed {kind}"
    assert two[name] == {"killed": True}
    [checkpoints] = two["folder"].glob(f".{name}.train-*")
    assert {path.name for path in checkpoints.glob("checkpoint-2/*")} >= {"trained.safetensors"}
    checkpoints.rename(on_one.folder / checkpoints.name)
    resumed = on_one(name, {**ADAMW, "lora": LORA if kind == "lora" else None})
    assert resumed["resumed"] == 2
    assert len(resumed["slots"]) == 3  # steps 3 and 4 of seven micro-batches
    assert losses(resumed) == pytest.approx(losses(alone), abs=LOSS)
    assert_same_weights(on_one.folder / name, folder)


def test_two_processes_go_on_from_the_checkpoint_of_one(two, reference):
    alone, folder = reference["lora"]
    assert two["killed on one"]["resumed"] == 2
    assert losses(two["killed on one"]) == pytest.approx(losses(alone), abs=LOSS)
    assert_same_weights(two["folder"] / "killed on one", folder)


def test_only_the_first_process_speaks(two):
    finished = [job for job in JOBS.values() if "die_at" not in job]
    assert sum("4/4" in line or "2/2" in line for line in two["printed"].splitlines()) == len(finished)
    assert "Warning" not in two["printed"]


def test_checkpoints_hold_no_pickled_weights_and_no_frozen_ones(on_one):
    on_one("kept", {**ADAMW, "lora": LORA}, die_at=2)
    [work] = on_one.folder.glob(".kept.train-*")
    files = {path.name for path in (work / "checkpoint-1").iterdir()}
    assert files >= {"trained.safetensors", "optimizer.safetensors", "optimizer.json", "schedule.json"}
    assert not files & {"optimizer.pt", "optimizer.bin", "scheduler.pt", "pytorch_model_fsdp.bin"}
    names = load_file(work / "checkpoint-1" / "trained.safetensors")
    assert names
    assert all("lora" in name or "modules_to_save" in name for name in names)


def test_processes_that_the_settings_cannot_use_are_refused(backbone, builder, monkeypatch, tmp_path):
    data = train_on_two.ragged_data()
    with pytest.raises(ValueError, match="torchrun --nproc-per-node"):
        train_prm(backbone, data, builder, tmp_path / "a", config=TrainConfig(sharding="fsdp"))
    monkeypatch.setenv("WORLD_SIZE", "8")
    with pytest.raises(ValueError, match="multiple of the 8 processes that share them, got 4"):
        train_prm(backbone, data, builder, tmp_path / "a", config=TrainConfig(accumulation=4))
