"""Many processes in one room: nothing doubled, nothing lost, each message decided once.

TRANSIT_ROOM_POSTS sets how many messages each of eight posters posts, TRANSIT_ROOM_ROUNDS how many
rounds of kill -9 there are; TRANSIT_SEED repeats a choice of moments.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import transit
from rigs.chat import roles
from rigs.chat.rooms import Actor, Room
from transit import chat

POSTS = int(os.environ.get("TRANSIT_ROOM_POSTS", "500"))
ROUNDS = int(os.environ.get("TRANSIT_ROOM_ROUNDS", "6"))


def test_eight_processes_post_into_one_order(tmp_path: Path, seed: int) -> None:
    room = Room(tmp_path, seed)
    room.play([Actor("post", f"p{number}", POSTS) for number in range(8)])
    room.judge()
    assert room.problems == []
    with transit.open(room.store) as log:
        shared = -(-POSTS // roles.SHARED_EACH)
        count = sum(1 for _ in chat.channel(log, roles.CHANNEL).messages())
        assert count == 8 * (POSTS - shared) + shared


def test_nothing_is_lost_doubled_or_left_undecided_when_processes_are_killed(
    tmp_path: Path, seed: int
) -> None:
    room = Room(tmp_path, seed)
    count = 0
    for _ in range(ROUNDS):
        # Those that were killed post the same again.
        count += 40
        room.play(
            [
                *[Actor("post", f"p{number}", count) for number in range(3)],
                Actor("reply", "r", 30),
                *[Actor("decide", f"d{number}", 0) for number in range(2)],
                Actor("override", "o", 20),
                Actor("adopt", "a", 2),
            ],
            kill=4,
        )
    room.judge()
    assert room.problems == []
    kinds = {line[0] for line in room.said}
    assert {"posted", "replied", "decided", "overridden"} <= kinds


# Bugs planted on purpose, which the judge has to see.


def _ids_are_not_looked_up(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("transit.chat.index.Index.find", lambda self, message_id: None)


def _anywhere(patch: pytest.MonkeyPatch) -> None:
    """A message is appended wherever the channel ends by now."""
    append = transit.Stream.append

    def appended(self: transit.Stream, payload: bytes, **more: object) -> transit.Receipt:
        more.pop("expect", None)
        time.sleep(0.001)
        return append(self, payload, **more)  # type: ignore[arg-type]

    patch.setattr(transit.Stream, "append", appended)


@pytest.mark.parametrize("plant", [_ids_are_not_looked_up, _anywhere])
def test_a_planted_bug_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In threads of this process, where it can be planted."""
    from concurrent.futures import ThreadPoolExecutor

    with transit.open(tmp_path / "store", mode="shared", durability="os") as log:
        chat.channel(log, roles.CHANNEL)
        plant(monkeypatch)

        def post(number: int) -> None:
            channel = chat.channel(log, roles.CHANNEL)
            for n in range(60):
                message = f"all/{n}"
                channel.post("all", f"{message} says", id=message)

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(post, range(6)))
        monkeypatch.undo()
    room = Room(tmp_path, 0)
    room.judge()
    assert any("twice" in problem for problem in room.problems)
