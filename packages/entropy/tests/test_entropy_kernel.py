"""The Triton kernel: on a GPU where there is one, else in Triton's interpreter and through its compiler."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from eduprm.entropy import entropy_top2, token_entropy

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton is not installed"
)
INF = float("inf")


def cases() -> list[torch.Tensor]:
    """Shapes around the kernel's block, extreme rows, ties, strides."""
    torch.manual_seed(0)
    found = [torch.randn(3, vocab) * 4 for vocab in (2, 3, 5, 1023, 1024, 1025, 5000, 9001)]
    extreme = torch.zeros(7, 5000)
    extreme[1] = -INF
    extreme[2, :] = -INF
    extreme[2, 4321] = 1.0
    extreme[3, 0] = 1e30
    extreme[4, -1] = float("nan")
    extreme[5, 1] = INF
    extreme[6, :4000] = -INF
    found += [extreme, torch.randint(0, 3, (4, 3000)).float(), torch.randn(2500, 3).t()]
    found += [torch.randn(2, 3, 1500).transpose(0, 1), torch.empty(0, 9)]
    return found + [logits.to(dtype) for logits in found[3:6] for dtype in (torch.bfloat16, torch.float16)]


def compare(device: str, atol: float) -> None:
    for logits in cases():
        got = entropy_top2(logits.to(device), backend="triton")
        want = entropy_top2(logits, backend="torch")
        options = {"atol": atol, "rtol": 1e-5, "equal_nan": True}
        torch.testing.assert_close(got.entropy_nats.cpu(), want.entropy_nats, **options)
        torch.testing.assert_close(got.top_logprobs.cpu(), want.top_logprobs, **options)
        assert torch.equal(got.top_ids.cpu(), want.top_ids)
        alone = token_entropy(logits.to(device), backend="triton")
        torch.testing.assert_close(alone.cpu(), want.entropy_nats, **options)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: the kernel itself cannot run here")
@needs_triton
def test_kernel_on_the_gpu_equals_the_cpu_path() -> None:
    compare("cuda", 2e-5)
    large = torch.randn(300, 152064) * 3
    got, want = entropy_top2(large.cuda()), entropy_top2(large)
    torch.testing.assert_close(got.entropy_nats.cpu(), want.entropy_nats, atol=5e-5, rtol=1e-5)
    assert torch.equal(got.top_ids.cpu(), want.top_ids)


@needs_triton
def test_kernel_in_the_interpreter_equals_the_cpu_path() -> None:
    # The switch is read when Triton is imported, hence a process of its own.
    code = f"""
import importlib.util
spec = importlib.util.spec_from_file_location("kernel_cases", {str(Path(__file__))!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.compare("cpu", 5e-6)
import torch
from eduprm.entropy.kernel import kernel_pieces
from eduprm.entropy.pieces import finish
rows = torch.randn(2, 4999)
whole = finish(kernel_pieces(rows, top2=True, num_splits=1))
for splits in (2, 3, 7):
    parts = finish(kernel_pieces(rows, top2=True, num_splits=splits))
    torch.testing.assert_close(parts.entropy, whole.entropy, atol=2e-6, rtol=0)
    assert torch.equal(parts.top_ids, whole.top_ids)
print("all equal")
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "all equal" in done.stdout


@needs_triton
@pytest.mark.parametrize("logits_type", ["*fp32", "*bf16"])
def test_kernel_compiles_for_a_gpu_that_is_not_here(
    logits_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.environ.get("TRITON_INTERPRET") == "1":
        pytest.skip("TRITON_INTERPRET=1 is set: nothing is compiled")
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from eduprm.entropy.kernel import _pieces_kernel

    signature = dict.fromkeys(["vocab_size", "split_size", "num_splits", "token_stride"], "i32")
    signature |= {"logits_ptr": logits_type, "stats_ptr": "*fp32", "values_ptr": "*fp32", "ids_ptr": "*i64"}
    signature |= {"row_stride": "i64", "TOP2": "constexpr", "BLOCK": "constexpr"}
    ordered = {name: signature[name] for name in _pieces_kernel.arg_names}
    source = ASTSource(fn=_pieces_kernel, signature=ordered, constexprs={"TOP2": True, "BLOCK": 1024})
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 4})
    assert len(compiled.asm["cubin"]) > 1000


def test_splits_fill_the_gpu_for_few_rows_and_stop_for_many() -> None:
    pytest.importorskip("triton", reason="triton is not installed")
    from eduprm.entropy.kernel import MAX_SPLITS, num_splits_for

    assert num_splits_for(1, 152064) > 30
    assert num_splits_for(100_000, 152064) == 1
    assert num_splits_for(1, 100) == 1
    assert num_splits_for(1, 10**9) == MAX_SPLITS
