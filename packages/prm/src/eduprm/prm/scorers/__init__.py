"""How a model scores the nodes of packed trees, a module each with a class `Scorer` (see `_contract`)."""

CLASS_HAS = ("needs", "values", "fold")
OBJECT_HAS = ("solution",)
