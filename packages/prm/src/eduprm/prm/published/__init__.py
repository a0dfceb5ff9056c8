"""Published PRMs, scored as their authors do, by native code: one module a form, one call for all (`load`).

Imports nothing heavy: the names of the forms are needed by settings.
"""

from eduprm.prm.published.formats import FORMATS, FormatName, StepMarks, choose_format

__all__ = ["FORMATS", "FormatName", "StepMarks", "choose_format"]
