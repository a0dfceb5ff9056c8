"""Named kinds of problems, a module each with a class (or maker) `Task`; `_contract` says what one is."""

CLASS_HAS = ("rows",)
OBJECT_HAS = ("shots", "grader")
