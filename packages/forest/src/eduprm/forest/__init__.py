"""One table for trees of solutions: schema, checks, Parquet shards, paths, counts and views.

A forest is a polars frame with one row per tree node (NODE_SCHEMA); every package of eduprm takes or returns one.
This package knows tables and files. It does not know models, tokenizers or graders, and imports no torch.
"""

from .counts import token_counts
from .errors import ForestError, Place
from .found import FOUND_SCHEMA, found_leaves
from .paths import LEAF_SCHEMA, leaf_paths, path_of, path_rows
from .schema import (
    BOUND_COLUMNS,
    FINISH_REASONS,
    FOUND_COLUMNS,
    LABEL_COLUMNS,
    LABELLED_SCHEMA,
    NODE_SCHEMA,
    PROBLEM_SCHEMA,
    SPLITS,
)
from .shards import read_forest, scan_forest, shard_files, write_shard, write_table
from .topology import Topology, topology
from .validate import validate_forest, validate_problems
from .view import print_tree, render_tree, visible

__all__ = [
    "BOUND_COLUMNS",
    "FINISH_REASONS",
    "FOUND_COLUMNS",
    "FOUND_SCHEMA",
    "LABELLED_SCHEMA",
    "LABEL_COLUMNS",
    "LEAF_SCHEMA",
    "NODE_SCHEMA",
    "PROBLEM_SCHEMA",
    "SPLITS",
    "ForestError",
    "Place",
    "Topology",
    "found_leaves",
    "leaf_paths",
    "path_of",
    "path_rows",
    "print_tree",
    "read_forest",
    "render_tree",
    "scan_forest",
    "shard_files",
    "token_counts",
    "topology",
    "validate_forest",
    "validate_problems",
    "visible",
    "write_shard",
    "write_table",
]
