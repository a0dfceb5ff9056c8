"""Which model a server runs, and whether it is the one that was asked for.

A client without torch reads the wanted model's own JSON files (folder or hub cache); the server tells its path, its
architecture and its limits.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from eduprm.policy import resolve_model
from eduprm.search.contract import EngineMismatchError


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What a checkpoint's JSON files say.

    Attributes:
        name: folder or hub name.
        stop_ids: end tokens of the generation config, else of the config.
        context_length: tokens of a prefix and its completion.
        vocab_size: rows of the output layer.
        architectures: class names.
    """

    name: str
    stop_ids: frozenset[int]
    context_length: int
    vocab_size: int
    architectures: tuple[str, ...]


def model_facts(model: str, *, stop_ids: frozenset[int] | None = None) -> ModelFacts:
    """Read them for a model by name (see `resolve_model`).

    Raises:
        ValueError: the checkpoint has no config.json, or names no end token and none is given.
    """
    name = resolve_model(model)
    config = _read_json(name, "config.json")
    if config is None:
        raise ValueError(f"model {model!r}: no config.json there or in the hub's cache")
    text = config.get("text_config") or config
    if stop_ids is None:
        ends = (_read_json(name, "generation_config.json") or {}).get("eos_token_id")
        ends = ends if ends is not None else text.get("eos_token_id")
        if ends is None:
            raise ValueError(f"model {model!r} names no end token; pass stop_ids")
        stop_ids = frozenset(ends if isinstance(ends, list) else [ends])
    return ModelFacts(
        name=name,
        stop_ids=stop_ids,
        context_length=int(text["max_position_embeddings"]),
        vocab_size=int(text["vocab_size"]),
        architectures=tuple(config.get("architectures") or ()),
    )


def check_served(facts: ModelFacts, info: dict[str, Any], *, served_as: str | None) -> None:
    """Refuse a server that runs another model.

    Names are compared whole, then by their last part, since a folder lies elsewhere on another machine.

    Args:
        facts: of the wanted model.
        info: the server's answer on /model_info.
        served_as: what the server calls it, where that differs.

    Raises:
        EngineMismatchError: says both names.
    """
    wanted = served_as or facts.name
    names = [str(info[key]) for key in ("model_path", "served_model_name") if info.get(key)]
    if not any(name == wanted or _last(name) == _last(wanted) for name in names):
        raise EngineMismatchError(
            f"the server runs {' as '.join(dict.fromkeys(names)) or 'an unnamed model'}, expected {wanted}; start "
            "it with that model, or say under what name it has it (served_as)"
        )
    served = tuple(info.get("architectures") or ())
    if served and facts.architectures and served != facts.architectures:
        raise EngineMismatchError(
            f"the server's {names[0]} is {', '.join(served)}, expected {', '.join(facts.architectures)} as in "
            f"{facts.name}"
        )
    if info.get("is_generation") is False:
        raise EngineMismatchError(
            f"the server runs {names[0]} for embeddings; start it without --is-embedding"
        )


def served_context(facts: ModelFacts, info: dict[str, Any]) -> int:
    """Tokens of a prefix and its completion that the server takes whole, from its answer on /server_info.

    SGLang cuts a path without a word where prefix and new tokens exceed `max_req_input_len` + 4 (scheduler.py: the
    limit of a request is that + 5, one of which stays free); it is what context and cache have room for.
    """
    limit = info.get("max_req_input_len")
    return facts.context_length if limit is None else min(facts.context_length, int(limit) + 4)


def _last(name: str) -> str:
    return PurePosixPath(name.rstrip("/")).name


def _read_json(name: str, file: str) -> dict[str, Any] | None:
    folder = Path(name)
    if not folder.is_dir():
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        try:
            path = Path(hf_hub_download(name, file))
        except (HfHubHTTPError, LocalEntryNotFoundError):
            return None
    else:
        path = folder / file
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
