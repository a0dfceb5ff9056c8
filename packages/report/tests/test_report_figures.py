"""Figures repeat byte for byte and show what they are given; the table fits a terminal; imports stay light."""

import io
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
from matplotlib.image import imread
from rich.console import Console

from eduprm.bench import score_metrics
from eduprm.rank import CANDIDATE_SCHEMA, evaluate_methods
from eduprm.rank.table import metrics_table, results_table
from eduprm.report import Line, Point, accuracy_lines, histogram, training_loss, write_figure
from eduprm.report.figures import accuracy_against_tokens

CURVE = ["method", "rule", "n", "decoded", "accuracy", "ci_low", "ci_high"]


def curves(best: float = 0.6) -> pl.DataFrame:
    rows = [
        (method, rule, n, n * tokens, accuracy + 0.02 * n, accuracy, accuracy + 0.04 * n)
        for method, tokens in (("EDU", 12.0), ("HT", 19.0))
        for rule, accuracy in (("oracle", best), ("prm_min", 0.4))
        for n in (1, 2, 4, 8)
    ]
    return pl.DataFrame([*rows, ("greedy", "greedy", 1, 19.0, 0.3, 0.2, 0.4)], schema=CURVE, orient="row")


def test_equal_data_gives_equal_bytes_and_other_data_does_not(tmp_path: Path) -> None:
    for k in (1, 2):
        accuracy_against_tokens(curves(), tmp_path / f"curve{k}.png")
    assert (tmp_path / "curve1.png").read_bytes() == (tmp_path / "curve2.png").read_bytes()
    assert b"matplotlib" not in (tmp_path / "curve1.png").read_bytes()
    accuracy_against_tokens(curves(best=0.55), tmp_path / "other.png")
    assert (tmp_path / "other.png").read_bytes() != (tmp_path / "curve1.png").read_bytes()
    assert not [p for p in tmp_path.iterdir() if p.suffix != ".png"]


def test_nothing_is_cut_off_at_the_border(tmp_path: Path) -> None:
    accuracy_against_tokens(curves(), tmp_path / "curve.png")
    image = imread(tmp_path / "curve.png")[..., :3]
    assert all((edge == 1.0).all() for edge in (image[0], image[-1], image[:, 0], image[:, -1]))


def test_methods_differ_in_a_grey_print() -> None:
    from matplotlib.colors import to_rgb

    from eduprm.report.figures import SERIES

    grey = [float(np.dot(to_rgb(colour), (0.299, 0.587, 0.114))) for colour, _ in SERIES[:3]]
    assert min(abs(a - b) for k, a in enumerate(grey) for b in grey[:k]) > 0.06
    assert len({marker for _, marker in SERIES}) == len(SERIES)


def test_broken_frames_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="column 'decoded' is missing"):
        accuracy_against_tokens(curves().drop("decoded"), tmp_path / "x.png")
    with pytest.raises(ValueError, match="no rows"):
        accuracy_against_tokens(curves().clear(), tmp_path / "x.png")
    assert not list(tmp_path.iterdir())


def test_a_chart_of_the_page_stands_in_a_file_of_its_own(tmp_path: Path) -> None:
    points = [Point(10.0, 0.4, 0.3, 0.5), Point(90.0, 0.6, 0.5, 0.7)]
    names = ["EDU, <b>by</b> the PRM", *(f"a name of some length, {k}" for k in range(1, 5))]
    lines = [Line(name=name, points=points, series=k, dashed=k % 2 == 1) for k, name in enumerate(names)]
    figure = accuracy_lines(lines, title="Accuracy & tokens")
    drawn = write_figure(tmp_path / "a.svg", figure).read_text()
    assert drawn == write_figure(tmp_path / "b.svg", figure).read_text()
    assert (
        drawn
        != write_figure(tmp_path / "c.svg", accuracy_lines(lines[:4], title="Accuracy & tokens")).read_text()
    )
    # Programs that read no variables of CSS show it too.
    assert "var(" not in drawn
    assert "light-dark" not in drawn
    root = ElementTree.fromstring(drawn)
    texts = [text for part in root.iter() if (text := part.text)]
    assert {"Accuracy & tokens", *names} <= set(texts)
    width, height = (float(part) for part in root.attrib["viewBox"].split()[2:])
    inner = next(part for part in root if part.tag.endswith("svg"))
    assert float(inner.attrib["x"]) + float(inner.attrib["width"]) <= width
    legend = [float(part.attrib["cy"]) for part in root if part.tag.endswith("circle")]
    assert len(legend) == len(names)
    assert len(set(legend)) > 1  # more than one line of it
    assert max(legend) < float(inner.attrib["y"]) <= height - float(inner.attrib["height"])


def test_every_class_of_a_chart_has_a_colour_in_the_file(tmp_path: Path) -> None:
    for name, figure in (
        ("loss", training_loss([(k, 1 / (k + 1)) for k in range(99)], title="loss")),
        ("hist", histogram(np.arange(9) / 4, title="h", x_label="x", y_label="y", threshold=1.0)),
    ):
        drawn = write_figure(tmp_path / f"{name}.svg", figure).read_text()
        sheet = drawn[drawn.index("<style>") : drawn.index("</style>")]
        used = {word for part in re.findall(r'class="([^"]+)"', drawn) for word in part.split()}
        assert all(f".{word}" in sheet for word in used), used


def printed(renderable: object) -> list[str]:
    console = Console(file=io.StringIO(), width=100, color_system=None)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_the_table_of_three_methods_fits_in_100_columns_with_every_number() -> None:
    rng = np.random.default_rng(1)
    rows = [
        (f"p{p}", "edu", k, str(rng.integers(3)), p % 7 > 0, -1.0, 5, [float(rng.random())])
        for p in range(40)
        for k in range(1, 9)
    ]
    frame = pl.DataFrame(rows, schema=CANDIDATE_SCHEMA, orient="row")
    methods = {"EDU": frame, "HT": frame, "greedy + HT, equal tokens": frame.filter(pl.col("leaf") < 4)}
    results = evaluate_methods(methods, ns=[8], seed=0, bootstrap=50)
    lines = printed(results_table(results, tokens=dict.fromkeys(methods, 1234.5), title="Best of 8"))
    assert max(map(len, lines)) <= 100
    text = "\n".join(lines)
    assert "…" not in text
    for row in results.iter_rows(named=True):
        assert f"{100 * row['accuracy']:.1f} [" in text
    ties = results.filter((pl.col("rule") == "majority") & (pl.col("method") == "EDU"))["ties"].item()
    assert ties > 0
    assert f"~{ties}" in next(line for line in lines if line.startswith("majority, plain"))
    assert "n≤8, mean 3.0" in text
    with pytest.raises(ValueError, match="filter one n first"):
        results_table(pl.concat([results, results]))


def test_names_are_not_read_as_markup() -> None:
    rows = [("p", "edu", 1, "1", True, -1.0, 5, None)]
    frame = pl.DataFrame(rows, schema=CANDIDATE_SCHEMA, orient="row")
    results = evaluate_methods({"[bold]x[/bold]": frame}, ns=[1], rules=["majority"], seed=0, bootstrap=5)
    assert "[bold]x[/bold]" in "\n".join(printed(results_table(results)))
    steps = pl.DataFrame({"problem_id": ["p", "p"], "score": [0.2, 0.7], "gold": [False, True]})
    assert any(
        "auc within" in line for line in printed(metrics_table(score_metrics(steps, seed=0, bootstrap=5)))
    )


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = ("torch", "matplotlib", "reasoning_gym", "transformers")
    code = f"import sys, eduprm.bench; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
