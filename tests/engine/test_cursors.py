"""Cursors: moved in the frame of what was made of the records, with a state, listed, and kept."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import transit
from transit.engine.cursor import Cursor, _listed
from transit.engine.staging import Staging, stage
from transit.format.cursor import STATE_BYTES_MAX, CursorRecord, decode_cursor, encode_cursor
from transit.format.lineage import Root
from transit.format.names import cursor_stream_name


@pytest.fixture
def log(log: transit.Log) -> transit.Log:
    """Streams "in", of five records, and "out", empty."""
    log.create("in").append_many([b"0", b"1", b"2", b"3", b"4"])
    log.create("out")
    return log


def write(log: transit.Log, *steps: Callable[[transit.WriteBatch], object]) -> None:
    with log.batch() as batch:
        for step in steps:
            step(batch)


# In a batch


def test_a_cursor_moves_in_the_frame_of_what_was_made_of_the_records(
    log: transit.Log, path: Path
) -> None:
    cursor = log.stream("in").cursor("c")
    records = log.status().records
    with log.batch() as batch:
        batch.append("out", b"sum of two")
        batch.advance(cursor, 2, state=b"1", expect=0)
    assert log.status().records == records + 1 + 2  # The cursor's stream is made in it too.
    assert cursor.status() == transit.CursorStatus("c", "in", 2, 3, b"1")
    with pytest.raises(transit.ConflictError) as caught:
        write(
            log,
            lambda batch: batch.append("out", b"again"),
            lambda batch: batch.advance(cursor, 2, expect=0),
        )
    assert (caught.value.stream, caught.value.expected, caught.value.found) == ("in", 0, 2)
    assert len(log.stream("out")) == 1
    log.seal()
    with transit.open(path, mode="read") as reader:
        assert reader.stream("in").cursor("c").status() == cursor.status()
    assert log.verify().ok


def test_steps_of_a_batch_see_where_those_before_them_moved_the_cursor(log: transit.Log) -> None:
    cursor = log.stream("in").cursor("c")
    with log.batch() as batch:
        batch.advance(cursor, 1, expect=0)
        batch.append("in", b"5")
        batch.advance(cursor, 6, state=b"six", expect=1)
    assert (cursor.position, cursor.state, cursor.lag) == (6, b"six", 0)
    for wrong in (
        lambda batch: batch.advance(cursor, 5),
        lambda batch: batch.advance(cursor, 7),
        lambda batch: batch.advance(cursor, 2**63),
    ):
        with pytest.raises(transit.OffsetError):
            write(log, wrong)
    assert cursor.position == 6


def test_a_batch_that_is_abandoned_moves_no_cursor(log: transit.Log) -> None:
    cursor = log.stream("in").cursor("c")
    with pytest.raises(KeyError):
        write(log, lambda batch: batch.advance(cursor, 2), lambda batch: {}["x"])
    assert cursor.position == 0
    assert list(log.cursors()) == []


@pytest.mark.parametrize("mode", ["exclusive", "shared"])
def test_consumers_that_share_a_cursor_do_each_record_once(path: Path, mode: str) -> None:
    with transit.open(path, mode=mode, durability="os") as log:
        log.create("in").append_many([b"%d" % number for number in range(40)])
        log.create("out")
        refused = []

        def consume() -> None:
            with transit.open(path, mode=mode) if mode == "shared" else _Same(log) as mine:
                stream, cursor = mine.stream("in"), mine.stream("in").cursor("c")
                while (now := cursor.status()).position < 40:
                    place = now.position
                    total = int(now.state or b"0") + int(stream[place].payload)
                    steps = (
                        partial(
                            transit.WriteBatch.append,
                            stream="out",
                            payload=b"%d is %d" % (place, total),
                        ),
                        partial(
                            transit.WriteBatch.advance,
                            cursor=cursor,
                            position=place + 1,
                            state=b"%d" % total,
                            expect=place,
                        ),
                    )
                    try:
                        write(mine, *steps)
                    except transit.ConflictError as error:
                        refused.append(error)

        consumers = [threading.Thread(target=consume) for _ in range(3)]
        for each in consumers:
            each.start()
        for each in consumers:
            each.join(60)
        sums = [sum(range(number + 1)) for number in range(40)]
        expected = [b"%d is %d" % pair for pair in enumerate(sums)]
        assert [record.payload for record in log.stream("out")] == expected


class _Same:
    """A store that several threads share, left open."""

    def __init__(self, log: transit.Log) -> None:
        self._log = log

    def __enter__(self) -> transit.Log:
        return self._log

    def __exit__(self, *_: object) -> None:
        pass


# State


def test_a_state_is_kept_with_its_position_and_no_other(log: transit.Log) -> None:
    cursor = log.stream("in").cursor("c")
    assert cursor.state is None
    cursor.advance(0)
    cursor.advance(0, state=b"begun\n\0")
    assert (cursor.position, cursor.state) == (0, b"begun\n\0")
    records = log.status().records
    cursor.advance(0)
    cursor.advance(0, state=bytearray(b"begun\n\0"))
    assert log.status().records == records
    assert cursor.state == b"begun\n\0"
    cursor.advance(1)
    assert cursor.state is None
    cursor.advance(1, state=b"", expect=1)
    assert cursor.state == b""
    with pytest.raises(transit.ConflictError):
        cursor.advance(2, state=b"x", expect=0)
    cursor.advance(2, state=b"x" * STATE_BYTES_MAX)
    assert cursor.state == b"x" * STATE_BYTES_MAX


@pytest.mark.parametrize("state", ["text", 5, b"x" * (STATE_BYTES_MAX + 1), [b"x"]])
def test_a_state_that_is_no_small_bytes_is_refused(log: transit.Log, state: bytes) -> None:
    cursor = log.stream("in").cursor("c")
    with pytest.raises(transit.InvalidInputError):
        cursor.advance(1, state=state)
    with pytest.raises(transit.InvalidInputError):
        write(log, lambda batch: batch.advance(cursor, 1, state=state))
    assert cursor.position == 0


def test_cursors_and_conditions_that_are_none_are_refused(log: transit.Log, tmp_path: Path) -> None:
    cursor = log.stream("in").cursor("c")
    with transit.open(tmp_path / "other") as other:
        foreign = other.create("in").cursor("c")
        for call in (
            lambda batch: batch.advance(foreign, 0),
            lambda batch: batch.advance("c", 1),
            lambda batch: batch.advance(cursor, "1"),
            lambda batch: batch.advance(cursor, True),
            lambda batch: batch.advance(cursor, 1, expect=-1),
            lambda batch: batch.advance(cursor, 1, expect=b"0"),
        ):
            with pytest.raises(transit.InvalidInputError):
                write(log, call)
    assert cursor == log.stream("in").cursor("c") != log.stream("out").cursor("c")
    assert len({cursor, log.stream("in").cursor("c")}) == 1


FOREIGN = [
    b"", b"-1", b"01", b"1\r\n", b" 1", b"1 ", b"x", b"9223372036854775808", b"1e3", b"\n", b"\nx",
    "\u0661".encode(), b"1\n" + b"x" * (STATE_BYTES_MAX + 1),
]  # fmt: skip


@pytest.mark.parametrize("payload", FOREIGN)
def test_a_record_that_no_cursor_wrote_is_damage_to_every_call(
    log: transit.Log, payload: bytes
) -> None:
    stream = log.stream("in")

    def work(staging: Staging) -> None:
        state = staging.create(Root(name=cursor_stream_name(stream.id, "c")))
        staging.append(state, payload, b"", None, None)

    stage(log._handle, work)
    cursor = stream.cursor("c")
    for call in (
        lambda: cursor.position,
        lambda: cursor.state,
        cursor.status,
        lambda: cursor.advance(1),
        lambda: write(log, lambda batch: batch.advance(cursor, 1)),
        lambda: [each.lag for each in log.cursors()],
    ):
        with pytest.raises(transit.CorruptError, match=r"\$cursors/1/c@0"):
            call()


@pytest.mark.parametrize("record", [(0, None), (1, b""), (2**63 - 1, b"\n1\n"), (10, b"\xff")])
def test_a_cursors_record_is_read_as_it_was_written(record: tuple[int, bytes | None]) -> None:
    given = CursorRecord(*record)
    assert decode_cursor(encode_cursor(given), "here") == given


# Lists


def listed(cursors: object) -> list[tuple[str, str]]:
    return [(each.name, each.stream) for each in cursors]  # type: ignore[attr-defined]


def test_cursors_are_listed_in_order_of_creation_and_in_pages(log: transit.Log) -> None:
    log.layer("room").create("s").append(b"x")
    moves = [("in", "b"), ("in", "a/1"), ("out", "b"), ("$room/s", "a"), ("in", "a/2")]
    for stream, name in moves:
        log.stream(stream).cursor(name).advance(0, state=b"")
    log.stream("in").cursor("never moved")
    log.seal()
    log.stream("in").cursor("b").advance(4)
    assert listed(log.cursors()) == [("b", "in"), ("a/1", "in"), ("b", "out"), ("a/2", "in")]
    assert listed(log.cursors("a")) == [("a/1", "in"), ("a/2", "in")]
    assert listed(log.cursors(streams="o")) == [("b", "out")]
    assert listed(log.cursors(streams="$")) == [("a", "$room/s")]
    assert listed(log.cursors(streams="$other")) == []
    assert listed(log.stream("in").cursors()) == [("b", "in"), ("a/1", "in"), ("a/2", "in")]
    assert listed(log.stream("in").cursors("a/", limit=1)) == [("a/1", "in")]
    first = list(log.cursors(limit=2))
    assert listed(log.cursors(after=first[-1], limit=1)) == [("b", "out")]
    assert [(each.position, each.lag) for each in log.stream("in").cursors("b")] == [(4, 1)]
    assert list(log.cursors(limit=0)) == []
    for wrong in (
        lambda: log.cursors(5),  # type: ignore[arg-type]
        lambda: log.cursors(streams=None),  # type: ignore[arg-type]
        lambda: log.cursors(limit=-1),
        lambda: log.cursors(after="b"),  # type: ignore[arg-type]
    ):
        with pytest.raises(transit.InvalidInputError):
            wrong()
    with pytest.raises(transit.NotFoundError, match="never moved"):
        log.cursors(after=log.stream("in").cursor("never moved"))


# What becomes of them


def test_a_cursor_stays_with_its_stream_when_that_is_hidden_and_its_name_another_s(
    log: transit.Log,
) -> None:
    stream = log.stream("in")
    stream.cursor("c").advance(2, state=b"two")
    with log.batch() as batch:
        batch.hide("in")
        batch.create("in")
    assert log.stream("in").cursor("c").position == 0
    assert list(log.cursors()) == []
    assert listed(stream.cursors()) == [("c", "in")]
    stream.cursor("c").advance(3)
    log.hide("in")
    log.show(stream)
    assert [each.position for each in log.cursors()] == [3]


def test_a_cursor_moves_on_to_the_end_of_a_finished_stream(log: transit.Log) -> None:
    stream = log.stream("in")
    stream.finish()
    stream.cursor("c").advance(5)
    assert stream.cursor("c").lag == 0


def test_branches_and_merges_begin_without_cursors(log: transit.Log) -> None:
    stream = log.stream("in")
    stream.cursor("c").advance(2)
    made = [stream.branch("child"), log.merge("m", ["in", "out"], policy="append")]
    for each in made:
        assert each.cursor("c").position == 0
        assert list(each.cursors()) == []


def test_a_restore_of_some_streams_leaves_their_cursors_in_the_remote(tmp_path: Path) -> None:
    remote, copy = tmp_path / "remote", tmp_path / "copy"
    with transit.open(tmp_path / "store", remote=remote) as log:
        log.create("in").append_many([b"0", b"1"])
        log.publish()
        log.stream("in").cursor("c").advance(1, state=b"one")
        log.publish()
    transit.restore(remote, copy, streams=["in"])
    with transit.open(copy, mode="read") as log:
        cursor = log.stream("in").cursor("c")
        with pytest.raises(transit.RetentionGapError):
            cursor.status()
        with pytest.raises(transit.RetentionGapError):
            list(log.cursors())
    with transit.open(copy, remote=remote) as log:
        assert [each.status() for each in log.cursors()] == [
            transit.CursorStatus("c", "in", 1, 1, b"one")
        ]
        log.stream("in").cursor("c").advance(2, expect=1)


@pytest.mark.parametrize(
    ("theirs", "ours", "expected"),
    [
        ((1, b"theirs"), (3, b"ours"), (3, b"ours")),
        ((3, b"theirs"), (2, b"ours"), (3, b"theirs")),
        ((2, b"theirs"), (2, b"ours"), (2, b"theirs")),
        (None, (1, b"ours"), (1, b"ours")),
        (None, (4, None), (4, None)),
    ],
)
def test_a_rebase_brings_a_cursor_and_its_state_to_where_it_is_further(
    tmp_path: Path,
    theirs: tuple[int, bytes | None] | None,
    ours: tuple[int, bytes | None],
    expected: tuple[int, bytes | None],
) -> None:
    remote = tmp_path / "remote"

    def opened(name: str) -> transit.Log:
        settings = transit.Settings(publish_interval_s=None)
        return transit.open(tmp_path / name, remote=remote, durability="os", settings=settings)

    with opened("first") as log:
        log.create("in").append_many([b"0", b"1", b"2", b"3"])
        log.create("moved").append(b"0")
        log.stream("in").cursor("c").advance(1, state=b"both")
        log.publish()
    # The second has the same folder, and goes on by itself.
    shutil.copytree(tmp_path / "first", tmp_path / "second")
    with opened("second") as log:
        with opened("first") as other:
            other.create("theirs").append(b"x")
            if theirs is not None:
                other.stream("in").cursor("c").advance(theirs[0], state=theirs[1])
            other.publish()
        log.stream("in").cursor("c").advance(ours[0], state=ours[1])
        log.stream("moved").append(b"1")
        log.stream("moved").cursor("c").advance(2, state=b"moved")
        log.stream("in").cursor("new").advance(0, state=b"at the beginning")
        with pytest.raises(transit.FencedError):
            log.publish()
        rebased = log.rebase_onto_remote()
    with opened("second") as log:
        cursor = log.stream("in").cursor("c")
        assert (cursor.position, cursor.state) == expected
        assert log.stream("in").cursor("new").state == b"at the beginning"
        moved = log.stream(rebased.streams["moved"]).cursor("c")
        assert (moved.position, moved.state) == (2, b"moved")
        assert log.stream("moved").cursor("c").position == 0
        assert log.verify().ok


# Planted bugs, which the tests above must find


def _at_once(batch: transit.WriteBatch, cursor: Cursor, position: int, **options: object) -> None:
    cursor.advance(position, **options)  # type: ignore[arg-type]


def _without_condition(right: Callable[..., None]) -> Callable[..., None]:
    def wrong(
        staging: Staging, stream: object, name: str, wanted: CursorRecord, expect: int | None
    ) -> None:
        right(staging, stream, name, wanted, None)

    return wrong


def _stateless(record: CursorRecord) -> bytes:
    return b"%d" % record.position


PLANTS: dict[str, tuple[str, object, Callable[[transit.Log, Path], None]]] = {
    "the cursor moves before its batch is written": (
        "transit.WriteBatch.advance",
        _at_once,
        lambda log, path: test_a_batch_that_is_abandoned_moves_no_cursor(log),
    ),
    "the position expected is not looked at": (
        "transit.engine.staging.Staging.advance",
        _without_condition(Staging.advance),
        test_a_cursor_moves_in_the_frame_of_what_was_made_of_the_records,
    ),
    "the state is lost": (
        "transit.engine.staging.encode_cursor",
        _stateless,
        lambda log, path: test_a_state_is_kept_with_its_position_and_no_other(log),
    ),
    "cursors of hidden streams are listed": (
        "transit.engine.log.all_cursors",
        lambda handle, prefix, streams, after, limit: _listed(
            handle, prefix, after, limit, lambda owner: True
        ),
        lambda log, path: (
            test_a_cursor_stays_with_its_stream_when_that_is_hidden_and_its_name_another_s(log)
        ),
    ),
}


@pytest.mark.parametrize("plant", PLANTS)
def test_planted_bugs_in_cursors_are_found(
    log: transit.Log, path: Path, plant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, wrong, held_by = PLANTS[plant]
    monkeypatch.setattr(target, wrong)
    with pytest.raises((AssertionError, pytest.fail.Exception, transit.TransitError)):
        held_by(log, path)


# Verified


@pytest.mark.parametrize(
    ("payload", "wrong"),
    [
        (b"5", ""),
        (b"5\nstate", ""),
        (b"6", "a cursor at 5 of stream 1 at most"),
        (b"05", "a position"),
        (b"five", "a position"),
    ],
)
def test_a_record_that_no_cursor_wrote_is_found_here_and_in_the_bucket(
    tmp_path: Path, payload: bytes, wrong: str
) -> None:
    with transit.open(tmp_path / "store", remote=tmp_path / "remote") as log:
        stream = log.create("in")
        stream.append_many([b"0", b"1", b"2", b"3", b"4"])
        stream.cursor("c").advance(1)
        catalog = log._handle.catalog
        found = catalog.find(cursor_stream_name(stream.id, "c"))
        assert found is not None
        transit.Stream(log._handle, catalog.state(found)).append(payload)
        unsealed = log.verify().findings
        log.publish()
        for findings in (
            unsealed,
            log.verify().findings,
            transit.audit(tmp_path / "remote").findings,
        ):
            assert [finding.expected for finding in findings] == ([wrong] if wrong else [])
