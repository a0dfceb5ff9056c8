"""Prompts as chat turns: a task's worked examples, one step a line, last line "#### N"; or zero-shot.

Worked examples stand in the tasks' files, so that a prompt is the same in training and in reranking;
`making.make_problems` leaves their questions out by text.
"""

from functools import cache
from typing import Any

from eduprm.core import registry

Message = dict[str, str]
"""One chat turn: {"role": "user" or "assistant", "content": text}."""

ZERO_SHOT = "zero_shot"
_ZERO_SHOT_REQUEST = (
    "Work it out step by step, one step a line. End with a last line that holds #### and the answer alone."
)
STEPS = "steps"
_STEPS_SYSTEM = "Steps"
TASKS = "eduprm.problems.tasks"
"""The folder of tasks; `eduprm.core.registry.names` lists it."""
_TAUGHT = {"smollm2-135m-steps": STEPS}


def taught_style(policy: str) -> str | None:
    """The style that a policy was taught to answer, which it is asked in whatever the problems; None for any other.

    Examples:
        >>> taught_style("smollm2-135m-steps"), taught_style("smollm2-135m-instruct")
        ('steps', None)
    """
    return _TAUGHT.get(policy)


def style_for(task: str, *, policy: str | None = None) -> str:
    """The style of a task: what the policy was taught, else the task's own worked examples, else zero-shot.

    Args:
        task: a task's name.
        policy: a policy's name; one that was taught a style is asked in it, whatever the task.

    Examples:
        >>> style_for("products"), style_for("rg:gcd")
        ('products', 'zero_shot')
        >>> style_for("products", policy="smollm2-135m-steps")
        'steps'
    """
    taught = taught_style(policy) if policy is not None else None
    return taught or (task if shots_of(task) else ZERO_SHOT)


@cache
def shots_of(task: str) -> tuple[tuple[str, str], ...]:
    """Worked examples of a task, pairs of question and solution; none for `rg:<dataset>`.

    Raises:
        ValueError: no such task.
    """
    if task.startswith("rg:"):
        return ()
    made: Any = registry.load(TASKS, task, "Task")
    return tuple((made if hasattr(made, "shots") else made()).shots)


def shot_styles() -> list[str]:
    """Names of the tasks with worked examples.

    Examples:
        >>> shot_styles()
        ['chain_sum', 'gsm8k', 'products', 'products12']
    """
    return [name for name in registry.names(TASKS) if shots_of(name)]


def messages_for(question: str, style: str) -> list[Message]:
    """Chat turns that ask a question: the style's worked examples first, the question last.

    Args:
        question: the problem's text.
        style: a task with worked examples; "zero_shot", which adds a request for steps and the last line; or "steps",
            the bare question under a one-word system turn, for a policy that was taught to answer so.

    Raises:
        ValueError: no such style; the message lists them.

    Examples:
        >>> messages = messages_for("2 * 3?", "products")
        >>> len(messages), messages[1]["role"], messages[-1]["content"]
        (9, 'assistant', '2 * 3?')
    """
    if style == ZERO_SHOT:
        return [{"role": "user", "content": f"{question}\n\n{_ZERO_SHOT_REQUEST}"}]
    if style == STEPS:
        return [{"role": "system", "content": _STEPS_SYSTEM}, {"role": "user", "content": question}]
    if ":" not in style and style not in shot_styles():
        raise ValueError(
            f"style must be one of {', '.join([*shot_styles(), ZERO_SHOT, STEPS])}; got {style!r}"
        )
    turns: list[Message] = []
    for shot_question, solution in shots_of(style):
        turns.append({"role": "user", "content": shot_question})
        turns.append({"role": "assistant", "content": solution})
    return [*turns, {"role": "user", "content": question}]


@cache
def shot_questions() -> frozenset[str]:
    """Questions of all worked examples: never to be used as problems.

    Examples:
        >>> "Solve the following multiplication: 7 * 8. Give only the result as your final answer." in shot_questions()
        True
    """
    return frozenset(question for style in shot_styles() for question, _ in shots_of(style))
