"""Cut solutions as the PRM's own training did: what `--segment auto` means where the PRM says how.

For: settings that name the cut, before anything is scored. Does not know: cutting. A PRM of `apps/train` carries the
policy, threshold and prompt style that cut its trees (`eduprm.prm.StepCut`). Read from config.json; torch stays out.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from eduprm.prm import StepCut
from eduprm.search import resolve_model
from rerank_app.settings import PolicySettings, Settings


def as_trained(settings: Settings, prm: Path) -> tuple[Settings, str | None]:
    """Settings with `auto` replaced by the PRM's own cut where it has one, and a line that says what became of it.

    Flags of the policy that were given win over what the PRM says. Where its policy is a folder that is gone, the
    settings stay as they are, and the line says so.
    """
    cut = _saved_cut(prm) if settings.segment == "auto" else None
    if cut is None:
        return settings, None
    saved = {"model": cut.policy, "threshold": cut.threshold, "style": cut.style}
    given = settings.policy.model_dump(include=settings.policy.model_fields_set)
    policy = PolicySettings(**{**saved, **given})
    try:
        resolve_model(policy.model)
    except ValueError as error:
        return settings, (
            f"the PRM was trained on steps cut by {policy.model}, which cannot be loaded here ({error}): cut at lines "
            "or paragraphs, where its scores mean less; name that policy with --policy.model"
        )
    line = (
        f"steps end where {policy.model} is unsure (above {policy.threshold:g} nats), as in the PRM's training; "
        "--segment lines cuts otherwise"
    )
    return settings.model_copy(update={"segment": "entropy", "policy": policy}), line


def _saved_cut(prm: Path) -> StepCut | None:
    try:
        saved = json.loads((prm / "config.json").read_text(encoding="utf-8"))["eduprm"]["steps"]
        return StepCut.model_validate(saved)
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        # Another's PRM, or one from before it was saved; a folder that cannot be read is said when it is loaded.
        return None
