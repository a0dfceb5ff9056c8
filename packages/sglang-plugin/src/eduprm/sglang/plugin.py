"""The hooks: who asked, before and after sampling, and what goes into a response.

SGLang calls `register` in each of its processes (entry-point group `sglang.srt.plugins`). Six hooks:

* scheduler, `ForwardBatch.init_new`: notes whether anybody of the batch asked.
* scheduler, `ModelRunner.sample`: reads the raw logits, a copy of them where sampling changes them (penalties, masks,
  temperature), and hangs the step's values on SGLang's auxiliary output (`capture`). Outside of any CUDA graph.
* scheduler, `snapshot_auxiliary_output_starts` and `consume_auxiliary_output` of its result processor: hand the step
  its batch without SGLang's list of commits, which cost more than everything else here.
* tokenizer manager, `_validate_one_request`: takes `return_entropy` for asking, and refuses a request that asks on a
  server which cannot answer.
* tokenizer manager, `update_request_meta_info`: makes the fields of an answer from the packed values (`values`), leaves
  nothing in responses that did not ask, and adds the version.

Source: sglang 0.5.23, `sglang.srt.plugins` and `sglang.srt.sampling.sampling_observer`. The observer of
that module comes after the penalties, too late for raw logits; everything downstream of it is used as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from eduprm.sglang.versions import PLUGIN_VERSION, check_hooks, check_version
from eduprm.sglang.wire import ASK, BLOCKS, PLUGIN_FIELD, TRACE, asks_params, with_entropy

_ASKED = "_eduprm_entropy_asked"
PROCESSOR = "sglang.srt.managers.scheduler_components.batch_result_processor.SchedulerBatchResultProcessor"


def register() -> None:
    """Check that this SGLang fits and register the hooks; SGLang calls it.

    Raises:
        IncompatibleSGLang: see `versions`.
    """
    check_version()
    check_hooks()
    from sglang.srt.plugins.hook_registry import HookRegistry, HookType

    model, managers = "sglang.srt.model_executor", "sglang.srt.managers.tokenizer_manager.TokenizerManager"
    HookRegistry.register(f"{model}.forward_batch_info.ForwardBatch.init_new", note_asked, HookType.AROUND)
    HookRegistry.register(f"{model}.model_runner.ModelRunner.sample", sample, HookType.AROUND)
    HookRegistry.register(f"{PROCESSOR}.snapshot_auxiliary_output_starts", note_starts, HookType.AROUND)
    HookRegistry.register(f"{PROCESSOR}.consume_auxiliary_output", consume, HookType.AROUND)
    HookRegistry.register(f"{managers}._validate_one_request", check_request, HookType.BEFORE)
    HookRegistry.register(f"{managers}.update_request_meta_info", finish_meta_info, HookType.AROUND)


def note_asked(original: Callable[..., Any], cls: type, batch: Any, *args: Any, **kwargs: Any) -> Any:
    """Hook of `ForwardBatch.init_new`: note whether anybody asked, on the rank that answers."""
    forward_batch = original(cls, batch, *args, **kwargs)
    for request in batch.reqs:
        custom = request.sampling_params.custom_params
        if custom and asks_params(custom):
            from sglang.srt.runtime_context import get_parallel

            # Every rank of a tensor-parallel group samples; the first one's scheduler alone sends responses.
            if get_parallel().attn_tp_rank == 0:
                setattr(forward_batch, _ASKED, True)
            break
    return forward_batch


def sample(original: Callable[..., Any], runner: Any, logits_output: Any, forward_batch: Any) -> Any:
    """Hook of `ModelRunner.sample`: values of the step's rows, besides what it does."""
    if not getattr(forward_batch, _ASKED, False):
        return original(runner, logits_output, forward_batch)
    from sglang.srt.managers.auxiliary_output import append_auxiliary_output

    from eduprm.sglang.capture import measure

    logits = logits_output.next_token_logits
    if _will_change(forward_batch.sampling_info):
        logits = logits.clone()
    token_ids = original(runner, logits_output, forward_batch)
    logits_output.auxiliary_device_output = append_auxiliary_output(
        logits_output.auxiliary_device_output, measure(logits, token_ids)
    )
    return token_ids


def note_starts(original: Callable[..., Any], cls: type, batch: Any, result: Any) -> Any:
    """Hook of `snapshot_auxiliary_output_starts`: the plain lengths, where only this plugin wants them."""
    from eduprm.sglang.capture import HostStep

    if isinstance(result.auxiliary_host_output, HostStep):
        return [len(request.output_ids) for request in batch.reqs]
    return original(cls, batch, result)


def consume(original: Callable[..., Any], cls: type, batch: Any, output: Any, output_starts: Any) -> None:
    """Hook of `consume_auxiliary_output`: straight to the step, unless another plugin's output stands beside it."""
    from eduprm.sglang.capture import HostStep

    if isinstance(output, HostStep):
        output.take(batch, output_starts)
    else:
        original(cls, batch, output, output_starts)


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
    params = _sampling_params(manager, obj)
    custom = params.get("custom_params") or {}
    asked = getattr(obj, "return_entropy", False) is True
    if not isinstance(custom, Mapping):
        if asked:
            raise ValueError(f"custom_params: expected an object, got {custom!r}")
        return  # SGLang's own to judge
    if asked:
        custom = with_entropy(params, blocks=custom.get(ASK) == BLOCKS)["custom_params"]
        # In place: of a list of prompts SGLang makes this object anew at each use, around the same dictionary.
        obj.sampling_params["custom_params"] = custom
    if ASK not in custom:
        return
    if custom[ASK] not in (True, False, BLOCKS):
        raise ValueError(f'custom_params.{ASK}: expected true, false or "{BLOCKS}", got {custom[ASK]!r}')
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
    index: int,
    finish_reason: Any,
) -> None:
    """Hook of `TokenizerManager.update_request_meta_info`: the fields for who asked, nothing for who did not."""
    rows = customized_info.get(TRACE)
    if len(customized_info) > (rows is not None):
        others = {key: values for key, values in customized_info.items() if key != TRACE}
        original(manager, meta_info, state, others, index, finish_reason)
    # SGLang fills the others of a batch with lists of None.
    blocks = [block for block in rows[index] if block is not None] if rows is not None else []
    custom = _sampling_params(manager, state.obj).get("custom_params") or {}
    if not asks_params(custom):
        return
    meta_info[PLUGIN_FIELD] = PLUGIN_VERSION
    from eduprm.sglang.values import as_blocks, as_lists

    if getattr(state.obj, "stream", False):
        # As SGLang's own: a streamed answer holds the values so far, or with incremental streaming the new ones.
        for field, values in as_lists(b"".join(blocks)).items():
            manager._accumulate_request_meta_info(meta_info, state, field, values)
        return
    kept = state.customized_info_accumulated.setdefault(TRACE, [])
    kept.extend(blocks)
    if finish_reason is not None:
        encode = as_blocks if custom[ASK] == BLOCKS else as_lists
        meta_info.update(encode(b"".join(kept)))


def _sampling_params(manager: Any, obj: Any) -> dict[str, Any]:
    own = getattr(obj, "sampling_params", None)
    preferred = manager.preferred_sampling_params or {}
    return {**preferred, **own} if isinstance(own, dict) else dict(preferred)
