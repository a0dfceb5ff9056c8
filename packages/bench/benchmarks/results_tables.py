"""Write the tables and the figure of the results from docs/data, so that no figure is copied by hand.

    uv run packages/bench/benchmarks/results_tables.py [DOCS]

Replaces what stands between `<!-- NAME -->` and `<!-- end -->` in results.md (summary) and in data/prm-likelihood.md
(tasks, arms, curves), and draws prm_tokens.png.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import polars as pl

from eduprm.report.figures import accuracy_against_tokens

DOCS = Path(__file__).resolve().parents[3] / "docs"
TASKS = ("all", "long_sum", "equations", "mixed", "long_product")
ROWS = {
    "greedy, by the policy": "greedy decoding by the policy",
    "EDU, by the PRM": "**EDU, by the PRM**",
    "EDU, by the policy's own likelihood": "EDU, by the policy's own likelihood",
    "EDU, majority": "EDU, majority",
    "EDU, any right": "EDU, any right (no judge can do better)",
    "samples T=0.7, by the PRM": "8 samples, by the PRM",
    "samples T=0.7, majority": "8 samples, majority",
    "samples T=0.7, any right": "8 samples, any right",
    "greedy, by the trained model": "**greedy decoding by the trained model**",
}
ARMS = {
    "fork": "forks + .5 right tokens, LoRA r32 on 15 layers, rate 2.5e-4, 2,048 tokens a step",
    "fork-1e-4": "the same, rate 1e-4",
    "fork-6e-4": "the same, rate 6e-4",
    "fork-8192": "the same, 8,192 tokens a step",
    "lm-only": "right tokens alone, LoRA as the first row",
    "fork-full": "forks + .5 right tokens, all weights, rate 1e-4, 8,192 tokens a step",
    "lm-full": "right tokens alone, all weights, likewise",
    "head": "head, labels at anchors and lines, all weights, rate 3e-4, 8,192 tokens a step",
    "head-anchors": "the same, labels at anchors",
    "head-lines": "the same, labels at lines",
    "head-after-fork": "head on the model of forks + .5 right tokens, all weights",
    "both": "head, forks and right tokens on one backbone, all weights",
}
SUMMARY = {  # row of prm-headline.jsonl: what it is called, and where prm-rules.jsonl says what it decodes
    "greedy, by the policy": ("greedy decoding by the policy", "greedy+samples T=0.7, =tokens", 1),
    "EDU, by the PRM": ("**EDU tree (at most 8 leaves), chosen by the PRM**", "EDU", 8),
    "samples T=0.7, by the PRM": ("8 samples, chosen by the PRM", "samples T=0.7", 8),
    "EDU, any right": ("EDU tree, any leaf right (limit of any judge)", "EDU", 8),
    "samples T=0.7, any right": ("8 samples, any right (limit of any judge)", "samples T=0.7", 8),
    "greedy, by the trained model": ("**greedy decoding by the trained model**", "trained", 1),
}
NAMES = {
    ("EDU", "prm_min"): "EDU, by the PRM",
    ("EDU", "oracle"): "EDU, any right",
    ("samples T=0.7", "prm_min"): "samples T=0.7, by the PRM",
    ("samples T=0.7", "oracle"): "samples T=0.7, any right",
    ("trained", "trained"): "greedy, by the\ntrained model",
}


def interval(values: list[float], sign: str = "") -> str:
    middle, low, high = (format(value, f"{sign}.1f") for value in values)
    return f"{middle} [{low}, {high}]"


def percent(row: dict[str, Any], names: tuple[str, str, str]) -> list[float]:
    return [100 * row[name] for name in names]


def summary_table(data: Path) -> str:
    rows = {
        row["row"]: row for row in pl.read_ndjson(data / "prm-headline.jsonl").filter(group="all").to_dicts()
    }
    costs = pl.read_ndjson(data / "prm-rules.jsonl", infer_schema_length=None)
    lines = [
        "| all four tasks, 768 held-out problems | % right [95 %] | minus greedy | tokens a problem |",
        "|---" * 4 + "|",
    ]
    for name, (shown, method, n) in SUMMARY.items():
        right = interval(percent(rows[name], ("accuracy", "ci_low", "ci_high")))
        gap = interval(percent(rows[name], ("minus_greedy", "minus_low", "minus_high")), "+")
        tokens = costs.filter(method=method, n=n)["decoded"][0]
        lines.append(f"| {shown} | {right} | {gap if name in list(SUMMARY)[1:] else ''} | {tokens:.0f} |")
    return "\n".join(lines)


def tasks_table(data: Path) -> str:
    rows = {(row["group"], row["row"]): row for row in pl.read_ndjson(data / "prm-headline.jsonl").to_dicts()}
    counts = [rows[task, "EDU, by the PRM"]["problems"] for task in TASKS]
    heads = [
        f"{task.replace('all', 'all four')} ({count})" for task, count in zip(TASKS, counts, strict=True)
    ]
    lines = [f"|  | {' | '.join(heads)} |", "|---" * (len(TASKS) + 1) + "|"]
    for name, shown in ROWS.items():
        cells = [f"{100 * rows[task, name]['accuracy']:.1f}" for task in TASKS]
        if name == "EDU, by the PRM":
            keys = ("accuracy", "ci_low", "ci_high")
            cells = [interval(percent(rows[task, name], keys)) for task in TASKS]
        lines.append(f"| {shown} | {' | '.join(cells)} |")
        if name in ("EDU, by the PRM", "greedy, by the trained model"):
            keys = ("minus_greedy", "minus_low", "minus_high")
            gaps = [interval(percent(rows[task, name], keys), "+") for task in TASKS]
            lines.append(f"| ... minus the policy's greedy | {' | '.join(gaps)} |")
    return "\n".join(lines)


def arms_table(data: Path) -> str:
    rows = pl.read_ndjson(data / "arm-final.jsonl", infer_schema_length=None).to_dicts()
    lines = [
        "| what is trained | seed | M tokens | EDU, by the PRM | minus greedy | minus 8 samples "
        "| samples, by the PRM | AUC within |",
        "|---" * 8 + "|",
    ]
    for name, shown in ARMS.items():
        for row in (row for row in rows if row["arm"] == name):
            final = row["final"]
            cells = [
                str(row["seed"]),
                f"{row['tokens'] / 1e6:.2f}",
                interval(final["edu"]["prm_min"]),
                interval(final["edu minus greedy"], "+"),
                interval(final["edu minus samples"], "+"),
                f"{final['samples']['prm_min'][0]:.1f}",
                f"{final['edu']['auc_min']:.2f}",
            ]
            lines.append(f"| {shown if row['seed'] == 0 else 'the first row again'} | {' | '.join(cells)} |")
    fixed = rows[0]["final"]
    for label, values in (
        ("greedy decoding by the policy", fixed["greedy"]["oracle"]),
        ("EDU by the policy's mean log-prob", fixed["edu"]["mean_logprob"]),
        ("EDU, majority", fixed["edu"]["majority"]),
        ("EDU, any right", fixed["edu"]["oracle"]),
    ):
        lines.append(f"| *{label}* |  |  | {interval(values)} |  |  |  |  |")
    return "\n".join(lines)


def curves_table(data: Path) -> str:
    rows = pl.read_ndjson(data / "arm-curves.jsonl", infer_schema_length=None).filter(seed=0)
    lines = ["| arm | M tokens: % right, AUC within |", "|---|---|"]
    for name in ARMS:
        points = rows.filter(arm=name).to_dicts()
        shown = "; ".join(
            f"{point['tokens'] / 1e6:.2f}: {point['prm_min'][0]:.1f}, {point['auc_min']:.2f}"
            for point in points
        )
        lines.append(f"| {name} | {shown} |")
    return "\n".join(lines)


def figure(data: Path, path: Path) -> None:
    rows = pl.read_ndjson(data / "prm-rules.jsonl", infer_schema_length=None)
    wanted = pl.DataFrame(list(NAMES), schema=["method", "rule"], orient="row")
    shown = rows.join(wanted, on=["method", "rule"], how="semi")
    title = "Four arithmetic tasks, 768 held-out problems, a policy of 135M"
    accuracy_against_tokens(shown, path, title=title, names=NAMES)


def fill(page: Path, tables: dict[str, str]) -> None:
    text = page.read_text()
    for name, table in tables.items():
        block = f"<!-- {name} -->\n{table}\n<!-- end -->"
        text, found = re.subn(
            rf"<!-- {name} -->\n.*?<!-- end -->", lambda _, b=block: b, text, flags=re.DOTALL
        )
        if found != 1:
            raise SystemExit(f"{page}: expected one block <!-- {name} --> ... <!-- end -->, got {found}")
    page.write_text(text)


def main() -> None:
    docs = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS
    data = docs / "data"
    fill(docs / "results.md", {"summary": summary_table(data)})
    tables = {"tasks": tasks_table(data), "arms": arms_table(data), "curves": curves_table(data)}
    fill(data / "prm-likelihood.md", tables)
    figure(data, docs / "prm_tokens.png")


if __name__ == "__main__":
    main()
