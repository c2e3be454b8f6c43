"""What a server acknowledged, in every state that a crash of the process or the machine leaves.

A run of requests by producers is recorded with what each was answered. In each state a client that
lost its answers sends all of its requests again, in order: every one must be a success, and the
streams must hold each request's data once, whichever of it had survived. What was acknowledged must
have survived.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import transit
from rigs.crash import recording_fs
from rigs.crash.judge import write_image
from rigs.crash.recorded import Marked, read_trace
from rigs.crash.recording_fs import MARK_FILE, recorded
from rigs.crash.states import Disk, Image
from tests.server.calling import TEXT, Caller, producer, served
from transit.server.states import Change, States

STATES_MAX = 150


class Sent(NamedTuple):
    """One request of the run."""

    stream: str
    body: bytes
    fields: dict[str, str]


def requests() -> list[Sent]:
    """Two producers on two streams, sequences, and a close."""
    sent = []
    for number in range(8):
        sent.append(Sent("a", b"p%d," % number, producer("p", 0, number)))
        if number % 2:
            fields = producer("q", 3, number // 2)
            sent.append(Sent("b", b"q%d," % number, fields | {"stream-seq": f"{number:03}"}))
    sent.append(Sent("a", b"end", producer("p", 0, 8) | {"stream-closed": "true"}))
    return sent


def run(call: Caller, note: Callable[[int], object]) -> None:
    """Create both streams and send all; `note` is told how many are acknowledged."""
    for name in ("a", "b"):
        assert call("PUT", name, headers=TEXT).status == 201
    note(0)
    for count, each in enumerate(requests(), 1):
        assert call("POST", each.stream, each.body, TEXT | each.fields).status == 200
        note(count)


def content(stream: str) -> bytes:
    return b"".join(each.body for each in requests() if each.stream == stream)


def check(folder: Path, acknowledged: int) -> str:
    """What is wrong with the state in `folder`; empty when nothing is."""
    with served(folder) as call:
        held = {}
        for name in ("a", "b"):
            if call("HEAD", name).status == 404:
                if acknowledged >= 0:
                    return f"stream {name} is lost"
                assert call("PUT", name, headers=TEXT).status == 201
            held[name] = call("GET", name).body
            if not content(name).startswith(held[name]):
                return f"{name} holds {held[name]!r}"
        for each in requests()[: max(acknowledged, 0)]:
            if each.body not in held[each.stream]:
                return f"acknowledged, and lost: {each}"
        for each in requests():
            answer = call("POST", each.stream, each.body, TEXT | each.fields)
            # Where the close survived, earlier requests are answered with it (section 5.2.1).
            is_closed = "stream-closed" in answer.headers and held[each.stream].endswith(b"end")
            if answer.status not in (200, 204) and not is_closed:
                return f"sent again: {each} was answered {answer.status} {answer.body!r}"
        for name in ("a", "b"):
            if call("GET", name).body != content(name):
                return f"{name} holds {call('GET', name).body!r} in the end"
    return ""


def states(trace_of: Path) -> Iterator[tuple[Image, int, bool]]:
    """Each state, how many requests were acknowledged, and whether the machine lost power.

    A state stands until the next change, so what was acknowledged until then must be in it; where
    the process died within a write, what was acknowledged before that.
    """
    disk, before, acknowledged = Disk(), -1, -1
    changes = read_trace(trace_of)
    for change in [*changes, None]:
        if isinstance(change, Marked):
            acknowledged = int(change.text)
        elif change is None or disk.concerns(change):
            for state in disk.states():
                yield state.image, before if state.during else acknowledged, state.power
            before = acknowledged
            if change is not None:
                disk.apply(change)


def broken(tmp_path: Path, durability: str) -> Iterator[str]:
    """What is wrong with some of the states that crashes of the run leave."""
    with recorded(tmp_path / "recording") as recording:
        marks = (recording.root / MARK_FILE).open("r+b", buffering=0)
        with marks, served(recording.root / "store", durability=durability) as call:
            run(call, lambda count: marks.write(b"%d" % count))
    found: dict[str, tuple[Image, int]] = {}
    for image, acknowledged, power in states(recording.trace):
        # What is "os" survives the process, and not the machine.
        kept = -1 if power and durability == "os" else acknowledged
        key = repr(sorted((path, hash(data)) for path, data in image.items()))
        # The same state may be left at several times: what was acknowledged at the last must hold.
        known = found.get(key, (image, -1))[1]
        found[key] = image, max(kept, known)
    every = max(1, len(found) // STATES_MAX)
    for number, (image, kept) in enumerate(list(found.values())[::every]):
        folder = tmp_path / f"state-{number}"
        write_image(folder, image)
        if (folder / "store").exists():
            reason = check(folder / "store", kept)
            if reason:
                yield reason


@pytest.fixture(autouse=True)
def _can_record() -> None:
    reason = recording_fs.why_unavailable()
    if reason:
        pytest.skip(reason)


@pytest.mark.parametrize("durability", ["os", "local"])
def test_producers_are_exactly_once_in_every_state_that_a_crash_leaves(
    tmp_path: Path, durability: str
) -> None:
    assert next(broken(tmp_path, durability), "") == ""


def test_a_state_written_in_a_frame_of_its_own_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, written = States.stage, States.written

    def stage_later(self: States, batch: object, stream: transit.Stream, change: Change) -> Change:
        return change

    def write_later(self: States, stream: transit.Stream, change: Change) -> None:
        with self._log.batch(durability="os") as batch:
            whole = stage(self, batch, stream, change)
        written(self, stream, whole)

    with monkeypatch.context() as plant:
        plant.setattr(States, "stage", stage_later)
        plant.setattr(States, "written", write_later)
        assert next(broken(tmp_path, "os"), "")
