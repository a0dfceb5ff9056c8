"""apps/train's stage `prm` under torchrun: two real processes, a tiny backbone, a labelled forest made here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from safetensors.torch import load_file

from eduprm.forest import LABELLED_SCHEMA, PROBLEM_SCHEMA, write_shard
from eduprm.prm.testing import byte_tokenizer, ragged_tree, tiny_backbone

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = [
    "--prm.train.accumulation", "2", "--prm.train.batch-trees", "1", "--prm.train.epochs", "1",
    "--prm.train.save-steps", "1",
]  # fmt: skip
STAGES = ("problems", "search", "label")
pytestmark = pytest.mark.slow


def labelled_forest() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Six problems with one ragged tree each."""
    tokenizer, rows, problems = byte_tokenizer(), [], []
    for seed in range(6):
        tree, name = ragged_tree(seed, num_nodes=3 + 3 * seed), f"p{seed}"
        problems.append((name, f"{name}?", "1", [1, 2], "made_up", "train", None))
        parents = tree.parents.tolist()
        for node, (start, stop) in enumerate(zip(tree.starts[:-1], tree.starts[1:], strict=True)):
            ids = tree.token_ids[start:stop].tolist()
            value, weight = float(tree.targets[node]), float(tree.weights[node])
            rows.append((name, "edu", node, parents[node] if parents[node] >= 0 else None, ids, [0.0] * len(ids),
                         [0.0] * len(ids), tokenizer.decode(ids), None if node in parents else "length",
                         int(weight), value * weight, value, value, weight))  # fmt: skip
    return (
        pl.DataFrame(rows, schema=LABELLED_SCHEMA, orient="row"),
        pl.DataFrame(problems, schema=PROBLEM_SCHEMA, orient="row"),
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> tuple[Path, list[str]]:
    """Two run folders whose first three stages are done, and the flags that go with them."""
    folder = tmp_path_factory.mktemp("processes")
    backbone = tiny_backbone(folder / "backbone")
    flags = ["--policy.model", str(backbone), *SETTINGS]
    forest, problems = labelled_forest()
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from eduprm.core.command_line import load_settings\n"
        "from eduprm.pipeline.run_folder import RunFolder, stage_settings\n"
        "from eduprm.pipeline.versions import stage_versions\n"
        "from eduprm.pipeline.settings import TrainSettings\n"
        "settings = load_settings(TrainSettings, sys.argv[2:])\n"
        "chosen = stage_settings(settings)\n"
        "run = RunFolder(Path(sys.argv[1]))\n"
        "versions = stage_versions(settings)\n"
        f"for stage in {STAGES}: run.begin(stage, chosen[stage], versions[stage]); run.finish(stage, {{}})\n"
    )
    for name in ("one", "two"):
        subprocess.run([sys.executable, "-c", code, str(folder / name), *flags], cwd=ROOT, check=True)
        problems.write_parquet(folder / name / "problems.parquet")
        write_shard(forest, folder / name / "labels", "train-0")
    return folder, flags


def start(launcher: list[str], run: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *launcher, "apps/train", "--run", str(run), *flags],
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


# Without the bare dashes torchrun takes --run for the start of an option of its own.
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--"]


def test_two_processes_make_the_prm_of_one(prepared):
    folder, flags = prepared
    one = start([], folder / "one", *flags, "--only", "prm")
    assert one.returncode == 0, one.stderr
    two = start(TORCHRUN, folder / "two", *flags, "--only", "prm", "--prm.train.sharding", "fsdp")
    assert two.returncode == 0, two.stderr
    for name in ("prm: 6 trees", "all stages done", "3/3"):
        assert (two.stdout + two.stderr).count(name) == 1, two.stderr
    first, second = (json.loads((folder / name / "training.json").read_text()) for name in ("one", "two"))
    assert len(first["losses"]) == 3
    for (step, loss), (other_step, other_loss) in zip(first["losses"], second["losses"], strict=True):
        assert step == other_step
        assert loss == pytest.approx(other_loss, abs=1e-5)
    ours, theirs = (load_file(folder / name / "prm" / "model.safetensors") for name in ("one", "two"))
    assert max((ours[name] - theirs[name]).abs().max() for name in ours) < 1e-4
    assert json.loads((folder / "two" / "stages" / "prm.json").read_text())["processes"] == 2
    # One process goes on in the folder of two: how they shared the work is no setting of the result.
    again = start([], folder / "two", *flags, "--only", "prm")
    assert "prm: done before" in again.stderr


def test_other_stages_are_refused_under_torchrun_in_one_line(prepared, monkeypatch):
    folder, flags = prepared
    for name, value in {"WORLD_SIZE": "2", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    done = start([], folder / "two", *flags)
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "train: 2 processes can share stage prm only: give --only prm, and run the other stages without torchrun"
    )


def test_sharding_on_one_process_is_refused_before_the_search(tmp_path):
    done = start([], tmp_path / "run", "--prm.train.sharding", "fsdp")
    assert done.returncode == 2
    assert "--prm.train.sharding: fsdp shares the PRM out to several processes, got one" in done.stderr
    assert not (tmp_path / "run" / "problems.parquet").exists()
