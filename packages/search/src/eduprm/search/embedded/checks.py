"""What the embedded engine refuses, said before anything is computed."""

from __future__ import annotations

from transformers import PreTrainedModel

from eduprm.search.contract import Request, RequestError


def check_settings(*, max_rows: int, cache_tokens: int) -> None:
    """Refuse numbers that no engine could work with.

    Raises:
        ValueError: one of them is out of range.
    """
    if max_rows < 1:
        raise ValueError(f"max_rows: expected at least 1, got {max_rows}")
    if cache_tokens < 0:
        raise ValueError(f"cache_tokens: expected 0 or more, got {cache_tokens}")


def check_layers(model: PreTrainedModel) -> None:
    """Refuse models whose layers do not all attend to everything before them.

    Raises:
        ValueError: sliding-window, linear-attention or other such layers.
    """
    config = model.config
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if getattr(config, "layer_types", None) is None and getattr(config, "sliding_window", None):
        kinds = {"sliding_attention"}
    if kinds != {"full_attention"}:
        raise ValueError(
            f"model {config.model_type!r} has layers of kind {sorted(kinds)}; the embedded engine expects "
            "full attention only: serve it with SGLang"
        )


def check_request(request: Request, *, context_length: int, vocabulary: int) -> None:
    """Refuse what the model cannot read.

    Raises:
        RequestError: longer than its context, or an id that it has no embedding for.
    """
    if len(request.prefix_ids) + request.max_new_tokens > context_length:
        raise RequestError(
            f"prefix of {len(request.prefix_ids)} tokens plus {request.max_new_tokens} new ones exceeds "
            f"the model's context of {context_length}"
        )
    strange = next((token for token in request.prefix_ids if not 0 <= token < vocabulary), None)
    if strange is not None:
        raise RequestError(
            f"prefix_ids: token id {strange} is outside of the model's vocabulary of {vocabulary}; "
            "encode prompts with the policy's own tokenizer"
        )


def stop_ids_of(model: PreTrainedModel) -> frozenset[int]:
    """The end tokens that the model's generation config names.

    Raises:
        ValueError: it names none.
    """
    ends = model.generation_config.eos_token_id if model.generation_config else None
    ends = ends if ends is not None else model.config.eos_token_id
    if ends is None:
        raise ValueError("the model names no end token; pass stop_ids")
    return frozenset(ends if isinstance(ends, list) else [ends])
