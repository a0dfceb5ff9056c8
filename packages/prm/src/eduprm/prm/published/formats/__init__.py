"""Forms in which PRMs are published: a file each, found by its name."""

CLASS_HAS = ("load",)
OBJECT_HAS = ("architectures", "marks")
