"""Packed trees against path by path: training (forward and backward) and scoring of the leaves.

Both run in one process on the same model and trees, in turn; the ratio of interest is
    (path-by-path seconds / packed seconds) / (path tokens / unique tokens),
prompts counted on both sides. 1 means that packing saves as much time as it saves tokens.

The baseline batches paths of like length into right-padded causal rows (no mask needed), with the same token budget.

    python packages/prm/benchmarks/bench_packed.py --model smollm2-135m-instruct --trees 8

On a GPU the defaults are a random model of Qwen2.5-1.5B's shape in bfloat16 and larger trees (GPU_DEFAULTS):

    python packages/prm/benchmarks/bench_packed.py --device cuda --attention varlen sdpa
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from eduprm.prm.attention import TreeAttention, implementation_of
from eduprm.prm.loading import load_classifier
from eduprm.prm.losses.cross_entropy import Loss
from eduprm.prm.model import head_output, packed_hidden, packed_logits, to_tensors
from eduprm.prm.packing import group_by_length, pack_rows
from eduprm.prm.tree import TokenTree, build_tree
from eduprm.prm.unpacked import leaf_chains

Batches = list[dict[str, Any]]
Pass = Callable[[torch.nn.Module, Batches, float], float]
CPU_DEFAULTS = {
    "model": "random", "dtype": "float32", "trees": 8, "leaves": 8, "prompt": 40, "segment": 4.0, "depth": 5,
    "batch_tokens": 2048, "rounds": 5, "attention": ["sdpa"],
}  # fmt: skip
GPU_DEFAULTS = {
    "model": "random-1.5b", "dtype": "bfloat16", "trees": 6, "leaves": 16, "prompt": 200, "segment": 40.0, "depth": 8,
    "batch_tokens": 8192, "rounds": 2, "attention": ["varlen", "sdpa"],
}  # fmt: skip
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def edu_tree(
    rng: np.random.Generator, *, leaves: int, num_prompt: int, segment: float, depth: int
) -> TokenTree:
    """Make a tree shaped as entropy-driven sampling makes them: paths fork at random anchors.

    Every path has `depth` segments of about `segment` tokens.
    """
    paths = [[int(x) for x in rng.integers(0, 1 << 30, size=depth)]]
    while len(paths) < leaves:
        parent = paths[rng.integers(len(paths))]
        fork = int(rng.integers(0, depth))
        paths.append(parent[:fork] + [int(x) for x in rng.integers(0, 1 << 30, size=depth - fork)])
    nodes, parents = [], []

    def grow(branch: list[list[int]], level: int, parent: int) -> None:
        for key in dict.fromkeys(path[level] for path in branch):
            parents.append(parent)
            nodes.append(rng.integers(0, 40_000, size=1 + rng.poisson(segment - 1)))
            if level + 1 < depth:
                grow([path for path in branch if path[level] == key], level + 1, len(nodes) - 1)

    grow(paths, 0, -1)
    return build_tree(
        rng.integers(0, 40_000, size=num_prompt),
        nodes,
        parents,
        targets=rng.random(len(nodes)),
        weights=[1.0] * len(nodes),
    )


def to_device(batches: Batches, device: str) -> Batches:
    return [
        {
            name: value.to(device) if isinstance(value, torch.Tensor) else value
            for name, value in batch.items()
        }
        for batch in batches
    ]


def clock_of(name: str, device: str) -> Callable[[], float]:
    """Return the clock; on a GPU it waits until the work given so far is done."""
    if device == "cpu":
        return CLOCKS[name]

    def waited() -> float:
        torch.cuda.synchronize()
        return CLOCKS[name]()

    return waited


def batches_of(trees: Sequence[TokenTree], batch_tokens: int, attention: TreeAttention) -> Batches:
    """Batch trees of like length and lay each batch out for `attention`."""
    batches = []
    for items in group_by_length([tree.num_tokens for tree in trees], batch_tokens=batch_tokens):
        packed, fields = attention.pack([trees[item] for item in items], pad_id=0)
        batches.append({**to_tensors(packed), **fields})
    return batches


def causal_batches(chains: Sequence[TokenTree], batch_tokens: int) -> Batches:
    """Batch chains of like length, one chain a row, padded on the right: plain causal attention without a mask."""
    batches = []
    for items in group_by_length([chain.num_tokens for chain in chains], batch_tokens=batch_tokens):
        chosen = [chains[item] for item in items]
        packed = pack_rows(chosen, [[index] for index in range(len(items))], pad_id=0)
        assert bool((packed.stops == packed.stops.shape[1]).all())  # hence no mask
        batches.append({**to_tensors(packed), "causal": True})
    return batches


def train_pass(model: torch.nn.Module, batches: Batches, total: float) -> float:
    model.train()
    model.zero_grad()
    loss = torch.zeros((), device=batches[0]["stops"].device)
    for batch in batches:
        part = Loss().total(packed_hidden(model, batch), head_output(model), batch) / total
        part.backward()
        loss += part.detach()
    return loss.item()


@torch.inference_mode()
def score_pass(model: torch.nn.Module, batches: Batches, total: float) -> float:
    model.eval()
    scores = torch.zeros((), device=batches[0]["stops"].device)
    for batch in batches:
        right = packed_logits(model, batch).softmax(-1)[..., 1]
        scores += (right[batch["node_rows"], batch["node_columns"]] * batch["node_weights"]).sum()
    return scores.item() / total


def alternate(
    runs: dict[str, Callable[[], float]], rounds: int, clock: Callable[[], float], tolerance: float
) -> dict[str, list[float]]:
    """Time each run once per round, after one warm-up round whose results must agree."""
    results = [run() for run in runs.values()]
    assert max(results) - min(results) < tolerance * max(1.0, abs(results[0])), results
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds):
        for name in sorted(runs, reverse=bool(number % 2)):
            began = clock()
            runs[name]()
            seconds[name].append(clock() - began)
    return seconds


def build(model: type[Any], config: Any, device: str, dtype: torch.dtype) -> torch.nn.Module:
    """Make random weights where they will be used: a CPU takes half a minute for 1.5 billion."""
    with torch.device(device):
        return model(config).to(device, dtype)


def load(name: str, device: str, dtype: torch.dtype) -> torch.nn.Module:
    if name == "random-1.5b":
        from transformers import Qwen2Config, Qwen2ForTokenClassification

        torch.manual_seed(0)
        shape = Qwen2Config(
            vocab_size=151_936, hidden_size=1536, intermediate_size=8960, num_hidden_layers=28, num_attention_heads=12,
            num_key_value_heads=2, classifier_dropout=0.0,
        )  # fmt: skip
        return build(Qwen2ForTokenClassification, shape, device, dtype)
    if name == "random":
        from transformers import LlamaConfig, LlamaForTokenClassification

        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=49_152, hidden_size=576, intermediate_size=1536, num_hidden_layers=6, num_attention_heads=9,
            num_key_value_heads=3, classifier_dropout=0.0,
        )  # fmt: skip
        return build(LlamaForTokenClassification, config, device, dtype)
    if name == "smollm2-135m-instruct":
        from eduprm.policy import resolve_model

        name = str(resolve_model(name))
    model = load_classifier(name)
    torch.nn.init.normal_(model.score.weight, std=0.02, generator=torch.Generator().manual_seed(0))
    return model.to(device, dtype)


def check(options: argparse.Namespace) -> None:
    """Refuse in one line what cannot run here."""
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit(f"bench_packed: --device cuda: expected a CUDA device, torch {torch.__version__} finds none")
    if "flex_attention" in options.attention and options.device == "cpu":
        sys.exit("bench_packed: --attention flex_attention: its backward pass needs CUDA; give --device cuda")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", help="'random' (6 layers of SmolLM2's size), 'random-1.5b', a path or a name"
    )
    parser.add_argument("--trees", type=int)
    parser.add_argument("--leaves", type=int)
    parser.add_argument("--prompt", type=int, help="prompt tokens")
    parser.add_argument("--segment", type=float, help="mean tokens of a node")
    parser.add_argument("--depth", type=int, help="nodes on a path")
    parser.add_argument("--batch-tokens", type=int)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"])
    parser.add_argument(
        "--attention", nargs="+", choices=["sdpa", "flex_attention", "varlen"],
        help="of the packed side; path by path is SDPA, causal, without a mask",
    )  # fmt: skip
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="cpu: on a busy machine, with --threads 1"
    )
    parser.add_argument("--threads", type=int, default=None)
    options = parser.parse_args()
    for name, value in (CPU_DEFAULTS if options.device == "cpu" else GPU_DEFAULTS).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


def main() -> None:
    options = parse()
    check(options)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    rng = np.random.default_rng(0)
    shape = {"leaves": options.leaves, "num_prompt": options.prompt, "segment": options.segment}
    trees = [edu_tree(rng, **shape, depth=options.depth) for _ in range(options.trees)]
    model = load(options.model, options.device, getattr(torch, options.dtype))
    where = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    print(f"{where}, torch {torch.__version__}, {options.dtype}, {options.model}")
    compare(
        model,
        trees,
        options.attention,
        batch_tokens=options.batch_tokens,
        rounds=options.rounds,
        clock=options.clock,
    )


def compare(
    model: Any,
    trees: Sequence[TokenTree],
    attentions: Sequence[str],
    *,
    batch_tokens: int,
    rounds: int,
    clock: str,
) -> None:
    """Time training and scoring, packed with each of `attentions` and path by path, and print both."""
    device, dtype = model.device.type, model.dtype
    chains = [chain for tree in trees for chain in leaf_chains(tree)]
    unique, path = sum(tree.num_tokens for tree in trees), sum(chain.num_tokens for chain in chains)
    total = float(sum(tree.weights.sum() for tree in trees))
    print(
        f"{len(trees)} trees, {len(chains)} leaves, {unique} unique and {path} path tokens: x{path / unique:.2f}"
    )
    sides = {"paths": ("sdpa", causal_batches(chains, batch_tokens))}
    for name in attentions:
        implementation = implementation_of(name, device=torch.device(device), dtype=dtype) or "sdpa"
        attention = TreeAttention(implementation, scale=4 * model.config.hidden_size, always=True)
        sides[f"packed, {name}"] = (implementation, batches_of(trees, batch_tokens, attention))
    for name, (_, batches) in sides.items():
        slots = sum(batch["input_ids"].numel() for batch in batches)
        padding = 1 - (path if name == "paths" else unique) / slots
        print(f"{name}: {len(batches)} batches, {slots} slots, {padding:.1%} padding")
    for work, run in (("training", train_pass), ("scoring", score_pass)):

        def timed(implementation: str, batches: Batches, run: Pass = run) -> Callable[[], float]:
            moved = to_device(batches, device)

            def call() -> float:
                model.set_attn_implementation(implementation)
                return run(model, moved, total)

            return call

        seconds = alternate(
            {name: timed(*side) for name, side in sides.items()},
            rounds,
            clock_of(clock, device),
            tolerance=1e-3 if dtype == torch.float32 else 3e-2,
        )
        for name in sides:
            if name != "paths":
                report(work, name, seconds[name], seconds["paths"], unique=unique, path=path)


def report(
    work: str, name: str, ours_s: list[float], theirs_s: list[float], *, unique: int, path: int
) -> None:
    ours, theirs, saved = statistics.median(ours_s), statistics.median(theirs_s), path / unique
    ratios = sorted(b / a / saved for a, b in zip(ours_s, theirs_s, strict=True))
    print(
        f"{work}: {name} {ours:.2f} s ({unique / ours:.0f} unique tokens/s), paths {theirs:.2f} s "
        f"({path / theirs:.0f} tokens/s), speedup x{theirs / ours:.2f}, ratio to tokens saved: medians "
        f"{theirs / ours / saved:.2f}, rounds {ratios[0]:.2f} to {ratios[-1]:.2f}, fastest rounds "
        f"{min(theirs_s) / min(ours_s) / saved:.2f}"
    )


if __name__ == "__main__":
    main()
