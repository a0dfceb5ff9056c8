"""How often a text was cut elsewhere than its tree, when rerank judged the token that stands there for a symbol.

    uv run python packages/search/benchmarks/cut_difference.py RUN [RUN ...]

RUN is a run folder of apps/train with labelled forests. A tree is cut where the entropy is above the threshold and the
policy's most probable token is no bare symbol; its nodes' borders are these cuts. Up to 2026-11 apps/rerank asked
whether the token of the text is a symbol. Both are counted on every path of the forest, from the same tokens and
entropies, stop tokens left out (a text has none). Neither a model nor the text's own tokenisation takes part, so what
these change is not counted. Prints one line a kind of tree, as JSON.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from functools import lru_cache
from pathlib import Path

import polars as pl

from eduprm.search import PolicyTokenizer
from eduprm.segment import entropy_anchors


def count_run(run: Path) -> dict[str, Counter[str]]:
    """Counts by kind of tree."""
    settings = json.loads((run / "config.json").read_text())["settings"]
    tokenizer = PolicyTokenizer(settings["policy"]["model"])
    text = lru_cache(maxsize=None)(lambda token: tokenizer.decode([token]))
    search, found = settings["search"], dict[str, Counter[str]]()
    for shard in sorted((run / "labels").glob("*.parquet")):
        for (_, tree), nodes in pl.read_parquet(shard).group_by("problem_id", "tree", maintain_order=True):
            kind = f"{shard.name.split('-')[0]} {str(tree).split('-')[0]}"
            counts = found.setdefault(kind, Counter())
            for ids, entropies, borders in _paths(nodes):
                texts = [text(token) for token in ids]
                given = {"threshold": search["threshold"], "skip_symbols": search["skip_symbols"]}
                actual = set(entropy_anchors(entropies, texts, **given)) - {0}
                counts["paths"] += 1
                counts["cuts"] += len(borders)
                counts["missed by the text's rule"] += len(borders - actual)
                counts["only by the text's rule"] += len(actual - borders)
                counts["paths affected"] += borders != actual
    return found


def _paths(nodes: pl.DataFrame) -> list[tuple[list[int], list[float], set[int]]]:
    """Per leaf: token ids and entropies without a stop token, and the positions inside them at which nodes begin."""
    rows = nodes.select("parent_id", "token_ids", "entropies", "finish").rows()
    inner = {parent for parent, *_ in rows}
    held: list[tuple[list[int], list[float], set[int]]] = []
    leaves = []
    for node, (parent, ids, entropies, finish) in enumerate(rows):
        before, nats, borders = ([], [], set()) if parent is None else held[parent]
        held.append((before + ids, nats + entropies, borders | {len(before)} if ids else borders))
        if node not in inner:
            size = len(held[-1][0]) - (finish == "stop")
            all_ids, all_nats, all_borders = held[-1]
            leaves.append(
                (all_ids[:size], all_nats[:size], {border for border in all_borders if 0 < border < size})
            )
    return leaves


def main() -> None:
    """Count, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", nargs="+", type=Path)
    for run in parser.parse_args().run:
        for kind, counts in count_run(run).items():
            print(json.dumps({"run": run.name, "trees": kind, **counts}))


if __name__ == "__main__":
    main()
