"""Problems as the explorer reads them: compact JSON that cannot end its script element, within a bound of bytes.

For one `Entry` after another, in order, holding no more than the page will.
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

MAX_ENTRIES = 5000
"""Problems in the list, at most."""
MAX_BYTES = 16 * 2**20
"""What all their trees or solutions may take in the page."""
PLAIN_BYTES = 256 * 2**10
"""Up to here they stand in the page as they are; beyond, each is compressed by itself."""
MAX_TEXT = 4000
"""Characters of one text, at most."""
_LISTED_TEXT = 400

Mark = Literal["right", "wrong", "none"]


def script_json(value: Any) -> str:
    r"""JSON that is safe inside a script element, in ASCII: no `<`, no line separators, lone surrogates escaped.

    Examples:
        >>> script_json("</script>\u2028\ud800")
        '"\\u003c/script\\u003e\\u2028\\ud800"'
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def number(value: float | None, *, digits: int = 3) -> float | None:
    """A rounded number, None where it is not defined.

    Examples:
        >>> number(1 / 3), number(float("nan")), number(2.0)
        (0.333, None, 2.0)
    """
    return None if value is None or not math.isfinite(value) else round(float(value), digits)


def clip(text: str, *, most: int = MAX_TEXT) -> tuple[str, int]:
    """The beginning of a text, and how many characters were left out.

    Examples:
        >>> clip("abcdef", most=4)
        ('abcd', 2)
    """
    return text[:most], max(0, len(text) - most)


class Filter(NamedTuple):
    """A choice of problems: those that have the tag."""

    tag: str
    label: str


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A problem in the explorer.

    Attributes:
        id: shown and searched.
        text: the question.
        answer: gold answer, None where there is none.
        badge: a few characters beside it in the list, such as 3/8.
        mark: whether the choice was right; "none" where nothing was chosen or graded.
        tags: what filters ask for.
        record: what the explorer draws, as `tree_record` or `solution_record` make it.
    """

    id: str
    text: str
    answer: str | None = None
    badge: str = ""
    mark: Mark = "none"
    tags: Collection[str] = ()
    record: Mapping[str, Any]


class Explorer:
    """The explorer of a page: add entries in order, then give it to `write_page`.

    Args:
        kind: "trees" (records hold `trees`) or "steps" (records hold `solutions`).
        title: its heading.
        rules: selection rules that records name, with how they are called.
        filters: choices offered over the list.
        threshold: the entropy above which anchors begin (trees), or the score up to which a step is judged wrong.
        left_out: where to find what the page has no room for.
        max_bytes: bound of all records.
        max_entries: bound of the list.
    """

    def __init__(
        self,
        *,
        kind: Literal["trees", "steps"],
        title: str,
        rules: Mapping[str, str] | None = None,
        filters: Sequence[Filter] = (),
        threshold: float | None = None,
        left_out: str = "",
        max_bytes: int = MAX_BYTES,
        max_entries: int = MAX_ENTRIES,
    ) -> None:
        self.kind, self.title = kind, title
        self._head = {
            "kind": kind,
            "rules": [[name, label] for name, label in (rules or {}).items()],
            "filters": [list(item) for item in filters],
            "threshold": number(threshold, digits=4),
        }
        self._where, self._max_bytes, self._max_entries = left_out, max_bytes, max_entries
        self._listed: list[list[Any]] = []
        self._records: list[str] = []
        self._bytes = 0
        self._plain = True
        self._unlisted = self._undrawn = 0

    @property
    def num_entries(self) -> int:
        """Problems in the list."""
        return len(self._listed)

    @property
    def num_undrawn(self) -> int:
        """Problems in the list whose record found no room."""
        return self._undrawn

    @property
    def full(self) -> bool:
        """Whether the list takes no more problems: from here on they need only be counted."""
        return len(self._listed) >= self._max_entries

    def skip(self, number: int) -> None:
        """Count problems that are not in the list."""
        self._unlisted += number

    def add(self, entry: Entry) -> None:
        """Take a problem up, as far as there is room for it."""
        if self.full:
            self.skip(1)
            return
        text, cut = clip(entry.text)
        answer = (entry.answer or "")[:200]
        self._listed.append(
            [entry.id[:200], text[:_LISTED_TEXT], answer, entry.badge, entry.mark, sorted(entry.tags)]
        )
        body = script_json({"text": text, "cut": cut, **entry.record})
        if self._plain and self._bytes + len(body) > min(PLAIN_BYTES, self._max_bytes):
            self._plain = False
            self._records = [_compressed(record) for record in self._records]
            self._bytes = sum(map(len, self._records))
        if not self._plain:
            body = _compressed(body)
        # In order: what is left out is the end of the list and not a problem here and there.
        if self._undrawn or self._bytes + len(body) > self._max_bytes:
            self._undrawn += 1
            body = "null"
        self._records.append(body)
        self._bytes += len(body)

    def notes(self) -> list[str]:
        """What was left out, in sentences; empty if nothing was."""
        where = f" {self._where}" if self._where else ""
        found = []
        if self._unlisted:
            shown, total = len(self._listed), len(self._listed) + self._unlisted
            found.append(f"The list shows the first {shown:,} problems of {total:,}.{where}")
        if self._undrawn:
            most = f"{self._max_bytes / 2**20:.3g} MB"
            found.append(
                f"The last {self._undrawn:,} problems of the list are only named, to keep the page's data below {most}."
                + where
            )
        return found

    def data(self) -> str:
        """The JSON of the page's data element."""
        head = script_json({**self._head, "list": self._listed})
        return f'{head[:-1]},"records":[{",".join(self._records)}]}}'


def _compressed(body: str) -> str:
    """A record as a JSON string: zlib, then base64."""
    if body == "null":
        return body
    return f'"{base64.b64encode(zlib.compress(body.encode("ascii"), 9)).decode("ascii")}"'
