"""Encrypted stores: what lies where, who may open them, and that all else is as before."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import transit
from tests.encrypted.conftest import CANARY, files_with, ring_of
from transit import (
    InvalidInputError,
    Keyring,
    KeyringError,
    NotFoundError,
    SealedError,
    Settings,
)

Opened = Callable[..., transit.Log]
MODES = ["remote", "all"]


def fill(log: transit.Log, count: int = 50) -> transit.Stream:
    stream = log.create(f"runs/{CANARY.decode()}", {"who": CANARY.decode()}, codec="json")
    for number in range(count):
        stream.append(CANARY + b"%d" % number, headers={"kind": CANARY.decode()})
    stream.append_many([CANARY] * count, headers={"kind": "many"})
    return stream


def payloads(stream: transit.Stream) -> list[bytes]:
    return [record.payload for record in stream.read()]


@pytest.mark.parametrize("mode", MODES)
def test_nothing_clear_leaves_the_folder(opened: Opened, tmp_path: Path, mode: str) -> None:
    with opened(encrypt=mode) as log:
        stream = fill(log)
        branch = stream.branch(f"{CANARY.decode()}-b", at=3)
        branch.append(CANARY)
        log.merge(f"{CANARY.decode()}-m", [stream, branch], policy="interleave")
        log.publish()
        stream.append(CANARY)
        wanted = payloads(stream)
        assert len(wanted) == 101
    assert files_with(tmp_path / "remote") == []
    found = files_with(tmp_path / "store")
    assert all(name.startswith("wal") for name in found)
    assert bool(found) == (mode == "remote")
    with opened() as log:
        assert payloads(log.stream(f"runs/{CANARY.decode()}")) == wanted
        report = log.verify()
        assert report.ok
        assert report.counts["merges"] == 1
        assert "sealed_chunks" not in report.counts


def test_status_and_receipts_name_what_is_encrypted(opened: Opened, tmp_path: Path) -> None:
    with transit.open(tmp_path / "clear") as log:
        assert (log.status().encryption, log.encryption) == ("none", "none")
        assert log.create("a").append(b"x").encryption == "none"
    for number, mode in enumerate(reversed(MODES)):
        with opened(encrypt=mode) as log:
            assert (log.status().encryption, log.encryption) == (mode, mode)
            stream = log.create(f"s{number}")
            receipts = [
                stream.append(b"x", durability=each) for each in ("memory", "os", "local", "tiered")
            ]
            receipts.append(stream.append_many([b"x"] * 3))
            receipts.append(stream.submit(b"x").result(60))
            with log.batch() as batch:
                batch.append(stream, b"x")
            receipts += batch.receipts
            assert {receipt.encryption for receipt in receipts} == {mode}
    with opened(mode="read", keyring=None) as log:
        assert log.status().encryption == "remote"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("how", ["exclusive", "shared"])
def test_it_is_not_written_to_without_its_keyring(
    opened: Opened, tmp_path: Path, mode: str, how: str
) -> None:
    with opened(encrypt=mode) as log:
        fill(log)
    for given in ({}, {"remote": tmp_path / "remote"}):
        with pytest.raises(SealedError, match="open it with keyring="):
            transit.open(tmp_path / "store", mode=how, **given)
    with opened() as log:
        log.publish()
    with pytest.raises(SealedError, match="open it with keyring="):
        transit.open(tmp_path / "other", remote=tmp_path / "remote")
    transit.restore(tmp_path / "remote", tmp_path / "back")
    with pytest.raises(SealedError, match="open it with keyring="):
        transit.open(tmp_path / "back", mode=how)


@pytest.mark.parametrize("mode", MODES)
def test_a_reader_without_keys_is_told_that_it_is_sealed(
    opened: Opened, tmp_path: Path, mode: str, ring: Keyring
) -> None:
    with opened(encrypt=mode) as log:
        fill(log)
        log.publish()
    name = f"runs/{CANARY.decode()}"
    transit.restore(tmp_path / "remote", tmp_path / "back")
    for place, given in (("back", {}), ("elsewhere", {"remote": tmp_path / "remote"})):
        if place == "elsewhere":
            transit.restore(tmp_path / "remote", tmp_path / place, lazy=True)
        with transit.open(tmp_path / place, mode="read", **given) as log:
            for ask in (
                lambda log=log: log.stream(name),
                lambda log=log: list(log.streams()),
                lambda log=log: name in log,
                lambda log=log: log.stream(uid="0" * 32),
            ):
                with pytest.raises(SealedError):
                    ask()
            assert log.verify().ok
        with transit.open(tmp_path / place, mode="read", keyring=ring, **given) as log:
            assert len(payloads(log.stream(name))) == 100


def test_another_stores_keyring_is_refused_before_any_read(opened: Opened, tmp_path: Path) -> None:
    """By its id: a key of the right length would otherwise be tried."""
    with opened(encrypt="remote") as log:
        fill(log)
        log.publish()
        theirs = log.store_id
    other = ring_of(tmp_path / "other")
    with transit.open(tmp_path / "second", encrypt="all", keyring=other) as log:
        ours = log.store_id
    for ask in (
        lambda: opened(keyring=other),
        lambda: opened(keyring=other, mode="read"),
        lambda: transit.restore(tmp_path / "remote", tmp_path / "back", keyring=other),
    ):
        with pytest.raises(KeyringError) as caught:
            ask()
        assert theirs in str(caught.value)
        assert ours in str(caught.value)


def test_a_keyring_may_not_lie_where_what_it_opens_lies(tmp_path: Path) -> None:
    with transit.open(tmp_path / "store", remote=tmp_path / "remote"):
        pass
    for place in ("store", "remote"):
        ring = ring_of(tmp_path / place / "ring")
        with pytest.raises(InvalidInputError, match=f"lies in .*{place}"):
            transit.open(
                tmp_path / "store", remote=tmp_path / "remote", encrypt="remote", keyring=ring
            )


def test_what_makes_no_sense_is_refused(tmp_path: Path, ring: Keyring) -> None:
    with pytest.raises(InvalidInputError, match="needs keyring="):
        transit.open(tmp_path / "store", encrypt="all")
    with pytest.raises(InvalidInputError, match="one of remote, all"):
        transit.open(tmp_path / "store", encrypt="none", keyring=ring)
    with pytest.raises(InvalidInputError, match="keyring must be a"):
        transit.open(tmp_path / "store", keyring="ring")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="keyring must be a"):
        transit.audit(tmp_path, keyring="ring")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="belongs to no store yet"):
        transit.audit(tmp_path, keyring=ring)
    assert not (tmp_path / "store").exists()


def test_a_clear_store_is_encrypted_from_then_on(tmp_path: Path, ring: Keyring) -> None:
    with transit.open(tmp_path / "store") as log:
        for name in ("old", "renamed"):
            log.create(name).append(b"clear")
        log.seal()
        log.stream("old").append(b"clear, not sealed")
    with transit.open(tmp_path / "store", encrypt="remote", keyring=ring) as log:
        log.stream("old").append(CANARY)
        log.hide("renamed")
        log.create("renamed").append(CANARY)
        log.create("new").append(CANARY)
        log.seal()
        assert log.verify().ok
    assert files_with(tmp_path / "store" / "segments") == []
    with transit.open(tmp_path / "store", keyring=ring) as log:
        assert payloads(log.stream("old")) == [b"clear", b"clear, not sealed", CANARY]
        assert payloads(log.stream("renamed")) == [CANARY]
        assert payloads(log.stream("new")) == [CANARY]
        assert log.status().encryption == "remote"
    with pytest.raises(SealedError):
        transit.open(tmp_path / "store")


def test_what_was_encrypted_is_remembered(opened: Opened, tmp_path: Path) -> None:
    with opened(encrypt="all") as log:
        fill(log, 1)
    for _ in range(2):
        with opened() as log:
            assert log.encryption == "all"
            log.stream(f"runs/{CANARY.decode()}").append(CANARY)
    assert files_with(tmp_path / "store") == []


@pytest.mark.parametrize(("first", "second"), [("remote", "all"), ("all", "remote")])
def test_a_store_changes_from_one_to_the_other(opened: Opened, first: str, second: str) -> None:
    with opened(encrypt=first) as log:
        stream = fill(log, 5)
        wanted = payloads(stream)
    for mode in (second, first, second):
        with opened(encrypt=mode) as log:
            stream = log.stream(f"runs/{CANARY.decode()}")
            stream.append(mode.encode())
            wanted.append(mode.encode())
            assert payloads(stream) == wanted
            assert log.verify().ok
    with opened() as log:
        assert log.encryption == second
        log.publish()
        assert payloads(log.stream(f"runs/{CANARY.decode()}")) == wanted


def test_switched_to_all_what_comes_is_not_clear(opened: Opened, tmp_path: Path) -> None:
    with opened(encrypt="remote") as log:
        log.create("a").append(b"before")
    with opened(encrypt="all") as log:
        log.stream("a").append(CANARY)
        log.publish()
    assert files_with(tmp_path / "store") == []


@pytest.mark.parametrize("mode", MODES)
def test_evicted_and_fetched_again_it_is_only_cached_as_it_is_stored(
    opened: Opened, tmp_path: Path, mode: str
) -> None:
    with opened(encrypt=mode) as log:
        wanted = payloads(fill(log))
        log.publish()
        log.evict(bytes_max=0)
    assert not list((tmp_path / "store" / "segments").iterdir())
    with opened() as log:
        assert payloads(log.stream(f"runs/{CANARY.decode()}")) == wanted
    assert list((tmp_path / "store" / "cache").iterdir())
    assert files_with(tmp_path / "store") == []


def test_parts_of_it_are_restored_with_its_keyring(
    opened: Opened, tmp_path: Path, ring: Keyring
) -> None:
    with opened(encrypt="remote") as log:
        for name in ("a", "b"):
            log.create(name).append(CANARY)
            log.publish()
    with pytest.raises(SealedError):
        transit.restore(tmp_path / "remote", tmp_path / "part", streams=["a"])
    with pytest.raises(NotFoundError):
        transit.restore(tmp_path / "remote", tmp_path / "c", streams=["c"], keyring=ring)
    done = transit.restore(tmp_path / "remote", tmp_path / "some", streams=["a"], keyring=ring)
    assert (done.segments, done.segments_remote) == (1, 1)
    with transit.open(tmp_path / "some", mode="read", keyring=ring) as log:
        assert payloads(log.stream("a")) == [CANARY]


def _append(folder: str, ring: str, number: int) -> None:
    keyring = Keyring.open(ring, key_file=f"{ring}.key")
    with transit.open(folder, mode="shared", keyring=keyring, durability="os") as log:
        stream = log.stream("a")
        for each in range(100):
            stream.append(CANARY + b"%d-%d" % (number, each))
        log.create(f"own-{number}", protect="stream").append(CANARY)


@pytest.mark.parametrize("mode", MODES)
def test_several_processes_share_it(tmp_path: Path, ring: Keyring, mode: str) -> None:
    folder = tmp_path / "store"
    settings = Settings(seal_bytes=4096)
    with transit.open(folder, mode="shared", encrypt=mode, keyring=ring, settings=settings) as log:
        log.create("a")
        context = multiprocessing.get_context("spawn")
        arguments = [(str(folder), ring.path, number) for number in range(2)]
        children = [context.Process(target=_append, args=each) for each in arguments]
        for child in children:
            child.start()
        for child in children:
            child.join(120)
            if child.is_alive():
                child.kill()
            assert child.exitcode == 0
        found = payloads(log.stream("a"))
        assert sorted(found) == sorted(
            CANARY + b"%d-%d" % (number, each) for number in range(2) for each in range(100)
        )
        assert [payloads(log.stream(f"own-{number}")) for number in range(2)] == [[CANARY]] * 2
        log.seal()
        assert log.verify().ok
    known = ring.keys()
    current = [key.owner for key in known if key.state == "current"]
    assert len(current) == len({*current}) == 3
    assert files_with(folder / "segments") == []


def test_a_process_without_the_keyring_seals_nothing(tmp_path: Path, ring: Keyring) -> None:
    with transit.open(tmp_path / "store", mode="shared") as clear:
        stream = clear.create("a")
        stream.append(b"clear")
        with transit.open(
            tmp_path / "store", mode="shared", encrypt="remote", keyring=ring
        ) as encrypted:
            encrypted.stream("a").append(CANARY)
            encrypted.seal()
            stream.append(CANARY)
            with pytest.raises(SealedError, match="open it with keyring="):
                clear.seal()
            with pytest.raises(SealedError):
                payloads(stream)
            encrypted.seal()
            assert payloads(encrypted.stream("a")) == [b"clear", CANARY, CANARY]
    assert files_with(tmp_path / "store" / "segments") == []


@pytest.mark.parametrize("mode", MODES)
def test_a_fenced_writer_brings_its_records_along(
    opened: Opened, tmp_path: Path, ring: Keyring, mode: str
) -> None:
    with opened(encrypt=mode) as log:
        log.create("a").append(b"common")
        log.publish()
    transit.restore(tmp_path / "remote", tmp_path / "second")
    with opened() as log:
        log.stream("a").append(CANARY)
        log.create("mine", protect="stream").append(CANARY)
    with transit.open(
        tmp_path / "second", remote=tmp_path / "remote", keyring=ring, encrypt=mode
    ) as log:
        log.stream("a").append(b"theirs")
        log.publish()
    with opened() as log:
        with pytest.raises(transit.FencedError):
            log.publish()
        log.rebase_onto_remote()
    with opened() as log:
        assert payloads(log.stream("a")) == [b"common", b"theirs"]
        assert payloads(log.stream("mine")) == [CANARY]
        log.publish()
        assert log.verify().ok
    assert files_with(tmp_path / "remote") == []
    if mode == "all":
        assert files_with(tmp_path / "store") == []


def test_keys_change_and_old_records_are_read(opened: Opened, ring: Keyring) -> None:
    with opened(encrypt="all") as log:
        stream = log.create("a")
        for number in range(4):
            stream.append(b"%d" % number)
            if number % 2:
                log.publish()
            ring.rotate()
        assert payloads(stream) == [b"0", b"1", b"2", b"3"]
        assert log.verify().ok
    ring.rewrap(key_file=Keyring.new_key_file(f"{ring.path}.new"))
    again = Keyring.open(ring.path, key_file=f"{ring.path}.new")
    with opened(keyring=again) as log:
        assert payloads(log.stream("a")) == [b"0", b"1", b"2", b"3"]


@pytest.mark.parametrize("level", ["roots", "bodies", "sample:1"])
def test_an_audit_without_keys_finds_damage_all_the_same(
    opened: Opened, tmp_path: Path, ring: Keyring, level: str
) -> None:
    with opened(encrypt="remote") as log:
        fill(log)
        log.publish()
    for keyring in (None, ring):
        report = transit.audit(tmp_path / "remote", level, keyring=keyring)
        assert report.ok
        sealed = keyring is None and level != "roots"
        assert ("sealed_chunks" in report.counts) == sealed
        if level == "bodies":
            assert report.counts.get("lineage_not_checked", 0) == sealed
    (segment,) = (tmp_path / "remote" / "segments").iterdir()
    data = bytearray(segment.read_bytes())
    data[200] ^= 1
    segment.write_bytes(data)
    for keyring in (None, ring):
        report = transit.audit(tmp_path / "remote", level, keyring=keyring)
        assert report.ok == (level == "roots")


def test_pieces_are_read_with_the_keyring(opened: Opened, ring: Keyring, tmp_path: Path) -> None:
    with opened(encrypt="remote") as log:
        stream = fill(log)
        log.publish()
        stream.append(b"not sealed")
        pieces = list(stream.pieces())
    with pytest.raises(SealedError):
        transit.read_piece(pieces[0])
    tables = [transit.read_piece(piece, ["payload"], keyring=ring) for piece in pieces]
    found = [payload for table in tables for payload in table["payload"].to_pylist()]
    assert found[-2:] == [CANARY, b"not sealed"]
    assert len(found) == 101


@pytest.mark.parametrize("mode", MODES)
def test_large_records_and_many_streams(opened: Opened, mode: str) -> None:
    big = os.urandom(9 * 2**20)
    with opened(encrypt=mode, settings=Settings(block_bytes=16384)) as log:
        for number in range(60):
            log.create(f"s{number}").append(b"%d" % number * 100)
        log.create("big").append_many([b"small", big, b"small"])
        log.publish()
        log.evict(bytes_max=0)
    with opened() as log:
        assert payloads(log.stream("big")) == [b"small", big, b"small"]
        assert all(payloads(log.stream(f"s{n}")) == [b"%d" % n * 100] for n in range(60))
        assert log.verify().ok
