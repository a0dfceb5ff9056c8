"""Which SGLang this plugin fits, checked when SGLang loads it.

For `plugin` and `platform`. Two checks: the version is one that the tests ran with, and every function and
field that the hooks lean on is there with the parameters they expect (a patched or vendored SGLang may keep
its number and change its inside). A hook that does not fit must not load: it would give wrong values.
Source: sglang 0.5.23, `sglang.srt.managers.auxiliary_output` and its callers. That module is the same from 0.5.20 on;
widen the range once the tests have run with an older one.
"""

from __future__ import annotations

import inspect
import pkgutil
import re
from importlib.metadata import PackageNotFoundError, version

PLUGIN_VERSION = version("eduprm-sglang")

#: First supported version, and the first one that is not.
SUPPORTED = ((0, 5, 23), (0, 5, 24))

#: Functions that are hooked or called, with the leading parameters they must have.
_FUNCTIONS: dict[str, tuple[str, ...]] = {
    "sglang.srt.model_executor.model_runner.ModelRunner.sample": ("self", "logits_output", "forward_batch"),
    "sglang.srt.model_executor.forward_batch_info.ForwardBatch.init_new": ("batch", "model_runner"),
    "sglang.srt.managers.auxiliary_output.append_auxiliary_output": ("current", "output"),
    "sglang.srt.managers.utils.GenerationBatchResult.copy_auxiliary_output_to_cpu": ("self",),
    "sglang.srt.managers.tokenizer_manager.TokenizerManager.update_request_meta_info": (
        "self",
        "meta_info",
        "state",
        "customized_info",
        "index",
        "finish_reason",
    ),
    "sglang.srt.managers.tokenizer_manager.TokenizerManager._accumulate_request_meta_info": (
        "meta_info",
        "state",
        "key",
        "values",
    ),
    "sglang.srt.managers.scheduler_components.batch_result_processor.SchedulerBatchResultProcessor"
    ".snapshot_auxiliary_output_starts": ("batch", "result"),
    "sglang.srt.managers.scheduler_components.batch_result_processor.SchedulerBatchResultProcessor"
    ".consume_auxiliary_output": ("batch", "output", "output_starts"),
    "sglang.srt.managers.tokenizer_manager.TokenizerManager._validate_one_request": ("self", "obj"),
}

#: Classes whose fields are read or written.
_FIELDS: dict[str, tuple[str, ...]] = {
    "sglang.srt.layers.logits_processor.LogitsProcessorOutput": (
        "next_token_logits",
        "auxiliary_device_output",
        "customized_info",
    ),
    "sglang.srt.managers.io_struct.GenerateReqInput": ("return_entropy", "sampling_params"),
    "sglang.srt.managers.utils.GenerationBatchResult": ("auxiliary_host_output",),
    "sglang.srt.managers.auxiliary_output.CommittedTokens": ("output_index", "token_ids"),
    "sglang.srt.sampling.sampling_batch_info.SamplingBatchInfo": (
        "is_all_greedy",
        "grammars",
        "grammar_mask",
        "penalizer_orchestrator",
        "acc_additive_penalties",
        "acc_scaling_penalties",
        "has_custom_logit_processor",
        "logit_bias",
    ),
    "sglang.srt.server_args.ServerArgs": ("speculative_algorithm", "pp_size", "disaggregation_mode"),
}


class IncompatibleSGLang(SystemExit):
    """This SGLang is not one the plugin fits.

    It ends the process on purpose: SGLang logs any ordinary exception of a plugin and serves without it.
    """


def check_version(found: str | None = None) -> None:
    """Check that SGLang's version is supported.

    Args:
        found: version to check; None takes that of the installed SGLang.

    Raises:
        IncompatibleSGLang: not installed, or outside the supported range.

    Examples:
        >>> check_version("0.5.23")
        >>> check_version("0.4.9")
        Traceback (most recent call last):
        eduprm.sglang.versions.IncompatibleSGLang: eduprm-sglang ... supports sglang >=0.5.23,<0.5.24 ...
    """
    if found is None:
        try:
            found = version("sglang")
        except PackageNotFoundError:
            raise IncompatibleSGLang(_message("no installed sglang")) from None
    numbers = re.match(r"(\d+)\.(\d+)\.(\d+)", found)
    lowest, first_unsupported = SUPPORTED
    if numbers is None or not lowest <= tuple(map(int, numbers.groups())) < first_unsupported:
        raise IncompatibleSGLang(_message(f"sglang {found}"))


def check_hooks() -> None:
    """Check every function and field of SGLang that the hooks lean on; imports SGLang.

    Raises:
        IncompatibleSGLang: one is missing or takes other parameters; the message names it and the version.
    """
    misfits = [text for path, names in _FUNCTIONS.items() if (text := _misfit_function(path, names))]
    misfits += [text for path, names in _FIELDS.items() if (text := _misfit_fields(path, names))]
    if misfits:
        raise IncompatibleSGLang(_message(f"sglang {version('sglang')}", "; ".join(misfits)))


def _misfit_function(path: str, expected: tuple[str, ...]) -> str | None:
    try:
        function = pkgutil.resolve_name(path)
    except (ImportError, AttributeError) as error:
        return f"{path} is missing ({error})"
    found = tuple(inspect.signature(function).parameters)
    if found[: len(expected)] != expected:
        return f"{path} takes {found}, expected {expected} first"
    return None


def _misfit_fields(path: str, expected: tuple[str, ...]) -> str | None:
    try:
        owner = pkgutil.resolve_name(path)
    except (ImportError, AttributeError) as error:
        return f"{path} is missing ({error})"
    found = {name for part in owner.__mro__ for name in inspect.get_annotations(part)}
    missing = set(expected) - found
    return f"{path} has no {', '.join(sorted(missing))}" if missing else None


def _message(found: str, detail: str = "") -> str:
    lowest, first_unsupported = (".".join(map(str, numbers)) for numbers in SUPPORTED)
    return (
        f"eduprm-sglang {PLUGIN_VERSION} supports sglang >={lowest},<{first_unsupported} and does not fit {found}"
        f"{': ' + detail if detail else ''}. Install a supported sglang or another eduprm-sglang; to serve without "
        "entropy set SGLANG_PLUGINS=none."
    )
