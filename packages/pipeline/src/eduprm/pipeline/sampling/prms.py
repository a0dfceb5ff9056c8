"""Train the PRMs, and let them score: whole trees cut for every kind of step, and beginnings of solutions for P-EDU."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl

from eduprm.core.errors import UsageError
from eduprm.core.files import atomic_write_bytes
from eduprm.core.progress import say
from eduprm.core.store import content_hash
from eduprm.forest.tables import Tables, frame_hash, stored_tables
from eduprm.pipeline.prefix_prm import PrefixPrm
from eduprm.pipeline.sampling.experiment import Experiment, model_content
from eduprm.pipeline.sampling.grow import Trees
from eduprm.pipeline.sampling.settings import Kind
from eduprm.pipeline.sampling.training import RULE_OF
from eduprm.pipeline.train_prm import seeded, token_source, train_on
from eduprm.policy import resolve_model
from eduprm.prm import InputFormat
from eduprm.search import PolicySettings


class Prm:
    """A trained PRM on disk, read when it has to score.

    Attributes: `prefixes`, what P-EDU asks; `name` (kind, and number of the training where there are several), `kind`,
    `folder`, `key` (hash of all that decides its weights), `facts` (what training took).
    """

    def __init__(self, name: str, kind: Kind, folder: Path, experiment: Experiment) -> None:
        self.name, self.kind, self.folder = name, kind, folder
        self.key = folder.name
        self.facts: dict[str, Any] = json.loads((folder / "training.json").read_text())
        self._experiment = experiment
        self._rules = list(dict.fromkeys((RULE_OF[kind], "line")))
        questions = dict(experiment.problems.select("problem_id", "question").iter_rows())
        self.prefixes = PrefixPrm(folder, questions, experiment.settings.policy)

    def score(self, trees: Trees) -> pl.DataFrame:
        """The `steps` of some trees with the columns `score`, of a step of the PRM's own rule, and `score_line`.

        Both are of the step up to the node's end; null for an empty root.
        """
        key = {"prm": self.key, "trees": trees.key, "rules": self._rules}
        made = stored_tables(
            self._experiment.store, "scores", f"{trees.name}-{self.name}", key, lambda: self._score(trees)
        )
        scores = made["scores"].with_columns(score=f"score_{self._rules[0]}")
        return trees.tables["steps"].with_columns(scores.select("score", "score_line"))

    def _score(self, trees: Trees) -> Tables:
        steps = trees.tables["steps"]
        scored = self.prefixes.model.score_forest(steps, self._experiment.problems, rules=self._rules)
        say(f"scored {trees.name} by {self.name}: {scored.height} fragments")
        return {"scores": scored.select(f"score_{rule}" for rule in self._rules)}


def train_prms(experiment: Experiment, sets: dict[Kind, pl.DataFrame]) -> list[Prm]:
    """Train each kind as often as the settings say; those that are there are taken up."""
    found = []
    for kind, labelled in sets.items():
        for number in range(experiment.settings.prm.seeds):
            name = kind if experiment.settings.prm.seeds == 1 else f"{kind}-{number}"
            found.append(Prm(name, kind, _trained(experiment, name, number, labelled), experiment))
    return found


def _trained(experiment: Experiment, name: str, number: int, labelled: pl.DataFrame) -> Path:
    settings = experiment.settings
    wanted = settings.prm
    format = wanted.input.resolved(InputFormat())
    config = seeded(wanted.train, settings.seed, "prm", number)
    backbone = wanted.backbone or settings.policy.model
    questions = experiment.problems.filter(split="train").select("problem_id", "question")
    key = {
        **experiment.policy_key,
        "prm": version("eduprm-prm"),
        "input": format.model_dump(mode="json"),
        "config": config.model_dump(mode="json"),
        "labels": frame_hash(labelled.select("problem_id", "token_ids", "parent_id", "label", "weight")),
        "questions": content_hash(questions.rows()),
    }
    if wanted.backbone is not None:
        _check_vocabulary(backbone, settings.policy, format)
        key["backbone"] = model_content(backbone)

    def train(folder: Path) -> None:
        result = train_on(
            labelled,
            experiment.problems,
            folder,
            backbone=backbone,
            policy=settings.policy,
            format=format,
            config=config,
        )
        facts = {
            **result.data,
            "seconds": round(result.seconds, 1),
            "trained_tokens": result.tokens,
            "first_loss": result.losses[0][1] if result.losses else None,
            "last_loss": result.losses[-1][1] if result.losses else None,
        }
        atomic_write_bytes(folder / "training.json", (json.dumps(facts, indent=2) + "\n").encode())
        say(f"trained {name}: {facts['labels']} labels, {facts['seconds']} s, last loss {facts['last_loss']}")

    return experiment.store.get("prm", name, key, train)


def _check_vocabulary(backbone: str, policy: PolicySettings, format: InputFormat) -> None:
    from eduprm.prm import InputBuilder

    trust = policy.trust_remote_code
    builder = InputBuilder.from_pretrained(resolve_model(backbone), format, trust_remote_code=trust)
    if token_source(backbone, policy, builder.tokenizer) != "ids":
        raise UsageError(
            f"--prm.backbone: expected a model of the policy's vocabulary, whose tokens P-EDU gives it, got {backbone}"
        )
