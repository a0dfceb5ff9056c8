"""The page as bytes: it needs nothing else, lets nothing in, is bounded, and is the same every time."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
import zlib
from html.parser import HTMLParser
from xml.etree import ElementTree

import polars as pl
import pytest

from eduprm.forest import leaf_paths
from eduprm.report import (
    Bin,
    Entry,
    Explorer,
    Page,
    histogram,
    label_shares,
    render_page,
    solution_record,
    tree_record,
    write_page,
)
from eduprm.report.charts import Line, Point, accuracy_lines, reliability, training_loss
from eduprm.report.records import PLAIN_BYTES

from .conftest import HOSTILE, figures, make_page, make_tree, steps_explorer, tree_entry, tree_explorer


class Elements(HTMLParser):
    """Tags with attributes, and the content of script and style elements."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.raw: list[tuple[dict, str]] = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] in ("script", "style") and self.cdata_elem:
            self.raw.append((dict(self.tags[-1][1], tag=self.tags[-1][0]), data))


def data_of(html: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)[1])


def unpacked(record):
    return json.loads(zlib.decompress(base64.b64decode(record))) if isinstance(record, str) else record


def test_the_page_asks_for_nothing_and_its_policy_names_its_own_script_and_style(small_page):
    html = render_page(small_page)
    elements = Elements(html)
    loading = {"src", "href", "data", "action", "srcset", "poster", "style"}
    found = [(t, k, v) for t, a in elements.tags for k, v in a.items() if k in loading or k.startswith("on")]
    assert found
    assert all(tag == "a" and value.startswith("#") for tag, _, value in found), found
    assert not re.search(r"@import|url\(", html)
    policy = next(a["content"] for t, a in elements.tags if t == "meta" and a.get("http-equiv"))
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    inline = {a["tag"]: text for a, text in elements.raw if a.get("type") != "application/json"}
    for tag, text in inline.items():
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert set(inline) == {"script", "style"}


def test_the_script_never_makes_markup_of_a_text(small_page):
    html = render_page(small_page)
    script = re.findall(r"<script>(.*?)</script>", html, re.S)[-1]
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacent",
        "document.write",
        "eval(",
        "DOMParser",
        "new Function",
    ):
        assert word not in script


def test_equal_input_gives_equal_bytes_and_the_file_is_written_whole(small_page, tmp_path):
    explorer = tree_explorer([tree_entry(n, make_tree(6, seed=n)) for n in range(5)])
    assert render_page(small_page) == render_page(make_page(explorer))
    path = write_page(tmp_path / "report.html", small_page)
    assert path.read_text(encoding="utf-8") == render_page(small_page)
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_adds_no_element_and_comes_back_unchanged(text):
    tame, hostile = (render_page(make_page(steps_explorer([t]), title=t)) for t in ("tame", text))
    count = [[t for t, _ in Elements(html).tags] for html in (tame, hostile)]
    assert count[0] == count[1]
    data = data_of(hostile)
    assert data["list"][0][1] == text
    assert data["records"][0]["solutions"][0]["steps"][0][0] == f"First: {text}"
    raw = re.search(r'id="data">(.*?)</script>', hostile, re.S)[1]
    assert raw.isascii()
    assert not set("<>&") & set(raw)


def test_a_large_run_is_compressed_problem_by_problem_and_says_what_it_leaves_out():
    tree = make_tree(32)
    plain = tree_explorer([tree_entry(0, tree)])
    assert not isinstance(json.loads(plain.data())["records"][0], str)
    size = len(plain.data())
    number = PLAIN_BYTES // size + 20
    entries = [tree_entry(n, make_tree(32, seed=n)) for n in range(number)]
    explorer = tree_explorer(entries, max_bytes=PLAIN_BYTES // 3, left_out="See scores/.")
    data = json.loads(explorer.data())
    kept = [record for record in data["records"] if record is not None]
    assert all(isinstance(record, str) for record in kept)
    assert sum(map(len, kept)) <= PLAIN_BYTES // 3
    assert unpacked(kept[0]) == json.loads(plain.data())["records"][0]
    assert explorer.num_undrawn == number - len(kept) > 0
    # The end is left out, not a problem here and there.
    assert data["records"][len(kept) :] == [None] * (number - len(kept))
    html = render_page(Page(title="x", explorer=explorer))
    assert f"The last {explorer.num_undrawn:,} problems of the list are only named" in html
    assert "See scores/." in html


def test_a_long_list_and_a_long_text_are_cut_and_counted():
    explorer = steps_explorer(["x" * 1_000_000])
    record = unpacked(json.loads(explorer.data())["records"][0])
    assert record["cut"] == 1_000_000 - 4000
    assert record["solutions"][0]["steps"][0][1] == 1_000_007 - 4000
    assert len(explorer.data()) < 40_000
    short = Explorer(kind="steps", title="t", max_entries=2)
    for k in range(5):
        short.add(Entry(id=str(k), text="q", record={"solutions": [], "left_out": 0}))
    assert short.notes() == ["The list shows the first 2 problems of 5."]


def test_a_tree_keeps_its_shape_texts_and_numbers():
    tree = make_tree(8)
    record = tree_record(tree, answers={1: ("x" * 100, True)}, chosen={"prm_min": 3})
    assert record["parent"] == [-1, *tree["parent_id"].to_list()[1:]]
    assert ["".join(flat[::2]) for flat in record["tokens"]] == tree["text"].to_list()
    assert record["value"] == [round(value, 3) for value in tree["value"].to_list()]
    assert record["answers"]["1"] == ["x" * 80, True]
    cut = tree_record(tree, max_nodes=4, chosen={"far": 9})
    assert (len(cut["parent"]), cut["left_out"], cut["chosen"]) == (4, tree.height - 4, {})


def test_token_texts_join_to_the_fragment_whatever_the_tokenizer():
    tree = make_tree(1, tokens=3, text=" é b").with_columns(finish=pl.lit("stop"))
    data = [b" " + "é".encode()[:1], "é".encode()[1:], b" b"]

    def spelt(ids: list[int]) -> str:
        return b"".join(data[k] for k in ids).decode(errors="replace")

    def stripped(ids: list[int]) -> str:
        return spelt(ids).removeprefix(" ")

    for decode in (spelt, stripped):
        flat = tree_record(tree, decode=decode)["tokens"][0]
        assert flat[::2] == ["", " é", " b"]
    assert [round(100 * nats) for nats in tree["entropies"][0]] == flat[1::2]
    # A tokenizer that says something else: the fragment in one piece, under its highest entropy.
    flat = tree_record(tree, decode=lambda ids: "other")["tokens"][0]
    assert flat == [" é b", max(round(100 * nats) for nats in tree["entropies"][0])]
    assert leaf_paths(tree)["text"][0] == " é b"


def test_charts_are_markup_that_parses_and_escape_names():
    for figure in figures():
        root = ElementTree.fromstring(figure.svg)
        assert root.get("role") == "img"
        assert "style" not in figure.svg
    points = [Point(10.0, 0.5, 0.4, 0.6)]
    drawn = accuracy_lines([Line(name="<b>", points=points)], title='"><script>')
    assert "<script" not in drawn.svg
    assert "<b>" not in drawn.svg
    root = ElementTree.fromstring(drawn.svg)
    dot = next(e for e in root.iter("circle"))
    assert dot.find("title").text.startswith("<b>: 50 %")


def test_a_chart_places_its_marks_by_the_data():
    svg = reliability([Bin(0.0, 0.0, 1), Bin(1.0, 1.0, 1)], title="r").svg
    circles = [e for e in ElementTree.fromstring(svg).iter("circle")]
    (x0, y0), (x1, y1) = ((float(c.get("cx")), float(c.get("cy"))) for c in circles)
    assert x0 < x1
    assert y0 > y1
    found = histogram([0.1] * 9 + [2.0], title="h", x_label="", y_label="", threshold=0.5)
    rects = list(ElementTree.fromstring(found.svg).iter("rect"))
    assert [rect.get("class") for rect in rects] == ["bar s0", "bar s1"]
    assert float(rects[0].get("height")) > float(rects[1].get("height"))
    assert label_shares([0.0, 0.3, 1.0, 1.0]) == pytest.approx([0.25, 0, 0, 0.25, *[0.0] * 7, 0.5])


@pytest.mark.parametrize(
    "draw",
    [
        lambda: accuracy_lines([], title=""),
        lambda: reliability([], title=""),
        lambda: training_loss([], title=""),
        lambda: histogram([], title="", x_label="", y_label=""),
    ],
)
def test_a_chart_without_data_is_refused(draw):
    with pytest.raises(ValueError, match="at least one"):
        draw()


def test_steps_beyond_the_bound_are_counted():
    record = solution_record(["a"] * 500, [0.5] * 500)
    assert (len(record["steps"]), record["left_out"]) == (400, 100)
    assert set(record) == {"steps", "left_out"}


def test_neither_torch_nor_matplotlib_is_loaded():
    code = "import sys, eduprm.report; print([m for m in ('torch', 'matplotlib', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
