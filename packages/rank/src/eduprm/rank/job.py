"""The run itself: index the file, score and write chunk by chunk, join, report.

For the one place that knows all the parts. A chunk that an earlier, killed run
finished is taken up unread, under the same key: content of input and PRM, settings, and versions of what computes.
"""

from __future__ import annotations

import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from rich.console import Console

from eduprm.core.errors import UsageError, first_line
from eduprm.core.files import file_digest
from eduprm.core.progress import bar, status
from eduprm.prm.prm_folder import folder_digest
from eduprm.prm.source import PrmPlace
from eduprm.rank.errors import Rejection
from eduprm.rank.files import SolutionsFile
from eduprm.rank.index import Chunk, Counts, Index
from eduprm.rank.ranking import RANKED_SCHEMA, Ranker, same_gold
from eduprm.rank.reading import Reader
from eduprm.rank.report import (
    Accuracies,
    beside,
    print_reading,
    print_rejections,
    print_stop_tokens,
    write_rejected,
    write_report,
)
from eduprm.rank.results import RankedFile, RankPage
from eduprm.rank.rows import Problem, build_problem
from eduprm.rank.settings import RankSettings
from eduprm.rank.writing import WorkFolder, added_columns

if TYPE_CHECKING:
    from eduprm.rank.scoring import Scorer

_COMPUTING = (
    "torch",
    "transformers",
    "polars",
    "pyarrow",
    "eduprm-prm",
    "eduprm-rank",
    "eduprm-label",
    "eduprm-segment",
    "eduprm-search",
    "eduprm-entropy",
)


class Job:
    """One run over one file.

    Raises:
        UsageError: on the way, for what makes the run impossible.
    """

    def __init__(
        self,
        *,
        settings: RankSettings,
        source: SolutionsFile,
        work: WorkFolder,
        prm: PrmPlace,
        page: RankPage | None,
    ) -> None:
        self.settings = settings
        self.page = page
        self.source = source
        self.work = work
        self.prm = prm
        self.file = str(settings.file)
        self.index = Index(work.path / "index.sqlite")
        self.reader = Reader(settings, work.path)
        self.ranker = Ranker(settings, solution=prm.solution())
        self.accuracies = Accuracies(self.ranker.rule_names)
        names = ("problems", "solutions", "stop_tokens", "ties", "chunks", "chunks_taken_up")
        self.counts = dict.fromkeys(names, 0)
        self.stop_tokens: set[str] = set()
        self.rate = 0.0
        self._scorer: Scorer | None = None
        self._errors = Console(stderr=True)

    def run(self, output: Path) -> RankedFile:
        """Do everything."""
        start_s = time.perf_counter()
        try:
            with status(f"reading {self.file}"):
                key = self._key()
                counts = self._index()
            print_reading(self._errors, counts, self.settings)
            self.work.use(key)
            self._rank(counts)
            return self._finish(output, key, start_s)
        finally:
            self.ranker.close()
            self.index.close()
            self.reader.close()

    def _key(self) -> dict[str, Any]:
        return {
            "input": file_digest(self.settings.file),
            "problems": self.reader.key(),
            "prm": self.prm.key(),
            "policy": self._policy_key(),
            "settings": self.settings.result_settings,
            "rules": self.ranker.key(),
            "page": self.page is not None,
            "versions": {name: version(name) for name in _COMPUTING},
        }

    def _policy_key(self) -> str | None:
        """Content of the policy that cuts, where one does; a hub name stands for itself."""
        if self.settings.policy_cut is None:
            return None
        from eduprm.policy import resolve_model

        name = self.settings.policy.model
        try:
            folder = Path(resolve_model(name))
        except ValueError as error:
            raise UsageError(f"--policy.model: {name} cannot be loaded: {first_line(error)}") from None
        return folder_digest(folder) if folder.is_dir() else name

    def _index(self) -> Counts:
        settings = self.settings
        counts = self.index.build(
            self.source, self.reader, file=self.file, prefix=settings.prefix, limit=settings.limit
        )
        self.counts["left_out_by_where"] = counts.left_out
        self._check_strict()
        nothing = pl.DataFrame(schema=RANKED_SCHEMA)
        self.source.check_output(self.work.path, added_columns(nothing, self.index.layout, settings.prefix))
        self.source.prepare(self.work.path, in_order=self.index.in_order)
        return counts

    def _check_strict(self) -> None:
        first = next(self.index.rejections(), None)
        if self.settings.strict and first is not None:
            raise UsageError(f"{first.line(self.file)} (--strict: nothing was ranked)")

    def _rank(self, counts: Counts) -> None:
        with bar("scoring", total=counts.solutions, lasting=False) as progress:
            for number, chunk in enumerate(self.index.chunks(self.settings.chunk_solutions)):
                notes = self.work.notes(number)
                taken_up = notes is not None
                if notes is None:
                    notes = self._rank_chunk(number, chunk)
                self._count(notes, taken_up=taken_up)
                progress.advance(chunk.solutions, work=0 if taken_up else chunk.solutions)
            self.rate = progress.rate

    def _count(self, notes: dict[str, Any], *, taken_up: bool) -> None:
        self.index.reject(Rejection(**item) for item in notes["rejected"])
        self.accuracies.add(notes["outcomes"])
        self.counts["problems"] += notes["problems"]
        self.counts["solutions"] += notes["solutions"]
        self.counts["ties"] += notes["ties"]
        self.counts["stop_tokens"] += len(notes["stopped"])
        self.stop_tokens.update(token for tokens in notes["stopped"] for token in tokens)
        self.counts["chunks"] += 1
        self.counts["chunks_taken_up"] += taken_up
        self._check_strict()

    def _rank_chunk(self, number: int, chunk: Chunk) -> dict[str, Any]:
        carriers: dict[int, Any] = {}
        problems: list[Problem] = []
        rejected: list[Rejection] = []
        for places in chunk.problems:
            carriers |= {row: self.source.fetch(place) for row, place in places}
            problem, faults = self._build(places, carriers)
            problems.append(problem)
            rejected += faults
        scored, too_long = self._load().score(problems)
        ranked = self.ranker.rank(problems, scored)
        solutions = ranked.solutions
        rejected += [*too_long, *ranked.bad_gold]
        there = solutions["problem"].unique(maintain_order=True).to_list()
        layout = self.index.layout
        rows = [problems[k].row for k in there] if layout == "problem" else solutions["row"].to_list()
        notes = {
            "stopped": [one.stop_tokens for p in problems for one in p.solutions if one.stop_tokens],
            "rejected": [item.as_dict() for item in rejected],
            "outcomes": ranked.outcomes,
            "ties": ranked.ties,
            "problems": len(there),
            "solutions": solutions.height,
        }
        if self.page is not None:
            notes["page"] = self.page.page_notes(problems, ranked, before=self.counts["problems"])
        added = added_columns(solutions, layout, self.settings.prefix)
        self.work.write(number, self.source, [carriers[row] for row in rows], added, notes)
        return notes

    def _build(
        self, rows: list[tuple[int, int]], carriers: dict[int, Any]
    ) -> tuple[Problem, list[Rejection]]:
        layout = self.index.layout
        shape = self.source.shape()
        wanted = [] if shape is None else self.reader.wanted(shape)
        checked = [
            (row, self.reader.read(self.source.record(carriers[row], wanted), layout)) for row, _ in rows
        ]
        return build_problem(checked, layout, same_gold)

    def _load(self) -> Scorer:
        if self._scorer is None:
            with status(f"loading {self.prm.name}"):
                from eduprm.rank.scoring import Scorer

                self._scorer = Scorer(self.prm.open(), self.settings)
        return self._scorer

    def _finish(self, output: Path, key: dict[str, Any], start_s: float) -> RankedFile:
        num_rejected = self.index.num_rejected()
        rejected = beside(output, ".rejected.jsonl")
        if num_rejected:
            write_rejected(rejected, self.index.rejections())
            print_rejections(self._errors, self.index.rejections(), total=num_rejected, file=self.file)
        else:
            rejected.unlink(missing_ok=True)  # an earlier run's would speak of this output
        if self.counts["problems"] == 0:
            raise UsageError(f"{self.file}: no solution could be ranked; the reasons stand in {rejected}")
        self.work.assemble(self.source, output, self.counts["chunks"])
        settings = self.settings
        frame = self.accuracies.frame(seed=settings.seed, bootstrap=settings.bootstrap)
        report = {
            "file": self.file,
            "prm": self.prm.name,
            "made_from": key,
            "chosen_by": self.ranker.rule,
            **self.counts,
            "graded_problems": self.accuracies.problems,
            "rejected": num_rejected,
            "solutions_per_s": round(self.rate, 3),
            "wall_s": round(time.perf_counter() - start_s, 3),
        }
        data, page = (beside(output, ending) for ending in (".report.json", ".report.html"))
        write_report(data, report, frame)
        if self.page is not None:
            self._write_page(self.page, page, report, frame)
        self.work.remove()
        print_stop_tokens(
            self._errors, self.stop_tokens, solutions=self.counts["stop_tokens"], file=self.file
        )
        return RankedFile(
            output=output,
            report_file=data,
            page=page if self.page is not None else None,
            rejected=rejected if num_rejected else None,
            report=report,
            accuracies=frame,
        )

    def _write_page(self, drawn: RankPage, path: Path, report: dict[str, Any], frame: pl.DataFrame) -> None:
        notes = (self.work.notes(number) for number in range(self.counts["chunks"]))
        drawn.write_rank_page(
            path,
            title=f"Ranked: {self.settings.file.name}",
            report=report,
            frame=frame,
            ranked_by=self.ranker.rule,
            rules=self.ranker.rule_names,
            notes=(note["page"] for note in notes if note is not None),
        )
