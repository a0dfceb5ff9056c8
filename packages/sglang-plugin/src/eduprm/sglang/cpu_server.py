"""Start an SGLang server on the CPU: `python -m eduprm.sglang.cpu_server --model-path DIR --port 30000`.

For tests and laptops. Sets SGLANG_PLATFORM and the flags that eager CPU serving needs, and runs
`sglang.launch_server` in this process. Every flag of SGLang may follow; a value given there wins. `--overlap` leaves
SGLang's overlap scheduler on, which on a CPU hides nothing and computes one step too many for each request.
"""

from __future__ import annotations

import os
import runpy
import sys

from eduprm.sglang.platform import PLATFORM

#: Arguments of `sgl.Engine`, for the same setting inside a process.
CPU_ENGINE_ARGS: dict[str, object] = {
    "device": "cpu",
    "attention_backend": "torch_native",
    "sampling_backend": "pytorch",
    "disable_cuda_graph": True,
    "disable_overlap_schedule": True,
    "grammar_backend": "none",
    "dtype": "float32",
    "mem_fraction_static": 0.3,
    "max_total_tokens": 16384,
}


def cpu_server_args(**changes: object) -> list[str]:
    """Return command-line flags of a CPU server.

    Args:
        changes: server arguments by their Python name, on top of `CPU_ENGINE_ARGS`; True gives a bare flag, False
            or None leaves it out.

    Examples:
        >>> cpu_server_args(port=30000)[-2:]
        ['--port', '30000']
        >>> "--disable-cuda-graph" in cpu_server_args()
        True
    """
    flags: list[str] = []
    for name, value in {**CPU_ENGINE_ARGS, **changes}.items():
        if value is False or value is None:
            continue
        flags.append("--" + name.replace("_", "-"))
        if value is not True:
            flags.append(str(value))
    return flags


def main() -> None:
    """Run `sglang.launch_server` on the CPU platform with this command's arguments."""
    flags = sys.argv[1:]
    overlap = "--overlap" in flags
    defaults = cpu_server_args(disable_overlap_schedule=not overlap)
    os.environ["SGLANG_PLATFORM"] = PLATFORM
    sys.argv = ["sglang.launch_server", *defaults, *(flag for flag in flags if flag != "--overlap")]
    runpy.run_module("sglang.launch_server", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
