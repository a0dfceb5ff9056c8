"""Figures as PNG files: accuracy against tokens, reliability, entropies with the threshold, labels.

Legible in grey: series differ by marker, line style or hatching as well as by colour.
"""

from eduprm.report.figures.curve import accuracy_against_tokens
from eduprm.report.figures.distributions import (
    entropy_distribution,
    label_distribution,
    reliability_diagram,
)
from eduprm.report.figures.training import training_curve

__all__ = [
    "accuracy_against_tokens",
    "entropy_distribution",
    "label_distribution",
    "reliability_diagram",
    "training_curve",
]
