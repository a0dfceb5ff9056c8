"""The hooks: who asked, before and after sampling, and what goes into a response.

SGLang calls `register` in each of its processes (entry-point group `sglang.srt.plugins`). Four hooks:

* scheduler, `ForwardBatch.init_new`: notes which rows of the batch asked.
* scheduler, `ModelRunner.sample`: reads the raw logits before penalties, masks and temperature change them, and
  hangs the step's values on SGLang's auxiliary output (`capture`). Outside of any CUDA graph.
* tokenizer manager, `_validate_one_request`: takes `return_entropy` for asking, and refuses a request that asks on a
  server which cannot answer.
* tokenizer manager, `update_request_meta_info`: leaves nothing in responses that did not ask, and adds the version.

Does not know: the arithmetic (`capture`), the names on the wire (`wire`).
Source: sglang 0.5.23, `sglang.srt.plugins` and `sglang.srt.sampling.sampling_observer`. The observer of
that module comes after the penalties, too late for raw logits; everything downstream of it is used as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eduprm.sglang.versions import PLUGIN_VERSION, check_hooks, check_version
from eduprm.sglang.wire import ASK, FIELDS, PLUGIN_FIELD, asks, with_entropy

_ROWS = "_eduprm_entropy_rows"


def register() -> None:
    """Check that this SGLang fits and register the hooks; SGLang calls it.

    Raises:
        IncompatibleSGLang: see `versions`.
    """
    check_version()
    check_hooks()
    from sglang.srt.plugins.hook_registry import HookRegistry, HookType

    model, managers = "sglang.srt.model_executor", "sglang.srt.managers.tokenizer_manager.TokenizerManager"
    HookRegistry.register(f"{model}.forward_batch_info.ForwardBatch.init_new", note_rows, HookType.AROUND)
    HookRegistry.register(f"{model}.model_runner.ModelRunner.sample", sample, HookType.AROUND)
    HookRegistry.register(f"{managers}._validate_one_request", check_request, HookType.BEFORE)
    HookRegistry.register(f"{managers}.update_request_meta_info", finish_meta_info, HookType.AROUND)


def note_rows(original: Callable[..., Any], cls: type, batch: Any, *args: Any, **kwargs: Any) -> Any:
    """Hook of `ForwardBatch.init_new`: note which rows asked, on the rank that answers."""
    forward_batch = original(cls, batch, *args, **kwargs)
    rows = [
        row
        for row, request in enumerate(batch.reqs)
        if (custom := request.sampling_params.custom_params) and custom.get(ASK) is True
    ]
    if rows:
        from sglang.srt.runtime_context import get_parallel

        # Every rank of a tensor-parallel group samples; the first one's scheduler alone sends responses.
        if get_parallel().attn_tp_rank == 0:
            setattr(forward_batch, _ROWS, rows)
    return forward_batch


def sample(original: Callable[..., Any], runner: Any, logits_output: Any, forward_batch: Any) -> Any:
    """Hook of `ModelRunner.sample`: values of the rows that asked, besides what it does."""
    rows = getattr(forward_batch, _ROWS, None)
    if not rows:
        return original(runner, logits_output, forward_batch)
    from sglang.srt.managers.auxiliary_output import append_auxiliary_output

    from eduprm.sglang.capture import finish, start

    will_change = _will_change(forward_batch.sampling_info)
    started = start(logits_output.next_token_logits, rows, will_change=will_change)
    token_ids = original(runner, logits_output, forward_batch)
    logits_output.auxiliary_device_output = append_auxiliary_output(
        logits_output.auxiliary_device_output, finish(started, token_ids)
    )
    return token_ids


def _will_change(info: Any) -> bool:
    """Say whether sampling may write into the logits; only plain greedy decoding certainly does not."""
    penalties = info.penalizer_orchestrator
    return not info.is_all_greedy or any(
        (
            info.acc_additive_penalties is not None,
            info.acc_scaling_penalties is not None,
            penalties is not None and penalties.is_required,
            info.grammars is not None,
            info.grammar_mask is not None,
            info.logit_bias is not None,
            info.has_custom_logit_processor,
            getattr(info, "has_watermark_candidates", False),
        )
    )


def check_request(manager: Any, obj: Any, *_: Any, **__: Any) -> None:
    """Hook of `TokenizerManager._validate_one_request`: a clear error instead of an answer without entropy.

    SGLang has a field `return_entropy` that nothing reads, and sends its scheduler sampling parameters alone: whoever
    sets it asks as if by `custom_params`.

    Raises:
        ValueError: (HTTP 400) the request asks, and the server decodes in a way that the plugin does not follow.
    """
    if getattr(obj, "return_entropy", False) is True:
        # In place: of a list of prompts SGLang makes this object anew at each use, around the same dictionary.
        obj.sampling_params["custom_params"] = with_entropy(_sampling_params(manager, obj))["custom_params"]
    params = _sampling_params(manager, obj)
    custom = params.get("custom_params") or {}
    if ASK not in custom:
        return
    if not isinstance(custom[ASK], bool):
        raise ValueError(f"custom_params.{ASK}: expected true or false, got {custom[ASK]!r}")
    if custom[ASK] and (reason := _unanswerable(manager.server_args, params)):
        raise ValueError(f"entropy: none {reason}; do not ask for it or change the server")


def _unanswerable(server_args: Any, params: dict[str, Any]) -> str | None:
    if server_args.speculative_algorithm is not None:
        return f"with speculative decoding ({server_args.speculative_algorithm})"
    if server_args.pp_size > 1:
        return f"with pipeline parallelism (pp_size {server_args.pp_size})"
    if server_args.disaggregation_mode != "null":
        return f"with prefill and decode on different servers ({server_args.disaggregation_mode})"
    if getattr(server_args, "dllm_algorithm", None) is not None:
        return "from a diffusion language model"
    if (params.get("beam_width") or 1) > 1:
        return "with beam search"
    return None


def finish_meta_info(
    original: Callable[..., Any],
    manager: Any,
    meta_info: dict[str, Any],
    state: Any,
    customized_info: dict[str, Any],
    *args: Any,
    **kwargs: Any,
) -> None:
    """Hook of `TokenizerManager.update_request_meta_info`: nothing for who did not ask, the version for who did."""
    if asks(_sampling_params(manager, state.obj)):
        meta_info[PLUGIN_FIELD] = PLUGIN_VERSION
    else:
        # SGLang fills the others of a batch with lists of None.
        customized_info = {key: values for key, values in customized_info.items() if key not in FIELDS}
    original(manager, meta_info, state, customized_info, *args, **kwargs)


def _sampling_params(manager: Any, obj: Any) -> dict[str, Any]:
    own = getattr(obj, "sampling_params", None)
    preferred = manager.preferred_sampling_params or {}
    return {**preferred, **own} if isinstance(own, dict) else dict(preferred)
