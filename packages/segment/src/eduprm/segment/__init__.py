"""Cut a solution into steps: at entropy anchors, at low confidence, at delimiters, at fixed length.

Spans always cover the input, so the steps join back to it exactly. numpy only: no torch, no polars.
"""

from .anchors import entropy_anchors, low_confidence_anchors, low_confidence_threshold
from .delimiters import BLANK_LINE, NEWLINE, delimiter_spans, split_text
from .segmenters import (
    SEGMENTERS,
    Segmenter,
    Solution,
    delimiter_segmenter,
    entropy_segmenter,
    fixed_length_segmenter,
    get_segmenter,
    low_confidence_segmenter,
)
from .spans import Span, check_spans, fixed_length_spans, spans_from_anchors, token_spans
from .symbols import is_symbol

__all__ = [
    "BLANK_LINE",
    "NEWLINE",
    "SEGMENTERS",
    "Segmenter",
    "Solution",
    "Span",
    "check_spans",
    "delimiter_segmenter",
    "delimiter_spans",
    "entropy_anchors",
    "entropy_segmenter",
    "fixed_length_segmenter",
    "fixed_length_spans",
    "get_segmenter",
    "is_symbol",
    "low_confidence_anchors",
    "low_confidence_segmenter",
    "low_confidence_threshold",
    "spans_from_anchors",
    "split_text",
    "token_spans",
]
