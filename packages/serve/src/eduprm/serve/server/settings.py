"""Settings of the service: one frozen model from which the command line, its help and TOML recipes come."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import ConfigDict, Field
from pydantic_settings import SettingsConfigDict

from eduprm.core.command_line import CommandSettings
from eduprm.prm.source import PrmReading
from eduprm.serve.wire import Limits


class LimitSettings(Limits):
    """Limits as the service is told them: a name that is none is refused, which a client reads over."""

    model_config = ConfigDict(extra="forbid")


class ServeSettings(PrmReading, CommandSettings):
    """
    Serve a process reward model (PRM) over HTTP: one score per step.

    GET /health, GET /v1/model, POST /v1/score. Stop it with Ctrl-C or SIGTERM: what
    is in work is finished first. There is no log-in and no TLS: keep it on a network
    that you trust, or behind a proxy that has both.
    """

    model_config = SettingsConfigDict(cli_prog_name="python -m eduprm.serve")
    command: ClassVar[str] = "python -m eduprm.serve"

    prm: str | None = Field(
        None,
        min_length=1,
        description="folder or hub name of the PRM, or one that ships: smollm2-135m-steps-prm; none: runs/default/prm, "
        "else the one that ships",
    )
    host: str = Field("127.0.0.1", min_length=1, description="address to listen on; 0.0.0.0: every network")
    port: int = Field(8377, ge=0, le=65535, description="port to listen on; 0: any free one")
    limits: LimitSettings = Field(LimitSettings(), description="what one request may hold")
    queue_solutions: int = Field(
        1024, ge=1, description="most solutions that wait; a request that finds them is answered 429"
    )
    max_requests: int = Field(256, ge=1, description="most requests at once; further ones are answered 429")
    shutdown_s: float = Field(
        30.0,
        ge=0,
        allow_inf_nan=False,
        description="longest wait for what is in work when the service is stopped; then it is answered 503",
    )
    config: Path | None = Field(None, description="TOML file with any of these settings; flags win over it")
