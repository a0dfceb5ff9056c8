"""In which order trees are trained on, one a file: the name of the file is its name. See `_contract`."""

CLASS_HAS = ("orders",)
