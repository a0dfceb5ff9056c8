"""Train the PRMs, and let them score: whole trees cut for every kind of step, and beginnings of solutions for P-EDU."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from eduprm.core.errors import UsageError
from eduprm.core.files import atomic_write_bytes
from eduprm.core.progress import say
from eduprm.core.store import content_hash
from eduprm.forest import topology
from eduprm.forest.tables import Tables, frame_hash, stored_tables
from eduprm.pipeline.sampling.grow import Trees
from eduprm.pipeline.sampling.settings import Kind
from eduprm.pipeline.sampling.world import World, model_content
from eduprm.pipeline.train_prm import seeded, token_source, train_on
from eduprm.prm import InputFormat
from eduprm.search import PolicySettings, resolve_model

if TYPE_CHECKING:
    from eduprm.prm import InputBuilder, ProcessRewardModel


class Prm:
    """A trained PRM on disk, read when it has to score.

    Attributes: `name` (kind, and number of the training where there are several), `kind`, `folder`, `key` (hash of all
    that decides its weights), `facts` (what training took).
    """

    def __init__(self, name: str, kind: Kind, folder: Path, world: World) -> None:
        self.name, self.kind, self.folder = name, kind, folder
        self.key = folder.name
        self.facts: dict[str, Any] = json.loads((folder / "training.json").read_text())
        self._world = world
        self._questions = dict(world.problems.select("problem_id", "question").iter_rows())
        self._known: dict[tuple[str, tuple[int, ...]], float] = {}

    @cached_property
    def model(self) -> ProcessRewardModel:
        """The PRM itself."""
        from eduprm.prm import ProcessRewardModel

        return ProcessRewardModel.from_pretrained(self.folder, self._world.settings.policy.device)

    def _builder(self) -> InputBuilder:
        from eduprm.prm import InputBuilder

        builder = self.model.builder
        assert isinstance(builder, InputBuilder)  # the recipe's own PRMs, not published ones
        return builder

    async def __call__(self, problem_id: str, prefixes: Sequence[tuple[int, ...]]) -> list[float]:
        """Scores of beginnings of solutions: `eduprm.search.PrefixScorer`."""
        new = [ids for ids in dict.fromkeys(prefixes) if (problem_id, ids) not in self._known]
        if new:
            builder = self._builder()
            prompt = builder.prompt_ids(self._questions[problem_id])
            scores = self.model.score_ids([(prompt, [builder.node_ids(ids, ends=False)]) for ids in new])
            self._known.update({(problem_id, ids): own[-1] for ids, own in zip(new, scores, strict=True)})
        return [self._known[problem_id, ids] for ids in prefixes]

    def score(self, trees: Trees) -> pl.DataFrame:
        """The `steps` of some trees with a column `score`; null for an empty root."""
        key = {"prm": self.key, "trees": trees.key}
        made = stored_tables(
            self._world.store, "scores", f"{trees.name}-{self.name}", key, lambda: self._score(trees)
        )
        return trees.tables["steps"].with_columns(made["scores"]["score"])

    def _score(self, trees: Trees) -> Tables:
        """Path by path, not by `score_forest`: samples that begin alike are one prefix there only if their nodes are.

        So solutions that are equal have scores that are equal to the last bit, and rules see that they tie.
        """
        steps = trees.tables["steps"]
        parents = topology(steps).parent.tolist()
        builder = self._builder()
        ends = (steps["finish"] == "stop").fill_null(False).to_list()
        bodies = [
            builder.node_ids(ids, ends=end) if ids else []
            for ids, end in zip(steps["token_ids"].to_list(), ends, strict=True)
        ]
        paths: list[list[int]] = []  # per node, the nodes with tokens up to it
        for row, parent in enumerate(parents):
            above = paths[parent] if parent >= 0 else []
            paths.append([*above, row] if bodies[row] else above)
        inner = set(parents)
        leaves = [row for row in range(steps.height) if row not in inner and paths[row]]
        questions = steps["problem_id"].to_list()
        prompts = {key: builder.prompt_ids(self._questions[key]) for key in set(questions)}
        found = self.model.score_ids(
            [(prompts[questions[leaf]], [bodies[row] for row in paths[leaf]]) for leaf in leaves]
        )
        scores: list[float | None] = [None] * steps.height
        for leaf, own in zip(leaves, found, strict=True):
            for row, value in zip(paths[leaf], own, strict=True):
                scores[row] = value
        for row, parent in enumerate(parents):
            if scores[row] is None and parent >= 0:  # no token of its own: it stands where its parent stands
                scores[row] = scores[parent]
        say(f"scored {trees.name} by {self.name}: {steps.height} fragments")
        return {"scores": pl.DataFrame({"score": scores}, schema={"score": pl.Float64})}


def train_prms(world: World, sets: dict[Kind, pl.DataFrame]) -> list[Prm]:
    """Train each kind as often as the settings say; those that are there are taken up."""
    found = []
    for kind, labelled in sets.items():
        for number in range(world.settings.prm.seeds):
            name = kind if world.settings.prm.seeds == 1 else f"{kind}-{number}"
            found.append(Prm(name, kind, _trained(world, name, number, labelled), world))
    return found


def _trained(world: World, name: str, number: int, labelled: pl.DataFrame) -> Path:
    settings = world.settings
    wanted = settings.prm
    config = seeded(wanted.train, settings.seed, "prm", number)
    backbone = wanted.backbone or settings.policy.model
    questions = world.problems.filter(split="train").select("problem_id", "question")
    key = {
        **world.policy_key,
        "prm": version("eduprm-prm"),
        "input": wanted.input.model_dump(mode="json"),
        "config": config.model_dump(mode="json"),
        "labels": frame_hash(labelled.select("problem_id", "token_ids", "parent_id", "label", "weight")),
        "questions": content_hash(questions.rows()),
    }
    if wanted.backbone is not None:
        _check_vocabulary(backbone, settings.policy, wanted.input)
        key["backbone"] = model_content(backbone)

    def train(folder: Path) -> None:
        result = train_on(
            labelled,
            world.problems,
            folder,
            backbone=backbone,
            policy=settings.policy,
            format=wanted.input,
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

    return world.store.get("prm", name, key, train)


def _check_vocabulary(backbone: str, policy: PolicySettings, format: InputFormat) -> None:
    from eduprm.prm import InputBuilder

    trust = policy.trust_remote_code
    builder = InputBuilder.from_pretrained(resolve_model(backbone), format, trust_remote_code=trust)
    if token_source(backbone, policy, builder.tokenizer) != "ids":
        raise UsageError(
            f"--prm.backbone: expected a model of the policy's vocabulary, whose tokens P-EDU gives it, got {backbone}"
        )
