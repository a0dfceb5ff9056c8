"""When a failed request is sent again: attempts are counted where somebody took it, time where nobody did."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eduprm.core import retry
from eduprm.core.retry import Attempts, RetryableError, RetrySettings

TAKEN, UNTAKEN = RetryableError("500"), RetryableError("503", taken=False)


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(retry, "time", found)
    return found


def test_by_hand(clock):
    settings = RetrySettings(attempts=3, first_wait_s=1, longest_wait_s=1, patience_s=60)
    attempts = Attempts(settings, "p", 1)
    waits = [attempts.wait_s(error, silent_s=0) for error in (TAKEN, UNTAKEN, UNTAKEN, TAKEN)]
    assert waits == [settings.wait_s(number, "p", 1) for number in (1, 2, 3, 4)]
    assert attempts.wait_s(TAKEN, silent_s=0) is None
    assert attempts.num == 5


def test_nobody_takes_it_until_the_patience_is_up(clock):
    attempts = Attempts(RetrySettings(attempts=1, first_wait_s=1, longest_wait_s=4, patience_s=60), "p")
    begun = clock.now
    for number in itertools.count(1):
        wait_s = attempts.wait_s(UNTAKEN, silent_s=0)
        if wait_s is None:
            break
        clock.now += wait_s
        assert number < 100
    assert 60 - 6 <= clock.now - begun <= 60


def test_the_patience_begins_anew_when_somebody_took_it(clock):
    attempts = Attempts(RetrySettings(attempts=5, first_wait_s=0.1, longest_wait_s=0.1, patience_s=10), "p")
    for _ in range(3):
        assert attempts.wait_s(UNTAKEN, silent_s=0) is not None
        clock.now += 9
        assert attempts.wait_s(TAKEN, silent_s=0) is not None
        clock.now += 9


@given(
    errors=st.lists(st.booleans(), max_size=60),
    most=st.integers(1, 6),
    silent=st.lists(st.floats(0, 20), min_size=60, max_size=60),
)
def test_no_more_than_the_attempts_are_taken_and_no_wait_outlasts_the_patience(errors, most, silent):
    settings = RetrySettings(attempts=most, first_wait_s=0.5, longest_wait_s=3, patience_s=15)
    attempts, taken = Attempts(settings, "p"), 0
    for is_taken, silent_s in zip(errors, silent, strict=False):
        taken += is_taken
        wait_s = attempts.wait_s(TAKEN if is_taken else UNTAKEN, silent_s=silent_s)
        if wait_s is None:
            # Given up for one of the two reasons that there are.
            assert taken >= most or silent_s + 4.5 > 15
            return
        assert taken < most
        assert silent_s + wait_s <= 15


def test_a_server_s_own_wait_is_kept_and_beyond_the_patience_not_waited_for():
    attempts = Attempts(RetrySettings(patience_s=25), "p")
    assert attempts.wait_s(RetryableError("429", asked_s=20, taken=False), silent_s=0) == 20
    assert attempts.wait_s(RetryableError("429", asked_s=30, taken=False), silent_s=0) is None
