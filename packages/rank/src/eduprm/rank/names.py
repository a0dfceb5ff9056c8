"""How rules are called in tables and figures."""

_NAMES = {
    "majority": "majority, plain",
    "weighted_majority_probability": "majority by probability",
    "mean_logprob": "mean log-prob",
    "oracle": "oracle (any right)",
}


_BEGINNINGS = {
    "weighted_majority_prm_": "majority by PRM",
    "wrf_prm_": "WRF by PRM",
    "hmr_prm_": "HMR by PRM",
    "prm_": "PRM",
}


def rule_label(rule: str) -> str:
    """How a rule is called in tables and figures.

    Examples:
        >>> rule_label("weighted_majority_prm_min"), rule_label("prm_last"), rule_label("greedy")
        ('majority by PRM min', 'PRM last', 'greedy')
        >>> rule_label("wrf_prm_min@0.3")
        'WRF by PRM min, 0.3'
    """
    if rule in _NAMES:
        return _NAMES[rule]
    for beginning, label in _BEGINNINGS.items():
        if rule.startswith(beginning):
            return f"{label} {rule.removeprefix(beginning).replace('@', ', ')}"
    return rule
