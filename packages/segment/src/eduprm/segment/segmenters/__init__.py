"""The ways of cutting a solution into steps, a module each with a class `Segmenter`; `_contract` says what one is."""
