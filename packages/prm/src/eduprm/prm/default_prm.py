"""Which PRM scores where none is named, and the line that says so.

For the order in which a PRM is looked for, and what a PRM's config says of its training. torch
stays out, but for the first use of the PRM that ships.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from eduprm.prm.config import Scoring, StepCut
from eduprm.prm.source import PrmSource

SHIPPED = "smollm2-135m-steps-prm"
_SHIPPED_FOR = "sums, products, mixed arithmetic and equations of SmolLM2-135M taught to reason in steps"
_DEFAULT_RUN = Path("runs/default/prm")


def unnamed_prm(file: Path | None) -> tuple[str, Path, str]:
    """The PRM of a run where there is one, else the one that ships.

    `prm` in the folder of FILE comes first: runs/X/solutions.jsonl is ranked by the PRM of run X. None: no such file.

    Returns:
        Its name, its folder, and a line that says which it is and what it was trained for.

    Raises:
        UsageError: there is none; the one that ships cannot be had here.
    """
    places = [] if file is None else [(file.parent / "prm", f"beside {file.name}")]
    for folder, whose in [*places, (_DEFAULT_RUN, "of the default run")]:
        if (folder / "config.json").is_file():
            return str(folder), folder, f"no --prm: taking {folder}, {whose}; {trained_for(folder)}"
    folder = PrmSource.find(SHIPPED).folder
    line = (
        f"no --prm and no run's PRM: taking {SHIPPED}, which ships; for {_SHIPPED_FOR}; {trained_for(folder)}"
    )
    return SHIPPED, folder, line


def trained_for(folder: Path) -> str:
    """What the `eduprm` entry of a PRM's config says of its scores, its steps and its policy."""
    try:
        saved = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("eduprm")
        if not saved:
            return "its config does not say what it was trained for"
        calibrated = (saved.get("calibration") or {}).get("kind", "none")
        by = "" if calibrated == "none" else f", calibrated by {calibrated}"
        return (
            f"{_scores(Scoring.model_validate(saved.get('scoring', {})))}{by}, {_steps(saved.get('steps'))}"
        )
    except (OSError, ValueError, AttributeError, ValidationError):
        return "its config cannot be read"


def _scores(scoring: Scoring) -> str:
    if scoring.kind == "head":
        return "scores by a head"
    how = f" ({scoring.fold} over a step's tokens)" if scoring.kind == "likelihood" else ""
    return f"scores by {scoring.kind}{how}"


def _steps(saved: Any) -> str:
    if saved is None:
        return "its config does not say on which steps"
    cut = StepCut.model_validate(saved)
    said = {"entropy": "where it is unsure (above {threshold:g} nats)", "lines": "at line breaks"}
    ends = " and ".join(said.get(name, name).format(**options) for name, options in cut.segmenters.items())
    return f"trained on steps of {cut.policy} (prompt {cut.style}) that end {ends}"
