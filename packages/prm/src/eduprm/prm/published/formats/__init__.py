"""Forms in which PRMs are published: a file each, found by its name."""
