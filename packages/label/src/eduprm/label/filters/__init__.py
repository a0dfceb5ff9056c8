"""Which solutions of a labelled forest are learned from, a module each with a class `Filter` (see `_contract`)."""

CLASS_HAS = ("keeps",)
