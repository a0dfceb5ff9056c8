"""Benchmarks of single steps: ProcessBench and PRMBench, their rules, scoring that resumes, overlap with training.

Frames and numbers only; a PRM comes in as anything with the methods of `StepScorer`, so nothing here loads torch.
"""

from eduprm.bench.steps.files import BenchFileError as BenchFileError
from eduprm.bench.steps.overlap import find_overlap as find_overlap
from eduprm.bench.steps.overlap import normalise_problem as normalise_problem
from eduprm.bench.steps.prmbench import evaluate_prmbench as evaluate_prmbench
from eduprm.bench.steps.prmbench import read_prmbench as read_prmbench
from eduprm.bench.steps.processbench import evaluate_processbench as evaluate_processbench
from eduprm.bench.steps.processbench import predict_first_wrong as predict_first_wrong
from eduprm.bench.steps.processbench import read_processbench as read_processbench
from eduprm.bench.steps.rows import Items as Items
from eduprm.bench.steps.rows import draw_rows as draw_rows
from eduprm.bench.steps.scoring import ScoreStore as ScoreStore
from eduprm.bench.steps.scoring import StepScorer as StepScorer
from eduprm.bench.steps.scoring import score_items as score_items
from eduprm.bench.steps.threshold import choose_threshold as choose_threshold

__all__ = [
    "BenchFileError",
    "Items",
    "ScoreStore",
    "StepScorer",
    "choose_threshold",
    "draw_rows",
    "evaluate_prmbench",
    "evaluate_processbench",
    "find_overlap",
    "normalise_problem",
    "predict_first_wrong",
    "read_prmbench",
    "read_processbench",
    "score_items",
]
