"""Judge a PRM: what solutions cost in tokens, comparisons at equal tokens, metrics of scores, benchmarks of steps.

Everything works on polars frames; nothing here loads torch.
"""

from typing import TYPE_CHECKING

from eduprm.core.lazy import exports

if TYPE_CHECKING:
    from eduprm.bench.cost import COST_SCHEMA as COST_SCHEMA
    from eduprm.bench.cost import summarise_cost as summarise_cost
    from eduprm.bench.cost import token_cost as token_cost
    from eduprm.bench.equal import equal_tokens as equal_tokens
    from eduprm.bench.metrics import METRIC_SCHEMA as METRIC_SCHEMA
    from eduprm.bench.metrics import auc as auc
    from eduprm.bench.metrics import auc_within as auc_within
    from eduprm.bench.metrics import brier as brier
    from eduprm.bench.metrics import expected_calibration_error as expected_calibration_error
    from eduprm.bench.metrics import reliability as reliability
    from eduprm.bench.metrics import score_metrics as score_metrics
    from eduprm.bench.smooth_ece import smooth_calibration_error as smooth_calibration_error

# Loaded on first use: a command line answers a wrong flag before polars is there.
_WHERE = {
    "COST_SCHEMA": "cost",
    "METRIC_SCHEMA": "metrics",
    "auc": "metrics",
    "auc_within": "metrics",
    "brier": "metrics",
    "equal_tokens": "equal",
    "expected_calibration_error": "metrics",
    "reliability": "metrics",
    "score_metrics": "metrics",
    "smooth_calibration_error": "smooth_ece",
    "summarise_cost": "cost",
    "token_cost": "cost",
}

__all__, __getattr__, __dir__ = exports(__name__, _WHERE)
