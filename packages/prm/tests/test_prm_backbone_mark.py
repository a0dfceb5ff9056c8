"""A checkpoint belongs to one backbone: any byte of a folder's weights tells, wherever the folder lies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from eduprm.prm.config import TrainConfig
from eduprm.prm.train import fingerprint

LAYERS = 20


def backbone(folder: Path, *, changed: int | None = None) -> Path:
    """20 layers of 400 kB each in one file."""
    folder.mkdir(parents=True, exist_ok=True)
    layers = {f"layer.{k:02d}": np.full((100, 1000), k + (k == changed), np.float32) for k in range(LAYERS)}
    save_file(layers, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture
def mark(builder):
    def of(name):
        return fingerprint(name, [], TrainConfig(), builder, plan=[])

    return of


@pytest.mark.parametrize("layer", [0, 10, 15, 19])
def test_another_layer_is_another_backbone(mark, tmp_path, layer):
    folder = backbone(tmp_path / "m")
    before = mark(folder)
    backbone(folder, changed=layer)
    assert mark(folder) != before


def test_other_files_count_and_the_place_does_not(mark, tmp_path):
    first, moved = backbone(tmp_path / "m"), backbone(tmp_path / "elsewhere" / "n")
    assert mark(first) == mark(str(moved))
    (moved / "tokenizer.json").write_text("{}")
    assert mark(first) != mark(moved)
    assert mark("org/model") != mark("org/other")
