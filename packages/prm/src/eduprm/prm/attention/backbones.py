"""Which backbones a tree mask fits, how long their paths may be, and which back end keeps the mask.

For training and scoring, before the first batch.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch

from eduprm.policy import longrope_tokens
from eduprm.prm.attention.choice import attention_inputs, implementation_of
from eduprm.prm.attention.varlen import VARLEN

__all__ = ["check_backbone", "check_mask_honoured", "context_tokens", "settle_attention"]

# Recurrent models whose configs name no kinds of layers.
RECURRENT = frozenset({"rwkv", "xlstm"})


def check_backbone(config: Any, *, longest: int) -> None:
    """Refuse backbones whose attention a tree mask cannot express for paths of `longest` tokens.

    Raises:
        ValueError: recurrent or linear-attention layers, or a sliding window or a bound of the rotary embedding that is
            shorter than the longest path.
    """
    text = config.get_text_config()
    plain = ["recurrent" if text.model_type in RECURRENT else "full_attention"]
    named = (getattr(text, name, None) for name in ("layer_types", "layers_block_type", "attention_layers"))
    strange = sorted(
        set(next(filter(None, named), plain)) - {"full_attention", "sliding_attention", "global"}
    )
    if strange:
        message = f"expected full or sliding attention layers, got {strange} in {text.model_type}"
        # Chunks and local windows count along the row, not along the path; the others hold a state.
        if not set(strange) <= {"chunked_attention", "local"}:
            message += (
                ": a state that runs along the row would leak from branch to branch. The package tree-recurrence forks "
                "such states along a tree, but eduprm is not wired to it; choose a backbone of attention layers alone"
            )
        raise ValueError(message)
    window = _window(text)
    if window is not None and longest > window:
        raise ValueError(
            f"{text.model_type} attends through a window of {window} tokens, which a tree mask replaces: "
            f"expected paths of at most {window} tokens, got {longest}; lower max_length"
        )
    short = longrope_tokens(text)
    if short is not None and longest > short:
        raise ValueError(
            f"{text.model_type} turns all positions of a batch otherwise once one is beyond {short} (longrope), so "
            f"scores would depend on other trees: expected paths of at most {short} tokens, got {longest}; "
            "lower max_length"
        )


def context_tokens(config: Any) -> int | None:
    """Return the most tokens a path may have; None if unbounded.

    The least of the context, a sliding window, and the positions up to which longrope leaves angles as they are.
    """
    text = config.get_text_config()
    bounds = (getattr(text, "max_position_embeddings", None), _window(text), longrope_tokens(text))
    return min((bound for bound in bounds if bound is not None), default=None)


def settle_attention(model: Any, name: str, *, dtype: torch.dtype) -> None:
    """Have `model` attend by a back end that computes packed trees as single paths; call it where the model will run.

    `name` as in `TrainConfig`; `dtype` is that of the computation, autocast included. With "auto" the fastest back end
    that passes `check_mask_honoured`: gathered paths, what transformers takes by itself, eager.

    Warns:
        UserWarning: with "auto", that a faster back end does not compute this model.

    Raises:
        ValueError: none of them does, or the one that was asked for.
    """
    from eduprm.prm.loading import quiet_transformers

    own = model.config._attn_implementation
    wanted = implementation_of(name, device=model.get_input_embeddings().weight.device, dtype=dtype)
    choices = [wanted or own] if name != "auto" else dict.fromkeys([wanted or own, own, "eager"])
    failures = []
    for choice in choices:
        try:
            with quiet_transformers():
                model.set_attn_implementation(choice)
            if model.config._attn_implementation != choice:
                raise ValueError(f"{type(model).__name__} takes no attn_implementation={choice!r}")
            check_mask_honoured(model)
        except ValueError as error:
            failures.append(error)
            continue
        if failures:
            warnings.warn(f"attention by {choice}: {str(failures[0]).splitlines()[0]}", stacklevel=2)
        return
    raise failures[0]


@torch.no_grad()
def check_mask_honoured(model: Any) -> None:
    """Compute a token behind a branch that it must not see, behind another such branch, and without any.

    `model` may lie on any device. Costs two passes over fifteen tokens in all.

    Raises:
        ValueError: the token's states differ or are not finite, or the model cannot take the tree: its attention drops
            the mask, counts positions along the row, or sees what follows, and packed trees would be computed wrongly.
    """
    implementation = model.config._attn_implementation
    if implementation in ("sdpa", VARLEN) and getattr(
        model.config.get_text_config(), "attn_logit_softcapping", None
    ):
        raise ValueError(
            f"{type(model).__name__} with attn_implementation={implementation!r} drops the soft cap of its attention "
            "scores; use attn_implementation='eager'"
        )
    weight = model.get_input_embeddings().weight
    if implementation == "flex_attention" and weight.device.type == "cpu":
        return  # compiles for half a minute there, and is of transformers' own making
    # Rows of one shape, so that the same kernels compute all of them.
    rows = [([1, 2, 3], [3, 2, 3]), ([1, 4, 3], [3, 2, 3]), ([1, 3, 2], [3, 3, 3])]
    exact = weight.dtype == torch.float32 and not (implementation == VARLEN and weight.is_cuda)
    tolerance = 1e-4 if exact else 2e-2
    first, second, alone = _states(model, rows)
    paths = [([1, 2, 3], [3, 3, 3]), ([1, 2, 4], [3, 3, 3])]  # no mask is made for these
    then, other = _states(model, paths)
    if not (first.isfinite().all() and then.isfinite().all()):
        raise ValueError(
            f"{type(model).__name__} with attn_implementation={implementation!r} computes states that are not finite: "
            "expected another backbone, or weights without NaN"
        )
    for one, two, what in (
        (first[2], second[2], "drops the tree mask: a token that may not be seen changes another's state"),
        (
            first[2],
            alone[1],
            "counts positions along the row: behind a branch that it does not see a token differs",
        ),
        (then[1], other[1], "is no decoder: a token changes the state of the one before it"),
    ):
        if (one - two).norm() > tolerance * one.norm():
            raise ValueError(
                f"{type(model).__name__} with attn_implementation={implementation!r} {what}; choose another "
                "attn_implementation or backbone"
            )


def _states(model: Any, rows: list[tuple[list[int], list[int]]]) -> torch.Tensor:
    """Return the final states [B, L, D], float64, of rows of ids and stops."""
    implementation, weight = model.config._attn_implementation, model.get_input_embeddings().weight
    ids, stops = (torch.tensor(column, device=weight.device) for column in zip(*rows, strict=True))
    index = torch.arange(ids.shape[1], device=weight.device)
    seen = (index[:, None] >= index) & (index[:, None] < stops[:, None])
    dtype = weight.dtype
    if implementation == VARLEN and weight.is_cuda and dtype == torch.float32:
        dtype = torch.bfloat16
    was_training = model.training
    model.eval()
    # Adapters are float32 over a half-precision base: autocast, as in training.
    with torch.autocast(weight.device.type, dtype=dtype, enabled=dtype != torch.float32):
        try:
            inputs = attention_inputs({"stops": stops}, implementation=implementation, dtype=dtype)
            output = model.base_model(input_ids=ids, position_ids=seen.sum(-1) - 1, use_cache=False, **inputs)
        except (TypeError, AttributeError, RuntimeError, ValueError) as error:
            raise ValueError(
                f"{type(model).__name__} with attn_implementation={implementation!r} cannot compute packed trees: "
                f"{str(error).splitlines()[0]}"
            ) from error
        finally:
            model.train(was_training)
    states: torch.Tensor = output.last_hidden_state if hasattr(output, "last_hidden_state") else output.logits
    return states.double()


def _window(text: Any) -> int | None:
    """Return the tokens that a backbone's sliding attention reaches back, None if it has none."""
    kinds = getattr(text, "layer_types", None)
    slides = kinds is None or "sliding_attention" in kinds
    return (
        getattr(text, "sliding_window", None)
        if slides and getattr(text, "use_sliding_window", True)
        else None
    )
