"""What training minimises, a module each with a class `Loss`; `eduprm.prm.losses._contract` says what one is."""

CLASS_HAS = ("needs", "weight", "total")
