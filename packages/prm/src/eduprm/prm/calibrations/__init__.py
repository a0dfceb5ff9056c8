"""How a PRM's scores are made to mean what they say, one a file: the name of the file is its name. See `_contract`."""

CLASS_HAS = ("fit", "__call__", "model_dump")
