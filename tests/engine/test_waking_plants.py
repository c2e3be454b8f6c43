"""Planted mistakes of waking: each is found by a test of `test_waking`, which fails with it."""

from __future__ import annotations

import asyncio
import gc
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

import transit
from tests.engine import test_waking as waking
from transit.handle.hub import Hub
from transit.handle.joining import Following, Listening
from transit.handle.listeners import LoopFollower
from transit.log.catalog import StreamState

Plant = Callable[[pytest.MonkeyPatch], None]


def drop_wake_ups(patch: pytest.MonkeyPatch) -> None:
    """A change is noted, and the hub is not roused."""
    patch.setattr(Hub, "_rouse_from_afar", lambda hub: None)


def drop_changes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Hub, "_note", lambda hub, state: None)


def wake_everyone(patch: pytest.MonkeyPatch) -> None:
    right = Hub._note

    def note(hub: Hub, state: StreamState) -> None:
        right(hub, state)
        for states in list(hub._following.values()):
            for each in states:
                right(hub, each)

    def tell(follower: LoopFollower, stream_id: int, reached: int, finished: bool) -> None:
        follower.told = (reached, finished)
        follower._ring()

    patch.setattr(Hub, "_note", note)
    patch.setattr(LoopFollower, "tell", tell)


def rouse_every_thread(patch: pytest.MonkeyPatch) -> None:
    right = Hub._note

    def note(hub: Hub, state: StreamState) -> None:
        for listener in list(hub._listening):
            listener.rouse()
        right(hub, state)

    patch.setattr(Hub, "_note", note)


def look_before_registering(patch: pytest.MonkeyPatch) -> None:
    """A thread registers only when it waits."""
    right_join, right_wait = Listening.join, Listening.wait

    def wait(listening: Listening, timeout_s: float) -> None:
        right_join(listening)
        right_wait(listening, timeout_s)

    patch.setattr(Listening, "join", lambda listening: None)
    patch.setattr(Listening, "wait", wait)


def leave_the_last_one_waiting(patch: pytest.MonkeyPatch) -> None:
    """The hub ends, and the thread that is left waits for it."""
    right = Hub._retired

    def retired(hub: Hub, worker: object) -> bool:
        kept, hub._listening = hub._listening, dict(hub._listening)
        if not hub._is_needed:
            hub._listening.clear()
        done = right(hub, worker)  # type: ignore[arg-type]
        hub._listening = kept
        return done

    patch.setattr(Hub, "_retired", retired)


def register_and_do_not_look(patch: pytest.MonkeyPatch) -> None:
    """A follower is told of the next change, not at first."""

    def join(following: Following) -> None:
        hub = following._hub
        hub._join(lambda: hub._add_follower(following._follower, [following._state]))

    patch.setattr(Following, "join", join)


def say_finished_last(patch: pytest.MonkeyPatch) -> None:
    """Told is how far the stream was, and whether it is finished by now."""
    right = LoopFollower.tell

    def tell(follower: LoopFollower, stream_id: int, reached: int, finished: bool) -> None:
        right(follower, stream_id, reached, True)

    patch.setattr(LoopFollower, "tell", tell)


def keep_a_thread_each(patch: pytest.MonkeyPatch) -> None:
    async def wait(following: Following) -> None:
        await asyncio.to_thread(time.sleep, 0.05)

    patch.setattr(Following, "wait", wait)


KEPT: dict[LoopFollower, object] = {}


def refer_to_the_task(patch: pytest.MonkeyPatch) -> None:
    """The hub keeps what a task of a closed loop waits for."""
    right = LoopFollower.__init__

    def make(follower: LoopFollower, loop: object, rung: object, event: object) -> None:
        right(follower, loop, rung, event)  # type: ignore[arg-type]
        KEPT[follower] = event

    patch.setattr(LoopFollower, "__init__", make)


FOUND: list[tuple[Plant, Callable[..., None]]] = [
    (drop_wake_ups, waking.test_an_append_wakes_the_followers_of_its_stream_and_no_others),
    (drop_changes, waking.test_an_append_wakes_the_followers_of_its_stream_and_no_others),
    (wake_everyone, waking.test_an_append_wakes_the_followers_of_its_stream_and_no_others),
    (rouse_every_thread, waking.test_an_append_wakes_the_tails_of_its_stream_and_no_others),
    (look_before_registering, waking.test_a_record_between_the_look_of_a_tail_and_its_wait_is_seen),
    (
        leave_the_last_one_waiting,
        waking.test_the_only_tail_of_a_folder_looks_itself_before_and_after_there_is_another,
    ),
    (register_and_do_not_look, waking.test_a_record_before_a_follower_is_told_at_first_is_seen),
    (
        say_finished_last,
        waking.test_the_last_records_before_a_stream_is_finished_are_seen_by_followers,
    ),
    (
        keep_a_thread_each,
        waking.test_any_number_of_followers_costs_one_thread_and_none_when_they_left,
    ),
    (
        refer_to_the_task,
        waking.test_a_follower_that_its_closed_loop_dropped_is_collected_and_its_store_too,
    ),
]


@pytest.mark.parametrize(("plant", "test"), FOUND, ids=lambda each: each.__name__)
def test_a_planted_mistake_is_found(
    path: Path, monkeypatch: pytest.MonkeyPatch, plant: Plant, test: Callable[..., None]
) -> None:
    monkeypatch.setattr(waking, "TIMEOUT_S", 0.7)
    names = test.__code__.co_varnames[: test.__code__.co_argcount]
    # A mistake about what comes first shows only when it does.
    for number in range(5):
        with transit.open(path.with_name(f"store {number}"), durability="os") as log:
            plant(monkeypatch)
            given = {"log": log, "alone": log, "monkeypatch": monkeypatch}
            given["path"] = path.with_name(f"other {number}")  # type: ignore[assignment]
            try:
                test(**{name: given[name] for name in names})
            except (AssertionError, pytest.fail.Exception, TimeoutError):
                break
            finally:
                monkeypatch.undo()
                monkeypatch.setattr(waking, "TIMEOUT_S", 0.7)
    else:
        pytest.fail("not found")
    monkeypatch.undo()
    # What that kept goes too.
    KEPT.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
