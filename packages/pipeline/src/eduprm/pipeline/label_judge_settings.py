"""Which PRM judges the steps of training solutions for a filter, and whether the settings around it go together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from eduprm.serve.judge.settings import JudgeSettings

_BESIDE = """--label.filter consensus --label.filter-options '{"judge": "scores"}'"""


class LabelJudgeSettings(BaseModel):
    """Part of a run's label settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    judge_prm: str | None = Field(
        None,
        min_length=1,
        description="PRM that scores the steps of training solutions for a filter's judge `scores`: folder, bundled or "
        "hub name, http://host:port of a service, or judge, a language model",
    )
    judge_dtype: Literal["float32", "bfloat16", "float16"] | None = Field(
        None, description="its precision; none: bfloat16 on cuda, else float32"
    )
    judge: JudgeSettings = Field(
        JudgeSettings(), description="the language model that --label.judge-prm judge names"
    )


def check_judge(settings: LabelJudgeSettings, filter: str | None, options: Mapping[str, Any]) -> None:
    """Refuse a judge that nobody asks, and a filter whose judge is not named.

    Raises:
        ValueError: one line.
    """
    name, asked = settings.judge_prm, filter is not None and options.get("judge") == "scores"
    if asked and name is None:
        raise ValueError(
            "--label.judge-prm: expected the PRM whose scores judge, as --label.filter-options says; give its name"
        )
    if name is not None and not asked:
        raise ValueError(
            f"--label.judge-prm {name}: expected {_BESIDE} beside it; give them, or leave it out"
        )
    if settings.judge_dtype is not None and name is None:
        raise ValueError("--label.judge-dtype: expected --label.judge-prm beside it; leave it out")
    if name != "judge" and settings.judge != JudgeSettings():
        raise ValueError(
            "--label.judge: expected --label.judge-prm judge beside it; give it, or leave it out"
        )
