"""Where a PRM is and how it is read: one setting for every app, one `open()` that gives what scores steps.

A PRM behind a URL is a `PrmPlace` too (`eduprm.serve.source`). Imports no torch before a PRM is opened.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, field_validator

from eduprm.core.errors import UsageError, first_line
from eduprm.core.registry import source_digest
from eduprm.prm.config import Aggregate, Scoring
from eduprm.prm.prm_folder import find_prm, folder_digest
from eduprm.prm.published import FORMATS, StepMarks, check_format
from eduprm.prm.solutions import StepScorer

if TYPE_CHECKING:
    from eduprm.prm.score import ProcessRewardModel

__all__ = ["PrmPlace", "PrmReading", "PrmSource", "saved_entry"]


class PrmPlace(Protocol):
    """A PRM that is known but not opened."""

    @property
    def name(self) -> str:
        """As the user said it."""

    def key(self) -> Any:
        """What tells this PRM from every other, as JSON has it."""

    def saved_cut(self) -> Any:
        """How it says its training cut solutions (`eduprm.prm.StepCut` as JSON), or None."""

    def solution(self) -> Aggregate:
        """How step scores become the one of a solution (`Scoring.solution`)."""

    def open(self) -> StepScorer:
        """Get it ready; UsageError if that fails."""


class PrmReading(BaseModel):
    """How a checkpoint of a PRM is read; part of the settings of whatever opens one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: str | None = Field(
        None,
        description=f"the form in which the PRM was published ({', '.join(FORMATS)} or package.module:Format; "
        "docs/published-prms.md); none: its config tells",
    )
    marks: StepMarks = Field(StepMarks(), description="what --format trl and label-tokens leave open")
    batch_tokens: int = Field(8192, ge=1, description="most tokens in one forward pass of the PRM")
    device: str | None = Field(None, description="device of torch; none: cuda if there is one, else cpu")
    dtype: Literal["float32", "bfloat16", "float16"] | None = Field(
        None, description="precision of the PRM; none: bfloat16 on cuda, else float32"
    )
    weights: Literal["full", "int8"] = Field(
        "full",
        description="int8: weights of the PRM's decoder layers rounded to 8 bits (extra int8), to save memory",
    )

    @field_validator("format")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        return None if value is None else check_format(value)


class PrmSource(PrmReading):
    """A PRM in a folder of this machine: ours, or a published one.

    Examples:
        >>> import tempfile
        >>> from eduprm.prm.testing import tiny_prm
        >>> folder = tiny_prm(tempfile.mkdtemp() + "/prm")
        >>> prm = PrmSource(name="tiny", folder=folder).open()
        >>> [len(result.scores) for result in prm.score_steps([("2 * 3?", ["2 * 3 = 6\\n", "#### 6"])])]
        [2]
    """

    name: str = Field(min_length=1, description="the PRM as the user named it, for messages")
    folder: Path = Field(description="its checkpoint")

    @classmethod
    def find(cls, name: str, reading: PrmReading | None = None) -> PrmSource:
        """The PRM of a folder's name, a hub name (fetched) or a name that ships.

        Raises:
            UsageError: there is none; as `eduprm.prm.prm_folder.find_prm`.
        """
        return cls.at(find_prm(name), reading, name=name)

    @classmethod
    def at(cls, folder: Path, reading: PrmReading | None = None, *, name: str | None = None) -> PrmSource:
        """The PRM of a folder, to be read as `reading` says (any settings that have its fields)."""
        how = {} if reading is None else {key: getattr(reading, key) for key in PrmReading.model_fields}
        return cls(name=str(folder) if name is None else name, folder=folder, **how)

    def key(self) -> str:
        """Hash of the folder's content; with the code that reads it, where that is a form of anybody's own."""
        held = folder_digest(self.folder)
        if self.format is None or ":" not in self.format:
            return held
        code = source_digest("", self.format)
        return hashlib.sha256(f"{held} {code}".encode()).hexdigest()

    def saved_cut(self) -> Any:
        """What stands in its config.json; a file that cannot be read is said when it is opened."""
        return (saved_entry(self.folder) or {}).get("steps")

    def solution(self) -> Aggregate:
        """What its scorer says; published PRMs score by a head. A broken config is said when it is opened."""
        try:
            return Scoring.model_validate((saved_entry(self.folder) or {}).get("scoring", {})).solution
        except ValueError:
            return "last"

    def open(self) -> ProcessRewardModel:
        """Load it; code out of a checkpoint never runs.

        Raises:
            UsageError: the folder holds no PRM that can be loaded as it is to be read.
        """
        from eduprm.prm import load_step_scorer

        how = {key: getattr(self, key) for key in PrmReading.model_fields}
        try:
            return load_step_scorer(self.folder, **how)
        except (
            Exception
        ) as error:  # transformers, safetensors and tokenizers raise many kinds; the cause is kept
            where = "" if self.device is None else f" on --device {self.device}"
            message = f"--prm: {self.name} cannot be loaded as a PRM{where}: {first_line(error)}"
            raise UsageError(message) from error


def saved_entry(folder: Path) -> dict[str, Any] | None:
    """What eduprm wrote into a PRM's config.json; None where it wrote nothing, or the file cannot be read."""
    try:
        entry = json.loads((folder / "config.json").read_text(encoding="utf-8"))["eduprm"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return entry if isinstance(entry, dict) else None
