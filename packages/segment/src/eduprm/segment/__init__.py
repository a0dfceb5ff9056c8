"""Cut a solution into steps: at entropy anchors, at low confidence, at lines or delimiters, at fixed length.

Spans always cover the input, so the steps join back to it exactly. numpy only: no torch, no polars.
"""

from .anchors import (
    above_threshold,
    entropy_anchors,
    judged_texts,
    low_confidence_anchors,
    low_confidence_threshold,
)
from .choose import SEGMENTERS, Segmenter, get_segmenter, joint_segmenter, needs_of
from .delimiters import BLANK_LINE, NEWLINE, delimiter_spans, split_text
from .lines import LineStarts, line_starts
from .segmenters._contract import Solution
from .spans import Span, check_spans, fixed_length_spans, spans_from_anchors, token_spans
from .symbols import is_symbol

__all__ = [
    "BLANK_LINE",
    "NEWLINE",
    "SEGMENTERS",
    "LineStarts",
    "Segmenter",
    "Solution",
    "Span",
    "above_threshold",
    "check_spans",
    "delimiter_spans",
    "entropy_anchors",
    "fixed_length_spans",
    "get_segmenter",
    "is_symbol",
    "joint_segmenter",
    "judged_texts",
    "line_starts",
    "low_confidence_anchors",
    "low_confidence_threshold",
    "needs_of",
    "spans_from_anchors",
    "split_text",
    "token_spans",
]
