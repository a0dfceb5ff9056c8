"""How much training each kind of PRM needs: best-of-N on held-out trees against tokens trained on, arm by arm.

    uv run packages/bench/benchmarks/training_curves.py RUN OUT [--arms fork head ...] [--tokens 2400000] [--limit 256]

RUN is a run folder of apps/train with labels/, grades/ and problems.parquet, cut and labelled at entropy and lines. The
first `--limit` of the held-out problems are looked at while training (the curve); the figures of the last line of an
arm are of the others, which no choice was made on. Writes OUT/curves.jsonl, a line per point, and OUT/ARM, the PRM
of each arm.
"""

from __future__ import annotations

import argparse
import json
import time
import traceback
from pathlib import Path

import numpy as np
import polars as pl
import torch
from transformers import TrainerCallback

from eduprm.bench.metrics import auc_within
from eduprm.forest import found_leaves, leaf_paths
from eduprm.label import label_forest, node_validity
from eduprm.policy import resolve_model
from eduprm.prm import InputBuilder, ProcessRewardModel, TrainConfig, labelled_trees, train_prm
from eduprm.prm.config import InputFormat, LoraSettings, Scoring
from eduprm.prm.data import TrainingData, forest_trees
from eduprm.rank import candidates_from_leaves, choose, paired_difference
from eduprm.rank.evaluate import summarise_choices
from eduprm.search import EduSampling, replayed

KEYS = ["problem_id", "tree", "leaf"]
LIKELIHOOD = Scoring(kind="likelihood")
CHAT = InputFormat(kind="chat", system="Steps")
R32 = LoraSettings(rank=32, alpha=64)


def arm(losses, scoring, *, steps=None, label=None, lora=R32, layers=15, rate=2.5e-4, batch=2048, start=None):
    train = {
        "losses": losses,
        "scoring": scoring,
        "lora": lora,
        "last_layers": layers,
        "learning_rate": rate,
        "batch_tokens": batch,
    }
    return {"train": train, "steps": steps, "label": label, "start": start}


FORK = {"fork": 1.0, "language_model": 0.5}
HEAD = {"cross_entropy": 1.0}
HARD = {"target": "hard", "node_weight": "one"}
ARMS = {
    "fork": arm(FORK, LIKELIHOOD),
    "fork-1e-4": arm(FORK, LIKELIHOOD, rate=1e-4),
    "fork-6e-4": arm(FORK, LIKELIHOOD, rate=6e-4),
    "fork-r8": arm(FORK, LIKELIHOOD, lora=LoraSettings(rank=8, alpha=16)),
    "fork-all-layers": arm(FORK, LIKELIHOOD, layers=None),
    "fork-512": arm(FORK, LIKELIHOOD, batch=512),
    "fork-8192": arm(FORK, LIKELIHOOD, batch=8192),
    "fork-no-lm": arm({"fork": 1.0}, LIKELIHOOD),
    "lm-only": arm({"language_model": 1.0}, LIKELIHOOD),
    "head-lora": arm(HEAD, Scoring()),
    "head-lora-1e-3": arm(HEAD, Scoring(), rate=1e-3),
    "head": arm(HEAD, Scoring(), lora=None, layers=None, rate=3e-4, batch=8192),
    "head-lines": arm(HEAD, Scoring(), steps="lines", lora=None, layers=None, rate=3e-4, batch=8192),
    "head-1024": arm(HEAD, Scoring(), lora=None, rate=2e-4, batch=1024, start="smollm2-135m-steps-prm"),
    "head-hard": arm(
        HEAD, Scoring(), label=HARD, lora=None, rate=2e-4, batch=1024, start="smollm2-135m-steps-prm"
    ),
    "head-first-error": arm(
        HEAD,
        Scoring(kind="step_head"),
        label={**HARD, "rule": "first_error"},
        lora=None,
        rate=2e-4,
        batch=1024,
        start="smollm2-135m-steps-prm",
    ),
    "head-anchors": arm(HEAD, Scoring(), steps="entropy", lora=None, layers=None, rate=3e-4, batch=8192),
    "both": arm({**FORK, **HEAD}, Scoring(), lora=None, layers=None, rate=3e-4, batch=8192),
    "fork-full": arm(FORK, LIKELIHOOD, lora=None, layers=None, rate=1e-4, batch=8192),
    "lm-full": arm({"language_model": 1.0}, LIKELIHOOD, lora=None, layers=None, rate=1e-4, batch=8192),
    "head-after-fork": arm(HEAD, Scoring(), lora=None, layers=None, rate=3e-4, batch=8192, start="fork-full"),
}


class HeldOut:
    """Held-out trees of a run, and what their leaves are worth."""

    def __init__(self, run: Path, builder, settings, limit):
        problems = pl.read_parquet(run / "problems.parquet")
        forest, self.grades = (read(run, part, "test") for part in ("labels", "grades"))
        self.forest = forest if "order" in forest.columns else with_order(forest, settings)
        self.ends = self.forest["weight"] > 0
        self.trees = list(forest_trees(self.forest, problems, builder))
        self.leaves = leaf_paths(self.forest)
        self.order = found_leaves(self.forest)
        ids = sorted(set(self.forest["problem_id"]))
        self.looked_at, self.kept = ids[:limit], ids[limit:]

    def scored(self, prm, ids):
        """The trees of these problems, with the PRM's score of every node."""
        wanted = set(ids)
        trees = [tree for tree in self.trees if tree.name.split("/")[0] in wanted]
        column = np.full(self.forest.height, np.nan)
        for tree, scores in zip(trees, prm.score_trees(trees), strict=True):
            column[tree.rows] = scores
        return self.forest.with_columns(
            pl.Series("score", column).fill_nan(None), self.ends.alias("ends")
        ).filter(pl.col("problem_id").is_in(ids))

    def candidates(self, scored):
        leaves = self.leaves.join(scored.select("problem_id").unique(), on="problem_id", how="semi")
        nodes = scored.filter("ends").select("problem_id", "tree", "node_id", "score")
        steps = (
            leaves.select(*KEYS, node_id="path")
            .explode("node_id")
            .join(nodes, on=["problem_id", "tree", "node_id"], how="left", maintain_order="left")
            .filter(pl.col("score").is_not_null())
            .group_by(KEYS, maintain_order=True)
            .agg(step_scores="score")
        )
        return candidates_from_leaves(leaves, self.grades, step_scores=steps, order=self.order)


def with_order(forest: pl.DataFrame, settings: EduSampling) -> pl.DataFrame:
    """The columns order and greedy of a run that was grown before they were written."""
    samples = pl.col("tree").str.contains("^(samples|ht)-")
    return pl.concat([replayed(forest.filter(~samples), settings), replayed(forest.filter(samples), None)])


def read(run: Path, part: str, split: str) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in sorted((run / part).glob(f"{split}-*.parquet"))])


def training(run: Path, builder, steps, label) -> TrainingData:
    """The EDU trees; `steps` "entropy" or "lines": only the labels at the ends of these (columns ends_*).

    `label`: options of `label_forest` in place of those that the run's labels were made with.
    """
    forest = read(run, "labels", "train").filter(tree="edu")
    if label is not None:
        grades = read(run, "grades", "train").filter(tree="edu")
        leaves = grades.select("problem_id", "tree", "correct", node_id="leaf")
        weight = pl.when("ends_step").then("weight").otherwise(0.0)
        forest = label_forest(forest, leaves, **label).with_columns(weight.alias("weight"))
    if steps is not None:
        weight = pl.when(f"ends_{steps}").then("weight").otherwise(0.0)
        forest = forest.with_columns(weight.alias("weight"))
    return labelled_trees(forest, pl.read_parquet(run / "problems.parquet"), builder)


RULES = [
    "prm_min",
    "prm_last",
    "prm_product",
    "prm_mean",
    "mean_logprob",
    "majority",
    "weighted_majority_prm_min",
    "oracle",
]


def figures(candidates, seed=0):
    found = {}
    for name, tree in (("edu", "edu"), ("samples", "ht"), ("greedy", "greedy")):
        rows = candidates.filter(pl.col("tree").str.starts_with(tree))
        if not rows.height:
            continue
        rules = RULES if name != "greedy" else ["oracle"]
        table = summarise_choices(choose(rows, rules=rules), seed=seed)
        found[name] = {
            row["rule"]: [round(100 * row[key], 1) for key in ("accuracy", "ci_low", "ci_high")]
            for row in table.to_dicts()
        }
        for rule in ("min", "last"):
            fold = pl.col("step_scores").list.min() if rule == "min" else pl.col("step_scores").list.last()
            own = rows.filter(pl.col("step_scores").list.len() > 0).select(
                "problem_id", score=fold, gold="correct"
            )
            found[name][f"auc_{rule}"] = round(float(auc_within(own)["auc"].mean() or float("nan")), 3)
    edu, samples, greedy = (
        candidates.filter(pl.col("tree").str.starts_with(tree)) for tree in ("edu", "ht", "greedy")
    )
    if samples.height and greedy.height:
        ours = choose(edu, rules=["prm_min"])
        for name, other in (
            ("samples", choose(samples, rules=["prm_min"])),
            ("greedy", choose(greedy, rules=["oracle"])),
        ):
            gap = paired_difference(ours, other, seed=seed, bootstrap=2000)
            found[f"edu minus {name}"] = [
                round(100 * value, 1) for value in (gap.difference, gap.ci_low, gap.ci_high)
            ]
    return found


def auc_of_lines(scored):
    """Of the nodes of EDU trees in which a line with an equation ends, by the checker of equations."""
    lines = node_validity(scored.filter(tree="edu")).filter(
        pl.col("node_valid").is_not_null() & pl.col("score").is_not_null()
    )
    return round(float(auc_within(lines.select("problem_id", "score", gold="node_valid"))["auc"].mean()), 3)


class Looks(TrainerCallback):
    """Score the held-out EDU trees at some steps; the time it takes is not counted as training."""

    def __init__(self, name, held, builder, config, total_tokens, points, out, device):
        self.__dict__.update(locals())
        self.started = time.perf_counter()
        self.looking = 0.0
        self.next = 1

    def look(self, model, step, total):
        began = time.perf_counter()
        training = model.training
        prm = ProcessRewardModel(model, self.builder, scoring=self.config.scoring, batch_tokens=16384)
        with torch.autocast(self.device, torch.bfloat16, enabled=self.device == "cuda"):
            scored = self.held.scored(prm, self.held.looked_at)
        edu = self.held.candidates(scored).filter(tree="edu")
        model.train(training)
        point = {
            "arm": self.name,
            "step": step,
            "tokens": int(self.total_tokens * step / total),
            "seconds": round(began - self.started - self.looking, 1),
            **figures(edu)["edu"],
            "auc_lines": auc_of_lines(scored),
        }
        with (self.out / "curves.jsonl").open("a") as file:
            file.write(json.dumps(point) + "\n")
        show = {
            key: value[0] if isinstance(value, list) else value
            for key, value in point.items()
            if key not in ("prm_mean", "weighted_majority_prm_min")
        }
        print(" ".join(f"{key} {value}" for key, value in show.items()), flush=True)
        self.looking += time.perf_counter() - began

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if state.global_step >= self.next * state.max_steps / self.points:
            self.next += 1
            self.look(model, state.global_step, state.max_steps)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--tokens", type=float, default=2.4e6)
    parser.add_argument("--limit", type=int, default=256)
    parser.add_argument("--points", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no arm after so many")
    parser.add_argument("--policy", default="smollm2-135m-steps")
    parser.add_argument(
        "--plain", action="store_true", help="the question and a line break instead of the policy's prompt"
    )
    parser.add_argument("--dtype", default=None)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--attn", default="sdpa")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    settings = EduSampling.model_validate(
        json.loads((options.run / "config.json").read_text())["settings"]["search"]
    )
    backbone = resolve_model(options.policy)
    builder = InputBuilder.from_pretrained(
        backbone, InputFormat(kind="plain", template="{problem}\n") if options.plain else CHAT
    )
    held = HeldOut(options.run, builder, settings, options.limit)
    began, cache = time.perf_counter(), {}
    for name in options.arms:
        if time.perf_counter() - began > options.seconds:
            print(f"{name}: no time left", flush=True)
            continue
        chosen = ARMS[name]
        try:
            kind = json.dumps([chosen["steps"], chosen["label"]])
            if kind not in cache:
                cache[kind] = training(options.run, builder, chosen["steps"], chosen["label"])
            data = cache[kind]
            epochs = max(1, round(options.tokens / data.unique_tokens))
            share = min(1.0, options.tokens / data.unique_tokens)
            part = TrainingData(data.trees[: max(1, round(share * len(data.trees)))]) if epochs == 1 else data
            extra = {"compile": True} if options.compile else {}
            config = TrainConfig(
                **chosen["train"],
                epochs=epochs,
                seed=options.seed,
                attn_implementation=options.attn,
                dtype=options.dtype or ("bfloat16" if device == "cuda" else "float32"),
                **extra,
            )
            begun = chosen["start"]
            start = (
                backbone if begun is None else options.out / begun if begun in ARMS else resolve_model(begun)
            )
            looks = Looks(
                name, held, builder, config, part.unique_tokens * epochs, options.points, options.out, device
            )
            result = train_prm(
                start,
                part,
                builder,
                options.out / name,
                config=config,
                progress=False,
                overwrite=True,
                callbacks=[looks],
            )
            seconds = result.seconds - looks.looking
            prm = ProcessRewardModel.from_pretrained(result.folder, batch_tokens=16384)
            scored = held.scored(prm, held.kept)
            final = figures(held.candidates(scored))
            final["edu"]["auc_lines"] = auc_of_lines(scored)
            point = {
                "arm": name,
                "final": final,
                "tokens": result.tokens,
                "tokens_per_s": round(result.tokens / seconds),
                "seconds": round(seconds, 1),
                "problems": len(held.kept),
            }
            with (options.out / "final.jsonl").open("a") as file:
                file.write(json.dumps(point) + "\n")
            edu, ht = final["edu"], final.get("samples", {})
            shown = {
                "unseen problems": len(held.kept),
                **{
                    f"edu {rule}": edu[rule]
                    for rule in ("prm_min", "prm_last", "prm_product", "oracle", "auc_min", "auc_lines")
                },
                **{f"samples {rule}": ht.get(rule) for rule in ("prm_min", "prm_last")},
                **{key: value for key, value in final.items() if key.startswith("edu minus")},
            }
            line = "; ".join(f"{key} {value}" for key, value in shown.items())
            print(f"{name} END {point['tokens_per_s']} tokens/s; {line}", flush=True)
        except Exception:
            traceback.print_exc()


if __name__ == "__main__":
    main()
