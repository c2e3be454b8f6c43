"""Many processes that race for each commit number, and one that is stopped in the middle."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4

import pytest

from rigs.kills.contenders import Outcome, Place, judge, race, race_engines
from rigs.kills.stopped_writer import PLANTS, Stop, stop_writers

Remote = tuple[str, dict[str, object]]
PROCESSES = 16
ROUNDS = int(os.environ.get("TRANSIT_RACES", "60"))
ENGINES, ENGINE_ROUNDS = 6, 5

# Publishing: the segment, the commit, HEAD. Opening: until the remote's chain has been compared.
STOPS = [
    *(Stop("publish", number, side) for number in range(3) for side in ("before", "after")),
    *(Stop("open", number, "after") for number in range(12)),
]


def below(remote: Remote) -> Place:
    """A place of its own in the bucket."""
    return Place(f"{remote[0]}/{uuid4().hex}", remote[1])


def test_one_of_16_processes_wins_each_commit_and_the_others_are_told(ceph_remote: Remote) -> None:
    assert race(below(ceph_remote), PROCESSES, ROUNDS) == []


def test_one_of_several_stores_wins_each_round_and_the_others_are_fenced(
    ceph_remote: Remote, tmp_path: Path
) -> None:
    assert race_engines(below(ceph_remote), tmp_path, ENGINES, ENGINE_ROUNDS) == []


def test_writer_stopped_anywhere_while_another_takes_over_is_fenced(tmp_path: Path) -> None:
    place = Place(str(tmp_path / "remote"), None)
    assert list(stop_writers(place, tmp_path, STOPS)) == []


def test_writer_stopped_in_a_publish_to_a_real_server_is_fenced(
    ceph_remote: Remote, tmp_path: Path
) -> None:
    stops = [stop for stop in STOPS if stop.during == "publish"]
    assert list(stop_writers(below(ceph_remote), tmp_path, stops)) == []


# The judges themselves


def test_two_winners_none_and_a_loser_told_wrongly_are_found() -> None:
    fine = [Outcome(0, 0, True, b"a"), Outcome(1, 0, False, b"a")]
    assert list(judge(fine, [b"a"], 2)) == []
    both = [Outcome(0, 0, True, b"a"), Outcome(1, 0, True, b"b")]
    nobody = [Outcome(0, 0, False, b"a"), Outcome(1, 0, False, b"a")]
    misled = [Outcome(0, 0, True, b"a"), Outcome(1, 0, False, b"c")]
    silent = fine[:1]
    for wrong in (both, nobody, misled, silent):
        assert list(judge(wrong, [b"a"], 2)) != []


def test_store_that_lets_every_creator_win_is_found(
    ignoring_remote: Remote, tmp_path: Path
) -> None:
    assert race(below(ignoring_remote), 4, 5) != []


@pytest.mark.parametrize("plant", PLANTS)
def test_stopped_writer_that_goes_on_is_found(tmp_path: Path, plant: str) -> None:
    place = Place(str(tmp_path / "remote"), None)
    stops = [Stop("publish", 1, "before")]
    assert list(stop_writers(place, tmp_path, stops, plant)) != []
