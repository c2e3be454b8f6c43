"""A store whose older WAL files lost their ends goes on, also when power is lost in its recovery.

The files of a store that a loss of power has torn are laid into a recording file system, and opened
and appended to there. What a second loss of power may leave is opened in its turn, and goes on over
several files: nothing that was cut or removed comes back.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import transit
from rigs.crash.judge import write_image
from rigs.crash.recorded import Marked, read_trace
from rigs.crash.recording_fs import MARK_FILE, recorded
from rigs.crash.states import Disk, Image
from rigs.plants.ending import BY_RECOVERIES, ENDING
from transit.format.checksum import wal_seed
from transit.format.frame import decode_frame_header, decode_wal_header
from transit.log.files import WalFiles

SMALL: Final = transit.Settings(seal_bytes=4096, flush_interval_ms=60_000, compression="none")
STATES_MAX: Final = 120


def payload(tag: str, number: int) -> bytes:
    """Of one size, so that files filled anew end where those before them did."""
    return f"{tag} {number:04}".encode().ljust(900, b".")


def torn_store(folder: Path, place: int) -> tuple[Path, list[bytes]]:
    """A store whose oldest unsynced file lacks all from its frame number `place` on; what is left.

    Two files come after it, and nothing says of any of the three that it was durable.
    """
    store = folder / "torn"
    with transit.open(folder / "whole", settings=SMALL, durability="os") as log:
        stream = log.create("a")
        with log._handle.sealer.paused:
            for number in range(40):
                stream.append(payload("old", number))
                if number == 5:
                    # So that the torn file is durable in part, and its name is.
                    log.sync()
                if len(log._handle.catalog.view.unsynced) == 3:
                    break
            shutil.copytree(folder / "whole", store)
    files = sorted((store / "wal").iterdir())
    unsynced = decode_wal_header(files[-1].read_bytes()[:64], "here").unsynced
    path = next(each for each in files if int(each.stem) == int(files[-1].stem) - unsynced)
    assert len(files) - files.index(path) == 3
    data, positions, at = path.read_bytes(), [], 64
    seed = wal_seed(decode_wal_header(data[:64], "here")[0], int(path.stem))
    while (header := decode_frame_header(data, at, at, seed)) is not None:
        positions.append(at)
        at = header.stop
    path.write_bytes(data[: positions[place]].ljust(len(data), b"\0"))
    with transit.open(store, mode="read") as log:
        left = [record.payload for record in log.stream("a").read()]
    assert left == [payload("old", number) for number in range(len(left))]
    assert 0 < len(left) <= number
    return store, left


def lay_down(source: Path, target: Path) -> None:
    """Copy a folder, all of it synced."""
    shutil.copytree(source, target)
    for path in [target, *target.rglob("*"), target.parent]:
        number = os.open(path, os.O_RDONLY)
        os.fsync(number)
        os.close(number)


def states_of_a_recovery(folder: Path, torn: Path) -> Iterator[tuple[str, Image, int]]:
    """What a loss of power leaves while `torn` is opened and appended to; how much must be kept."""
    with recorded(folder / "recording") as recording:
        lay_down(torn, recording.root / "store")
        marks = (recording.root / MARK_FILE).open("r+b", buffering=0)
        marks.write(b"0")
        with transit.open(recording.root / "store", settings=SMALL) as log:
            for number in range(11):
                log.stream("a").append(payload("new", number), durability="local")
                marks.write(b"%d" % (number + 1))
        marks.close()
    disk, kept, begun = Disk(), 0, False
    for change in read_trace(recording.trace):
        if isinstance(change, Marked):
            kept, begun = int(change.text), True
        elif disk.concerns(change):
            disk.apply(change)
            if begun:
                for state in disk.states():
                    yield state.label, state.image, kept


def different(
    folder: Path, torn: Path, states_max: int = STATES_MAX
) -> list[tuple[str, Image, int]]:
    """An even choice of the states that differ."""
    found: dict[tuple[object, ...], tuple[str, Image, int]] = {}
    for label, image, kept in states_of_a_recovery(folder, torn):
        # A state may be left at two times: what was acknowledged until the first is in it.
        found.setdefault(tuple(sorted(image.items())), (label, image, kept))
    assert len(found) > 50
    return list(found.values())[:: len(found) // states_max or 1]


def broken(folder: Path, place: int, states_max: int = STATES_MAX) -> str:
    """What is wrong with one of the states; empty when nothing is."""
    torn, left = torn_store(folder, place)
    root = folder / "state"
    for label, image, kept in different(folder, torn, states_max):
        write_image(root, image)
        try:
            problem = judged(root / "store", left, kept)
        except transit.TransitError as error:
            problem = f"{type(error).__name__}: {error}"
        shutil.rmtree(root)
        if problem:
            return f"{label}, {kept} acknowledged: {problem}"
    return ""


def judged(store: Path, left: list[bytes], kept: int) -> str:
    """What is wrong with a state: it holds what was left and new records in order, and goes on."""
    with transit.open(store, settings=SMALL, durability="os") as log:
        stream = log.stream("a")
        shown = [record.payload for record in stream.read()]
        new = len(shown) - len(left)
        if shown != left + [payload("new", number) for number in range(new)]:
            return f"records {[each[:8] for each in shown[len(left) :]]}"
        if new < kept:
            return f"{new} records"
        for number in range(new, new + 12):
            stream.append(payload("new", number))
            shown.append(payload("new", number))
    with transit.open(store) as log:
        if [record.payload for record in log.stream("a").read()] != shown:
            return "opened again, it shows something else"
        report = log.verify()
        return "" if report.ok else str(report.findings)


@pytest.mark.parametrize("place", [-2, -1])
def test_nothing_that_was_torn_comes_back_when_power_is_lost_in_its_recovery(
    place: int, tmp_path: Path
) -> None:
    assert broken(tmp_path, place) == ""


@pytest.mark.parametrize("name", BY_RECOVERIES)
def test_states_of_a_recovery_show_the_bug(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So that it is put back when the test ends.
    monkeypatch.setattr(WalFiles, "remove", WalFiles.remove)
    ENDING[name]()
    # All of them: only some show it.
    assert broken(tmp_path, -1, 100_000)
