"""What opening, closing and making streams promises."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from enum import IntEnum, StrEnum
from pathlib import Path

import pytest

import transit
from transit import Log

from .histories import filled, payloads

# Opening and closing


def test_open_creates_a_store_that_opens_again_with_what_was_written(path: Path) -> None:
    with transit.open(path) as log:
        log.create("s").append(b"kept")
        store_id = log.store_id
    with transit.open(str(path)) as log:
        assert log.store_id == store_id
        assert payloads(log.stream("s")) == [b"kept"]


def test_a_log_shows_how_it_was_opened(path: Path) -> None:
    settings = transit.Settings(block_bytes=8192)
    with transit.open(path, durability="os", mode="shared", settings=settings) as log:
        assert Path(log.path) == path
        assert (log.mode, log.durability, log.settings) == ("shared", "os", settings)
        assert len(bytes.fromhex(log.store_id)) == 16
    with transit.open(path) as log:
        assert (log.mode, log.durability, log.settings) == (
            "exclusive",
            "local",
            transit.Settings(),
        )


def test_settings_have_the_documented_defaults() -> None:
    settings = transit.Settings()
    assert settings.record_bytes_max == 16 << 20
    assert settings.frame_bytes_max == 64 << 20
    assert settings.seal_bytes == 32 << 20
    assert settings.seal_interval_s is None
    assert settings.flush_interval_ms == 50
    assert settings.block_bytes == 256 << 10
    assert (settings.compression, settings.compression_level) == ("zstd", 3)
    assert settings.cache_bytes_max == 64 << 20
    assert settings.lock_timeout_s == 10.0


def test_close_may_be_called_twice_and_leaving_the_block_closes(path: Path) -> None:
    with transit.open(path) as log:
        assert not log.closed
    assert log.closed
    log.close()
    log.close()


def test_a_store_closed_well_had_nothing_cut_when_it_opens(path: Path) -> None:
    with transit.open(path) as log:
        log.create("s").append(b"x")
    with transit.open(path) as log:
        assert not log.recovery


def test_mode_read_does_not_create_a_store(path: Path) -> None:
    with pytest.raises(transit.NotFoundError):
        transit.open(path, mode="read")
    assert not path.exists()


def test_mode_read_sees_what_is_written_after_it_opened_and_writes_nothing(
    log: Log, path: Path
) -> None:
    stream = filled(log, "s", b"0")
    with transit.open(path, mode="read") as reader:
        seen = reader.stream("s")
        assert payloads(seen) == [b"0"]
        stream.append(b"1")
        log.create("later").append(b"2")
        assert payloads(seen) == [b"0", b"1"]
        assert payloads(reader.stream("later")) == [b"2"]
        log.seal()
        assert payloads(seen) == [b"0", b"1"]
        writes: list[Callable[[], object]] = [
            lambda: reader.create("new"),
            lambda: seen.append(b"x"),
            lambda: seen.append_many([b"x"]),
            lambda: seen.submit(b"x").result(timeout=60),
            lambda: seen.branch("new"),
            lambda: reader.merge("new", [seen, reader.stream("later")], policy="append"),
            lambda: seen.cursor("c").advance(1),
        ]
        for write in writes:
            with pytest.raises(transit.ReadOnlyError):
                write()
        with pytest.raises(transit.ReadOnlyError), reader.batch() as batch:
            batch.append(seen, b"x")
    assert payloads(stream) == [b"0", b"1"]
    assert [s.name for s in log.streams()] == ["s", "later"]


@pytest.mark.parametrize("mode", ["exclusive", "shared", "read"])
def test_an_exclusive_store_is_locked_to_writers_and_open_to_readers(path: Path, mode: str) -> None:
    settings = transit.Settings(lock_timeout_s=0.2)
    with transit.open(path) as log:
        filled(log, "s", b"0")
        if mode == "read":
            with transit.open(path, mode=mode) as reader:
                assert payloads(reader.stream("s")) == [b"0"]
        else:
            with pytest.raises(transit.LockedError):
                transit.open(path, mode=mode, settings=settings)
    with transit.open(path, mode=mode) as log:
        assert payloads(log.stream("s")) == [b"0"]


def test_two_shared_handles_see_each_others_streams_and_records(path: Path) -> None:
    with transit.open(path, mode="shared") as one, transit.open(path, mode="shared") as two:
        ours = one.create("s")
        theirs = two.stream("s")
        for number in range(10):
            assert ours.append(b"one").offset == 2 * number
            assert theirs.append(b"two").offset == 2 * number + 1
        assert payloads(ours) == payloads(theirs) == [b"one", b"two"] * 10
        with pytest.raises(transit.AlreadyExistsError):
            two.create("s")


# Streams


def test_a_created_stream_is_found_by_name_and_listed_in_order_of_creation(log: Log) -> None:
    for name in ("b", "a", "a/1", "ä", "A"):
        assert log.create(name).name == name
    assert [stream.name for stream in log.streams()] == ["b", "a", "a/1", "ä", "A"]
    assert [stream.name for stream in log.streams(prefix="a")] == ["a", "a/1"]
    assert list(log.streams(prefix="z")) == []
    assert "a" in log
    assert "c" not in log
    assert log.stream("a/1").id == [s.id for s in log.streams()][2]
    with pytest.raises(transit.NotFoundError):
        log.stream("c")
    with pytest.raises(transit.AlreadyExistsError):
        log.create("a")


def test_the_stores_own_streams_are_not_listed(log: Log) -> None:
    filled(log, "s", b"0").cursor("c").advance(1)
    assert [stream.name for stream in log.streams()] == ["s"]
    assert [stream.name for stream in log.streams(prefix="$")] == []


def test_a_new_root_is_empty(log: Log) -> None:
    stream = log.create("s")
    assert (stream.kind, stream.parents, stream.fork_offset) == ("root", (), None)
    assert (stream.next_offset, stream.last_offset, len(stream)) == (0, None, 0)
    assert list(stream) == list(stream.read()) == list(stream.batches()) == []
    assert (dict(stream.metadata), stream.codec) == ({}, None)


def test_metadata_of_every_kind_of_stream_survives_reopening(path: Path) -> None:
    metadata = {"text": "ü", "int": -(2**63), "float": 0.1, "yes": True, "none": None, "": 0}
    with transit.open(path) as log:
        root = log.create("root", metadata)
        branch = root.branch("branch", metadata=metadata)
        log.merge("merge", [root, branch], policy="base", metadata=metadata)
        with log.batch() as batch:
            staged = batch.create("batch", metadata)
            batch.branch(staged, "batch branch", metadata=metadata)
        with contextlib.suppress(TypeError):
            root.metadata["text"] = "other"  # type: ignore[index]
        assert root.metadata["text"] == "ü"
        metadata_then = dict(metadata)
        metadata["text"] = "changed by the caller later"
    with transit.open(path) as log:
        for stream in log.streams():
            assert dict(stream.metadata) == metadata_then
            assert stream.metadata["yes"] is True


class Text(str):
    """Text of a class of its own."""


class Share(float):
    """A number of a class of its own, as NumPy's are."""


class Count(int):
    """Another."""


class Kind(StrEnum):
    TOOL = "tool"


class Level(IntEnum):
    HIGH = 3


def test_values_of_classes_of_their_own_are_the_plain_values_that_they_are(path: Path) -> None:
    given = {Text("t"): Text("v"), "s": Share(0.5), "c": Count(7), "k": Kind.TOOL, "l": Level.HIGH}
    plain = {"t": "v", "s": 0.5, "c": 7, "k": "tool", "l": 3}
    with transit.open(path, durability="os") as log:
        main = log.create(Text("main"), given)
        side = main.branch(Text("side"), metadata=given)
        for stream in (main, side):
            stream.append(b"x", headers={Text("t"): Text("v"), "k": Kind.TOOL})
        with log.batch() as batch:
            batch.append(batch.create(Text("staged"), given), b"x")
        merged = log.merge(
            Text("merged"), [main, side], policy="select", params={"selected": Text("side")},
            merge_id=Text("id"), metadata=given,
        )  # fmt: skip
        main.cursor(Text("c")).advance(1)
        shown = [dict(stream.metadata) for stream in (main, side, log.stream("staged"), merged)]
    with transit.open(path, mode="read") as log:
        shown += [dict(log.stream(Text(name)).metadata) for name in ("main", "side", "staged")]
        assert dict(log.stream("merged")[0].headers) == {"t": "v", "k": "tool"}
        assert log.stream("main").cursor("c").position == 1
    for metadata in shown:
        assert metadata == plain
        assert {type(each) for pair in metadata.items() for each in pair} == {str, float, int}


def test_names_up_to_512_bytes_and_of_any_script_are_taken(log: Log) -> None:
    names = ["x" * 512, "é" * 256, "a b", "../../etc/passwd", "a\\b", ".", "名前", "🎈", "a$"]
    for name in names:
        log.create(name).append(name.encode())
    for name in names:
        assert payloads(log.stream(name)) == [name.encode()]


# Typed values


def test_a_json_stream_appends_and_returns_values(path: Path) -> None:
    values = [None, True, 1, -0.5, "ü", [1, [2]], {"b": 1, "a": {"c": None}}]
    with transit.open(path) as log:
        stream = log.create("s", codec="json")
        for number, value in enumerate(values):
            assert stream.append_value(value).offset == number
        assert stream.codec == "json"
        assert list(stream.values()) == values
        with log.batch() as batch:
            staged = batch.create("batched", codec="json")
            batch.append(staged, b'{"a":1}')
    with transit.open(path) as log:
        stream = log.stream("s")
        assert stream.codec == "json"
        assert list(stream.values()) == values
        assert [stream.value(i) for i in range(len(values))] == values
        assert stream.value(-1) == values[-1]
        assert log.stream("batched").value(0) == {"a": 1}
        child = stream.branch("child")
        child.append_value("own")
        assert list(child.values()) == [*values, "own"]
