"""The engine's time of files, as their times are believed afterwards."""

from __future__ import annotations

from transit.log.clock import ahead_s, believed, steps


def test_nothing_was_written_later_than_what_came_after_it() -> None:
    files = [(1, 5), (5, 90), (80, 100), (20, 25), (25, 30)]
    assert believed(files, 1000) == [5, 20, 20, 25, 30]
    assert believed(files, 22) == [5, 20, 20, 22, 22]
    assert believed([], 9) == []


def test_steps_are_counted_between_files() -> None:
    assert steps([(1, 5), (5, 90), (80, 100), (20, 25), (25, 30)]) == 2
    assert steps([(1, 5)]) == steps([]) == 0


def test_a_record_of_the_past_is_not_ahead() -> None:
    assert ahead_s([(1, 5)]) == ahead_s([]) == 0
