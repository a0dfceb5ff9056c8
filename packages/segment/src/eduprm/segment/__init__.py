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
from .delimiters import BLANK_LINE, NEWLINE, delimiter_spans, split_text
from .lines import LineStarts, line_starts
from .segmenters import (
    SEGMENTERS,
    Segmenter,
    Solution,
    delimiter_segmenter,
    entropy_segmenter,
    fixed_length_segmenter,
    get_segmenter,
    joint_segmenter,
    line_segmenter,
    low_confidence_segmenter,
)
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
    "delimiter_segmenter",
    "delimiter_spans",
    "entropy_anchors",
    "entropy_segmenter",
    "fixed_length_segmenter",
    "fixed_length_spans",
    "get_segmenter",
    "is_symbol",
    "joint_segmenter",
    "judged_texts",
    "line_segmenter",
    "line_starts",
    "low_confidence_anchors",
    "low_confidence_segmenter",
    "low_confidence_threshold",
    "spans_from_anchors",
    "split_text",
    "token_spans",
]
