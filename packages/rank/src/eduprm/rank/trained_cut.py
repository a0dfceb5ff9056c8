"""Cut solutions as the PRM's own training did: what `--segment auto` means where the PRM says how.

For settings that name the cut, before anything is scored. A PRM of `apps/train` carries the
policy, threshold and prompt style that cut its trees (`eduprm.prm.StepCut`). torch stays out.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from eduprm.core.errors import first_line
from eduprm.policy import resolve_model
from eduprm.prm import StepCut
from eduprm.rank.settings import PolicySettings, RankSettings


def as_trained(settings: RankSettings, saved: Any) -> tuple[RankSettings, str | None]:
    """RankSettings with `auto` replaced by the PRM's own cut where it has one, and a line that says what became of it.

    `saved` is what the PRM says of it (`PrmSource.saved_cut`); one of another's making says nothing.

    Flags of the policy that were given win over what the PRM says. Where its policy is a folder that is gone, the
    settings stay as they are, and the line says so.
    """
    if settings.segment != "auto" or saved is None:
        return settings, None
    try:
        cut = StepCut.model_validate(saved)
    except ValidationError as error:
        what = error.errors(include_url=False)[0]
        return settings, (
            f"the PRM's config says how it was trained to cut, but not so that it can be read here ({what['loc']}: "
            f"{what['msg']}): cut at lines or paragraphs, where its scores mean less"
        )
    others = {name: options for name, options in cut.segmenters.items() if name != "entropy"}
    trained = {
        "model": cut.policy,
        "style": cut.style,
        "segmenters": tuple(cut.segmenters),
        "options": others,
        **cut.segmenters.get("entropy", {}),
    }
    given = settings.policy.model_dump(include=settings.policy.model_fields_set)
    try:
        policy = PolicySettings(**{**trained, **given})
        policy.check_segmenters()
    except (ValidationError, ValueError) as error:
        return settings, (
            f"the PRM was trained on steps that cannot be cut here ({first_line(error)}): cut at lines or paragraphs, "
            "where its scores mean less"
        )
    try:
        resolve_model(policy.model)
    except ValueError as error:
        return settings, (
            f"the PRM was trained on steps cut by {policy.model}, which cannot be loaded here ({error}): cut at lines "
            "or paragraphs, where its scores mean less; name that policy with --policy.model"
        )
    asked = ", ".join(f"--policy.{name.replace('_', '-')}" for name in given)
    but = f", but for {asked}" if asked else ""
    line = f"steps end {_where(policy)}, as in the PRM's training{but}; --segment lines cuts otherwise"
    return settings.model_copy(update={"segment": "entropy", "policy": policy}), line


def _where(policy: PolicySettings) -> str:
    unsure = f"where {policy.model} is unsure (above {policy.threshold:g} nats)"
    said = {"entropy": unsure, "lines": "at line breaks"}
    return " and ".join(said.get(name, f"by {name}") for name in policy.segmenters)
