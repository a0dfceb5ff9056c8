"""How rules are called in tables and figures."""

_NAMES = {
    "majority": "majority, plain",
    "weighted_majority_probability": "majority by probability",
    "mean_logprob": "mean log-prob",
    "oracle": "oracle (any right)",
}


def rule_label(rule: str) -> str:
    """How a rule is called in tables and figures.

    Examples:
        >>> rule_label("weighted_majority_prm_min"), rule_label("prm_last"), rule_label("greedy")
        ('majority by PRM min', 'PRM last', 'greedy')
    """
    if rule in _NAMES:
        return _NAMES[rule]
    if rule.startswith("weighted_majority_prm_"):
        return f"majority by PRM {rule.removeprefix('weighted_majority_prm_')}"
    return f"PRM {rule.removeprefix('prm_')}" if rule.startswith("prm_") else rule
