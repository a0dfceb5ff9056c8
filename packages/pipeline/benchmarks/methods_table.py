"""The table of docs/methods.md: every strategy, label rule, loss and wrapper by name, on the policy that ships.

    uv run packages/pipeline/benchmarks/methods_table.py OUT [--train 64] [--test 96] [--strategy-test 48] [--only ...]

Each row is a run of apps/train (of apps/rerank, for a wrapper) with one name changed. All trainings begin from the PRM
that ships and take the same trees: problems and search are done once, and copied. OUT keeps everything, so a killed
start goes on. Prints the table, with OUT/table.jsonl beside it. It shows that all of them run and what they do in
minutes of training; it is no verdict: an interval of 96 problems is 15 points wide.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from eduprm.core.files import atomic_write_bytes
from eduprm.label import node_validity
from eduprm.pipeline.run import run_stages
from eduprm.pipeline.settings import TrainSettings
from eduprm.rank.run import rank_file
from eduprm.rank.settings import load_settings

RULES = ("probability", "entropy_regularised", "relative_progress", "epic")
FORK = {"fork": 1.0, "language_model": 0.5}
LOSSES: dict[str, tuple[dict[str, float], str]] = {
    "language_model": ({"language_model": 1.0}, "likelihood"),
    "implicit": ({"implicit": 1.0}, "implicit"),
    "cross_entropy": ({"cross_entropy": 1.0}, "head"),
    "ranking": ({"cross_entropy": 1.0, "ranking": 1.0}, "head"),
    "bidirectional": ({"bidirectional": 1.0}, "bidirectional"),
    "nce_plus": ({"nce_plus": 1.0}, "nce_plus"),
}
WRAPPERS = {
    "none": [],
    "checked": ["--wrap", "checked"],
    "trajectory": ["--wrap", "trajectory"],
    "adapted": ["--wrap", "adapted"],
    "int8": ["--weights", "int8"],
}
STRATEGIES = (
    "edu", "greedy", "temperature", "distinct_leaves", "p_edu", "beam", "particle", "greedy_step", "mcts_edu",
    "refine",
)  # fmt: skip
SHARED = ("problems.parquet", "forest", "costs", "stages/problems.json", "stages/search.json")


def arms() -> dict[str, dict[str, Any]]:
    """Name of a row to the settings that it changes; the first is what the others are compared with."""
    found: dict[str, dict[str, Any]] = {"label rule uniform, loss fork": {}}
    found |= {f"label rule {name}": {"label": {"rule": name}} for name in RULES}
    found["weights east"] = {"label": {"weights": "east"}}
    for name, (losses, kind) in LOSSES.items():
        changed = {"losses": losses, "scoring": {"kind": kind}}
        found[f"loss {name}, scorer {kind}"] = {"prm": {"train": changed}}
    return found


def settings_of(folder: Path, num_train: int, num_test: int, changed: dict[str, Any]) -> TrainSettings:
    """The default job with these names changed."""
    default = TrainSettings(_cli_parse_args=[])  # type: ignore[call-arg]
    values = default.model_dump(include={"label", "prm", "problem"})
    values["problem"] |= {"num_train": num_train, "num_test": num_test}
    values["label"] |= changed.get("label", {})
    values["prm"]["train"] |= changed.get("prm", {}).get("train", {})
    rest = {name: value for name, value in changed.items() if name not in ("label", "prm")}
    return TrainSettings(
        _cli_parse_args=[], run=folder, **values, **({"strategies": ["edu", "greedy"]} | rest)
    )  # type: ignore[call-arg]


def share_search(base: Path, folder: Path) -> None:
    """Give a run the problems and trees of another."""
    if (folder / "stages" / "search.json").is_file():
        return
    for name in SHARED:
        source, target = base / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        elif source.is_file():
            shutil.copy2(source, target)


def step_f1(folder: Path) -> float:
    """F1 of finding wrong steps (a line whose equation is false) by a score below one half, over EDU's nodes."""
    scored = pl.concat([pl.read_parquet(path) for path in sorted(folder.glob("scores/test-*.parquet"))])
    known = pl.col("node_valid").is_not_null() & pl.col("score").is_not_null() & (pl.col("tree") == "edu")
    nodes = node_validity(scored).filter(known)
    wrong, said = ~nodes["node_valid"].to_numpy(), nodes["score"].to_numpy() < 0.5
    return float(2 * np.sum(wrong & said) / max(1, wrong.sum() + said.sum()))


def of_metric(rows: list[dict[str, Any]] | None, metric: str) -> float | None:
    """A figure of metrics.json."""
    return next((row["value"] for row in rows or () if row["metric"] == metric), None)


def row_of_run(name: str, folder: Path, seconds: float) -> dict[str, Any]:
    """What a row says of a PRM: best-of-N on EDU trees, and its steps."""
    metrics = json.loads((folder / "metrics.json").read_text())
    line = next(
        one for one in metrics["headline"] if one["row"] == "EDU, by the PRM" and one["group"] == "all"
    )
    return {
        "kind": "prm", "name": name, **line, "seconds": round(seconds),
        "auc_within": of_metric(metrics["answers_against_grade"], "auc_within"),
        "steps_auc_within": of_metric(metrics["steps_against_checker"], "auc_within"),
        "steps_f1": step_f1(folder),
    }  # fmt: skip


def rows_of_strategies(folder: Path) -> list[dict[str, Any]]:
    """What the rows say of strategies: any right, by the PRM, tokens, and EDU less the other at equal tokens."""
    metrics = json.loads((folder / "metrics.json").read_text())
    lines = {one["row"]: one for one in metrics["headline"] if one["group"] == "all"}
    names = [metrics["strategies"]["first"], *metrics["strategies"]["compared"]]
    decoded = {one["method"]: one["decoded"] for one in sorted(metrics["rules"], key=lambda one: one["n"])}
    found = [{"kind": "strategy", "name": "greedy", **lines["greedy, by the policy"]}]
    for name in names:
        keys = (f"{name}, =tokens", f"greedy+{name}, =tokens")
        equal = next((metrics["equal_tokens"][key] for key in keys if key in metrics["equal_tokens"]), None)
        found.append(
            {
                "kind": "strategy", "name": name, **lines[f"{name}, by the PRM"],
                "any_right": lines[f"{name}, any right"]["accuracy"],
                "decoded": decoded[name],
                "equal": None if equal is None else equal["difference"],
            }
        )  # fmt: skip
    return found


def row_of_wrapper(name: str, base: Path, out: Path) -> dict[str, Any]:
    """What a row says of a wrapper: apps/rerank on the held-out EDU solutions of the first row."""
    started = time.monotonic()
    files = [
        str(base / "solutions.jsonl"),
        "--prm",
        str(base / "prm"),
        "--output",
        str(out / f"wrap-{name}.jsonl"),
    ]
    ranked = rank_file(load_settings([*files, *WRAPPERS[name]]))
    line = ranked.accuracies.filter(rule="prm_min").sort("n").row(-1, named=True)
    return {"kind": "wrapper", "name": name, **line, "seconds": round(time.monotonic() - started)}


def main() -> None:
    """Make what is missing, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--train", type=int, default=64, help="problems to train on")
    parser.add_argument("--test", type=int, default=96, help="problems held out")
    parser.add_argument("--strategy-test", type=int, default=48, help="of the comparison of strategies")
    parser.add_argument("--only", nargs="+", choices=("prms", "strategies", "wrappers"), help="parts of it")
    options = parser.parse_args()
    parts, rows = options.only or ("prms", "strategies", "wrappers"), []
    base = options.out / "prm-0"
    if "prms" in parts or "wrappers" in parts:
        for number, (name, changed) in enumerate(arms().items()):
            if number and "prms" not in parts:
                break
            folder = options.out / f"prm-{number}"
            if number:
                share_search(base, folder)
            rows += attempt(name, lambda f=folder, c=changed, n=name: one_run(n, f, options, c))
    if "strategies" in parts:
        folder = options.out / "strategies"
        given = {"strategies": list(STRATEGIES), "shard_problems": 8}
        settings = settings_of(folder, options.train, options.strategy_test, given)
        rows += attempt("strategies", lambda: (run_stages(settings), rows_of_strategies(folder))[1])
    if "wrappers" in parts:
        for name in WRAPPERS:
            rows += attempt(f"wrapper {name}", lambda n=name: [row_of_wrapper(n, base, options.out)])
    text = "".join(json.dumps(row) + "\n" for row in rows)
    atomic_write_bytes(options.out / "table.jsonl", text.encode())
    print("\n".join(markdown(rows)))


def percent(row: dict[str, Any], name: str = "accuracy", low: str = "ci_low", high: str = "ci_high") -> str:
    """A share with its interval."""
    return f"{100 * row[name]:.1f} [{100 * row[low]:.1f}, {100 * row[high]:.1f}]"


def figure(value: float | None, digits: int = 3) -> str:
    """A number, or nothing where it is not defined."""
    return "" if value is None else f"{value:.{digits}f}"


def markdown(rows: list[dict[str, Any]]) -> list[str]:
    """The rows as the tables of docs/methods.md."""
    lines: list[str] = []
    heads = {
        "prm": "what is changed | EDU by the PRM, % | minus greedy | AUC within | steps: AUC within | steps: F1 | s",
        "strategy": "strategy | by the PRM, % | minus greedy | any right | tokens | EDU minus it at equal tokens",
        "wrapper": "wrapper | EDU by the PRM, % | s",
    }
    for kind, head in heads.items():
        if own := [row for row in rows if row["kind"] == kind]:
            lines += ["", f"| {head} |", "|" + "---|" * (head.count("|") + 1)]
            lines += ["| " + " | ".join(cells(row)) + " |" for row in own]
    return lines + [f"{row['name']}: {row['error']}" for row in rows if row["kind"] == "failed"]


def cells(row: dict[str, Any]) -> list[str]:
    """A row's cells."""
    if row["kind"] == "wrapper":
        return [row["name"], percent(row), str(row["seconds"])]
    found = [row["name"], percent(row), percent(row, "minus_greedy", "minus_low", "minus_high")]
    if row["kind"] == "prm":
        figures = [figure(row[name]) for name in ("auc_within", "steps_auc_within", "steps_f1")]
        return [*found, *figures, str(row["seconds"])]
    equal = (row.get("equal") or {}).get("keep", {}).get("prm_min")
    any_right = row.get("any_right")
    return [
        *found,
        "" if any_right is None else f"{100 * any_right:.1f}",
        figure(row.get("decoded"), 0),
        "" if equal is None else percent(equal, "difference"),
    ]


def one_run(
    name: str, folder: Path, options: argparse.Namespace, changed: dict[str, Any]
) -> list[dict[str, Any]]:
    """A run of apps/train and its row."""
    started = time.monotonic()
    run_stages(settings_of(folder, options.train, options.test, changed))
    return [row_of_run(name, folder, time.monotonic() - started)]


def attempt(name: str, make: Any) -> list[dict[str, Any]]:
    """The rows, or one that says what went wrong: the others are made all the same."""
    try:
        found = list(make())
    except Exception as error:
        traceback.print_exc()
        found = [{"kind": "failed", "name": name, "error": str(error)}]
    for row in found:
        print(json.dumps(row), flush=True)
    return found


if __name__ == "__main__":
    main()
