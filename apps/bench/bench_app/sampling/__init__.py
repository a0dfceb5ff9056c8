"""`bench sampling`: the experiment that asks whether EDU sampling and PRMs trained on its trees are worth it."""
