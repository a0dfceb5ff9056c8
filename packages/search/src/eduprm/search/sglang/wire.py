"""What goes to SGLang's native generate route and what comes back, as plain dictionaries.

The same for an engine in this process and for a server: both take these fields and return this record. The plugin
eduprm-sglang answers `return_entropy` (and `custom_params = {"eduprm_entropy": ...}`) with one value a token of
`entropy`, `logprob`, `runner_up_id` and `runner_up_logprob` (nats, raw logits, temperature 1; `blocks`), and
`entropy_plugin`, its version. Without it, top-k log-probs give bounds, on request only. Source: SGLang 0.5.23,
io_struct.py and tokenizer_manager.py.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eduprm.core.errors import first_line
from eduprm.core.retry import RetryableError
from eduprm.search.contract import Completion, EngineMismatchError, Finish, Request, RequestError
from eduprm.search.sglang.answers import check_numbers, read_answer
from eduprm.search.sglang.blocks import ASK_BLOCKS, decode_fields

EntropyKind = Literal["exact", "bounds"]

NO_PLUGIN = (
    "the server gives no entropies: install eduprm-sglang beside SGLang there and start it again, or choose "
    'entropy="bounds" (top-k log-probs, a lower and an upper bound)'
)


def payload(
    request: Request, *, stop_ids: frozenset[int], entropy: EntropyKind, top_logprobs: int
) -> dict[str, Any]:
    """The body of a generate call.

    Raises:
        EngineMismatchError: bounds are asked for at a temperature whose log-probs SGLang does not give at 1.
    """
    sampling: dict[str, Any] = {
        "max_new_tokens": request.max_new_tokens,
        "temperature": request.temperature,
        # Said in full: a server may have defaults of its own.
        "top_p": 1.0,
        "top_k": -1,
        "min_p": 0.0,
        "frequency_penalty": 0.0,
        "presence_penalty": 0.0,
        "repetition_penalty": 1.0,
        "stop_token_ids": sorted(stop_ids),
    }
    if request.temperature > 0.0:
        sampling["sampling_seed"] = request.seed
    body: dict[str, Any] = {"input_ids": list(request.prefix_ids), "sampling_params": sampling}
    if entropy == "exact":
        sampling["custom_params"] = dict(ASK_BLOCKS)
        # The same for a server behind SGLang's router, which passes on the fields that it knows and no others.
        return {**body, "return_entropy": True}
    if request.temperature not in (0.0, 1.0):
        raise EngineMismatchError(
            f'entropy="bounds" at temperature {request.temperature}: SGLang gives log-probs of the distribution '
            "divided by the temperature, from which those at temperature 1 do not follow; sample at 1.0, or "
            'install eduprm-sglang on the server and use entropy="exact"'
        )
    return {**body, "return_logprob": True, "logprob_start_len": -1, "top_logprobs_num": top_logprobs}


def completion(
    answer: Any,
    request: Request,
    *,
    stop_ids: frozenset[int],
    entropy: EntropyKind,
    vocab_size: int,
) -> Completion:
    """The contract's record from a generate call's answer, whatever came as one.

    Raises:
        EngineMismatchError: no plugin, or an answer that does not fit what was asked.
        RequestError: the server cut the prompt or the path short.
        RetryableError: the server gave the request up, or its answer has another shape or holds what is no number.
    """
    token_ids, meta = read_answer(answer, vocab_size=vocab_size)
    finish = _finish(meta["finish_reason"], token_ids.tolist(), request, stop_ids)
    prefix_tokens = len(request.prefix_ids)
    if meta["prompt_tokens"] != prefix_tokens:
        raise RequestError(f"the server took {meta['prompt_tokens']} of the prefix's {prefix_tokens} tokens")
    try:
        measured = (
            _measured(meta, len(token_ids)) if entropy == "exact" else _bounded(meta, token_ids, vocab_size)
        )
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise RetryableError(
            f"expected numbers for each of {len(token_ids)} tokens, the server gave others ({first_line(error)})",
            cause="wrong shape: numbers of tokens",
        ) from error
    check_numbers(measured, vocab_size=vocab_size)
    return Completion(
        token_ids=token_ids,
        **measured,
        finish=finish,
        prefix_tokens=prefix_tokens,
        cached_tokens=meta["cached_tokens"],
    )


def _finish(reason: dict[str, Any], ids: list[int], request: Request, stop_ids: frozenset[int]) -> Finish:
    kind, wanted = reason["type"], request.max_new_tokens
    # Text in place of a stop token: SGLang's "NaN happened", with which it ends a path of logits that are no numbers.
    why = reason.get("matched") if kind == "stop" else reason.get("message") or kind
    if kind not in ("stop", "length") or (kind == "stop" and isinstance(why, str)):
        raise RetryableError(f"the server gave the request up: {why}", cause="given up by the server")
    if len(ids) > wanted:
        raise RetryableError(
            f"expected at most {wanted} tokens, the server gave {len(ids)}",
            cause="wrong shape: too many tokens",
        )
    if kind == "stop":
        if reason.get("matched") not in sorted(stop_ids):
            raise EngineMismatchError(
                f"the server ends paths at {reason.get('matched')!r}, which is not among the stop ids "
                f"{sorted(stop_ids)} of the model asked for; pass stop_ids"
            )
        if ids[-1:] != [reason["matched"]]:
            raise RetryableError(
                f"the server stopped at token {reason['matched']}, the path it gave ends with {ids[-1:]}",
                cause="wrong shape: no stop token",
            )
        return "stop"
    if len(ids) < wanted:
        raise RequestError(
            f"the server ended the path after {len(ids)} of {wanted} tokens behind a prefix of "
            f"{len(request.prefix_ids)}: its context or its cache holds no more"
        )
    # SGLang up to some version looks at the length first, where the last token that is allowed is a stop token.
    return "stop" if ids[-1] in stop_ids else "length"


def _measured(meta: dict[str, Any], count: int) -> dict[str, NDArray[Any]]:
    """The plugin's values."""
    if "entropy" not in meta:
        raise EngineMismatchError(NO_PLUGIN)
    found = decode_fields(meta, count)
    return {
        # Rounding may put a certain token's log-prob above 0, or its entropy below.
        "logprobs": np.minimum(found["logprob"], np.float32(0.0)),
        "entropies": np.maximum(found["entropy"], np.float32(0.0)),
        "runner_up_ids": found["runner_up_id"],
        "runner_up_logprobs": np.minimum(found["runner_up_logprob"], np.float32(0.0)),
    }


def _bounded(meta: dict[str, Any], token_ids: NDArray[np.int32], vocab_size: int) -> dict[str, NDArray[Any]]:
    """From top-k log-probs: `entropies` is the lower bound."""
    taken = meta.get("output_token_logprobs") or []
    tops = meta.get("output_top_logprobs") or []
    if not len(taken) == len(tops) == len(token_ids):
        raise EngineMismatchError(
            f"expected log-probs of {len(token_ids)} tokens, got {len(taken)} and the top of {len(tops)}"
        )
    ids = np.array([[entry[1] for entry in top] for top in tops], np.int32)
    logprobs = np.array([[entry[0] for entry in top] for top in tops], np.float64)
    # Here, not above: of all that a client does only this wants torch.
    from eduprm.entropy import entropy_bounds

    lower, upper = (bound.numpy() for bound in entropy_bounds(logprobs.tolist(), vocab_size))
    # The most probable token other than the one taken.
    others = np.where(ids == token_ids[:, None], -np.inf, logprobs)
    at = others.argmax(axis=1)
    rows = np.arange(len(token_ids))
    return {
        "logprobs": np.minimum(np.array([entry[0] for entry in taken], np.float32), 0.0),
        "entropies": _rounded(lower, -np.inf),
        "entropies_upper": _rounded(upper, np.inf),
        "runner_up_ids": ids[rows, at],
        "runner_up_logprobs": np.minimum(others[rows, at].astype(np.float32), 0.0),
    }


def _rounded(values: NDArray[np.float64], towards: float) -> NDArray[np.float32]:
    """To float32, outwards, so that a bound stays one."""
    near = values.astype(np.float32)
    inside = near > values if towards < 0 else near < values
    away = np.where(inside, np.nextafter(near, np.float32(towards)), near)
    return np.maximum(away, np.float32(0.0))
