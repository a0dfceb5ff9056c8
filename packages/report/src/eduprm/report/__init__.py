"""A run as one self-contained HTML page: figures, tables, and an explorer of trees and of scored steps.

Takes plain values and frames of `eduprm.forest`; knows no run folder, no model and no metric, and imports no torch.
"""

from .charts import Bin, Figure, Legend, Line, Point, accuracy_lines, histogram, reliability, training_loss
from .figure_file import write_figure
from .page import Fact, Page, Table, render_page, write_page
from .records import Entry, Explorer, Filter, Mark, script_json
from .shares import LABEL_NAMES, Dot, bars, dots, label_shares
from .steps import solution_record
from .trees import tree_record

__all__ = [
    "LABEL_NAMES",
    "Bin",
    "Dot",
    "Entry",
    "Explorer",
    "Fact",
    "Figure",
    "Filter",
    "Legend",
    "Line",
    "Mark",
    "Page",
    "Point",
    "Table",
    "accuracy_lines",
    "bars",
    "dots",
    "histogram",
    "label_shares",
    "reliability",
    "render_page",
    "script_json",
    "solution_record",
    "training_loss",
    "tree_record",
    "write_figure",
    "write_page",
]
