"""Token entropy from logits, hidden states and top-k log-probs; thresholds."""

from eduprm.entropy.bounds import entropy_bounds
from eduprm.entropy.calibrate import Calibration, calibrate_threshold
from eduprm.entropy.linear import linear_entropy, linear_entropy_top2
from eduprm.entropy.logits import EntropyTop2, entropy_top2, token_entropy
from eduprm.entropy.sampled import SAMPLED_WORDS, Sampled, sampled_entropy, sampled_scratch, unpack_sampled

__all__ = [
    "SAMPLED_WORDS",
    "Calibration",
    "EntropyTop2",
    "Sampled",
    "calibrate_threshold",
    "entropy_bounds",
    "entropy_top2",
    "linear_entropy",
    "linear_entropy_top2",
    "sampled_entropy",
    "sampled_scratch",
    "token_entropy",
    "unpack_sampled",
]
