"""What may stand around a PRM and change its scores, one a file: the name of the file is its name. See `_contract`."""

CLASS_HAS = ("score_steps",)
