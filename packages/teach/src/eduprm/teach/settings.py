"""Settings of the recipe: one frozen model, from which the flags, their help and the TOML file come."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_settings import SettingsConfigDict

from eduprm.core.command_line import CommandSettings
from eduprm.policy import BUNDLED_MODEL
from eduprm.problems.prompts import STEPS


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MixPart(_Part):
    """Worked problems of one task, and when in the training they come."""

    task: str = Field(description="a task that can be worked, see eduprm.problems.tasks")
    task_config: dict[str, int | float | bool | str] = Field({}, description="settings of its data set")
    count: int = Field(ge=1, description="worked problems, all different")
    start: float = Field(0.0, ge=0, le=1, description="they come from this share of the training on")
    stop: float = Field(1.0, ge=0, le=1, description="and up to this share")

    @model_validator(mode="after")
    def _in_order(self) -> MixPart:
        if self.start >= self.stop:
            raise ValueError(f"expected start before stop, got {self.start} and {self.stop}")
        return self


class LoraPart(_Part):
    """The adapter: on all linear layers of the upper part of the model."""

    rank: int = Field(16, ge=1, description="rank")
    alpha: float = Field(32.0, gt=0, description="scale times rank")
    last_layers: int | None = Field(20, ge=1, description="only on so many upper layers; none: all")


class WarmupSettings(CommandSettings):
    """Teach a small policy to solve generated problems, one checked step a line, and see how far it came.

    A run that was killed goes on from its last checkpoint when the same command is given again.
    """

    model_config = SettingsConfigDict(cli_prog_name="uv run apps/warmup")
    command: ClassVar[str] = "uv run apps/warmup"

    run: Path = Field(Path("runs/warmup"), description="folder of the run")
    config: Path | None = Field(None, description="TOML recipe with any of these settings; flags win over it")
    model: str = Field(BUNDLED_MODEL, min_length=1, description="bundled model, local folder or hub name")
    style: str = Field(STEPS, description="style of the prompts")
    seed: int = Field(0, ge=0, description="of problems, order and adapter")
    mix: list[MixPart] = Field(
        [MixPart(task="long_sum", count=512)], min_length=1, description="the worked problems"
    )
    lora: LoraPart = Field(LoraPart(), description="the adapter")
    batch_tokens: int = Field(1024, ge=64, description="tokens of a batch, padding counted")
    learning_rate: float = Field(1e-3, gt=0, description="of AdamW, after the warmup")
    rise_batches: int = Field(20, ge=0, description="batches in which the rate rises")
    decay_batches: int = Field(60, ge=0, description="last batches, in which it falls to 0")
    max_batches: int | None = Field(None, ge=1, description="stop the training there; none: all batches")
    save_steps: int = Field(50, ge=1, description="batches between checkpoints")
    adapter: Path | None = Field(
        None, description="judge this adapter, or checkpoint, instead of training one"
    )
    test_tasks: list[str] = Field(["long_sum"], description="tasks whose held-out problems are solved")
    num_test: int = Field(64, ge=1, description="held-out problems a task")
    max_new_tokens: int = Field(160, ge=8, description="longest solution")
