"""Threads of one handle that look at the worst moment: while another one's write takes effect."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import transit
from transit.handle.tiering import Tiering
from transit.handle.write_side import Writing
from transit.log.catalog import Catalog
from transit.log.seal import Sealer
from transit.log.turns import SharedTurn
from transit.log.wal import Wal
from transit.log.writer import Writer

Looks = dict[str, Callable[[transit.Log], transit.Stream]]

LOOKS: Looks = {
    "by name": lambda log: log.stream("new"),
    "among all": lambda log: next(each for each in log.streams() if each.name == "new"),
    "as a child": lambda log: log.lineage.children(log.stream("s"))[0],
}


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("mode", ["exclusive", "shared"])
def test_a_stream_found_while_it_is_made_is_the_one_that_is_made(
    path: Path, mode: str, look: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[transit.Stream] = []

    def try_to_find() -> None:
        with contextlib.suppress(transit.NotFoundError, StopIteration, IndexError):
            found.append(LOOKS[look](log))

    def then_look(step: Callable[..., None]) -> Callable[..., None]:
        def stepped(*arguments: object) -> None:
            step(*arguments)
            thread = threading.Thread(target=try_to_find)
            thread.start()
            # In mode "shared" a thread that looks waits for the turn to end.
            thread.join(0.2 if mode == "shared" else 60)
            threads.append(thread)

        return stepped

    threads: list[threading.Thread] = []
    with transit.open(path, mode=mode, durability="os") as log:
        parent = log.create("s")
        parent.append(b"0")
        with monkeypatch.context() as patches:
            patches.setattr(Wal, "note", then_look(Wal.note))
            patches.setattr(Catalog, "note_stream", then_look(Catalog.note_stream))
            patches.setattr(Writer, "_announce", then_look(Writer._announce))
            made = parent.branch("new")
        for thread in threads:
            thread.join(60)
        assert found
        streams = [made, *found]
        offsets = [stream.append(b"x").offset for stream in streams]
        assert offsets == list(range(1, 1 + len(streams)))
        assert {len(stream) for stream in streams} == {1 + len(streams)}
        assert log.verify().ok


def test_a_record_submitted_while_the_store_closes_has_a_future_that_ends(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = Writing.submit

    def after_closing(writing: Writing, *arguments: Any) -> None:
        log.close()
        submit(writing, *arguments)

    log = transit.open(path)
    stream = log.create("s")
    monkeypatch.setattr(Writing, "submit", after_closing)
    assert stream.submit(b"x", durability="local").result(timeout=60).offset == 0
    with transit.open(path, mode="read") as reader:
        assert reader.stream("s")[0].payload == b"x"


def test_a_record_submitted_as_tiered_while_the_store_closes_is_told_that_it_is_not(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = Tiering.submit

    def after_closing(tiering: Tiering, *arguments: Any, **how: Any) -> None:
        log.close()
        submit(tiering, *arguments, **how)

    log = transit.open(path, remote=tmp_path / "remote")
    stream = log.create("s")
    monkeypatch.setattr(Tiering, "submit", after_closing)
    future = stream.submit(b"x", durability="tiered")
    with pytest.raises(transit.ClosedError):
        future.result(timeout=60)


def test_locks_are_kept_open_while_somebody_takes_a_turn(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A descriptor that is closed may be another file's, and that file's lock would be let go."""
    stop, held, found = Sealer.stop, threading.Event(), []

    def take_a_turn() -> None:
        with writer.lock:
            held.set()
            closer.join(0.3)
            found.append(turns.try_acquire())
            turns.release()

    def and_somebody_comes(sealer: Sealer) -> None:
        stop(sealer)
        late.start()
        held.wait(60)

    log = transit.open(path, mode="shared")
    writer = log._handle.writer
    assert isinstance(writer._turn.shared, SharedTurn)
    turns = writer._turn.shared._turns
    monkeypatch.setattr(Sealer, "stop", and_somebody_comes)
    late, closer = threading.Thread(target=take_a_turn), threading.Thread(target=log.close)
    closer.start()
    closer.join(60)
    late.join(60)
    assert found == [True]
    assert not turns.is_open
