"""The Triton kernel: on a GPU where there is one, else in Triton's interpreter and through its compiler."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from eduprm.entropy import (
    SAMPLED_WORDS,
    EntropyTop2,
    entropy_top2,
    sampled_entropy,
    sampled_scratch,
    token_entropy,
    unpack_sampled,
)

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton is not installed"
)
needs_cuda = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA device: the kernel itself cannot run here"
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
    """Compare with the torch path on the CPU, in float64."""
    for logits in cases():
        there = logits.to(device)
        got, want = entropy_top2(there, backend="triton"), entropy_top2(logits.double(), backend="torch")
        options = {"atol": atol, "rtol": 1e-5, "equal_nan": True}
        torch.testing.assert_close(got.entropy_nats.cpu(), want.entropy_nats, **options)
        torch.testing.assert_close(got.top_logprobs.cpu(), want.top_logprobs, **options)
        assert torch.equal(got.top_ids.cpu(), want.top_ids)
        alone = token_entropy(there, backend="triton")
        torch.testing.assert_close(alone.cpu(), want.entropy_nats, **options)
        if logits.ndim == 2 and len(logits):
            compare_sampled(there, want, options)


def compare_sampled(there: torch.Tensor, want: EntropyTop2, options: dict) -> None:
    """Compare the packed rows; the sampled tokens are the runner-up of even rows and the last token of odd ones."""
    num_rows, vocab_size = there.shape
    tokens = want.top_ids[:, 1].clamp(min=0)
    tokens[1::2] = vocab_size - 1
    logprobs = torch.log_softmax(there.cpu().double(), -1).gather(-1, tokens[:, None])[:, 0]
    out = torch.full((num_rows, SAMPLED_WORDS), -7, dtype=torch.int32, device=there.device)
    scratch = torch.empty(sampled_scratch(*there.shape, there.dtype), dtype=torch.int32, device=there.device)
    for tokens_type in (torch.int64, torch.int32):
        given = tokens.to(there.device, tokens_type)
        if tokens_type == torch.int32:  # a column of a larger tensor
            given = torch.stack([given, torch.zeros_like(given)], -1)[:, 0]
        packed = sampled_entropy(there, given, out=out, scratch=scratch, backend="triton")
        assert packed is out
        found = unpack_sampled(packed.cpu().numpy())
        for name, exact in (
            ("entropy_nats", want.entropy_nats), ("logprobs", logprobs.float()), ("top_logprobs", want.top_logprobs)
        ):  # fmt: skip
            torch.testing.assert_close(torch.from_numpy(getattr(found, name)), exact, **options)
        assert found.top_ids.tolist() == want.top_ids.tolist()
        assert found.token_ids.tolist() == tokens.tolist()
        out.fill_(-7)


def compare_splits() -> None:
    """Rows cut in every way give one answer."""
    from eduprm.entropy import kernel

    rows = torch.randn(2, 4999)
    rows[0, 3000:3004] = rows[0, 40:44] = rows[0].max() + 1  # the best stand twice
    exact = entropy_top2(rows.double(), backend="torch")
    for lanes in (64, 256):
        for most in (1, 4, 64):
            kernel.LANES, kernel.MAX_SPLITS = lanes, most
            assert kernel.cut_rows(2, 4999, 4).num_splits <= most
            found = entropy_top2(rows, backend="triton")
            torch.testing.assert_close(found.entropy_nats, exact.entropy_nats, atol=2e-6, rtol=0)
            assert torch.equal(found.top_ids, exact.top_ids)


def count_work() -> None:
    """Every call is two launches, and nothing of torch but the allocation of what the caller did not pass."""
    from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
    from triton.runtime.interpreter import InterpretedFunction

    done: list[str] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            done.append(str(func))
            return func(*args, **(kwargs or {}))

    run = InterpretedFunction.run

    def launch(self, *args, **kwargs):
        done.append(f"launch {self.fn.__name__}")
        with _disable_current_modes():
            return run(self, *args, **kwargs)

    InterpretedFunction.run = launch
    rows, tokens = torch.randn(3, 5000), torch.tensor([1, 2, 3])
    out = torch.empty(3, SAMPLED_WORDS, dtype=torch.int32)
    scratch = torch.empty(sampled_scratch(3, 5000, rows.dtype), dtype=torch.int32)
    both = ["launch _read", "launch _join"]
    with Watch():
        sampled_entropy(rows, tokens, out=out, scratch=scratch, backend="triton")
        assert done == both, done
        done.clear()
        sampled_entropy(rows, tokens, backend="triton")
        assert done == ["aten.empty.memory_format"] * 2 + both, done
        done.clear()
        entropy_top2(rows, backend="triton")
        views = {"aten.view.default", "aten._unsafe_view.default"}
        assert [name for name in done if name not in views] == ["aten.empty.memory_format"] * 4 + both, done


@needs_cuda
@needs_triton
def test_kernel_on_the_gpu_equals_the_cpu_path() -> None:
    compare("cuda", 2e-5)
    large = torch.randn(300, 152064) * 3
    got, want = entropy_top2(large.cuda()), entropy_top2(large)
    torch.testing.assert_close(got.entropy_nats.cpu(), want.entropy_nats, atol=5e-5, rtol=1e-5)
    assert torch.equal(got.top_ids.cpu(), want.top_ids)


@needs_cuda
@needs_triton
def test_two_launches_on_the_gpu_also_inside_of_a_graph() -> None:
    from torch.profiler import ProfilerActivity, profile

    logits = (torch.randn(16, 50257, device="cuda") * 3).bfloat16()
    tokens = torch.randint(0, 50257, (16,), device="cuda")
    out = torch.empty(16, SAMPLED_WORDS, dtype=torch.int32, device="cuda")
    scratch = torch.empty(sampled_scratch(*logits.shape, logits.dtype), dtype=torch.int32, device="cuda")
    sampled_entropy(logits, tokens, out=out, scratch=scratch)
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        sampled_entropy(logits, tokens, out=out, scratch=scratch)
        torch.cuda.synchronize()
    names = [event.name for event in found.events() if event.device_type.name == "CUDA"]
    assert names == ["_read", "_join"], names
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        sampled_entropy(logits, tokens, out=out, scratch=scratch)
    other = (torch.randn(16, 50257, device="cuda") * 3).bfloat16()
    want = sampled_entropy(other, tokens)
    logits.copy_(other)
    graph.replay()
    assert torch.equal(out, want)


@needs_triton
@pytest.mark.slow
def test_kernel_in_the_interpreter() -> None:
    # The switch is read when Triton is imported, hence a process of its own.
    code = f"""
import importlib.util
spec = importlib.util.spec_from_file_location("kernel_cases", {str(Path(__file__))!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.compare("cpu", 5e-6)
module.count_work()
module.compare_splits()
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
@pytest.mark.parametrize("kernel_name", ["_read", "_join"])
def test_kernel_compiles_for_a_gpu_that_is_not_here(kernel_name: str, logits_type: str) -> None:
    if os.environ.get("TRITON_INTERPRET") == "1":
        pytest.skip("TRITON_INTERPRET=1 is set: nothing is compiled")
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from eduprm.entropy import kernel

    function = getattr(kernel, kernel_name)
    constants = {"LANES": 256, "CHUNK": 8, "STAGES": 1, "SPLITS": 64, "SAMPLED": True, "token_stride": 1}
    constants = {name: value for name, value in constants.items() if name in function.arg_names}
    signature = dict.fromkeys(function.arg_names, "i32") | dict.fromkeys(constants, "constexpr")
    signature |= {name: "*i32" for name in signature if name.endswith("_ptr")} | {"logits_ptr": logits_type}
    # The rows' start and stride are multiples of 16 bytes, as a model's logits are.
    names = list(signature)
    aligned = {(names.index(name),): [["tt.divisibility", 16]] for name in ("logits_ptr", "row_stride")}
    source = ASTSource(fn=function, signature=signature, constexprs=constants, attrs=aligned)
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 4})
    assert len(compiled.asm["cubin"]) > 1000
    if kernel_name == "_read" and logits_type == "*bf16":
        # A thread's eight logits come in one load, in the loop over whole tiles.
        assert "ld.global.v4.b32" in compiled.asm["ptx"]


def test_few_rows_are_cut_to_fill_the_gpu_and_many_are_not() -> None:
    pytest.importorskip("triton", reason="triton is not installed")
    from eduprm.entropy.kernel import MAX_SPLITS, cut_rows

    assert cut_rows(1, 152064, 2).num_splits > 30
    assert cut_rows(100_000, 152064, 2).num_splits == 1
    assert cut_rows(1, 100, 2).num_splits == 1
    assert cut_rows(1, 10**9, 2).num_splits <= MAX_SPLITS
