"""Values of a tree's nodes from its graded leaves, a module each with a class `Rule` (see `_contract`)."""

CLASS_HAS = ("values",)
