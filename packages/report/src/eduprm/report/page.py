"""One HTML file that needs nothing else: facts, tables, figures, an explorer, and a policy that lets nothing in.

Everything that a run wrote goes through the template's escaping or into a data element as JSON; the page's own script
puts it on show as text only. Equal input gives equal bytes: no date, no random number.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from eduprm.core.files import atomic_write_bytes

from .charts import Figure
from .records import Explorer

_SCRIPTS = ("base.js", "data.js", "list.js", "layout.js", "tree.js", "detail.js", "steps.js", "keys.js")
_STYLES = ("figure.css", "page.css", "explorer.css")


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A figure at the top of the page: what it is called, its value, and a line below it."""

    label: str
    value: str
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of texts; the first column names the rows. `strong` holds (row, column) of cells to be set bold."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    strong: Sequence[tuple[int, int]] = ()


@dataclass(frozen=True, kw_only=True)
class Page:
    """What a page shows, from top to bottom.

    Attributes:
        title: heading and name of the tab.
        subtitle: a line below it.
        facts: figures to be seen first.
        tables: the first one beside or above the figures, all in order.
        figures: charts.
        explorer: problems to look into.
        settings: name and value pairs, folded away at the end.
        notes: sentences on what the page leaves out.
    """

    title: str
    subtitle: str = ""
    facts: Sequence[Fact] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    explorer: Explorer | None = None
    settings: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()


def render_page(page: Page) -> str:
    """The page as HTML."""
    # In a function, so that no name of the script stands beside the browser's own.
    script, style = f"(() => {{\n{_joined(_SCRIPTS)}}})();", _joined(_STYLES)
    explorer = page.explorer
    return _template().render(
        page=page,
        script=Markup(script),
        style=Markup(style),
        script_hash=_hash(script),
        style_hash=_hash(style),
        notes=[*page.notes, *(explorer.notes() if explorer else [])],
        data=Markup(explorer.data()) if explorer else None,
        figures=[(figure, Markup(figure.svg)) for figure in page.figures],
    )


def write_page(path: str | Path, page: Page) -> Path:
    """Write the page, whole or not at all.

    Args:
        path: an .html file.
        page: what to show.

    Returns:
        The path.
    """
    # Half a surrogate pair in a heading has no UTF-8; in the explorer's data it is an escape.
    atomic_write_bytes(Path(path), render_page(page).encode("utf-8", "replace"))
    return Path(path)


def style_of(name: str) -> str:
    """A style sheet of the page."""
    return _joined((name,))


@cache
def _joined(names: tuple[str, ...]) -> str:
    folder = files("eduprm.report") / "assets"
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in names)


@cache
def _template() -> Template:
    text = (files("eduprm.report") / "assets" / "page.html").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(text)


def _hash(text: str) -> str:
    """How a content security policy names an inline script or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
