"""Which form a checkpoint was published in, told by its name or from its config alone.

A path is never looked at: a folder may have any name (search-and-learn and others choose by the name, and score a
renamed or fine-tuned checkpoint in the wrong form without a word). Listing the names imports neither torch nor
transformers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from eduprm.core import registry

if TYPE_CHECKING:
    from eduprm.prm.published.formats._contract import PublishedFormat

__all__ = ["FORMATS", "check_format", "choose_format", "find_format"]

_PACKAGE = "eduprm.prm.published.formats"


def _shown(module: str) -> str:
    return re.sub(r"(\d)_(\d)", r"\1.\2", module).replace("_", "-")


FORMATS: tuple[str, ...] = ("eduprm", *(_shown(name) for name in registry.names(_PACKAGE)))
"""eduprm's own, and one for each file of the folder."""


def check_format(name: str) -> str:
    """Return the name if there may be such a form.

    Raises:
        ValueError: with the names there are.

    Examples:
        >>> check_format("qwen2.5-math-prm")
        'qwen2.5-math-prm'
    """
    if name not in FORMATS and ":" not in name:
        raise ValueError(f"expected a format of {', '.join(FORMATS)} or package.module:Format, got {name!r}")
    return name


def find_format(name: str) -> PublishedFormat:
    """Return the form of this name.

    Raises:
        ValueError: there is none.
    """
    module = name if ":" in name else re.sub("[-.]", "_", check_format(name))
    found: PublishedFormat = registry.make(_PACKAGE, module, "Format")
    return found


def choose_format(config: Mapping[str, Any], *, path: str) -> str:
    """Return the name of a checkpoint's form from its config.json; `path` is for messages.

    A config that eduprm wrote says so (`eduprm`). Otherwise the class that wrote the checkpoint tells
    (`architectures`), except for causal language models, whose config does not say how they judge.

    Raises:
        ValueError: the form cannot be told, with the names to choose from.

    Examples:
        >>> choose_format({"architectures": ["Qwen2ForProcessRewardModel"]}, path="prm")
        'qwen2.5-math-prm'
    """
    if "eduprm" in config:
        return "eduprm"
    architectures = [str(name) for name in config.get("architectures") or []]
    published = {name: find_format(name) for name in FORMATS if name != "eduprm"}
    for architecture in architectures:
        for name, form in published.items():
            if architecture.endswith(form.architectures):
                return name
    shown = ", ".join(architectures) or "no architecture"
    if any(name.endswith("ForCausalLM") for name in architectures):
        causal = ", ".join(name for name, form in published.items() if not form.architectures)
        raise ValueError(
            f"{path} is a causal language model ({shown}), and its config does not say how it judges steps; "
            f"name the format: {causal}"
        )
    raise ValueError(
        f"{path} says {shown} in its config, which is the mark of no known PRM; name the format: {', '.join(FORMATS)}, "
        "or one of your own, package.module:Format (docs/extend.md)"
    )
