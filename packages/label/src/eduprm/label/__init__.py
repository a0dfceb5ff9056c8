"""Grade answers, value the nodes of a tree, make labels.

Every name is loaded on first use, so that importing the package costs nothing and the grading worker (a bare
subprocess) never pulls in polars.
"""

from typing import TYPE_CHECKING

from eduprm.core.lazy import exports

if TYPE_CHECKING:
    from eduprm.label.answers import extract_answer as extract_answer
    from eduprm.label.derivation import check_derivation as check_derivation
    from eduprm.label.graders import get_grader as get_grader
    from eduprm.label.graders import grader_names as grader_names
    from eduprm.label.graders._contract import Grader as Grader
    from eduprm.label.graders._function import FunctionGrader as FunctionGrader
    from eduprm.label.graders.math import MathGrader as MathGrader
    from eduprm.label.graders.number import NumberGrader as NumberGrader
    from eduprm.label.graders.reasoning_gym import DATASETS_WITHOUT_GOLD as DATASETS_WITHOUT_GOLD
    from eduprm.label.graders.reasoning_gym import ReasoningGymGrader as ReasoningGymGrader
    from eduprm.label.graders.reasoning_gym import reasoning_gym_problems as reasoning_gym_problems
    from eduprm.label.grading import check_gold as check_gold
    from eduprm.label.grading import grade_frame as grade_frame
    from eduprm.label.grading import grade_leaves as grade_leaves
    from eduprm.label.grading import spell_alike as spell_alike
    from eduprm.label.numeric import canonical_answer as canonical_answer
    from eduprm.label.numeric import number_equal as number_equal
    from eduprm.label.numeric import parse_number as parse_number
    from eduprm.label.question_weights import weigh_questions as weigh_questions
    from eduprm.label.row_filters import filter_rows as filter_rows
    from eduprm.label.solution_text import strip_stop_tokens as strip_stop_tokens
    from eduprm.label.step_frames import node_validity as node_validity
    from eduprm.label.step_frames import step_validity as step_validity
    from eduprm.label.steps import Equation as Equation
    from eduprm.label.steps import StepCheck as StepCheck
    from eduprm.label.steps import check_steps as check_steps
    from eduprm.label.values import label_forest as label_forest
    from eduprm.label.worker import BoundedWorker as BoundedWorker
    from eduprm.label.worker import WorkerCounts as WorkerCounts

_WHERE = {
    "extract_answer": "answers",
    "check_derivation": "derivation",
    "FunctionGrader": "graders._function",
    "Grader": "graders._contract",
    "NumberGrader": "graders.number",
    "get_grader": "graders",
    "grader_names": "graders",
    "check_gold": "grading",
    "grade_frame": "grading",
    "grade_leaves": "grading",
    "spell_alike": "grading",
    "MathGrader": "graders.math",
    "canonical_answer": "numeric",
    "number_equal": "numeric",
    "parse_number": "numeric",
    "DATASETS_WITHOUT_GOLD": "graders.reasoning_gym",
    "ReasoningGymGrader": "graders.reasoning_gym",
    "reasoning_gym_problems": "graders.reasoning_gym",
    "strip_stop_tokens": "solution_text",
    "weigh_questions": "question_weights",
    "filter_rows": "row_filters",
    "node_validity": "step_frames",
    "step_validity": "step_frames",
    "Equation": "steps",
    "StepCheck": "steps",
    "check_steps": "steps",
    "label_forest": "values",
    "BoundedWorker": "worker",
    "WorkerCounts": "worker",
}

__all__, __getattr__, __dir__ = exports(__name__, _WHERE)
