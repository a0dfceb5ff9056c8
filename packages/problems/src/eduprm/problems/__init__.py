"""Problems with gold answers: of a task, read from files, split by a hash of the question, turned into prompts.

One table (`eduprm.forest.PROBLEM_SCHEMA`) whatever the source. reasoning-gym is imported when a task is generated.
"""

from typing import TYPE_CHECKING

from eduprm.core.lazy import exports

if TYPE_CHECKING:
    from eduprm.problems.files import Problems as Problems
    from eduprm.problems.files import read_problems as read_problems
    from eduprm.problems.files import read_worked as read_worked
    from eduprm.problems.gold import without_annotations as without_annotations
    from eduprm.problems.making import make_problems as make_problems
    from eduprm.problems.making import make_split as make_split
    from eduprm.problems.making import resolve_task as resolve_task
    from eduprm.problems.prompts import TASKS as TASKS
    from eduprm.problems.prompts import messages_for as messages_for
    from eduprm.problems.prompts import style_for as style_for
    from eduprm.problems.rows import COMMON_NAMES as COMMON_NAMES
    from eduprm.problems.rows import ProblemColumns as ProblemColumns

# Loaded on first use: a command line answers a wrong flag before polars is there.
_WHERE = {
    "COMMON_NAMES": "rows",
    "ProblemColumns": "rows",
    "Problems": "files",
    "TASKS": "prompts",
    "make_problems": "making",
    "make_split": "making",
    "messages_for": "prompts",
    "read_problems": "files",
    "read_worked": "files",
    "resolve_task": "making",
    "style_for": "prompts",
    "without_annotations": "gold",
}

__all__, __getattr__, __dir__ = exports(__name__, _WHERE)
