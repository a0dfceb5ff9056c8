"""The embedded engine: a transformers policy in this process (extra `transformers`)."""

from eduprm.search.embedded.cutting import TextCutter
from eduprm.search.embedded.engine import TransformersEngine
from eduprm.search.embedded.model import load_policy
from eduprm.search.embedded.scoring import TokenScorer, TokenScores, score_tokens

__all__ = ["TextCutter", "TokenScorer", "TokenScores", "TransformersEngine", "load_policy", "score_tokens"]
