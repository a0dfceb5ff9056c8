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

import polars as pl
import torch
from curve_held_out import HeldOut, auc_of_lines, figures, read
from transformers import TrainerCallback

from eduprm.pipeline.label_trees import label_steps
from eduprm.policy import PRM_MODEL, resolve_model
from eduprm.prm import InputBuilder, ProcessRewardModel, TrainConfig, labelled_trees, train_prm
from eduprm.prm.config import InputFormat, LoraSettings, Scoring
from eduprm.prm.data import TrainingData
from eduprm.search import EduSampling

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
SHIPPED = {"lora": None, "rate": 2e-4, "batch": 1024, "start": PRM_MODEL}
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
    "head-1024": arm(HEAD, Scoring(), **SHIPPED),
    "head-hard": arm(HEAD, Scoring(), label=HARD, **SHIPPED),
    "head-first-error": arm(
        HEAD, Scoring(kind="step_head"), label={**HARD, "rule": "first_error"}, **SHIPPED
    ),
    "head-anchors": arm(HEAD, Scoring(), steps="entropy", lora=None, layers=None, rate=3e-4, batch=8192),
    "both": arm({**FORK, **HEAD}, Scoring(), lora=None, layers=None, rate=3e-4, batch=8192),
    "fork-full": arm(FORK, LIKELIHOOD, lora=None, layers=None, rate=1e-4, batch=8192),
    "lm-full": arm({"language_model": 1.0}, LIKELIHOOD, lora=None, layers=None, rate=1e-4, batch=8192),
    "head-after-fork": arm(HEAD, Scoring(), lora=None, layers=None, rate=3e-4, batch=8192, start="fork-full"),
}


def training(run: Path, builder, steps, label) -> TrainingData:
    """The EDU trees; `steps` "entropy" or "lines": only the labels at the ends of these (columns ends_*).

    `label`: options of `label_steps` in place of those that the run's labels were made with.
    """
    forest = read(run, "labels", "train").filter(tree="edu")
    if label is not None:
        grades = read(run, "grades", "train").filter(tree="edu")
        forest = label_steps(forest, forest["ends_step"], grades, **label)
    if steps is not None:
        weight = pl.when(f"ends_{steps}").then("weight").otherwise(0.0)
        forest = forest.with_columns(weight.alias("weight"))
    return labelled_trees(forest, pl.read_parquet(run / "problems.parquet"), builder)


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
                cpu_layers="auto",
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
