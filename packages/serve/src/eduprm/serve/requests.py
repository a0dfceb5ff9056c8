"""How solutions become requests that the service takes: which are refused beforehand, and which travel together.

For the client.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from eduprm.serve.wire import Limits, Solution


def request_fault(solution: Solution, limits: Limits) -> str | None:
    """Why the service would refuse the request that holds this solution."""
    if len(solution.steps) > limits.max_steps:
        return f"it has {len(solution.steps)} steps, the service takes {limits.max_steps}; take it out"
    longest = max(len(solution.problem), *map(len, solution.steps))
    if longest > limits.max_chars:
        return f"a text of it has {longest} characters, the service takes {limits.max_chars}; take it out"
    if _weight(solution) > limits.max_body_bytes:
        return f"it is too large for the service's {limits.max_body_bytes} bytes a request; take it out"
    return None


def request_groups(
    solutions: Sequence[Solution], indices: Sequence[int], *, most: int, max_bytes: int
) -> Iterator[list[int]]:
    """Indices of the solutions of each request: neighbours, as many as fit."""
    group: list[int] = []
    size = 0
    for index in indices:
        weight = _weight(solutions[index])
        if group and (len(group) == most or size + weight > max_bytes):
            yield group
            group, size = [], 0
        group.append(index)
        size += weight
    if group:
        yield group


def _weight(solution: Solution) -> int:
    """An upper bound of the bytes in a request's JSON."""
    return len(solution.model_dump_json().encode()) + 64
