"""Settings of the commands: frozen models from which the command line, its help and TOML recipes come.

For reading and checking settings. Imports neither torch nor polars.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field
from pydantic_settings import CliPositionalArg, SettingsConfigDict

from eduprm.core.command_line import CommandSettings
from eduprm.prm.source import PrmReading
from eduprm.rank.wrapping import WrapSettings
from eduprm.serve.judge.settings import JudgedSettings


class StepSettings(PrmReading, WrapSettings, JudgedSettings, CommandSettings):
    """What the benchmarks of steps have in common."""

    model_config = SettingsConfigDict()

    prm: str | None = Field(
        None,
        min_length=1,
        description="folder or hub name of the PRM, or the one that ships, smollm2-135m-steps-prm, or judge: the "
        "language model of --judge; none: runs/default/prm, else the one that ships",
    )
    output: Path | None = Field(
        None,
        description="folder of report, rows and scores; none: runs/bench/<command>-<last two names of the PRM's path>",
    )
    parts: tuple[str, ...] = Field(
        (), description="take only these subsets (prmbench: classes of error); not given: all"
    )
    limit: int | None = Field(
        None, ge=1, description="take only so many rows of each, drawn by a hash of their ids; none: all"
    )
    train_problems: Path | None = Field(
        None,
        description="what the PRM was trained on, to look for overlap: a file of problems or a run folder; none: the "
        "problems.parquet beside the PRM, if there is one",
    )
    chunk_rows: int = Field(
        32, ge=1, description="rows scored between two writes; a killed run loses at most these"
    )
    bootstrap: int = Field(2000, ge=1, description="resamples behind the intervals")
    seed: int = Field(0, ge=0, description="seeds those resamples and the random judges")
    config: Path | None = Field(None, description="TOML file with any of these settings; flags win over it")


class ProcessBenchSettings(StepSettings):
    """
    Judge a process reward model (PRM) on ProcessBench: find the first wrong step.

    DATA are files (.json, .jsonl, .parquet; rows of id, problem, steps, label) or a
    name on the hub. Exit status: 0 done, 3 done but some rows rejected, 2 unusable.
    """

    model_config = SettingsConfigDict(cli_prog_name="uv run apps/bench processbench")
    command: ClassVar[str] = "uv run apps/bench processbench"

    data: CliPositionalArg[list[str]] = Field(
        ["Qwen/ProcessBench"], min_length=1, description="files, or the name of a data set on the hub"
    )
    threshold: float | None = Field(
        None, ge=0, le=1, description="a step is judged wrong at or below it; none: chosen on --choose-on"
    )
    choose_on: str = Field(
        "gsm8k", description="the subset on which the threshold with the best F1 is chosen, to be used on all"
    )


class PrmBenchSettings(StepSettings):
    """
    Judge a process reward model (PRM) on PRMBench: tell wrong steps from right ones.

    DATA are files (.json, .jsonl, .parquet; rows of idx, modified_question,
    modified_process, error_steps, classification) or a name on the hub.
    Exit status: 0 done, 3 done but some rows rejected, 2 unusable.
    """

    model_config = SettingsConfigDict(cli_prog_name="uv run apps/bench prmbench")
    command: ClassVar[str] = "uv run apps/bench prmbench"

    data: CliPositionalArg[list[str]] = Field(
        ["hitsmy/PRMBench_Preview"], min_length=1, description="files, or the name of a data set on the hub"
    )
    threshold: float = Field(0.5, ge=0, le=1, description="a step is judged right above it")


class VerifySettings(PrmReading, CommandSettings):
    """
    Score known solutions with a published PRM, and compare with the scores that its model card prints.

    NAME is the form in which it was published; --format is not needed.
    Exit status: 0 all within --tolerance, 1 some are not, 2 unusable.
    """

    model_config = SettingsConfigDict(cli_prog_name="uv run apps/bench verify")
    command: ClassVar[str] = "uv run apps/bench verify"

    name: CliPositionalArg[str] = Field(description="the form, qwen2.5-math-prm say")
    prm: str | None = Field(
        None,
        min_length=1,
        description="folder or hub name of the weights; none: the checkpoint of the card, fetched",
    )
    examples: Path | None = Field(
        None, description="JSON file of known scores, as published/known_scores.json; none: those that ship"
    )
    tolerance: float = Field(
        0.02,
        gt=0,
        le=1,
        description="largest difference of a score; cards print four digits of bfloat16's three",
    )
    config: Path | None = Field(None, description="TOML file with any of these settings; flags win over it")
