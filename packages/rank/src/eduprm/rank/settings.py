"""Settings of a ranking: one frozen model from which the command line, its help and TOML recipes come.

For reading and checking settings, with errors that name the flag, what was expected and what came. Imports neither
torch nor polars, so that --help and mistakes answer at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_settings import CliPositionalArg, SettingsConfigDict

from eduprm.core import command_line, registry
from eduprm.core.command_line import CommandSettings
from eduprm.label import grader_names
from eduprm.prm.source import PrmReading
from eduprm.rank.settings_parts import SEGMENTERS, Columns, PolicySettings, ProblemsFile
from eduprm.rank.wrapping import WrapSettings
from eduprm.serve.judge.settings import JudgedSettings

GRADERS = (*(name for name in grader_names() if name != "reasoning-gym"), "none")
"""Names of `--grader`: reasoning-gym's scorers want the generator's entry, which files of solutions do not hold."""

# RankSettings that say where things are, when to stop, or how to report: the ranked rows do not depend on them.
_NOT_IN_ROWS = (
    "file",
    "prm",
    "judge",
    "prm_url",
    "prm_server",
    "prm_adapter",
    "prm_wait_s",
    "output",
    "config",
    "strict",
    "bootstrap",
    "seed",
)


class RankSettings(PrmReading, WrapSettings, JudgedSettings, CommandSettings):
    """
    Rank the solutions of each problem in FILE with a process reward model (PRM).

    FILE is JSONL or Parquet. A row is a problem with its list of solutions
    (id, problem, solutions, optional answer), or one solution (id and problem
    repeated, solution). Columns are names, or paths as doc.question or
    choices[].text (docs/files.md). Exit status: 0 all ranked, 3 some rows rejected, 2 unusable.
    """

    model_config = SettingsConfigDict(cli_prog_name="uv run apps/rerank")
    command: ClassVar[str] = "uv run apps/rerank"

    file: CliPositionalArg[Path] = Field(description="the solutions: JSONL (.gz, .zst too) or Parquet")
    prm: str | None = Field(
        None,
        min_length=1,
        description="folder or hub name of the PRM, or the one that ships, smollm2-135m-steps-prm, or judge: the "
        "language model of --judge; none: prm/ beside FILE, else runs/default/prm, else the one that ships",
    )
    prm_url: str | None = Field(
        None,
        min_length=1,
        description="URL of a service that holds the PRM (python -m eduprm.serve), instead of --prm",
    )
    prm_server: Literal["eduprm", "sglang"] = Field(
        "eduprm",
        description="what answers at --prm-url: eduprm: that service; sglang: an SGLang server that runs a PRM "
        "by likelihood, whose folder is --prm (tokenizer, input format, fold; its weights are not loaded)",
    )
    prm_adapter: str | None = Field(
        None,
        min_length=1,
        description="with --prm-server sglang: the server runs the policy, and this is the name of the PRM's adapter "
        "there (--lora-paths NAME=PRM/adapter)",
    )
    prm_wait_s: float = Field(
        60.0, ge=0, description="seconds without scores from --prm-url after which the run gives up"
    )
    output: Path | None = Field(
        None,
        description="where the ranked rows go, in the format of FILE; none: runs/rerank/<name>.ranked.<jsonl|parquet>",
    )
    aggregate: Literal["min", "last", "product", "mean"] = Field(
        "min", description="how the scores of its steps make the score of a solution"
    )
    rule: str = Field(
        "prm",
        min_length=1,
        description="what ranks the solutions, most by --aggregate: a file of eduprm.rank.rules ("
        + ", ".join(registry.names("eduprm.rank.rules"))
        + "; not those that read log-probs or gold answers) or package.module:Rule (docs/rerank.md)",
    )
    rule_options: dict[str, float | int | bool | str] = Field(
        {}, description="options of the rule, as in weight=0.3 for wrf_prm or share=0.8 for hmr_prm"
    )
    segment: str = Field(
        "auto",
        description="what ends a step: "
        f"{', '.join(registry.names(SEGMENTERS))} or package.module:Segmenter; entropy: as --policy.segmenters say, "
        "where --policy.model is unsure; none: the whole solution is one; auto: as the PRM was trained if it says how, "
        "else paragraphs if there are any, else lines",
    )
    segment_options: dict[str, int | float | bool | str] = Field(
        default_factory=dict, validate_default=True, description="of the segmenter, as in words=24 of fixed"
    )
    # No default instance: of one, pydantic-settings would take all fields for given ones (`trained_cut`).
    policy: PolicySettings = Field(
        default_factory=PolicySettings, description="the model that cuts with --segment entropy"
    )
    grader: str = Field(
        "number",
        description="how answers are compared with the gold ones: "
        f"{', '.join(GRADERS[:-1])}, package.module:function, package.module:Grader (a class, which takes "
        "--grader-options) or none",
    )
    grader_options: dict[str, int | float | bool | str] = Field(
        default_factory=dict, description="of the grader, as in timeout_s=20; a function takes none"
    )
    columns: Columns = Columns()
    problems: ProblemsFile = ProblemsFile()
    where: str | None = Field(
        None, description="take only rows of this value in a column, as in filter=strict-match; none: all"
    )
    limit: int | None = Field(None, ge=1, description="take only the first so many problems; none: all")
    strict: bool = Field(False, description="stop at the first row that cannot be used, rank nothing")
    prefix: str = Field("", description="put before the names of the columns that are added")
    chunk_solutions: int = Field(
        128, ge=1, description="solutions scored between two writes; a killed run loses at most these"
    )
    bootstrap: int = Field(2000, ge=1, description="resamples behind the intervals of the accuracies")
    seed: int = Field(0, ge=0, description="seeds those resamples")
    config: Path | None = Field(None, description="TOML file with any of these settings; flags win over it")

    @field_validator("segment")
    @classmethod
    def _known_segmenter(cls, value: str) -> str:
        if value != "auto":
            registry.load(SEGMENTERS, value, "Segmenter")
        return value

    @field_validator("segment_options")
    @classmethod
    def _taken(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        segment = info.data.get("segment", "auto")
        if value and segment in ("auto", "entropy"):
            raise ValueError(
                f"expected none with --segment {segment}, got {', '.join(value)}; see --policy.threshold"
            )
        if segment not in ("auto", "entropy"):
            registry.make(SEGMENTERS, segment, "Segmenter", value)
        return value

    @field_validator("policy")
    @classmethod
    def _made(cls, value: PolicySettings) -> PolicySettings:
        if value != PolicySettings():  # numpy stays out of the usual command line
            value.check_segmenters()
        return value

    @field_validator("grader")
    @classmethod
    def _known_grader(cls, value: str) -> str:
        if value not in GRADERS and ":" not in value:
            why = (
                "; its scorers want the generator's entry, which FILE lacks"
                if value in grader_names()
                else ""
            )
            known = f"{', '.join(GRADERS)}, package.module:function or package.module:Grader"
            raise ValueError(f"expected one of {known}, got {value!r}{why}")
        return value

    @model_validator(mode="after")
    def _rule_there(self) -> RankSettings:
        if self.rule != "prm" or self.rule_options:  # the default loads no polars here
            from eduprm.rank.file_rules import check_rule

            check_rule(self.rule, self.rule_options)
        return self

    @field_validator("where")
    @classmethod
    def _condition(cls, value: str | None) -> str | None:
        if value is not None and not (value.partition("=")[0].strip() and "=" in value):
            raise ValueError("expected COLUMN=VALUE")
        return value

    @model_validator(mode="after")
    def _steps_are_cut(self) -> RankSettings:
        if self.columns.steps is not None and "segment" in self.model_fields_set:
            raise ValueError(
                "--segment: expected nothing beside --columns.steps, whose steps are cut; leave it out"
            )
        return self

    @model_validator(mode="after")
    def _one_prm(self) -> RankSettings:
        if self.prm_server == "sglang" and self.prm_url is None:
            raise ValueError("--prm-server: expected --prm-url beside it, the server's URL; add it")
        if self.prm == "judge" and self.prm_url is not None:
            raise ValueError("--prm-url: expected nothing beside --prm judge, whose server is --judge.url")
        if self.prm_adapter is not None and self.prm_server != "sglang":
            raise ValueError(
                "--prm-adapter: expected --prm-server sglang beside it, which loads adapters; add it"
            )
        decided = {"format", "marks", "dtype", "batch_tokens", "weights"}
        others = (decided | ({"prm"} if self.prm_server == "eduprm" else set())) & self.model_fields_set
        if self.prm_url is not None and others:
            names = ", ".join("--" + name.replace("_", "-") for name in sorted(others))
            raise ValueError(
                f"{names}: expected nothing beside --prm-url, whose service decides it; leave one out"
            )
        return self

    @property
    def policy_cut(self) -> dict[str, dict[str, Any]] | None:
        """Segmenters that cut the policy's tokens; None where texts are cut without one."""
        if self.segment == "entropy":
            return self.policy.cut
        if self.segment == "auto":
            return None
        made = registry.make(SEGMENTERS, self.segment, "Segmenter", self.segment_options)
        return {self.segment: self.segment_options} if getattr(made, "needs", ()) else None

    @property
    def result_settings(self) -> dict[str, Any]:
        """The settings that decide what the ranked rows hold, as plain values."""
        unused = {"policy"} if self.policy_cut is None else set()
        return self.model_dump(mode="json", exclude={*_NOT_IN_ROWS, *unused})


def load_settings(arguments: Sequence[str]) -> RankSettings:
    """Read the command line, and the TOML file that it names.

    Raises:
        UsageError: one line per wrong setting.
        SystemExit: for --help.
    """
    return command_line.load_settings(RankSettings, arguments)
