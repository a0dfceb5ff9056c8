"""Training at a CPU's speed: our own decoder layers in place of transformers', where they compute the same.

`prepare_fast(model, config, tokens=...)` puts them beside a model's own, after a comparison;
`fast_hidden(model, batch)` uses them.
"""

from eduprm.prm.fast.machine import has_fast_bfloat16, settle_dtype
from eduprm.prm.fast.prepare import fast_hidden, prepare_fast

__all__ = ["fast_hidden", "has_fast_bfloat16", "prepare_fast", "settle_dtype"]
