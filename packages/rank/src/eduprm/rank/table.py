"""The console table of results: rules down, methods across, accuracy with its interval, tokens, ties.

Fits in 100 columns up to three methods.
"""

from collections.abc import Mapping
from textwrap import wrap

import polars as pl
from rich.table import Table
from rich.text import Text

from eduprm.rank.names import reads_gold, rule_label

_HEADER_WIDTH = 22  # of a cell: 100 columns hold the rules and three methods


def results_table(
    results: pl.DataFrame, *, tokens: Mapping[str, float] | None = None, title: str | None = None
) -> Table:
    """A rich table of accuracies in per cent: one row per rule, one column per method, intervals beside.

    A number after a tilde counts the ties: problems where only the order of the candidates decided. The best rule
    that needs no gold answers is bold in each column.

    Args:
        results: what `evaluate_methods` gave, of one n per method; with no ``method`` column, one method.
        tokens: mean decoded tokens per problem by method, shown in the header.
        title: above the table.

    Raises:
        ValueError: no rows, or several rows of one rule and method (filter one n first).

    Examples:
        >>> from eduprm.rank.evaluate import EVALUATION_SCHEMA
        >>> row = ["prm_min", 8, 8.0, 0.5, 0.25, 0.75, 40, 3]
        >>> table = results_table(pl.DataFrame([row], schema=EVALUATION_SCHEMA, orient="row"))
        >>> table.row_count, str(table.columns[1]._cells[0])
        (1, ' 50.0 [25.0, 75.0] ~3')
    """
    if "method" not in results.columns:
        results = results.with_columns(method=pl.lit("accuracy %"))
    if not results.height:
        raise ValueError("results_table: no rows")
    if results.select("method", "rule").is_duplicated().any():
        raise ValueError(
            "results_table: one row per method and rule is expected, several came: filter one n first"
        )
    methods = results["method"].unique(maintain_order=True).to_list()
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    table.add_column("rule", no_wrap=True)
    for method in methods:
        table.add_column(_header(results, method, tokens), no_wrap=True)
    best = _best(results)
    cells = {(row["rule"], row["method"]): row for row in results.iter_rows(named=True)}
    for rule in results["rule"].unique(maintain_order=True).to_list():
        row = [_cell(cells.get((rule, method)), bold=best.get(method) == rule) for method in methods]
        table.add_row(Text(rule_label(rule)), *row)
    return table


def _header(results: pl.DataFrame, method: str, tokens: Mapping[str, float] | None) -> Text:
    rows = results.filter(pl.col("method") == method)
    n, mean = rows["n"][0], rows["candidates"][0]
    # Problems may hold fewer than n: trees that did not fork enough, budgets that ran out.
    candidates = f"n={n}" if mean == n else f"n≤{n}, mean {mean:.1f}"
    lines = [*wrap(method, _HEADER_WIDTH), candidates, f"{rows['problems'][0]:,} problems"]
    if tokens is not None and method in tokens:
        lines.append(f"{tokens[method]:,.0f} tokens each")
    return Text("\n".join(lines))


def _best(results: pl.DataFrame) -> dict[str, str]:
    blind = results.filter(
        ~pl.col("rule").is_in([name for name in results["rule"].unique() if reads_gold(name)])
    )
    top = blind.filter(pl.col("accuracy") == pl.col("accuracy").max().over("method"))
    return {row["method"]: row["rule"] for row in reversed(list(top.iter_rows(named=True)))}


def _cell(row: dict[str, float] | None, *, bold: bool) -> Text:
    if row is None:
        return Text("-")
    interval = f"[{100 * row['ci_low']:4.1f}, {100 * row['ci_high']:4.1f}]"
    ties = f"~{row['ties']}" if row["ties"] else ""
    text = f"{100 * row['accuracy']:5.1f} {interval:<12} {ties}".rstrip()
    return Text(text, style="bold" if bold else "")


def metrics_table(metrics: pl.DataFrame, *, title: str | None = None) -> Table:
    """A rich table of `eduprm.bench.score_metrics`: value, interval, problems and rows behind it.

    Examples:
        >>> from eduprm.bench.metrics import METRIC_SCHEMA
        >>> row = ["auc", 0.75, 0.5, 0.9, 40, 320]
        >>> metrics_table(pl.DataFrame([row], schema=METRIC_SCHEMA, orient="row")).row_count
        1
    """
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    table.add_column("metric", no_wrap=True)
    for name in ("value", "95 % interval", "problems", "rows"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in metrics.iter_rows(named=True):
        interval = f"[{row['ci_low']:.3f}, {row['ci_high']:.3f}]"
        cells = [row["metric"].replace("_", " "), f"{row['value']:.3f}", interval]
        table.add_row(*(Text(cell) for cell in [*cells, f"{row['problems']:,}", f"{row['rows']:,}"]))
    return table


def headline_table(rows: pl.DataFrame, *, title: str = "Held-out problems, % right [95 %]") -> Table:
    """`eduprm.bench.headline` as a rich table: its rows down; all problems first, then a column per group.

    Examples:
        >>> from eduprm.bench.headline import HEADLINE_SCHEMA
        >>> row = ["all", "EDU, by the PRM", 0.875, 0.75, 1.0, 0.125, 0.0, 0.25, 16]
        >>> table = headline_table(pl.DataFrame([row], schema=HEADLINE_SCHEMA, orient="row"))
        >>> [str(column._cells[0]) for column in table.columns]
        ['EDU, by the PRM', ' 87.5 [75.0, 100.0]', '+12.5 [0.0, +25.0]']
    """
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    groups = rows["group"].unique(maintain_order=True).to_list()
    counts = dict(rows.select("group", "problems").unique().iter_rows())
    table.add_column("", no_wrap=True)
    table.add_column(f"{groups[0]}, {counts[groups[0]]:,} problems", no_wrap=True)
    table.add_column("minus greedy", no_wrap=True)
    for group in groups[1:]:
        table.add_column(f"{group}, {counts[group]:,}", no_wrap=True)
    cells = {(row["group"], row["row"]): row for row in rows.iter_rows(named=True)}
    for name in rows["row"].unique(maintain_order=True).to_list():
        whole = cells[groups[0], name]
        others = [Text(f"{100 * cells[group, name]['accuracy']:.1f}") for group in groups[1:]]
        table.add_row(Text(name), _share(whole), _gap(whole), *others)
    return table


def _share(row: dict[str, float]) -> Text:
    return Text(f"{100 * row['accuracy']:5.1f} [{100 * row['ci_low']:.1f}, {100 * row['ci_high']:.1f}]")


def _gap(row: dict[str, float]) -> Text:
    parts = [100 * row[key] for key in ("minus_greedy", "minus_low", "minus_high")]
    low, middle, high = (f"{value:+.1f}" if value else "0.0" for value in (parts[1], parts[0], parts[2]))
    return Text(f"{middle} [{low}, {high}]")
