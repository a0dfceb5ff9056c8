"""A PRM's calibration: read from its config, fitted, and written into its folder.

Part of the PRM: whoever opens the folder gets calibrated scores and needs to know nothing of it. numpy alone, no torch.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from eduprm.core import registry
from eduprm.core.files import atomic_write_bytes
from eduprm.prm.calibrations._contract import ScoreCalibration

__all__ = ["FOLDER", "fit_calibration", "read_calibration", "uncalibrated", "write_calibration"]

FOLDER = "eduprm.prm.calibrations"


def read_calibration(entry: Mapping[str, Any] | None) -> ScoreCalibration:
    """Return the calibration that eduprm's entry in a PRM's config.json holds; none where there is none.

    Raises:
        ValueError: one that cannot be read.

    Examples:
        >>> read_calibration({"calibration": {"kind": "temperature", "fitted": {"temperature": 2.0}}}).temperature
        2.0
    """
    saved = (entry or {}).get("calibration") or {"kind": "none"}
    found = registry.make(FOLDER, saved["kind"], "Calibration", saved.get("fitted"))
    return cast(ScoreCalibration, found)


def fit_calibration(
    kind: str, scores: np.ndarray, outcomes: np.ndarray, weights: np.ndarray | None = None
) -> ScoreCalibration:
    """Fit a calibration by name.

    Args:
        kind: module of the folder, or package.module:Calibration.
        scores: float64 [n] in [0, 1].
        outcomes: [n] in [0, 1], whether what was scored came out right, or how often.
        weights: float64 [n], above 0; None: one each.

    Raises:
        ValueError: no such kind, no rows, lengths that differ, or scores outside [0, 1].
    """
    choice = registry.load(FOLDER, kind, "Calibration")
    values, right = np.asarray(scores, np.float64), np.asarray(outcomes, np.float64)
    heavy = np.ones(len(values)) if weights is None else np.asarray(weights, np.float64)
    if not len(values) or values.shape != right.shape or values.shape != heavy.shape:
        raise ValueError(f"expected scores and outcomes of one length, got {len(values)} and {len(right)}")
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"expected scores in [0, 1], got {values.min()} to {values.max()}")
    return cast(ScoreCalibration, choice.fit(values, right, heavy))


def write_calibration(
    folder: Path, kind: str, calibration: ScoreCalibration, *, notes: Mapping[str, Any]
) -> None:
    """Put a calibration into the config.json of a PRM of ours, with notes on what it was fitted to."""
    path = Path(folder) / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    fitted = calibration.model_dump(mode="json")
    config["eduprm"]["calibration"] = {"kind": kind, "fitted": fitted, "on": dict(notes)}
    atomic_write_bytes(path, (json.dumps(config, indent=2, sort_keys=True) + "\n").encode())


def uncalibrated(prm: Any) -> Any:
    """Return the same PRM (`eduprm.prm.ProcessRewardModel`, weights shared) with the scorer's own scores."""
    other = copy.copy(prm)
    other.calibration = read_calibration(None)
    return other
