"""Settings of the recipe: one frozen model, from which the flags, their help and the TOML file come."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_settings import SettingsConfigDict

from eduprm.core.command_line import CommandSettings
from eduprm.policy import BUNDLED_MODEL
from eduprm.problems.prompts import STEPS
from eduprm.problems.rows import ProblemColumns


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MixPart(_Part):
    """Worked problems of one task or of one file, and when in the training they come."""

    task: str | None = Field(None, description="a task that can be worked, see eduprm.problems.tasks")
    task_config: dict[str, int | float | bool | str] = Field({}, description="settings of its data set")
    file: Path | None = Field(
        None, description="instead: a file of questions and worked answers, JSON, JSON Lines or Parquet"
    )
    columns: ProblemColumns = Field(ProblemColumns(), description="which column of the file holds what")
    share: float = Field(
        1.0, gt=0, le=1, description="share of the file's questions that is taught, by a hash of the question"
    )
    count: int | None = Field(
        None, ge=1, description="worked problems, all different; none, for a file: all of its share"
    )
    epochs: int = Field(1, ge=1, description="how often they are gone through, each time in another order")
    start: float = Field(0.0, ge=0, le=1, description="they come from this share of the training on")
    stop: float = Field(1.0, ge=0, le=1, description="and up to this share")

    def __repr__(self) -> str:
        """As the flag takes it; --help shows defaults so."""
        return self.model_dump_json(exclude_defaults=True)

    @model_validator(mode="after")
    def _one_source(self) -> MixPart:
        if (self.task is None) == (self.file is None):
            raise ValueError(
                "expected one of task and file, got " + ("neither" if self.task is None else "both")
            )
        if self.task is not None and self.count is None:
            raise ValueError(f"expected count, how many problems of {self.task} are made, got none")
        if self.task is not None and (self.share != 1.0 or self.columns != ProblemColumns()):
            raise ValueError(f"share and columns are of a file: expected neither beside the task {self.task}")
        if self.file is not None and self.task_config:
            raise ValueError(f"task_config is of a task: expected none beside the file {self.file}")
        return self

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
    """Teach a small policy to solve problems step by step, generated ones or those of a file, and see how far it came.

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
        [MixPart(task="long_sum", count=512)],
        min_length=1,
        description="the worked problems, parts with " + ", ".join(MixPart.model_fields),
    )
    lora: LoraPart = Field(LoraPart(), description="the adapter")
    batch_tokens: int = Field(1024, ge=64, description="tokens of a batch, padding counted")
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="of the training's arithmetic; weights, and what solves afterwards, are float32",
    )
    learning_rate: float = Field(1e-3, gt=0, allow_inf_nan=False, description="of AdamW, after the warmup")
    rise_batches: int = Field(20, ge=0, description="batches in which the rate rises")
    decay_batches: int = Field(60, ge=0, description="last batches, in which it falls to 0")
    max_batches: int | None = Field(None, ge=1, description="stop the training there; none: all batches")
    save_steps: int = Field(50, ge=1, description="batches between checkpoints")
    adapter: Path | None = Field(
        None, description="judge this adapter, or checkpoint, instead of training one"
    )
    test_tasks: list[str] | None = Field(
        None,
        description="tasks whose held-out problems are solved; not given: long_sum, or none of them with a test file",
    )
    test_file: Path | None = Field(None, description="file of problems that are solved, graded as numbers")
    test_columns: ProblemColumns = Field(ProblemColumns(), description="which column of it holds what")
    num_test: int = Field(
        64, ge=1, description="held-out problems a task; of the file, the first by a hash of the question"
    )
    max_new_tokens: int = Field(160, ge=8, description="longest solution")

    @property
    def tested_tasks(self) -> list[str]:
        """Tasks whose held-out problems are solved."""
        if self.test_tasks is not None:
            return self.test_tasks
        return ["long_sum"] if self.test_file is None else []

    @model_validator(mode="after")
    def _something_to_solve(self) -> WarmupSettings:
        if not self.tested_tasks and self.test_file is None:
            raise ValueError("--test-tasks: expected a task or a --test-file, got neither")
        if self.test_file is None and self.test_columns != ProblemColumns():
            raise ValueError("--test-columns names columns of a file: give --test-file FILE")
        return self
