"""Which model solves, and how the embedded engine runs it: the settings that recipes of several apps share.

Imports neither torch nor transformers before an engine is opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from eduprm.policy import BUNDLED_MODEL

if TYPE_CHECKING:
    from eduprm.search.embedded import TransformersEngine


class PolicySettings(BaseModel):
    """The model whose solutions are grown, and the engine that runs it.

    Examples:
        >>> PolicySettings().model
        'smollm2-135m-instruct'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(BUNDLED_MODEL, min_length=1, description="bundled model, local folder or hub name")
    device: str | None = Field(None, description="device of torch; none: cuda if there is one, else cpu")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="precision; auto: the checkpoint's own"
    )
    max_rows: int = Field(32, ge=1, description="most paths decoded in one forward pass")
    cache_tokens: int = Field(
        65_536, ge=0, description="prefix tokens whose keys and values are kept for forks"
    )
    trust_remote_code: bool = Field(False, description="run code that comes with the checkpoint")

    def open_engine(self) -> TransformersEngine:
        """The policy in this process, loaded."""
        from eduprm.search import TransformersEngine

        return TransformersEngine.from_pretrained(
            self.model,
            device=self.device,
            dtype=self.dtype,
            trust_remote_code=self.trust_remote_code,
            max_rows=self.max_rows,
            cache_tokens=self.cache_tokens,
        )
