"""A bar where there is no terminal: lines with count, time and rate, and none too many."""

import re
import time

import pytest

from eduprm.core import progress


def test_a_log_gets_a_line_at_intervals_and_one_at_the_end(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.05)
    with progress.bar("search", total=4, unit=" tokens/s") as bar:
        for _ in range(4):
            time.sleep(0.06)
            bar.advance(work=30)
    *lines, end = capsys.readouterr().err.splitlines()
    assert [line.partition(" in ")[0] for line in lines] == [f"search: {n} of 4" for n in (1, 2, 3, 4)]
    assert re.search(r"in \d+ s, about 0 s left, [\d.]+ tokens/s$", lines[-1])
    assert "4/4" in end


@pytest.mark.parametrize("lasting", [True, False])
def test_what_is_done_within_the_interval_has_no_line_of_its_own(capsys, lasting):
    with progress.bar("scoring", total=2, lasting=lasting) as bar:
        bar.advance(2)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == int(lasting)
