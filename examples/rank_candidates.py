"""Choose among candidates by several rules, and say how often each rule is right."""

import polars as pl

from eduprm.rank import CANDIDATE_SCHEMA, choose, evaluate_rules

rows = [  # problem_id, tree, leaf, answer, correct, logprob_sum, num_tokens, step_scores
    ("sum-1", "samples", 1, "12", True, -1.5, 19, [0.9, 0.8]),
    ("sum-1", "samples", 2, "13", False, -1.2, 18, [0.9, 0.1]),
    ("sum-1", "samples", 3, "13", False, -1.9, 18, [0.8, 0.2]),
    ("sum-2", "samples", 1, "7", False, -0.9, 17, [0.4, 0.4]),
    ("sum-2", "samples", 2, "8", True, -2.0, 21, [0.6, 0.7]),
]
candidates = pl.DataFrame(rows, schema=CANDIDATE_SCHEMA, orient="row")
rules = ["prm_min", "majority", "oracle"]
print(choose(candidates, rules=rules).select("rule", "problem_id", "leaf", "correct"))
print(evaluate_rules(candidates, rules=rules, seed=0).select("rule", "accuracy", "ci_low", "ci_high"))
