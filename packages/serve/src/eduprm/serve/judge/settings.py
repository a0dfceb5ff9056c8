"""What decides a judge's scores. Imports no torch."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from eduprm.serve.judge.prompts import read_prompts, shipped_prompts

_WHERE = {"url", "key_env", "max_requests", "limit_s", "wait_s"}  # the scores do not depend on them


class JudgeSettings(BaseModel):
    """The judge: its model, its prompts, how much it writes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str | None = Field(
        None,
        min_length=1,
        description="what judges: bundled model, local folder or hub name; with a URL, what the server calls it; none: "
        "smollm2-135m-instruct, or the only model of the server",
    )
    url: str | None = Field(
        None,
        pattern=r"^https?://",
        description="of a server with OpenAI's completions and their log-probs (SGLang, vLLM), http://host:port, with "
        "or without /v1; none: the model runs in this process",
    )
    key_env: str | None = Field(
        None,
        min_length=1,
        description="name of the environment variable that holds the server's API key, which is sent and written "
        "nowhere else; none: no key",
    )
    prompts: str = Field(
        "plain",
        min_length=1,
        description=f"folder with critique.txt and verdict.txt, or one that ships: {', '.join(shipped_prompts())}",
    )
    samples: int = Field(4, ge=1, description="K: critiques drawn of each step, whose P(Yes) are averaged")
    max_tokens: int = Field(256, ge=1, description="most tokens of one critique; a longer one is cut there")
    temperature: float = Field(0.7, gt=0, description="of the softmax the critiques are drawn from")
    least: float = Field(
        0.1,
        ge=0,
        le=1,
        description="probability of Yes and No together below which a critique has no verdict",
    )
    top_logprobs: int = Field(
        20, ge=2, description="most probable tokens among which a server's Yes and No are sought"
    )
    seed: int = Field(0, ge=0, description="of the draws")
    max_requests: int = Field(16, ge=1, description="most requests on their way to the server at once")
    limit_s: float = Field(
        600.0,
        gt=0,
        description="longest wait for one answer of the server, in seconds; a longer one is asked again",
    )
    wait_s: float = Field(60.0, ge=0, description="seconds without an answer after which the run gives up")

    def deciding(self) -> dict[str, Any]:
        """What the scores depend on, the prompts themselves among it; where a server is makes no difference."""
        how = self.model_dump(mode="json", exclude=_WHERE)
        return {**how, "prompts": list(read_prompts(self.prompts)), "served": self.url is not None}

    @field_validator("prompts")
    @classmethod
    def _readable(cls, value: str) -> str:
        read_prompts(value)
        return value


class JudgedSettings(BaseModel):
    """Part of the settings of whatever takes a judge in place of a PRM."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    judge: JudgeSettings = Field(JudgeSettings(), description="the language model that --prm judge names")
