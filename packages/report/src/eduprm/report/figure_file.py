"""A chart of the page as an SVG file of its own: with its title, legend and note, in the page's light colours."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from eduprm.core.files import atomic_write_bytes

from .charts import Figure
from .page import style_of
from .svg import WIDTH, element, to_text

_MARGIN, _LINE, _TITLE = 16.0, 17.0, 34.0
_CHARACTER = 6.3  # about the width of one in the legend, in pixels
_NOTE_CHARACTERS = 78


def write_figure(path: str | Path, figure: Figure) -> Path:
    """Write a chart, whole or not at all; equal charts give equal bytes.

    Args:
        path: an .svg file.
        figure: the chart, as for `Page.figures`.

    Returns:
        The path.

    Examples:
        >>> import tempfile
        >>> from eduprm.report import training_loss
        >>> figure = training_loss([(0, 0.7), (1, 0.4)], title="Training")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_figure(Path(folder) / "training.svg", figure).read_text().startswith("<svg xmlns=")
        True
    """
    chart = ElementTree.fromstring(figure.svg)
    _, _, width, height = (float(part) for part in chart.attrib["viewBox"].split())
    whole = element("svg", xmlns="http://www.w3.org/2000/svg")
    element("style", whole, _plain_style(style_of("figure.css")) + "\nsvg { font: 13px sans-serif; }\n")
    element("rect", whole, width="100%", height="100%", fill="#ffffff")
    heading = "font-size: 15px; font-weight: bold"
    element("text", whole, figure.title, x=_MARGIN, y=_TITLE - 10, style=heading)
    top = _legend(whole, figure, _TITLE + 6)
    # A chart inside a chart: it keeps its own coordinates.
    chart.attrib |= {"x": f"{_MARGIN:g}", "y": f"{top:g}", "width": f"{width:g}", "height": f"{height:g}"}
    whole.append(chart)
    bottom = top + height
    for line in _wrapped(figure.note):
        bottom += _LINE
        element("text", whole, line, x=_MARGIN, y=bottom, class_="axis-label")
    whole.set("viewBox", f"0 0 {width + 2 * _MARGIN:g} {bottom + _MARGIN:g}")
    atomic_write_bytes(Path(path), (to_text(whole) + "\n").encode("utf-8", "replace"))
    return Path(path)


def _plain_style(sheet: str) -> str:
    """The sheet's rules in the light colours, without variables, which few programs but browsers read in an SVG."""
    colours = dict(re.findall(r"(--\w+): light-dark\(([^,]+),", sheet))
    series = {name: colours[value] for name, value in re.findall(r"(\.s\d) { --c: var\((--\w+)\); }", sheet)}
    lines: list[str] = []
    for line in sheet.splitlines():
        if not line.startswith("svg "):
            continue
        selector, _, rule = line.partition(" {")
        if "var(--c)" not in rule:
            lines.append(line)
            continue
        # Colours by series; widths and dashes as they are, so that later rules still win over them.
        parts = [part for part in rule.rstrip(" }").split(";") if part.strip()]
        coloured = "; ".join(part.strip() for part in parts if "var(" in part)
        lines.append(f"{selector} {{{';'.join(part for part in parts if 'var(' not in part)} }}")
        for name, value in series.items():
            lines.append(f"{selector}{name} {{ {coloured.replace('var(--c)', value)} }}")
    return re.sub(r"var\((--\w+)\)", lambda found: colours[found[1]], "\n".join(lines))


def _legend(whole: ElementTree.Element, figure: Figure, top: float) -> float:
    """Draw the legend in as many lines as it takes; gives where the next thing may begin."""
    x, y = _MARGIN, top
    for item in figure.legend:
        needs = 34 + _CHARACTER * len(item.name) + 14
        if x > _MARGIN and x + needs > WIDTH + _MARGIN:
            x, y = _MARGIN, y + _LINE
        dashed, hollow = (" dashed", " hollow") if item.dashed else ("", "")
        element("line", whole, class_=f"line s{item.series}{dashed}", x1=x, x2=x + 24, y1=y - 4, y2=y - 4)
        element("circle", whole, class_=f"dot s{item.series}{hollow}", cx=x + 12, cy=y - 4, r=3.5)
        element("text", whole, item.name, x=x + 30, y=y, class_="tick")
        x += needs
    return y + 8 if figure.legend else top - _LINE / 2


def _wrapped(text: str) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + len(word) < _NOTE_CHARACTERS:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
