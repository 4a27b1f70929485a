"""The work on a file lets speech go first, but not for ever, and ends at once when it is told to."""

from __future__ import annotations

import threading

import pytest

from sovits_service.jobs.render import Pace, RenderCancelledError


def test_it_goes_on_when_nobody_waits_for_speech() -> None:
    looks = iter([True, True, False])
    Pace(threading.Event(), lambda: next(looks)).keep()
    assert next(looks, None) is None


def test_it_goes_on_in_the_end_where_somebody_always_waits() -> None:
    Pace(threading.Event(), lambda: True).keep()


def test_it_ends_at_once_also_while_somebody_waits_for_speech() -> None:
    stop = threading.Event()

    def tell() -> bool:
        stop.set()
        return True

    with pytest.raises(RenderCancelledError):
        Pace(stop, tell).keep()
