"""Published PRMs, scored as their authors do, by native code: one file a form, one call for all (`load`).

Imports nothing heavy: the names of the forms are needed by settings.
"""

from eduprm.prm.published.choosing import FORMATS, check_format, choose_format, find_format
from eduprm.prm.published.marks import StepMarks

__all__ = ["FORMATS", "StepMarks", "check_format", "choose_format", "find_format"]
