"""Selection rules, one a file: the name of the file is the name of the rule. What a rule is: `_contract`."""

CLASS_HAS = ("score",)
OBJECT_HAS = ("label", "needs")
