"""Stage `report`: metrics.json, figures, report.html, solutions.jsonl for rerank, and the closing table."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.markup import escape

from eduprm.core.files import write_json_lines
from eduprm.label import check_derivation
from eduprm.pipeline.calibrating import reliability_of
from eduprm.pipeline.cut_solutions import cut_lines
from eduprm.pipeline.equal_level import over_lines
from eduprm.pipeline.judge import GREEDY, HEADLINE_RULE, Compared, Judgement, judge
from eduprm.pipeline.page import write_run_page
from eduprm.pipeline.page_figures import run_figures
from eduprm.pipeline.recheck_forks import check_line
from eduprm.pipeline.run_folder import RunFolder
from eduprm.pipeline.server_faults import fault_lines
from eduprm.pipeline.settings import TrainSettings
from eduprm.pipeline.strategies import run_strategies
from eduprm.rank import RULES
from eduprm.rank.names import rule_label
from eduprm.rank.table import headline_table, metrics_table, results_table
from eduprm.report import write_figure


def report_stage(settings: TrainSettings, folder: RunFolder) -> dict[str, Any]:
    """Judge the run and write what it says."""
    scored = pl.concat(
        [pl.read_parquet(path) for path in sorted(folder.path("scores").glob("test-*.parquet"))]
    )
    grades = pl.concat(
        [pl.read_parquet(path) for path in sorted(folder.path("grades").glob("test-*.parquet"))]
    )
    judged = judge(
        scored,
        grades,
        strategies=[Compared(one.tree, one.title) for one in run_strategies(settings)],
        largest=settings.search.budget.max_leaves,
        solution_score=settings.prm.train.scoring.solution,
        before=_before(folder),
        trained_greedy=_trained_greedy(folder),
        tasks=_tasks(folder),
        seed=settings.seed,
        bootstrap=settings.bootstrap,
    )
    _solutions(folder, judged)
    metrics = _metrics(settings, folder, judged)
    metrics["calibration"] = _plain(
        reliability_of(
            scored, grades, tree=judged.main.tree, seed=settings.seed, bootstrap=settings.bootstrap
        )
    )
    folder.write_json("metrics.json", metrics)
    figures = run_figures(settings, folder, judged, metrics)
    write_run_page(settings, folder, judged, metrics, figures)
    folder.path("figures").mkdir(exist_ok=True)
    for figure in figures:
        name = re.sub(r"[^a-z0-9]+", "-", figure.title.lower()).strip("-")
        write_figure(folder.path("figures", f"{name}.svg"), figure)
    return {}


def _before(folder: RunFolder) -> pl.DataFrame | None:
    files = sorted(folder.path("before").glob("test-*.parquet"))
    return pl.concat([pl.read_parquet(path) for path in files]) if files else None


def _trained_greedy(folder: RunFolder) -> pl.DataFrame | None:
    path = folder.path("scores", "greedy-by-prm.parquet")
    return pl.read_parquet(path, columns=["problem_id", "correct"]) if path.is_file() else None


def _tasks(folder: RunFolder) -> dict[str, str]:
    """The task of each generated problem."""
    problems = pl.read_parquet(folder.path("problems.parquet"), columns=["problem_id", "metadata"])
    named = problems.filter(pl.col("metadata").is_not_null()).select(
        "problem_id", task=pl.col("metadata").str.json_path_match("$.task")
    )
    return dict(named.drop_nulls().iter_rows())


def _metrics(settings: TrainSettings, folder: RunFolder, judged: Judgement) -> dict[str, Any]:
    return _plain(
        {
            "headline": judged.headline.to_dicts(),
            "rules": judged.curves.to_dicts(),
            "tokens": judged.costs.to_dicts(),
            "strategies": {"first": judged.main.title, "compared": [one.title for one in judged.others]},
            "equal_tokens": {
                one.method: {
                    "budget_per_problem": one.spent["budget"].mean(),
                    "spent_per_problem": one.spent["spent"].mean(),
                    "samples_per_problem": one.spent["samples"].mean(),
                    "problems_out_of_samples": int(one.spent["exhausted"].sum()),
                    "problems": one.spent.height,
                    "problems_over_budget": {str(n): count for n, count in one.over.items()},
                    "difference": one.differences,
                }
                for one in judged.equal
            },
            "steps_against_checker": _rows(judged.step_metrics),
            "solution_score": settings.prm.train.scoring.solution,
            "answers_against_grade": _rows(judged.answer_metrics),
            "leaves": leaf_facts(
                judged, operands_by_problem(pl.read_parquet(folder.path("problems.parquet")))
            ),
            "stages": {stage: folder.facts(stage) for stage in ("search", "label", "prm", "score")},
        }
    )


def _plain(value: Any) -> Any:
    """JSON has no NaN: null says that a figure is not defined."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _rows(frame: pl.DataFrame | None) -> list[dict[str, Any]] | None:
    return None if frame is None else frame.to_dicts()


_OPERAND_SOURCES = ("reasoning_gym:products", "reasoning_gym:chain_sum")


def operands_by_problem(problems: pl.DataFrame) -> dict[str, list[str]]:
    """The numbers to be reduced, for the tasks whose questions hold just these."""
    own = problems.filter(pl.col("source").is_in(_OPERAND_SOURCES))
    return {
        problem_id: re.findall(r"\d+", question)
        for problem_id, question in own.select("problem_id", "question").iter_rows()
    }


def leaf_facts(judged: Judgement, operands: dict[str, list[str]]) -> dict[str, dict[str, float | int | None]]:
    """Per kind of tree: share right and unfinished, and of the right ones how many do not rest on true steps.

    "A wrong equation" is the step checker's verdict. "Unsound" also counts skipped steps and equations about other
    numbers than the problem's; null where the task does not say its operands.
    """
    facts: dict[str, dict[str, float | int | None]] = {}
    for (tree,), rows in judged.leaves.group_by(["tree"], maintain_order=True):
        right = rows.filter("correct")
        wrong = right.filter(pl.col("steps_valid").is_not_null() & ~pl.col("steps_valid")).height
        texts = list(right.select("problem_id", "text").iter_rows())
        unsound = sum(
            not check_derivation(text, operands[key]).sound for key, text in texts if key in operands
        )
        answers = rows.group_by("problem_id").agg(pl.col("answer").n_unique())["answer"]
        facts[str(tree)] = {
            "leaves": rows.height,
            "right": right.height / rows.height,
            "unfinished": rows.filter(finish="length").height / rows.height,
            "distinct_answers_per_problem": sum(answers) / len(answers),
            "right_with_a_wrong_equation": wrong / right.height if right.height else None,
            "right_and_unsound": unsound / len(texts) if texts and operands else None,
        }
    return facts


def _solutions(folder: RunFolder, judged: Judgement) -> None:
    """The held-out solutions of the first strategy as a file for apps/rerank."""
    problems = pl.read_parquet(folder.path("problems.parquet")).select("problem_id", "question", "answer")
    first = judged.leaves.filter(tree=judged.main.tree).sort("problem_id", "order")
    rows = first.group_by("problem_id", maintain_order=True).agg(solutions=pl.col("text"))
    joined = rows.join(problems, on="problem_id", maintain_order="left").select(
        id="problem_id", problem="question", answer="answer", solutions="solutions"
    )
    write_json_lines(folder.path("solutions.jsonl"), joined.iter_rows(named=True))


def _left_to_the_page() -> list[str]:
    """Votes weighted by anything but the headline's score: too many rows for a terminal."""
    return [
        rule.name
        for rule in RULES.values()
        if rule.is_vote and "step_scores" in rule.needs and not rule.name.endswith(HEADLINE_RULE)
    ]


def show(settings: TrainSettings, folder: RunFolder) -> None:
    """Print the closing table and where everything is, on standard output."""
    metrics = folder.read_json("metrics.json")
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 100
    curves = pl.DataFrame(metrics["rules"], infer_schema_length=None)
    largest = curves.filter(pl.col("n") == curves["n"].max())
    tokens = dict(largest.select("method", "decoded").unique().iter_rows())
    console.print()
    console.print(headline_table(pl.DataFrame(metrics["headline"])))
    console.print(_scored_by(settings), markup=False)
    console.print()
    shown = largest.filter(~pl.col("rule").is_in(_left_to_the_page()))
    console.print(results_table(shown, tokens=tokens, title="Best-of-N on held-out problems, % right [95 %]"))
    left = largest["rule"].n_unique() - shown["rule"].n_unique()
    console.print(
        f"{left} more rules, votes by other scores of a solution, are in report.html.", markup=False
    )
    for method, equal in metrics["equal_tokens"].items():
        for rule in ("oracle", HEADLINE_RULE):
            drop, keep = (equal["difference"][way][rule] for way in ("drop", "keep"))
            console.print(
                f"{metrics['strategies']['first']} minus {method}, {rule_label(rule)}: {_points(drop)} points; "
                f"{_points(keep)} if the solution that crosses the budget is kept",
                markup=False,
            )
    for line in over_lines(metrics):
        console.print(line, markup=False)
    for key, title in (
        (
            "steps_against_checker",
            "PRM score against the step checker (lines with an equation, first strategy)",
        ),
        (
            "answers_against_grade",
            f"PRM score of a solution ({metrics['solution_score']} of its steps) against its grade (first strategy)",
        ),
    ):
        if metrics[key]:
            console.print()
            rows = pl.DataFrame(metrics[key], infer_schema_length=None).with_columns(
                pl.col("value", "ci_low", "ci_high").cast(pl.Float64).fill_null(float("nan"))
            )
            console.print(metrics_table(rows, title=title))
    if metrics.get("calibration"):
        console.print(calibration_line(metrics["calibration"]), markup=False)
    for tree, facts in metrics["leaves"].items():
        wrong, unsound = facts["right_with_a_wrong_equation"], facts["right_and_unsound"]
        extra = "" if wrong is None else f"; of the right ones {wrong:.0%} hold a wrong equation"
        extra += (
            ""
            if unsound is None
            else f", {unsound:.0%} are no sound derivation (a step wrong, skipped or made up)"
        )
        console.print(f"leaves of {tree}: {facts['leaves']}, {facts['right']:.0%} right{extra}")
    search = metrics["stages"]["search"]
    checked = [check_line(search["cache_check"])] if "cache_check" in search else []
    for line in (*cut_lines(search.get("cut_solutions", {})), *fault_lines(search), *checked):
        console.print(f"search: {line}", markup=False)
    console.print()
    console.print(f"[bold]Found:[/] {_found(metrics['headline'])}")
    console.print(
        f"[bold]Files:[/] {escape(str(folder.root))}: report.html (open it in a browser), metrics.json, figures/, "
        "prm/, forest/, labels/"
    )
    console.print("[bold]Next:[/] rank solutions with this PRM:")
    console.print(f"  {rerank_command(folder.root)}", markup=False, soft_wrap=True)


def calibration_line(found: dict[str, list[dict[str, Any]]]) -> str:
    """What calibration changed on held-out trees, in one line."""
    before, after = ({row["metric"]: row["value"] for row in found[when]} for when in ("before", "after"))
    parts = [
        f"{title} {before[name]:.3f} to {after[name]:.3f}"
        for name, title in (("brier", "Brier score"), ("ece", "ECE"), ("smooth_ece", "smooth ECE"))
    ]
    return f"Calibration, held-out steps against how they end: {', '.join(parts)}"


def _found(rows: list[dict[str, Any]]) -> str:
    """The first strategy's row by the PRM, against greedy decoding."""
    first = next(row for row in rows if row["row"].endswith(", by the PRM"))
    greedy = next(row for row in rows if row["row"] == GREEDY)
    gap = {name: first[f"minus_{name}"] for name in ("greedy", "low", "high")}
    points = f"{100 * gap['greedy']:+.1f} points [{100 * gap['low']:+.1f}, {100 * gap['high']:+.1f}]"
    told = "better" if gap["low"] > 0 else "worse" if gap["high"] < 0 else "not separable"
    return (
        f"{escape(first['row'])} {100 * first['accuracy']:.1f} % of {first['problems']} held-out problems, greedy "
        f"decoding {100 * greedy['accuracy']:.1f} %; {points}: {told}"
    )


def _scored_by(settings: TrainSettings) -> str:
    scoring = settings.prm.train.scoring
    losses = " and ".join(settings.prm.train.losses)
    if scoring.kind != "likelihood":
        return (
            f"This PRM scores by {scoring.kind}, after training by {losses}; a solution's score is the "
            f"{scoring.solution} of its steps'."
        )
    return (
        f"This PRM scores by likelihood: exp of the {scoring.fold} log-prob of a step's tokens, after training by "
        f"{losses}. That teaches the policy too: see its own greedy decoding above."
    )


def _points(gap: dict[str, Any]) -> str:
    """A difference of shares in points, with its interval."""
    return f"{100 * gap['difference']:+.1f} [{100 * gap['ci_low']:+.1f}, {100 * gap['ci_high']:+.1f}]"


def rerank_command(root: Path) -> str:
    """The command that ranks the run's held-out solutions with its PRM."""
    return f"uv run apps/rerank {root / 'solutions.jsonl'} --prm {root / 'prm'}"
