"""Named kinds of problems, a module each with a class (or maker) `Task`; `_contract` says what one is."""
