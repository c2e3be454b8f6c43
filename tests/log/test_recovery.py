"""What opening makes of damaged WAL files: torn tails are cut, everything else is refused.

The store folders are real ones. `closed` was closed; `killed` is a copy made while the store was
open, every append synced; `unsynced` one whose last appends were written but not synced.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import transit
from transit.format.checksum import checksum, wal_seed
from transit.format.frame import (
    CHECKSUM,
    DATA,
    FRAME,
    FRAME_BYTES,
    MARK,
    FrameHeader,
    encode_frame,
    encode_wal_header,
    frame_chunks,
)
from transit.format.lineage import decode_lineage
from transit.format.names import wal_name

Contents = dict[str, list[tuple[bytes, dict[str, str]]]]
Read = Callable[[transit.Log], Contents]

HEADER_BYTES = 64
SECTOR = 512
SLOW_FLUSH = transit.Settings(flush_interval_ms=60_000)
SMALL_FILES = transit.Settings(seal_bytes=4096, flush_interval_ms=60_000)


class Scene(NamedTuple):
    """A folder, its newest WAL, and what the store shows after each of that file's frames."""

    folder: Any
    wal: str
    data: bytes
    frames: list[FrameHeader]
    shown: list[Contents]

    @property
    def used(self) -> int:
        """Where the last frame ends."""
        return self.frames[-1].stop

    def shown_before(self, place: int) -> Contents:
        """What the frames that end before or at `place` hold."""
        return self.shown[sum(frame.stop <= place for frame in self.frames)]


def scene_of(folder: Any) -> Scene:
    """What is in a folder whose streams are all roots and in one WAL file."""
    wal = folder.wals[-1]
    data, frames = folder.files[wal], folder.frames(wal)
    names: dict[int, str] = {}
    now: Contents = {}
    shown: list[Contents] = [{}]
    for frame in frames:
        for chunk in frame_chunks(frame, data, frame.position, wal):
            for place, payload in enumerate(chunk.payloads()):
                if chunk.stream == 0:
                    names[chunk.first + place] = name = decode_lineage(
                        payload, chunk.first + place
                    ).name
                    now |= {} if name.startswith("$") else {name: []}
                else:
                    now[names[chunk.stream]].append((payload, dict(chunk.header(place))))
        shown.append({name: list(records) for name, records in now.items()})
    return Scene(folder, wal, data, frames, shown)


def fill(log: transit.Log, size: int = 9) -> None:
    """A few frames of every kind that a root stream's history has."""
    first, second = log.create("first"), log.create("second")
    for n in range(4):
        first.append(bytes([65 + n]) * size, headers={"n": str(n)})
    second.append_many([b"x" * size, b"", b"z" * 3], timestamps=[5, 9, 2])
    with log.batch() as batch:
        batch.append(first, b"both" * (size // 4))
        batch.append(second, b"of them")
        batch.create("third")
    second.append(b"last" * size)


@pytest.fixture(scope="module")
def closed(quick_folder, folder_at) -> Scene:
    path = quick_folder("closed") / "store"
    with transit.open(path) as log:
        fill(log)
    scene = scene_of(folder_at(path))
    assert [frame.kind for frame in scene.frames] == [DATA] * 10 + [MARK]
    return scene


@pytest.fixture(scope="module")
def killed(quick_folder, copied) -> Scene:
    path = quick_folder("killed")
    with transit.open(path / "open") as log:
        fill(log)
        return scene_of(copied(path / "open", path / "store"))


@pytest.fixture(scope="module")
def large(quick_folder, folder_at, copied) -> dict[str, Scene]:
    """Closed and killed folders with frames of several sectors."""
    path = quick_folder("large")
    with transit.open(path / "open") as log:
        fill(log, 1500)
        scene = scene_of(copied(path / "open", path / "killed"))
    return {"killed": scene, "closed": scene_of(folder_at(path / "open"))}


@pytest.fixture(scope="module")
def unsynced(quick_folder, copied) -> Scene:
    path = quick_folder("unsynced")
    with transit.open(path / "open", settings=SLOW_FLUSH) as log:
        stream = log.create("s")
        stream.append(b"synced")
        for n in range(5):
            stream.append(b"%d" % n * 300, durability="os")
        return scene_of(copied(path / "open", path / "store"))


class Outcome(NamedTuple):
    """What opening came to: the error, or what the store shows and what was cut."""

    error: transit.FormatError | None
    shown: Contents | None = None
    cuts: tuple[transit.Cut, ...] = ()


@pytest.fixture
def opened(contents: Read) -> Callable[..., Outcome]:
    """A function that opens a scene's folder with other bytes in its newest WAL."""

    def open_with(scene: Scene, data: bytes | None, mode: str = "exclusive") -> Outcome:
        scene.folder.restore({scene.wal: data})
        try:
            with transit.open(scene.folder.path, mode=mode) as log:
                return Outcome(None, contents(log), log.recovery)
        except transit.FormatError as error:
            return Outcome(error)

    return open_with


Opened = Callable[..., Outcome]


def first_damaged(scene: Scene, data: bytes) -> int:
    """The number of the first frame whose bytes are not what they were; all, when all are."""
    for number, frame in enumerate(scene.frames):
        if data[frame.position : frame.stop].ljust(1) != scene.data[frame.position : frame.stop]:
            return number
    return len(scene.frames)


def was_durable(scene: Scene, data: bytes, number: int) -> bool:
    """Whether a later frame that is still whole says that frame `number` was durable."""
    start = scene.frames[number].position
    return any(
        data[frame.position : frame.stop] == scene.data[frame.position : frame.stop]
        and (frame.durable > start or frame.kind != DATA)
        for frame in scene.frames[number + 1 :]
    )


def check(scene: Scene, data: bytes, outcome: Outcome) -> None:
    """Hold an outcome to the table in `transit.log.recover`; only frames at damage may be lost."""
    number = first_damaged(scene, data)
    if data[:HEADER_BYTES] != scene.data[:HEADER_BYTES]:
        assert outcome.error is not None
    elif number < len(scene.frames) and was_durable(scene, data, number):
        assert isinstance(outcome.error, transit.CorruptError), (number, outcome)
        assert f"byte {scene.frames[number].position}" in outcome.error.place
    elif outcome.error is None:
        position = scene.frames[number].position if number < len(scene.frames) else scene.used
        assert outcome.shown == scene.shown[number]
        torn = data[position:].strip(b"\0") != b""
        assert [cut.position for cut in outcome.cuts] == [position] * torn


def go_on(scene: Scene, contents: Read) -> None:
    """Append to the store as it was left, and see all of it at a second and a third opening."""
    with transit.open(scene.folder.path) as log:
        before = contents(log)
        name = next(iter(before), "first")
        stream = log.stream(name) if before else log.create(name)
        stream.append(b"goes on", headers={"k": "v"})
        log.create("one more").append(b"too")
    before.setdefault(name, []).append((b"goes on", {"k": "v"}))
    before["one more"] = [(b"too", {})]
    for _ in range(2):
        with transit.open(scene.folder.path) as log:
            assert log.recovery == ()
            assert contents(log) == before
            assert log.verify().ok


# Undamaged


def test_a_closed_store_opens_as_it_was(closed: Scene, opened: Opened, contents: Read) -> None:
    assert opened(closed, closed.data) == Outcome(None, closed.shown[-1], ())
    go_on(closed, contents)


def test_a_killed_store_opens_with_all_it_synced(
    killed: Scene, opened: Opened, contents: Read
) -> None:
    assert opened(killed, killed.data) == Outcome(None, killed.shown[-1], ())
    go_on(killed, contents)


def test_written_but_unsynced_frames_are_kept_when_they_are_whole(
    unsynced: Scene, opened: Opened, contents: Read
) -> None:
    assert opened(unsynced, unsynced.data) == Outcome(None, unsynced.shown[-1], ())
    go_on(unsynced, contents)


# Truncation. Nothing tells a WAL cut between two frames from one that was never longer.


@pytest.mark.slow
@pytest.mark.parametrize("name", ["closed", "killed"])
def test_every_truncation_loses_only_the_frames_at_or_after_the_cut(
    name: str, request: pytest.FixtureRequest, opened: Opened, contents: Read
) -> None:
    scene: Scene = request.getfixturevalue(name)
    for size in range(HEADER_BYTES, scene.used + 1):
        outcome = opened(scene, scene.data[:size])
        stops = [HEADER_BYTES, *(frame.stop for frame in scene.frames)]
        assert outcome.error is None
        assert outcome.shown == scene.shown_before(size)
        whole = max(stop for stop in stops if stop <= size)
        assert [(cut.position, cut.bytes) for cut in outcome.cuts] == [(whole, size - whole)] * (
            size > whole
        )
        if size % 101 == 0:
            go_on(scene, contents)


def test_a_closed_store_whose_mark_is_cut_loses_no_record(closed: Scene, opened: Opened) -> None:
    mark = closed.frames[-1]
    for size in range(mark.position, mark.stop):
        assert opened(closed, closed.data[:size]).shown == closed.shown[-1]


@pytest.mark.parametrize("size", [0, 1, 32, 63])
def test_a_header_that_was_never_finished_is_written_again(
    size: int, killed: Scene, opened: Opened, contents: Read
) -> None:
    for data in (killed.data[:size], killed.data[:size].ljust(HEADER_BYTES, b"\0")):
        assert opened(killed, data) == Outcome(None, {}, ())
        go_on(killed, contents)


# Flipped bits


def flipped(data: bytes, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
    damaged = bytearray(data)
    for bit in range(start * 8, stop * 8):
        damaged[bit // 8] ^= 1 << bit % 8
        yield bit // 8, bytes(damaged)
        damaged[bit // 8] ^= 1 << bit % 8


@pytest.mark.slow
def test_every_flipped_bit_before_the_mark_of_a_closed_store_is_refused(
    closed: Scene, opened: Opened
) -> None:
    for place, data in flipped(closed.data, 0, closed.frames[-1].position):
        outcome = opened(closed, data)
        assert isinstance(outcome.error, transit.CorruptError), place
        assert closed.wal in outcome.error.place
        check(closed, data, outcome)


@pytest.mark.slow
def test_every_flipped_bit_of_the_mark_is_refused_or_loses_nothing(
    closed: Scene, opened: Opened
) -> None:
    mark = closed.frames[-1]
    for _, data in flipped(closed.data, mark.position, mark.stop):
        outcome = opened(closed, data)
        assert outcome.error is not None or outcome.shown == closed.shown[-1]


@pytest.mark.slow
def test_a_flipped_bit_before_the_last_frame_of_a_killed_store_is_refused(
    killed: Scene, opened: Opened
) -> None:
    for place, data in flipped(killed.data, 0, killed.frames[-1].position):
        if data[place] ^ killed.data[place] == 1 << place % 8:
            outcome = opened(killed, data)
            assert isinstance(outcome.error, transit.CorruptError), place
            check(killed, data, outcome)


@pytest.mark.slow
def test_a_flipped_bit_of_the_last_frame_of_a_killed_store_is_refused_unless_it_looks_torn(
    killed: Scene, opened: Opened
) -> None:
    last = killed.frames[-1]
    for place, data in flipped(killed.data, last.position, last.stop):
        outcome = opened(killed, data)
        check(killed, data, outcome)
        ends_in_zero = data[last.position + FRAME_BYTES - 1] == 0
        in_padding = place >= last.position + FRAME_BYTES + last.body_bytes
        assert (outcome.error is not None) or ends_in_zero or in_padding, place


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["read", "shared"])
@pytest.mark.parametrize("name", ["closed", "killed"])
def test_flipped_bits_are_refused_in_other_modes_too(
    mode: str, name: str, request: pytest.FixtureRequest, opened: Opened
) -> None:
    scene: Scene = request.getfixturevalue(name)
    for place in range(3, scene.frames[-1].position, 61):
        data = bytearray(scene.data)
        data[place] ^= 1 << place % 8
        assert opened(scene, bytes(data), mode).error is not None, place


def test_a_flipped_bit_in_the_unused_rest_is_cut_and_loses_nothing(
    closed: Scene, opened: Opened, contents: Read
) -> None:
    for place in (*range(closed.used, closed.used + 70), closed.used + 5000):
        data = bytearray(closed.data)
        data[place] ^= 1 << place % 8
        outcome = opened(closed, bytes(data))
        assert outcome.shown == closed.shown[-1], place
        assert [cut.position for cut in outcome.cuts] == [closed.used]
    go_on(closed, contents)


# Missing sectors


def zeroed(data: bytes, start: int, stop: int) -> bytes:
    return data[:start] + bytes(stop - start) + data[stop:]


@pytest.mark.parametrize(
    ("mode", "size"), [("exclusive", SECTOR), ("exclusive", 8 * SECTOR), ("read", 8 * SECTOR)]
)
@pytest.mark.parametrize("name", ["closed", "killed"])
def test_a_zeroed_sector_is_refused_where_a_later_frame_says_it_was_durable(
    name: str, mode: str, size: int, large: dict[str, Scene], opened: Opened
) -> None:
    scene = large[name]
    refused = 0
    for start in range(0, scene.used, size):
        data = zeroed(scene.data, start, min(start + size, len(scene.data)))
        outcome = opened(scene, data, mode)
        if mode == "read" and outcome.error is None:
            assert outcome.shown == scene.shown[first_damaged(scene, data)]
            outcome = opened(scene, data)
        check(scene, data, outcome)
        refused += outcome.error is not None
    assert refused >= scene.frames[-1].position // size


@pytest.mark.parametrize("mode", ["exclusive", "read"])
def test_a_frame_zeroed_as_a_whole_is_refused_where_a_later_frame_says_it_was_durable(
    mode: str, closed: Scene, opened: Opened
) -> None:
    for number, frame in enumerate(closed.frames[:-1]):
        for stop in (frame.position + 8, frame.stop):
            outcome = opened(closed, zeroed(closed.data, frame.position, stop), mode)
            assert isinstance(outcome.error, transit.CorruptError), (number, stop)
            assert f"byte {frame.position}" in outcome.error.place


def test_a_zeroed_start_of_a_closed_store_is_refused_and_the_file_kept(
    large: dict[str, Scene], opened: Opened
) -> None:
    scene = large["closed"]
    mark = scene.frames[-1].position
    for stop in (HEADER_BYTES, 512, 4096, 4160, 8192, mark):
        for mode in ("exclusive", "shared", "read"):
            data = zeroed(scene.data, 0, stop)
            assert opened(scene, data, mode).error is not None, (stop, mode)
            assert (scene.folder.path / scene.wal).read_bytes() == data


def test_verify_finds_a_zeroed_start_of_an_open_store(large: dict[str, Scene]) -> None:
    scene = large["closed"]
    scene.folder.restore()
    with transit.open(scene.folder.path) as log:
        assert log.verify().ok
        (scene.folder.path / scene.wal).write_bytes(zeroed(scene.data, 0, 8192))
        assert not log.verify().ok
        scene.folder.restore()


def test_verify_finds_the_last_acknowledged_frame_gone_under_an_open_store(
    large: dict[str, Scene],
) -> None:
    scene = large["killed"]
    scene.folder.restore()
    with transit.open(scene.folder.path) as log:
        assert log.verify().ok
        last = scene.frames[-1]
        with (scene.folder.path / scene.wal).open("r+b") as file:
            file.seek(last.position)
            file.write(bytes(last.stop - last.position))
        assert not log.verify().ok
        scene.folder.restore()


# Torn frames


def torn_last_frames(scene: Scene) -> Iterator[bytes]:
    """The last frame as a power cut may leave it: cut short, or any of its sectors missing."""
    last = scene.frames[-1]
    for stop in range(last.position, last.stop, 7):
        yield zeroed(scene.data, stop, last.stop)
    borders = range(-(-last.position // SECTOR) * SECTOR, last.stop, SECTOR)
    edges = [last.position, *borders, last.stop]
    sectors = [(low, high) for low, high in pairwise(edges) if low < high]
    for missing in range(1, 2 ** len(sectors)):
        data = scene.data
        for number, (low, high) in enumerate(sectors):
            if missing >> number & 1:
                data = zeroed(data, low, high)
        yield data


def test_a_torn_frame_is_cut_whatever_sectors_are_missing(unsynced: Scene, opened: Opened) -> None:
    for data in torn_last_frames(unsynced):
        outcome = opened(unsynced, data)
        assert outcome.error is None, outcome.error
        assert outcome.shown == unsynced.shown[-2]
        check(unsynced, data, outcome)


@pytest.mark.slow
@pytest.mark.parametrize("gap", range(0, 64, 8))
def test_a_torn_header_across_two_sectors_is_cut_whichever_is_missing(
    gap: int, tmp_path: Path, copied, opened: Opened, contents: Read
) -> None:
    """The last frame starts `gap` bytes before a sector ends."""
    with transit.open(tmp_path / "open", settings=SLOW_FLUSH) as log:
        stream = log.create("s")
        before = scene_of(copied(tmp_path / "open", tmp_path / "before")).used
        around = FRAME_BYTES + 48 + 8
        stream.append(bytes([7]) * (4096 - gap - before - around))
        stream.append(b"torn" * 200, durability="os")
        scene = scene_of(copied(tmp_path / "open", tmp_path / "store"))
    assert scene.frames[-1].position == 4096 - gap
    for data in torn_last_frames(scene):
        outcome = opened(scene, data)
        assert outcome.error is None, outcome.error
        assert outcome.shown == scene.shown[-2]
    go_on(scene, contents)


@pytest.mark.parametrize(
    "tail",
    [b"\1", b"x" * 7, b"TrFm", b"TrFm" * 100, bytes(600) + b"\1", bytes(range(256)) * 20],
    ids=["a byte", "text", "a magic", "magics", "after zeros", "all bytes"],
)
def test_a_tail_of_garbage_is_cut_and_reported(
    tail: bytes, killed: Scene, opened: Opened, contents: Read
) -> None:
    data = killed.data[: killed.used] + tail
    outcome = opened(killed, data)
    if outcome.error is None:
        assert outcome.shown == killed.shown[-1]
        assert outcome.cuts == (
            transit.Cut(str(killed.folder.path / killed.wal), killed.used, len(tail)),
        )
        go_on(killed, contents)
    else:
        assert tail.startswith(b"TrFm"), outcome.error


def test_zeros_after_the_last_frame_are_no_damage(killed: Scene, opened: Opened) -> None:
    for size in (1, 7, 8, 4096, 3_000_000):
        outcome = opened(killed, killed.data[: killed.used] + bytes(size))
        assert outcome == Outcome(None, killed.shown[-1], ())


# Frames that never reached the disk, and frames that did


def test_an_unsynced_frame_missing_before_others_is_cut_together_with_them(
    unsynced: Scene, opened: Opened, contents: Read
) -> None:
    for number, frame in enumerate(unsynced.frames[-5:], len(unsynced.frames) - 5):
        data = zeroed(unsynced.data, frame.position, frame.stop)
        outcome = opened(unsynced, data)
        assert outcome.shown == unsynced.shown[number]
        check(unsynced, data, outcome)
    go_on(unsynced, contents)


def test_a_frame_missing_before_one_that_says_it_was_durable_is_refused(
    tmp_path: Path, copied, opened: Opened
) -> None:
    with transit.open(tmp_path / "open", settings=SLOW_FLUSH) as log:
        stream = log.create("s")
        for n in range(3):
            stream.append(b"%d" % n * 100, durability="os")
        log.sync()
        stream.append(b"after the sync", durability="os")
        scene = scene_of(copied(tmp_path / "open", tmp_path / "store"))
    for frame in scene.frames[-4:-1]:
        data = zeroed(scene.data, frame.position, frame.stop)
        outcome = opened(scene, data)
        assert isinstance(outcome.error, transit.CorruptError)
        assert f"{scene.wal}, byte {frame.position}" in outcome.error.place
    data = zeroed(scene.data, scene.frames[-1].position, scene.used)
    assert opened(scene, data).shown == scene.shown[-2]


def test_random_damage_is_refused_or_loses_only_what_was_never_durable(
    large: dict[str, Scene], opened: Opened
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for scene in large.values():
        for _ in range(250):
            data = bytearray(scene.data)
            for _ in range(chance.choice((1, 1, 2, 3))):
                start = chance.randrange(HEADER_BYTES, scene.used)
                stop = min(start + chance.choice((1, 8, 100, 512, 3000)), len(data))
                kind = chance.choice(("zero", "random", "copy"))
                if kind == "zero":
                    data[start:stop] = bytes(stop - start)
                elif kind == "random":
                    data[start:stop] = chance.randbytes(stop - start)
                else:
                    source = chance.randrange(HEADER_BYTES, scene.used)
                    data[start:stop] = data[source : source + stop - start].ljust(stop - start)
            check(scene, bytes(data), opened(scene, bytes(data)))


# Valid bytes in the wrong place


def test_a_frame_in_the_place_of_another_of_the_same_size_is_refused(
    closed: Scene, opened: Opened
) -> None:
    sizes: dict[int, FrameHeader] = {}
    swaps = 0
    for frame in closed.frames[:-1]:
        other = sizes.setdefault(frame.stop - frame.position, frame)
        if other is not frame:
            data = bytearray(closed.data)
            data[frame.position : frame.stop] = closed.data[other.position : other.stop]
            outcome = opened(closed, bytes(data))
            assert isinstance(outcome.error, transit.CorruptError)
            check(closed, bytes(data), outcome)
            swaps += 1
    assert swaps >= 3


def test_a_wal_of_another_store_is_refused(closed: Scene, killed: Scene, opened: Opened) -> None:
    assert isinstance(opened(closed, killed.data).error, transit.CorruptError)
    mixed = closed.data[:HEADER_BYTES] + killed.data[HEADER_BYTES:]
    outcome = opened(closed, mixed)
    assert outcome.error is not None or outcome.shown == {}


def test_a_wal_under_the_name_of_another_is_refused(closed: Scene, opened: Opened) -> None:
    closed.folder.restore({closed.wal: None, f"wal/{wal_name(7)}": closed.data})
    with pytest.raises(transit.CorruptError):
        transit.open(closed.folder.path)
    closed.folder.restore()
    other = encode_wal_header(closed.folder.store_id, 7) + closed.data[HEADER_BYTES:]
    assert isinstance(opened(closed, other).error, transit.CorruptError)


def test_a_wal_of_a_newer_version_is_refused_by_that_name(closed: Scene, opened: Opened) -> None:
    head = bytearray(closed.data[:HEADER_BYTES])
    head[8] = 2
    head[56:] = checksum(bytes(head[:56])).to_bytes(8, "little")
    outcome = opened(closed, bytes(head) + closed.data[HEADER_BYTES:])
    assert isinstance(outcome.error, transit.UnsupportedVersionError)


@pytest.mark.parametrize("change", ["lsn", "records", "kind", "body"])
def test_a_frame_with_fitting_checksums_and_impossible_contents_is_refused(
    change: str, closed: Scene, opened: Opened
) -> None:
    last = closed.frames[-2]
    body = closed.data[last.position + FRAME_BYTES :][: last.body_bytes]
    frame = encode_frame(
        body[:-1] if change == "body" else body,
        last.position,
        last.lsn + (change == "lsn"),
        last.durable,
        last.records + (change == "records"),
        9 if change == "kind" else last.kind,
        # Not before the time of the frame before it, which would be refused for that.
        last.written,
        wal_seed(closed.folder.store_id, 0),
    )
    data = closed.data[: last.position] + frame
    assert isinstance(opened(closed, data).error, transit.CorruptError)


def test_a_frame_that_states_an_absurd_size_takes_no_memory(closed: Scene, poor) -> None:
    position = closed.frames[-2].position
    frame = bytearray(
        encode_frame(b"", position, 0, 64, 1, DATA, 0, wal_seed(closed.folder.store_id, 0))
    )
    frame[4:8] = (2**32 - 16).to_bytes(4, "little")
    seed = wal_seed(closed.folder.store_id, 0)
    CHECKSUM.pack_into(frame, FRAME.size, checksum(bytes(frame[: FRAME.size]), seed))
    closed.folder.restore({closed.wal: closed.data[:position] + bytes(frame)})
    script = """
import sys, transit
with transit.open(sys.argv[1]) as log:
    print([cut.position for cut in log.recovery])
"""
    assert poor(script, closed.folder.path) == f"[{position}]"
