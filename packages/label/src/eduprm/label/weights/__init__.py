"""How much each question counts in training, a module each with a class `Weights` (see `_contract`)."""

CLASS_HAS = ("of",)
