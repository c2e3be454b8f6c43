"""WAL files that end before they are synced: which sync covers them, and what is made of torn ones.

`rigs/crash` has the states that a loss of power leaves; here each rule has its own situation.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest

import transit
from transit.disk import File
from transit.format.checksum import wal_seed
from transit.format.frame import MARK, FrameHeader, decode_frame_header, decode_wal_header
from transit.log import wal as wals
from transit.log.rotation import UNSYNCED_FILES_MAX

SMALL: Final = transit.Settings(seal_bytes=4096, flush_interval_ms=60_000, compression="none")
MODES: Final = ("exclusive", "shared")


@contextmanager
def unsealed(path: Path, mode: str = "exclusive") -> Iterator[transit.Log]:
    """An open store in which nothing is sealed or synced beside the calls of a test."""
    with (
        transit.open(path, settings=SMALL, durability="os", mode=mode) as log,
        log._handle.sealer.paused,
    ):
        yield log


def payload(number: int) -> bytes:
    return b"%04d" % number * 225


def fill(log: transit.Log, records: int, name: str = "a") -> None:
    """About five of these records end a file."""
    stream = log.stream(name) if name in log else log.create(name, durability="local")
    for _ in range(records):
        stream.append(payload(len(stream)))


def unsynced(log: transit.Log) -> list[str]:
    return [wal.path for wal in log._handle.catalog.view.unsynced]


def frames(path: Path) -> list[FrameHeader]:
    """The headers of the frames of a WAL file."""
    data, found, at = path.read_bytes(), [], 64
    seed = wal_seed(decode_wal_header(data[:64], "here")[0], int(path.stem))
    while (header := decode_frame_header(data, at, at, seed)) is not None:
        found.append(header)
        at = header.stop
    return found


class Syncs:
    """The syncs of WAL files and of their folder, in order; one of them may fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.fails_at = 0
        sync_data, sync_folder = File.sync_data, wals.sync_folder

        def data(file: File) -> None:
            if file.path.endswith(".wal"):
                self.done.append(file.path)
                if sum(path.endswith(".wal") for path in self.done) == self.fails_at:
                    raise transit.SyncFailedError(f"{file.path}: planted")
            sync_data(file)

        def folder(path: str) -> None:
            self.done.append(path)
            sync_folder(path)

        monkeypatch.setattr(File, "sync_data", data)
        monkeypatch.setattr(wals, "sync_folder", folder)


# Which sync covers what


@pytest.mark.parametrize("mode", MODES)
def test_appends_do_not_wait_for_the_sync_of_a_file_that_ends(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with unsealed(tmp_path / "s", mode) as log:
        fill(log, 1)
        log.sync()
        syncs = Syncs(monkeypatch)
        fill(log, 9)
        assert len(unsynced(log)) == UNSYNCED_FILES_MAX
        assert not syncs.done


def test_no_more_files_are_unsynced_than_the_bound_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with unsealed(tmp_path / "s") as log:
        fill(log, 12)
        syncs, oldest = Syncs(monkeypatch), unsynced(log)[0]
        for _ in range(20):
            fill(log, 1)
            assert len(unsynced(log)) <= UNSYNCED_FILES_MAX
        assert syncs.done[0] == oldest
        synced = [path for path in syncs.done if path.endswith(".wal")]
        assert synced == sorted(synced)


DURABLE: Final[dict[str, Callable[[transit.Log], object]]] = {
    "append": lambda log: log.stream("a").append(b"x", durability="local"),
    "append_many": lambda log: log.stream("a").append_many([b"x"], durability="local"),
    "submit": lambda log: log.stream("a").submit(b"x", durability="local").result(60),
    "create": lambda log: log.create("b", durability="local"),
    "sync": lambda log: log.sync(),
    "flush": lambda log: log._handle.writing.flush(),
    "rotate": lambda log: log._handle.writer.rotate(),
    "finish": lambda log: log._handle.writer.finish(lambda: transit.ClosedError("ended")),
    "close": lambda log: log._handle.writer.close(),
}


@pytest.mark.parametrize("call", DURABLE)
@pytest.mark.parametrize("mode", MODES)
def test_whatever_makes_records_durable_begins_with_the_oldest_file(
    call: str, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # After some of the calls the store refuses to be closed in order.
    with suppress(transit.ClosedError), unsealed(tmp_path / "s", mode) as log:
        fill(log, 12)
        files = unsynced(log)
        syncs = Syncs(monkeypatch)
        DURABLE[call](log)
        first = [syncs.done.index(path) for path in files]
        assert first == sorted(first)
        # The newest file's name is durable too, before it is called so.
        assert str(tmp_path / "s" / "wal") in syncs.done[first[-1] :]
        assert not set(files) & set(unsynced(log))


def test_what_a_process_makes_durable_takes_along_the_files_that_another_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with unsealed(tmp_path / "s", "shared") as one, unsealed(tmp_path / "s", "shared") as other:
        fill(one, 12)
        files = unsynced(one)
        assert len(files) == UNSYNCED_FILES_MAX
        syncs = Syncs(monkeypatch)
        other.stream("a").append(b"x", durability="local")
        first = [syncs.done.index(path) for path in files]
        assert first == sorted(first)
        # Its next frames say so, and the other process knows by them.
        other.stream("a").append(b"y")
        assert len(one.stream("a")) == 14
        assert not set(files[:-1]) & set(unsynced(one))


def test_a_file_that_ended_is_synced_before_it_is_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with transit.open(tmp_path / "s", settings=SMALL, durability="os") as log:
        with log._handle.sealer.paused:
            fill(log, 9)
            ended = unsynced(log)[0]
            syncs = Syncs(monkeypatch)
        log._handle.sealer.seal_ended()
        assert ended in syncs.done
        assert not Path(ended).exists()


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("mode", MODES)
def test_a_failed_sync_names_what_is_in_doubt_in_all_files(
    mode: str, at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Closing it is refused too.
    with (  # noqa: PT012
        pytest.raises(transit.PoisonedError),
        unsealed(tmp_path / "s", mode) as log,
    ):
        fill(log, 1, "b")
        log.sync()
        fill(log, 12)
        fill(log, 1, "b")
        firsts = [
            wal.index[log.stream("a")._state.id].firsts[0]
            for wal in log._handle.catalog.view.unsynced
        ]
        assert len(firsts) == 3
        syncs = Syncs(monkeypatch)
        syncs.fails_at = at
        with pytest.raises(transit.OutcomeUnknownError) as caught:
            log.sync()
        doubt = {name: (first, last) for name, first, last in caught.value.in_doubt}
        # What became durable before the sync that failed is not in doubt.
        assert doubt == {"a": (firsts[at - 1], 11), "b": (1, 1)}
        with pytest.raises(transit.PoisonedError):
            fill(log, 1)
    monkeypatch.undo()
    with transit.open(tmp_path / "s") as log:
        assert [record.payload for record in log.stream("a").read()] == list(
            map(payload, range(12))
        )
        assert log.verify().ok


# What the files say


def test_a_file_says_what_before_it_was_not_durable_until_it_is(tmp_path: Path) -> None:
    with unsealed(tmp_path / "s") as log:
        fill(log, 12)
        files = [Path(path) for path in unsynced(log)]
        heads = [decode_wal_header(path.read_bytes()[:64], "here") for path in files[1:]]
        reached = [head.first_lsn - head.unsynced for head in heads]
        assert reached == [int(files[0].stem)] * 2
        assert all(header.durable == 0 for path in files[1:] for header in frames(path))
        log.sync()
        fill(log, 1)
        assert frames(files[-1])[-1].durable > 64


@pytest.mark.parametrize("mode", MODES)
def test_an_idle_store_says_by_a_mark_that_older_files_are_durable(
    mode: str, tmp_path: Path
) -> None:
    with unsealed(tmp_path / "s", mode) as log:
        fill(log, 12)
        newest = Path(unsynced(log)[-1])
        log.sync()
        log.sync()
        assert [header.kind for header in frames(newest)].count(MARK) == 1
        assert frames(newest)[-1].kind == MARK


def test_a_file_without_records_says_by_a_mark_what_its_header_could_not(tmp_path: Path) -> None:
    with unsealed(tmp_path / "s") as log:
        fill(log, 1)
        stream = log.stream("a")
        while not unsynced(log)[1:]:
            # The file ends, and what it ended for is refused.
            with pytest.raises(transit.ConflictError):
                stream.append(payload(0), expect=2**40)
            if not unsynced(log)[1:]:
                fill(log, 1)
        newest = Path(unsynced(log)[-1])
    assert [header.kind for header in frames(newest)] == [MARK]


# Torn files


Torn = tuple[Path, list[Path], Callable[[], list[bytes]]]


@pytest.fixture
def torn(tmp_path: Path) -> Torn:
    """A copy of a store while three files are not durable, those files, and what it shows."""
    store = tmp_path / "copy"
    with unsealed(tmp_path / "s") as log:
        fill(log, 12)
        files = [store / "wal" / Path(path).name for path in unsynced(log)]
        shutil.copytree(tmp_path / "s", store)
    assert len(files) == 3

    def shown(mode: Any = "read") -> list[bytes]:
        with transit.open(store, mode=mode, settings=SMALL) as log:
            report = log.verify()
            assert report.ok, report.findings
            return [record.payload for record in log.stream("a").read()]

    assert shown() == list(map(payload, range(12)))
    return store, files, shown


def tear_zeros(path: Path, place: int) -> None:
    data, position = path.read_bytes(), frames(path)[place].position
    path.write_bytes(data[:position].ljust(len(data), b"\0"))


def tear_cut(path: Path, place: int) -> None:
    header = frames(path)[place]
    path.write_bytes(path.read_bytes()[: header.position + 40])


def tear_hole(path: Path, place: int) -> None:
    data, position = path.read_bytes(), frames(path)[place].position
    start = position + -position % 512
    path.write_bytes(data[:start] + bytes(512) + data[start + 512 :])


def tear_name(path: Path, place: int) -> None:
    path.unlink()


def tear_header(path: Path, place: int) -> None:
    path.write_bytes(bytes(64) + path.read_bytes()[64:])


def tear_bytes(path: Path, place: int) -> None:
    path.write_bytes(b"")


TEARS: Final = (tear_zeros, tear_cut, tear_hole)
LOSSES: Final = (tear_name, tear_header, tear_bytes)


def goes_on(store: Path, mode: Any, kept: list[bytes], later: list[Path]) -> tuple[Any, ...]:
    """Open, append over several files, open again: the cuts of the first opening."""
    with transit.open(store, mode=mode, settings=SMALL, durability="os") as log:
        cuts = log.recovery
        assert [record.payload for record in log.stream("a").read()] == kept
        for number in range(12):
            log.stream("a").append(payload(100 + number))
    with transit.open(store, mode=mode, settings=SMALL) as log:
        found = [record.payload for record in log.stream("a").read()]
        assert found == kept + [payload(100 + number) for number in range(12)]
        assert log.recovery == ()
        assert log.verify().ok
    return cuts


@pytest.mark.parametrize("place", [2, 4, -1])
@pytest.mark.parametrize("tear", TEARS)
@pytest.mark.parametrize("mode", MODES)
def test_the_log_ends_at_the_first_torn_place_and_later_files_go(
    mode: str, tear: Callable[[Path, int], None], place: int, torn: Torn
) -> None:
    store, files, shown = torn
    lost = frames(files[0])[place]
    if place == -1 and tear is tear_hole:
        pytest.skip("an end frame lies in one sector")
    tear(files[0], place)
    kept = [each for number, each in enumerate(map(payload, range(12))) if number < lost.lsn - 2]
    before = {path: path.read_bytes() for path in (store / "wal").iterdir()}
    assert shown() == kept
    # A reader changes nothing.
    assert before == {path: path.read_bytes() for path in (store / "wal").iterdir()}
    cuts = goes_on(store, mode, kept, files[1:])
    told = [(cut.path, cut.position) for cut in cuts]
    assert told[:2] == [(str(path), 0) for path in files[1:]]
    assert told[2:] in ([], [(str(files[0]), lost.position)])


@pytest.mark.parametrize("lose", LOSSES)
@pytest.mark.parametrize("mode", MODES)
def test_the_log_ends_before_a_file_that_never_reached_the_disk(
    mode: str, lose: Callable[[Path, int], None], torn: Torn
) -> None:
    store, files, shown = torn
    kept = list(map(payload, range(frames(files[1])[0].lsn - 2)))
    lose(files[1], 0)
    assert shown() == kept
    cuts = goes_on(store, mode, kept, files[2:])
    assert (str(files[2]), 0) in [(cut.path, cut.position) for cut in cuts]


@pytest.mark.parametrize("tear", [*TEARS, *LOSSES])
@pytest.mark.parametrize("mode", [*MODES, "read"])
def test_a_file_that_a_later_frame_calls_durable_is_corrupt_and_nothing_is_cut(
    mode: Any, tear: Callable[[Path, int], None], tmp_path: Path
) -> None:
    store = tmp_path / "copy"
    with unsealed(tmp_path / "s") as log:
        fill(log, 12)
        files = [store / "wal" / Path(path).name for path in unsynced(log)]
        # One that is durable, and one that says so.
        log.stream("a").append(b"x", durability="local")
        log.stream("a").append(b"y")
        shutil.copytree(tmp_path / "s", store)
    tear(files[1], 1)
    before = {path: path.read_bytes() for path in (store / "wal").iterdir()}
    with pytest.raises(transit.CorruptError):
        transit.open(store, mode=mode, settings=SMALL)
    assert before == {path: path.read_bytes() for path in (store / "wal").iterdir()}


def test_a_torn_file_is_not_removed_while_another_process_writes_to_it(torn: Torn) -> None:
    store, files, _ = torn
    tear_zeros(files[0], 2)
    with File.open(str(files[-1]), write=True) as held:
        held.hold(shared=True)
        with pytest.raises(transit.LockedError):
            transit.open(store, mode="shared")
        assert all(path.exists() for path in files)
    transit.open(store, mode="shared").close()


# What goes wrong when the next file is made


@pytest.mark.parametrize("mode", MODES)
def test_a_full_disk_keeps_the_next_file_from_being_made_and_loses_nothing(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: str, mode: int = 0o666) -> File:
        raise transit.StorageFullError(f"{path}: planted")

    with unsealed(tmp_path / "s", mode) as log:
        fill(log, 4)
        with monkeypatch.context() as patch:
            patch.setattr(File, "create", full)
            with pytest.raises(transit.StorageFullError):
                fill(log, 5)
            count = len(log.stream("a"))
            with pytest.raises(transit.StorageFullError):
                fill(log, 1)
            log.sync()
            assert not unsynced(log)
        fill(log, 12 - count)
    with transit.open(tmp_path / "s") as log:
        assert [record.payload for record in log.stream("a").read()] == list(
            map(payload, range(12))
        )


class Stopped(BaseException):
    """What a job queue raises into a thread whose time is up."""


STEPS: Final = ((File, "create"), (File, "write_at"), (File, "truncate"), (File, "hold"))


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("owner", "name"), STEPS)
def test_an_interrupt_in_any_step_of_ending_a_file_leaves_a_store_that_goes_on(
    owner: Any, name: str, after: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = getattr(owner, name)
    for skipped in range(3):
        path = tmp_path / f"s{skipped}"
        with unsealed(path) as log:
            stream = log.create("a", durability="local")
            while log._handle.writer.wal.tail < SMALL.seal_bytes:
                fill(log, 1)
            left = [skipped]

            def once(*given: Any, left: list[int] = left, **options: Any) -> Any:
                left[0] -= 1
                if left[0] == -1 and not after:
                    raise Stopped
                done = step(*given, **options)
                if left[0] == -1:
                    raise Stopped
                return done

            with monkeypatch.context() as patch:
                patch.setattr(owner, name, once)
                with suppress(Stopped):
                    stream.append(payload(len(stream)))
            # The append that was interrupted is there or not, from here on.
            log.sync()
            fill(log, 12 - len(stream))
        with transit.open(path, settings=SMALL) as log:
            found = [record.payload for record in log.stream("a").read()]
            assert found == list(map(payload, range(12)))
            assert log.verify().ok


# The background thread syncs nothing meanwhile.
LATE: Final = transit.Settings(flush_interval_ms=60_000)


def test_records_in_doubt_are_named_though_another_threads_sync_failed_first(
    tmp_path: Path,
) -> None:
    log = transit.open(tmp_path / "s", durability="os", settings=LATE)
    log.create("s").append(b"x")
    syncs = log._handle.writer._syncs
    # As it is when that thread has not yet said which records are in doubt.
    syncs._single._failure = transit.StoreUnavailableError("the disk")
    with pytest.raises(transit.SyncFailedError):
        syncs.settle(log._handle.writer.wal)
    with pytest.raises(transit.PoisonedError, match=r"s@0…0"):
        log.stream("s").append(b"y")
    with pytest.raises(transit.TransitError):
        log.close()


def test_a_sync_of_a_file_whose_folder_went_away_says_so(tmp_path: Path) -> None:
    log = transit.open(tmp_path / "s", durability="os", settings=LATE)
    log.create("s").append(b"x")
    syncs = log._handle.writer._syncs
    wal = log._handle.catalog.create_wal(log._handle.writer.wal.next_lsn)
    (tmp_path / "s").rename(tmp_path / "moved")
    with pytest.raises(transit.StoreMovedError):
        syncs.settle(wal)
    with pytest.raises(transit.StoreMovedError):
        log.stream("s").append(b"y")
    with pytest.raises(transit.TransitError):
        log.close()
    transit.open(tmp_path / "moved").close()
