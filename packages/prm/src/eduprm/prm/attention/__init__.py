"""How a packed batch is attended to: dense masks, FlexAttention's block masks, or paths gathered for varlen kernels.

For collators, scorers and `packed_logits`.
"""

from eduprm.prm.attention.backbones import (
    check_backbone,
    check_mask_honoured,
    context_tokens,
    settle_attention,
)
from eduprm.prm.attention.choice import (
    TreeAttention,
    attention_inputs,
    implementation_of,
    loaded_implementation,
)
from eduprm.prm.attention.masks import dense_mask, flex_mask_function, tree_mask
from eduprm.prm.attention.segments import plan_segments

__all__ = [
    "TreeAttention",
    "attention_inputs",
    "check_backbone",
    "check_mask_honoured",
    "context_tokens",
    "dense_mask",
    "flex_mask_function",
    "implementation_of",
    "loaded_implementation",
    "plan_segments",
    "settle_attention",
    "tree_mask",
]
