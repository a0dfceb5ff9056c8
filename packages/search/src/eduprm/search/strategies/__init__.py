"""Ways of growing a tree of solutions, a file each; the module's name is what settings call it.

What a strategy is, `_contract` says; `eduprm.core.registry` finds and makes one by its name.
"""

CLASS_HAS = ("grow",)
OBJECT_HAS = ("tree", "cut")
