"""One table for trees of solutions: schema, checks, Parquet shards, paths, counts and views.

A forest is a polars frame with one row per tree node (NODE_SCHEMA); every package of eduprm takes or returns one.
This package knows tables and files. It does not know models, tokenizers or graders, and imports no torch.
"""

from .atomic import atomic_write, atomic_write_bytes, sweep_temporaries
from .column_path import PathError, column_of, flattened, value_at
from .compressed import CompressionError, compression_of, open_plain, plain_name
from .counts import token_counts
from .errors import ForestError, Place
from .paths import LEAF_SCHEMA, leaf_paths, path_of, path_rows
from .problem_files import Problems, read_problems
from .problem_rows import COMMON_NAMES, ProblemColumns
from .schema import (
    BOUND_COLUMNS,
    FINISH_REASONS,
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
    "COMMON_NAMES",
    "FINISH_REASONS",
    "LABELLED_SCHEMA",
    "LABEL_COLUMNS",
    "LEAF_SCHEMA",
    "NODE_SCHEMA",
    "PROBLEM_SCHEMA",
    "SPLITS",
    "CompressionError",
    "ForestError",
    "PathError",
    "Place",
    "ProblemColumns",
    "Problems",
    "Topology",
    "atomic_write",
    "atomic_write_bytes",
    "column_of",
    "compression_of",
    "flattened",
    "leaf_paths",
    "open_plain",
    "path_of",
    "path_rows",
    "plain_name",
    "print_tree",
    "read_forest",
    "read_problems",
    "render_tree",
    "scan_forest",
    "shard_files",
    "sweep_temporaries",
    "token_counts",
    "topology",
    "validate_forest",
    "validate_problems",
    "value_at",
    "visible",
    "write_shard",
    "write_table",
]
