"""SVG by the element, and scales with readable ticks: what the charts are drawn with.

Elements come from the standard library's tree, so a text or an attribute can never turn into markup. Colours are left
to the page's style sheet (classes), so that one drawing is readable in both themes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

Element = ElementTree.Element
WIDTH, HEIGHT = 460.0, 280.0
LEFT, RIGHT, TOP, BOTTOM = 62.0, 14.0, 14.0, 42.0


def element(
    tag: str, parent: Element | None = None, text: str | None = None, /, **attributes: object
) -> Element:
    """A new element, put into its parent; `class_` becomes class, other underscores become hyphens.

    Examples:
        >>> to_text(element("text", None, "<b>", class_="tick", text_anchor="end", x=1 / 3))
        '<text class="tick" text-anchor="end" x="0.33">&lt;b&gt;</text>'
    """
    names = {key: key.rstrip("_").replace("_", "-") for key in attributes}
    made = Element(tag, {names[key]: _shown(value) for key, value in attributes.items()})
    made.text = text
    if parent is not None:
        parent.append(made)
    return made


def to_text(root: Element) -> str:
    """The element as markup."""
    return ElementTree.tostring(root, encoding="unicode")


def _shown(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Maps data from [low, high] to pixels from [start, stop], linearly or by the logarithm."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a value; values outside lie outside."""
        low, high, at = (self._f(v) for v in (self.low, self.high, value))
        return self.start + (at - low) / ((high - low) or 1.0) * (self.stop - self.start)

    def _f(self, value: float) -> float:
        return math.log10(max(value, 1e-12)) if self.log else value


def nice_ticks(low: float, high: float, *, count: int = 5) -> list[float]:
    """Round numbers in [low, high], about `count` of them.

    Examples:
        >>> nice_ticks(0, 1), nice_ticks(0, 47)
        ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.0, 10.0, 20.0, 30.0, 40.0])
    """
    if not high > low:
        return [low]
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * k for k in (1, 2, 2.5, 5, 10) if power * k >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5 times powers of ten in [low, high]; of many decades the powers alone.

    Examples:
        >>> log_ticks(20, 180)
        [20.0, 50.0, 100.0]
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1, 2, 5) if last - first <= 3 else (1,)
    found = [10.0**power * step for power in range(first, last + 1) for step in steps]
    return [tick for tick in found if low * 0.999 <= tick <= high * 1.001]


class Chart:
    """An empty chart with its two scales; `root` is the svg element that marks are put into.

    Args:
        title: for those who hear the page instead of seeing it.
        x, y: (low, high) of the data.
        log_x, log_y: logarithmic scales.
        height: in pixels.
        left: room for the names or numbers on the left.
    """

    def __init__(
        self,
        *,
        title: str,
        x: tuple[float, float],
        y: tuple[float, float],
        log_x: bool = False,
        log_y: bool = False,
        height: float = HEIGHT,
        left: float = LEFT,
    ) -> None:
        self.root = element("svg", viewBox=f"0 0 {WIDTH:g} {height:g}", role="img", aria_label=title)
        self.height, self.left = height, left
        self.x = Scale(low=x[0], high=x[1], start=left, stop=WIDTH - RIGHT, log=log_x)
        self.y = Scale(low=y[0], high=y[1], start=height - BOTTOM, stop=TOP, log=log_y)

    def axes(
        self,
        *,
        x_label: str,
        y_label: str,
        x_ticks: Sequence[float],
        y_ticks: Sequence[float],
        show_x: Callable[[float], str] = "{:g}".format,
        show_y: Callable[[float], str] = "{:g}".format,
    ) -> None:
        """Draw faint horizontal lines, numbers and the names of both axes."""
        floor = self.height - BOTTOM
        for tick in y_ticks:
            at = self.y(tick)
            element("line", self.root, class_="grid", x1=self.left, x2=WIDTH - RIGHT, y1=at, y2=at)
            self.text(self.left - 7, at + 4, show_y(tick), class_="tick", text_anchor="end")
        element("line", self.root, class_="axis", x1=self.left, x2=WIDTH - RIGHT, y1=floor, y2=floor)
        for tick in x_ticks:
            at = self.x(tick)
            element("line", self.root, class_="axis", x1=at, x2=at, y1=floor, y2=floor + 4)
            self.text(at, floor + 17, show_x(tick), class_="tick", text_anchor="middle")
        middle = (self.left + WIDTH - RIGHT) / 2
        self.text(middle, self.height - 6, x_label, class_="axis-label", text_anchor="middle")
        if y_label:
            at = (TOP + floor) / 2
            turn = f"rotate(-90 11 {at:g})"  # left of a "0.75" in the larger print of a narrow window
            self.text(11, at, y_label, class_="axis-label", text_anchor="middle", transform=turn)

    def text(self, x: float, y: float, text: str, **attributes: object) -> Element:
        """Put a text at a pixel."""
        return element("text", self.root, text, x=float(x), y=float(y), **attributes)

    def mark(self, tag: str, hint: str, **attributes: object) -> Element:
        """Put a mark that says what it is when pointed at."""
        made = element(tag, self.root, **attributes)
        element("title", made, hint)
        return made

    def path(self, points: Sequence[tuple[float, float]], **attributes: object) -> Element:
        """A line through points of the data."""
        places = " L".join(f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in points)
        return element("path", self.root, d=f"M{places}", **attributes)


def percent(value: float) -> str:
    """A share as a whole per cent.

    Examples:
        >>> percent(0.4)
        '40 %'
    """
    return f"{100 * value:.0f} %"


def short_count(value: float) -> str:
    """A count as it fits beside an axis.

    Examples:
        >>> short_count(100.0), short_count(20_000), short_count(3e6)
        ('100', '20k', '3M')
    """
    for size, sign in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{sign}"
    return f"{value:g}"
