"""A policy's weights, quietly loaded; its attention inside the engine; what the engine refuses before it computes.

Attention: transformers' own SDPA path copies keys and values once per query head of a group as soon as a mask is given.
Here the heads of a group become query positions of one key-value head: the same sums, a third of the memory traffic
for SmolLM2 (9 heads over 3). Registered under a name of its own; a model uses it only inside the engine.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AutoModelForCausalLM, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.utils import logging as hf_logging

from eduprm.core.errors import first_line
from eduprm.policy import longrope_tokens, resolve_model
from eduprm.search.contract import Request, RequestError


def load_policy(
    name: str,
    *,
    device: str | None = None,
    dtype: str | torch.dtype = "auto",
    trust_remote_code: bool = False,
) -> PreTrainedModel:
    """A causal language model in evaluation mode.

    Args:
        name: bundled model, local folder or hub name.
        device: None for the GPU if there is one, else the CPU.
        dtype: "auto" for what the checkpoint says.
        trust_remote_code: run code that comes with the checkpoint; only if you trust it.
    """
    bars = hf_logging.is_progress_bar_enabled()
    hf_logging.disable_progress_bar()
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            resolve_model(name), dtype=dtype, trust_remote_code=trust_remote_code
        )
    finally:
        if bars:
            hf_logging.enable_progress_bar()
    return model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()


GROUPED = "eduprm_grouped"


def grouped_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of grouped heads in one call per key-value head.

    Args:
        module: the attention layer (unused; part of transformers' interface).
        query: [batch, heads, new, dim].
        key: [batch, kv_heads, keys, dim].
        value: like `key`.
        attention_mask: additive or bool, [batch, 1, new, keys]; None for plain causal attention, the new tokens last.
        scaling: of the scores; None for 1 / sqrt(dim).
        dropout: must be 0: this is inference.
        softcap: must be None: capped scores are not served.
        s_aux: must be None: neither are attention sinks.

    Returns:
        [batch, new, heads, dim], and None for the weights, which are never held.
    """
    if dropout:
        raise ValueError(f"grouped attention expects no dropout, got {dropout}: it serves inference only")
    if softcap is not None or s_aux is not None:
        raise ValueError(
            "grouped attention expects plain scores, got a model that caps them or has attention sinks"
        )
    batch, heads, new, dim = query.shape
    if attention_mask is None:
        keys = key.shape[2]
        seen = torch.ones(new, keys, dtype=torch.bool, device=query.device).tril(keys - new)
        attention_mask = seen[None, None]
    kv_heads = key.shape[1]
    group = heads // kv_heads
    mask = attention_mask if new == 1 else attention_mask.repeat(1, 1, group, 1)
    out = scaled_dot_product_attention(
        query.reshape(batch, kv_heads, group * new, dim), key, value, attn_mask=mask, scale=scaling
    )
    # As transformers' own give it: some models (AFMoE) take a view of it.
    return out.reshape(batch, heads, new, dim).transpose(1, 2).contiguous(), None


AttentionInterface.register(GROUPED, grouped_attention)
AttentionMaskInterface.register(GROUPED, sdpa_mask)


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
    """Refuse models whose layers do not all attend to everything before them, at the positions that are given.

    Raises:
        ValueError: sliding-window, linear-attention or other such layers, or a model that takes no positions (ALiBi,
            decoders of encoder-decoder models).
    """
    config = model.config
    # GPT-Neo names its kinds in a list of its own, and slides in layers called "local".
    kinds = set(getattr(config, "layer_types", None) or getattr(config, "attention_layers", None) or [])
    if not kinds:
        kinds = {"sliding_attention" if getattr(config, "sliding_window", None) else "full_attention"}
    if not kinds <= {"full_attention", "global"}:
        raise ValueError(
            f"model {config.model_type!r} has layers of kind {sorted(kinds)}; the embedded engine expects "
            "full attention only: serve it with SGLang"
        )
    # Rows of one forward stand at different positions; such a model would count them off by itself.
    if "position_ids" not in inspect.signature(model.forward).parameters or getattr(config, "alibi", False):
        raise ValueError(
            f"model {config.model_type!r} takes no position_ids; the embedded engine expects a model that does: "
            "serve it with SGLang"
        )


class PiecesCheck:
    """Whether a model says the same of a path in pieces, behind what it holds of the path so far, as in one forward.

    Tried on six tokens, since no config says it: encoders see what comes behind, recurrent layers may begin anew at
    each piece, and some models hold other things than keys and values of one shape.

    Args:
        model: as it was loaded; its own forward over the whole is what the pieces are held against.
    """

    @torch.inference_mode()
    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        vocabulary = vocabulary_of(model)
        self.ids = [(vocabulary // 2 + number) % vocabulary for number in range(6)]
        ids = torch.tensor([self.ids], device=model.device)
        self._whole = model(input_ids=ids, use_cache=False).logits[0, -1].double()

    @torch.inference_mode()
    def hold(self, in_pieces: Callable[[list[int]], torch.Tensor]) -> None:
        """Refuse the model unless `in_pieces` gives nearly the same logits [vocab] behind `ids`.

        Raises:
            ValueError: it fails or gives others. NaN pass: whoever decodes says what is wrong with them.
        """
        try:
            parts = in_pieces(self.ids).double()
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            found = first_line(error)
        else:
            off = float((parts - self._whole).norm() / (self._whole - self._whole.mean()).norm())
            # Rounding is about a hundredth in half precision, and may choose other experts there.
            if not off > (0.02 if self._model.dtype.itemsize > 2 else 0.25):
                return
            found = f"logits differ by {off:.0%}"
        raise ValueError(
            f"model {self._model.config.model_type!r} does not read a path in pieces as it reads the whole ({found}): "
            "serve it with SGLang"
        )


def context_of(model: PreTrainedModel) -> int:
    """Most tokens that the model reads at the same rotations of its positions, whatever length comes behind them.

    Rotations of the kind "longrope" (Phi-3) change for every token as soon as a path outgrows the length of the first
    training, so keys held from before would be wrong: there the context ends at that length.

    Raises:
        ValueError: its config names no length.
    """
    config = model.config
    context = getattr(config, "max_position_embeddings", None)
    if not context or context < 1:  # XLNet names -1
        raise ValueError(
            f"model {config.model_type!r}: expected a config with max_position_embeddings, got {context}: "
            "serve it with SGLang"
        )
    return min(int(context), longrope_tokens(config) or int(context))


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
    check_ids("prefix_ids", request.prefix_ids, vocabulary=vocabulary)


def check_ids(name: str, ids: Sequence[int], *, vocabulary: int) -> None:
    """Refuse ids that the model has no embedding for.

    Raises:
        RequestError: names the first.
    """
    strange = next((token for token in ids if not 0 <= token < vocabulary), None)
    if strange is not None:
        raise RequestError(
            f"{name}: token id {strange} is outside of the model's vocabulary of {vocabulary}; "
            "encode prompts with the policy's own tokenizer"
        )


def vocabulary_of(model: PreTrainedModel) -> int:
    """Tokens that the model has an embedding for."""
    embeddings: Any = model.get_input_embeddings()
    return len(embeddings.weight)


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
