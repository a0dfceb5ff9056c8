"""The ways of cutting a solution into steps, a module each with a class `Segmenter`; `_contract` says what one is."""

CLASS_HAS = ("__call__",)
OBJECT_HAS = ("needs",)
