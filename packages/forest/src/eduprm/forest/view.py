"""A tree of solutions in the terminal: forks with their entropy, values, right and wrong leaves.

What a model wrote is hostile here: it may hold rich markup, ANSI escapes, bidi overrides or newlines. All of it
goes through ``visible`` and into ``rich.text.Text``, which interprets nothing, so it shows and does not act.
"""

from __future__ import annotations

import unicodedata

import numpy as np
import polars as pl
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from .errors import ForestError
from .topology import Topology, topology

_ESCAPES = {"\n": "⏎", "\t": "⇥", "\r": "␍", "\x1b": "␛"}
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def visible(text: str, *, max_chars: int | None = None) -> str:
    r"""The text with everything that would act on a terminal or hide in it replaced by something that shows.

    Args:
        text: anything.
        max_chars: longer texts lose their middle; None keeps all.

    Examples:
        >>> visible("a\x1b[31m\n\u202eb")
        'a␛[31m⏎\\u202eb'
        >>> visible("0123456789", max_chars=5)
        '01…89'
    """
    if max_chars is not None and len(text) > max_chars:
        # cut before escaping, so that an escape is never cut in two
        head = max(1, max_chars // 2)
        tail = max(0, max_chars - head - 1)
        return visible(text[:head]) + "…" + (visible(text[-tail:]) if tail else "")
    return "".join(_show(char) for char in text)


def _show(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if unicodedata.category(char) not in _HIDDEN:
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def render_tree(df_tree: pl.DataFrame, *, max_chars: int = 80, max_lines: int = 400) -> Tree:
    """A rich Tree of one tree of a forest, labelled or not.

    Fragments that follow each other without a fork stand on one line, with a dim bar between them. A line ends
    with token count, fork entropy (of the token that its children disagree on), value and, at a leaf, how it
    finished, when it was found (``#0`` first), whether it is the greedy path and whether it is right. A ``score``
    column, where there is one, is shown like the value.

    Args:
        df_tree: the rows of exactly one tree, in order.
        max_chars: longer texts lose their middle.
        max_lines: further lines are only counted; the root's line is always shown.

    Errors: ForestError when the frame holds no tree, or several.
    """
    shape = topology(df_tree)
    if shape.num_trees != 1:
        raise ForestError(f"expected the rows of one tree, got those of {shape.num_trees}")
    children = _children(shape)
    root: Tree | None = None
    waiting: list[tuple[int, Tree | None]] = [(0, None)]
    num_lines = 0
    while waiting and num_lines < max(1, max_lines):
        row, above = waiting.pop()
        run = [row]
        while len(children[run[-1]]) == 1:
            run.append(children[run[-1]][0])
        line = _line(df_tree, run, children[run[-1]], max_chars=max_chars)
        if above is None:
            name = f"{visible(df_tree['problem_id'][0])} / {visible(df_tree['tree'][0])}"
            root = branch = Tree(Text().append(f"{name}\n", style="bold").append(line))
        else:
            branch = above.add(line)
        num_lines += 1
        waiting.extend((child, branch) for child in reversed(children[run[-1]]))
    assert root is not None
    if waiting:
        rest = sum(int(shape.size[row]) for row, _ in waiting)
        root.add(Text(f"… {rest} more nodes not shown (max_lines={max_lines})", style="dim"))
    return root


def print_tree(
    df_tree: pl.DataFrame, *, console: Console | None = None, max_chars: int = 80, max_lines: int = 400
) -> None:
    """Print render_tree's view to a console (standard output when None)."""
    (console or Console(highlight=False)).print(
        render_tree(df_tree, max_chars=max_chars, max_lines=max_lines)
    )


def _children(shape: Topology) -> list[list[int]]:
    below: list[list[int]] = [[] for _ in range(shape.num_nodes)]
    for row in range(1, shape.num_nodes):
        below[shape.parent[row]].append(row)
    return below


def _line(df: pl.DataFrame, run: list[int], children: list[int], *, max_chars: int) -> Text:
    """One line for a run of nodes without a fork between them."""
    texts = [df["text"][row] for row in run]
    each = max(8, max_chars // len(texts)) if sum(map(len, texts)) > max_chars else max_chars
    first, last = df["node_id"][run[0]], df["node_id"][run[-1]]
    line = Text().append(f"{first} " if first == last else f"{first}–{last} ", style="cyan")
    for number, text in enumerate(texts):
        line.append("│", style="dim").append(visible(text, max_chars=each))
        if number > 30:
            line.append(f"│… {len(texts) - number - 1} more fragments", style="dim")
            break
    num_tokens = sum(len(df["token_ids"][row]) for row in run)
    line.append(f"│ {num_tokens} tok", style="dim")
    if children:
        entropies = [df["entropies"][child][0] for child in children if len(df["entropies"][child])]
        nats = f" {np.mean(entropies):.2f} nats" if entropies else ""
        line.append(f"  ⑂{len(children)}{nats}", style="yellow")
    return _add_labels(line, df, run[-1], is_leaf=not children)


def _add_labels(line: Text, df: pl.DataFrame, row: int, *, is_leaf: bool) -> Text:
    labelled = "value" in df.columns and "correct" in df.columns and "leaves" in df.columns
    if labelled:
        line.append(
            f"  v {df['value'][row]:.2f} ({df['correct'][row]:g}/{df['leaves'][row]})", style="magenta"
        )
    if "score" in df.columns and df["score"][row] is not None:
        line.append(f"  s {df['score'][row]:.2f}", style="blue")
    if is_leaf:
        line.append(f"  {visible(str(df['finish'][row]))}", style="dim")
        if "order" in df.columns and df["order"][row] is not None:
            line.append(f"  #{df['order'][row]}", style="dim")
        if "greedy" in df.columns and df["greedy"][row]:
            line.append("  greedy", style="cyan")
        if labelled and df["leaves"][row]:
            right = df["correct"][row] > 0
            line.append("  ✓ right" if right else "  ✗ wrong", style="green" if right else "red")
    return line
