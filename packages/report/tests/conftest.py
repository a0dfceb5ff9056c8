"""Pages made for the tests: trees of any size, solutions in steps, and texts that try to get out."""

from __future__ import annotations

import random

import polars as pl
import pytest

from eduprm.forest import LABELLED_SCHEMA
from eduprm.report import (
    Bin,
    Dot,
    Entry,
    Explorer,
    Fact,
    Filter,
    Line,
    Page,
    Point,
    Table,
    accuracy_lines,
    bars,
    dots,
    histogram,
    reliability,
    solution_record,
    training_loss,
    tree_record,
)

HOSTILE = [
    "</script><script>alert(1)</script>",
    '<img src=x onerror="alert(2)">',
    "<!--<script>",
    "a\u2028b\u2029c",
    "lone \ud800 half",
    "right \u202e to left",
    "\x00\x1b[31m red",
    "'\"`${alert(3)}{{7*7}}",
]


def make_tree(leaves: int, *, seed: int = 0, tokens: int = 4, text: str | None = None) -> pl.DataFrame:
    """A binary tree of so many leaves, labelled and scored."""
    rng = random.Random(seed)
    rows: list[dict] = []

    def grow(parent: int | None, below: int) -> int:
        node = len(rows)
        pieces = [f" t{rng.randrange(100)}" for _ in range(tokens)]
        words = text if text is not None else "".join(pieces)
        nats = [rng.random() * 2.2 if at == 0 else rng.random() * 0.3 for at in range(tokens)]
        row = {
            "problem_id": "p", "tree": "edu", "node_id": node, "parent_id": parent, "token_ids": list(range(tokens)),
            "logprobs": [-0.1] * tokens, "entropies": nats, "text": words, "finish": None, "weight": 1.0,
        }  # fmt: skip
        rows.append(row)
        if below == 1:
            right = float(rng.random() < 0.4)
            row.update(finish="stop", leaves=1, correct=right)
        else:
            children = [grow(node, below // 2), grow(node, below - below // 2)]
            row.update(leaves=below, correct=sum(rows[child]["correct"] for child in children))
        row["value"] = row["label"] = row["correct"] / row["leaves"]
        row["score"] = rng.random()
        return node

    grow(None, leaves)
    return pl.DataFrame(rows, schema={**LABELLED_SCHEMA, "score": pl.Float64})


def tree_entry(number: int, tree: pl.DataFrame, *, question: str | None = None) -> Entry:
    leaf_rows = tree.filter(pl.col("finish").is_not_null())
    answers = {n: (str(n), bool(c)) for n, c in leaf_rows.select("node_id", "correct").iter_rows()}
    best = leaf_rows.sort("score", descending=True)["node_id"][0]
    right = answers[best][1]
    return Entry(
        id=f"problem-{number}",
        text=question or f"What is {number} + {number}?",
        answer=str(2 * number),
        badge=f"{int(leaf_rows['correct'].sum())}/{leaf_rows.height}",
        mark="right" if right else "wrong",
        tags={"right" if right else "missed"},
        record={"trees": [tree_record(tree, answers=answers, chosen={"prm_min": best})]},
    )


def tree_explorer(entries: list[Entry], **settings) -> Explorer:
    explorer = Explorer(
        kind="trees", title="Trees", rules={"prm_min": "PRM min"}, threshold=0.5,
        filters=[Filter("right", "chosen right"), Filter("missed", "chosen wrong")], **settings,
    )  # fmt: skip
    for entry in entries:
        explorer.add(entry)
    return explorer


def steps_explorer(texts: list[str]) -> Explorer:
    explorer = Explorer(
        kind="steps",
        title="Rows",
        rules={"prm_min": "PRM min"},
        threshold=0.5,
        filters=[Filter("all", "all")],
    )
    for number, text in enumerate(texts):
        solutions = [
            solution_record(
                [f"First: {text}", "Then 2 + 2 = 5."], [0.9, 0.2 / (k + 1)], score=0.2 / (k + 1), answer=text[:20],
                right=k == 0, rules=["prm_min"] if k == 0 else (), gold_wrong=[1], first_only=True, predicted=1,
            )
            for k in range(3)
        ]  # fmt: skip
        record = {"solutions": solutions, "left_out": 0}
        explorer.add(Entry(id=f"row-{number}", text=text, tags={"all"}, record=record))
    return explorer


def figures() -> list:
    points = [Point(20.0, 0.3, 0.2, 0.4), Point(80.0, 0.5, 0.4, 0.6)]
    return [
        accuracy_lines([Line(name="EDU & <co>", points=points)], title="Accuracy"),
        reliability([Bin(0.2, 0.3, 10), Bin(0.8, 0.7, 40)], title="Reliability"),
        histogram([0.1, 0.2, 0.2, 1.4], title="Entropy", x_label="nats", y_label="tokens", threshold=0.5),
        bars({"a": [0.5, 0.5], "b": [0.1, 0.9]}, names=["0", "1"], title="Labels", x_label="label"),
        dots([Dot(name="PRM min", value=0.5, low=0.4, high=0.6)], title="Rules", x_label="right"),
        training_loss([(k, 1 / (k + 1)) for k in range(40)], title="Training"),
    ]


def make_page(explorer: Explorer | None, *, title: str = "A run") -> Page:
    return Page(
        title=title,
        subtitle="made for a test",
        facts=[Fact(label="accuracy", value="51 %", hint="95 %: 40 to 62")],
        tables=[Table(title="Rules", columns=["rule", "EDU"], rows=[["PRM min", "51.0"]], strong=[(0, 1)])],
        figures=figures(),
        explorer=explorer,
        settings=[("seed", "0")],
    )


@pytest.fixture(scope="session")
def small_page() -> Page:
    return make_page(tree_explorer([tree_entry(n, make_tree(6, seed=n)) for n in range(5)]))
