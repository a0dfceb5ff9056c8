"""What travels between client and service, as frozen models; JSON both ways.

    GET  /health     200 {"status": "ready", ...}, or 503 while it stops
    GET  /v1/model   200 `ModelInfo`
    POST /v1/score   `ScoreRequest` -> 200 `ScoreResponse`

Every other answer is {"error": one line, "status": the status}; 429 and 503 carry Retry-After in seconds. It knows
neither transport nor models.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

API = 2
"""Raised when an older client would read an answer wrongly."""


class ServedPrmError(Exception):
    """The service cannot be used; the message is one line that says why and what to do."""


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Solution(_Wire):
    """A problem and the steps of one solution.

    `complete`: the last step ends it. `as_cut`: the steps are pieces of one text, which join back to it as they are;
    otherwise a PRM without a separator puts line breaks between the steps of a list that carries none.
    """

    problem: str
    steps: list[str] = Field(min_length=1)
    complete: bool = True
    as_cut: bool = False


class ScoreRequest(_Wire):
    """Solutions to score, best those of one problem together: what they share is computed once."""

    solutions: list[Solution] = Field(min_length=1)


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")  # a later service may say more


class SolutionResult(_Answer):
    """Either `scores`, one in [0, 1] per step, or `rejected`, why there are none.

    `tokens`: how many were read. `joiner`: what was put between the steps, "" for nothing.
    """

    scores: list[Annotated[float, Field(ge=0, le=1)]] | None = None
    rejected: str | None = None
    tokens: int = 0
    joiner: str = ""


class ScoreResponse(_Answer):
    """One result per solution, in order; `identity` as in `ModelInfo`."""

    identity: str
    results: list[SolutionResult]


class Limits(_Answer):
    """What one request may hold; more is answered 413 or 422 and never computed."""

    max_body_bytes: int = Field(8 * 2**20, ge=1024, description="most bytes of a request")
    max_solutions: int = Field(64, ge=1, description="most solutions in a request")
    max_steps: int = Field(1024, ge=1, description="most steps of a solution")
    max_chars: int = Field(200_000, ge=1, description="most characters of a problem or a step")
    timeout_s: float = Field(
        120.0,
        gt=0,
        allow_inf_nan=False,
        description="longest time from a request's first byte to its scores; then 503",
    )


class ModelInfo(_Answer):
    """Which PRM answers.

    Attributes:
        api: of this contract.
        identity: hash of everything that decides scores: the files of the PRM (weights, tokenizer, input format), its
            form, its dtype, whether its weights were rounded, and the versions of what computes. Another identity:
            other scores.
        name: what the service was started with.
        prm: hash of the PRM's files, and of the code of a form of one's own.
        max_tokens: most tokens of a problem with a solution; None: no limit.
        dtype, device: of the weights.
        weights: int8 where those of the decoder layers were rounded to 8 bits.
        versions: of what computes.
        limits: of one request.
        steps: how the PRM's training cut solutions (`eduprm.prm.StepCut` as JSON); None: it does not say.
        solution: how step scores become the one of a solution (`eduprm.prm.Scoring.solution`).
    """

    api: int
    identity: str
    name: str
    prm: str
    max_tokens: int | None
    dtype: str
    device: str
    versions: dict[str, str]
    limits: Limits
    steps: dict[str, Any] | None = None
    solution: Literal["last", "min", "mean", "product"] = "last"
    weights: Literal["full", "int8"] = "full"
