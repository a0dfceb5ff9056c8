"""Who else says whether a solution's steps are right, a module each with a class `Judge` (see `_contract`)."""

CLASS_HAS = ("verdicts",)
