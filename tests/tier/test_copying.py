"""Copying a store to another remote: whole, run again, what is new, progress and memory."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from uuid import uuid4

import pytest

import transit
from transit import Keyring
from transit.store import ObjectStore, open_store
from transit.testing.doors import Fault, FaultDoor, ProcessDiedError
from transit.tier import carrying
from transit.tier.checkpoints import note_key
from transit.tier.remote import commit_key

from .conftest import Place, contents
from .copies import (
    QUIET,
    Both,
    grow,
    kinds,
    published,
    read,
    same,
    sign,
    state,
    write_secrets,
)


@pytest.fixture
def target(tmp_path: Path) -> ObjectStore:
    return open_store(tmp_path / "copy")


# Whole copies


@pytest.mark.parametrize("kind", ["folder", "memory"])
def test_a_copy_is_a_remote_as_the_source_is(place: Place, tmp_path: Path, kind: str) -> None:
    published(place, 12)
    address = tmp_path / "copy" if kind == "folder" else f"memory://{uuid4().hex}/there"
    target = open_store(address)
    copied = transit.copy(place.remote_path, address)
    assert copied.ok
    assert copied.report is not None
    assert copied.report.level == "roots"
    assert copied.report.head == copied.root
    same(place, target)
    assert (copied.commits, copied.commits_there) == (12, 0)
    assert (copied.segments, copied.segments_there, copied.snapshots) == (12, 0, 1)
    named = [data for key, data in state(target).items() if key.startswith(("segments", "index"))]
    assert copied.bytes == sum(map(len, named))
    # As a remote it is restored from, and goes on.
    restored = transit.restore(target, tmp_path / "r")
    assert restored.root == copied.root
    with transit.open(tmp_path / "r", remote=target, durability="os") as log:
        assert contents(log) == read(place.store)
        log.stream("task-0").append(b"and on", durability="tiered")
    assert transit.audit(target).ok
    assert read(target)["task-0"][-1][1] == b"and on"
    assert state(place.store).keys() < state(target).keys()


def test_a_bucket_is_copied_to_another_with_options_for_each(
    place: Place, tmp_path: Path, moto_remote: tuple[str, dict[str, object]]
) -> None:
    url, options = moto_remote
    published(place, 2)
    there = f"{url}/{uuid4().hex}"
    first = transit.copy(place.store, there, target_options=options)
    assert (first.commits, first.ok) == (2, True)
    back = transit.copy(there, tmp_path / "copy", source_options=options)
    assert (back.commits, back.root) == (2, first.root)
    same(place, open_store(tmp_path / "copy"))
    # Moto takes damaged uploads: what is there without its commit is read back.
    again = transit.copy(there, tmp_path / "copy", source_options=options)
    assert (again.commits, again.commits_there, again.bytes) == (0, 2, 0)
    with pytest.raises(transit.InvalidInputError, match="storage_options"):
        transit.copy(place.store, tmp_path / "copy", source_options=options)


def test_records_of_many_pieces_are_copied(
    place: Place, target: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carrying, "READ_BYTES", 100_000)
    settings = transit.Settings(compression="none", remote_timeout_s=0.3)
    with place.open(settings=settings) as log:
        stream = log.create("large")
        for size in (1_000_000, 99_000, 3):
            stream.append(bytes(range(256)) * (size // 256) + b"x")
            log.seal()
        log.publish()
    both = Both(place, target)
    both.copy()
    same(place, target)
    pieces = kinds(both.source.requests)["get", "segments"]
    assert pieces == 11 + 1 + 1


def test_a_store_without_commits_is_copied(place: Place, target: ObjectStore) -> None:
    with place.open():
        pass
    copied = transit.copy(place.store, target)
    assert (copied.commits, copied.root, copied.ok) == (0, "", True)
    assert state(target) == state(place.store)
    published(place, 1)
    assert transit.copy(place.store, target).commits == 1
    same(place, target)


def test_a_long_chain_is_read_in_few_requests_and_its_checkpoints_come_along(
    place: Place, target: ObjectStore
) -> None:
    for count in (3, 70, 2):
        grow(place, count)
        sign(place)
    grow(place, 2)
    both = Both(place, target)
    copied = both.copy()
    assert (copied.commits, copied.checkpoints) == (77, 3)
    same(place, target)
    # One by one: the first three and the last two, and those that notes and their tiles stand on.
    assert kinds(both.source.requests)["get", "commits"] <= 12
    assert transit.audit(target).counts["tiles"]
    with transit.open(target.url, mode="read") as log:
        assert log.checkpoint_note(73) == place.store.get(note_key(73), 10_000)


@pytest.mark.parametrize("erased", [False, True])
def test_an_encrypted_store_is_copied_without_its_keys(
    place: Place, target: ObjectStore, tmp_path: Path, erased: bool
) -> None:
    ring = Keyring.create(tmp_path / "ring", key_file=Keyring.new_key_file(tmp_path / "key"))
    with place.open(encrypt="remote", keyring=ring) as log:
        write_secrets(log)
    if erased:
        transit.copy(place.store, target)
        with place.open(keyring=ring) as log:
            log.delete("secret", reason="asked")
            log.erase()
    copied = transit.copy(place.store, target, level="bodies")
    assert copied.ok
    assert copied.erased == 2 * erased
    same(place, target, keyring=ring)
    assert transit.audit(target, keyring=ring).ok


# Run again


def test_where_nothing_is_new_eleven_requests_say_so_and_nothing_is_written(
    place: Place, target: ObjectStore
) -> None:
    published(place, 10)
    both = Both(place, target)
    both.copy()
    both.clear()
    copied = both.copy()
    assert (copied.commits, copied.commits_there) == (0, 10)
    assert (copied.segments, copied.bytes, copied.checkpoints) == (0, 0, 0)
    assert copied.root == transit.audit(target, "roots").head
    assert kinds(both.requests) == {
        ("get", "FORMAT"): 3, ("get", "HEAD"): 2, ("get", "commits"): 2, ("size", "commits"): 3,
        ("get", "checkpoint"): 1,
    }  # fmt: skip


def test_what_is_new_costs_little_more_than_its_objects(place: Place, target: ObjectStore) -> None:
    published(place, 5)
    both = Both(place, target)
    both.copy()
    grow(place, 2)
    both.clear()
    copied = both.copy()
    assert (copied.commits, copied.commits_there, copied.segments) == (2, 5, 2)
    assert kinds(both.source.requests) == {
        ("get", "FORMAT"): 2, ("get", "checkpoint"): 2, ("get", "HEAD"): 1,
        # Those before the last one in common are read for the names in them.
        ("get", "commits"): 1 + 7, ("size", "commits"): 2, ("get", "segments"): 2,
        # Whether it erased from those that are there already.
        ("size", "segments"): 5,
    }  # fmt: skip
    wrote = {key: n for key, n in kinds(both.target.requests).items() if key[0] != "get"}
    assert wrote == {
        ("size", "commits"): 2, ("size", "segments"): 2, ("put", "segments"): 2,
        ("create", "commits"): 2, ("create", "probes"): 5, ("put", "HEAD"): 1,
    }  # fmt: skip
    # And where only a checkpoint is new.
    sign(place)
    both.clear()
    assert both.copy().checkpoints == 1
    assert not {"segments", "HEAD"} & {key for kind, key in kinds(both.requests) if kind != "get"}
    both.clear()
    assert both.copy().checkpoints == 0
    assert len(both.requests) == 13
    same(place, target)


def test_what_a_run_that_was_cut_short_had_brought_is_not_read_again(
    place: Place, target: ObjectStore
) -> None:
    published(place, 8)
    both = Both(place, target)

    def cut(at: int, kind: str, key: str) -> Fault | None:
        return "die_before" if (kind, key) == ("create", commit_key(5)) else None

    both.rule = cut
    with pytest.raises(ProcessDiedError):
        both.copy()
    both.rule = None
    both.clear()
    copied = both.copy()
    # The objects of the commit that was refused, and of the one that it waited for.
    assert (copied.commits_there, copied.commits) == (5, 3)
    assert (copied.segments_there, copied.segments) == (2, 1)
    assert copied.bytes_there > 0
    assert kinds(both.source.requests)["get", "segments"] == 1
    assert ("get", "segments") not in kinds(both.target.requests)
    same(place, target)


@pytest.mark.parametrize("change", [-1, 1])
def test_an_object_of_another_size_that_lies_in_its_place_is_replaced(
    place: Place, target: ObjectStore, change: int
) -> None:
    published(place, 2)
    transit.copy(place.store, target, **QUIET)
    grow(place, 1)
    (key,) = {key for key in state(place.store).keys() - state(target).keys() if key[0] == "s"}
    data = state(place.store)[key]
    target.put(key, data[:-1] if change < 0 else data + b"?")
    copied = transit.copy(place.store, target, **QUIET)
    assert (copied.segments, copied.segments_there) == (1, 0)
    same(place, target)


class Careless(FaultDoor):
    """A store that takes damaged uploads; each put is damaged as often as `damages` says."""

    damages = 0
    refuses_damage = False

    def put(self, key: str, data: bytes) -> None:
        if self.damages and key.startswith(("segments/", "index/")):
            self.damages -= 1
            data = data[:-1] + bytes([data[-1] ^ 1])
        super().put(key, data)


def test_where_uploads_may_be_damaged_each_object_is_read_back(
    place: Place, target: ObjectStore
) -> None:
    published(place, 2)
    careless = Careless(target)
    careless.damages = 2
    copied = transit.copy(place.store, careless, **QUIET)
    assert copied.segments == 2
    same(place, target)
    assert kinds(careless.requests)["put", "segments"] == 4
    # What lies there without its commit is read, and brought again where it is damaged.
    grow(place, 2)
    (name, _) = sorted(set(state(place.store)) - set(state(target)), key=lambda key: key[0] != "s")[
        :2
    ]
    data = state(place.store)[name]
    target.put(name, data[:-1] + b"?")
    copied = transit.copy(place.store, careless, **QUIET)
    assert (copied.segments, copied.segments_there) == (2, 0)
    same(place, target)
    # And told where that is of no use.
    grow(place, 1)
    careless.damages = 100
    with pytest.raises(transit.CorruptError, match=target.url):
        transit.copy(place.store, careless, **QUIET)
    assert len(list(target.list("commits/"))) == 4


def test_verify_reads_what_is_there_and_mends_it(place: Place, target: ObjectStore) -> None:
    published(place, 10)
    transit.copy(place.store, target)
    segments = sorted(key for key, _ in target.list("segments/"))
    ((index, size),) = target.list("index/")
    for key in segments[:2]:
        data = target.get(key, 10**6) or b""
        target.put(key, data[:50] + bytes([data[50] ^ 1]) + data[51:])
    target.delete(segments[2])
    target.put(index, b"?" * size)
    both = Both(place, target)
    # By itself it believes what it made, and the audit says what is not so.
    copied = both.copy(level="bodies")
    assert (copied.segments, copied.ok) == (0, False)
    assert copied.report is not None
    assert {finding.place.partition("/copy/")[2] for finding in copied.report.findings} >= {
        *segments[:3], index
    }  # fmt: skip
    both.clear()
    copied = both.copy(verify=True, level="bodies")
    assert copied.ok
    assert (copied.commits, copied.segments, copied.segments_there) == (0, 3, 0)
    assert copied.snapshots == 1
    assert kinds(both.source.requests)["get", "segments"] == 3
    same(place, target)


def test_commits_that_are_published_meanwhile_are_for_the_next_run(
    place: Place, target: ObjectStore
) -> None:
    published(place, 4)
    both = Both(place, target)

    def publish(at: int, kind: str, key: str) -> None:
        if kind == "put" and key.startswith("segments/"):
            both.rule = None
            grow(place, 3)

    both.rule = publish
    first = both.copy()
    assert first.commits == 4
    assert transit.audit(target).ok
    assert len(list(place.store.list("commits/"))) == 7
    second = both.copy()
    assert (second.commits_there, second.commits) == (4, 3)
    same(place, target)


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("number", [None, 0, 3, 900])
def test_a_hint_decides_nothing(
    place: Place, target: ObjectStore, side: str, number: int | None
) -> None:
    published(place, 6)
    transit.copy(place.store, target, **QUIET)
    grow(place, 3)
    store = place.store if side == "source" else target
    hint = store.get("HEAD", 1000) or b""
    store.delete("HEAD")
    if number is not None:
        last = b'"number":%d' % (8 if side == "source" else 5)
        assert last in hint
        store.put("HEAD", hint.replace(last, b'"number":%d' % number))
    copied = transit.copy(place.store, target)
    assert (copied.commits_there, copied.commits, copied.ok) == (6, 3, True)
    assert state(target) == state(place.store)
    assert transit.audit(target).counts["head_hint_stale"] == 0


@pytest.mark.parametrize("kept", ["source", "neither"])
def test_a_hint_that_is_gone_is_made_again(place: Place, target: ObjectStore, kept: str) -> None:
    published(place, 10)
    transit.copy(place.store, target, **QUIET)
    target.delete("HEAD")
    if kept == "neither":
        place.store.delete("HEAD")
    assert transit.copy(place.store, target, **QUIET).commits == 0
    assert transit.audit(target).counts["head_hint_stale"] == (kept == "neither")


# Progress and memory


@pytest.mark.parametrize("transfers_max", [1, 4])
def test_progress_counts_up_to_the_totals(
    place: Place, target: ObjectStore, transfers_max: int
) -> None:
    published(place, 10)
    seen: list[transit.Progress] = []
    settings = transit.Settings(transfers_max=transfers_max)
    copied = transit.copy(place.store, target, progress=seen.append, level=None, settings=settings)
    assert [each.objects for each in seen] == list(range(1, 12))
    assert {each.step for each in seen} == {"copy"}
    assert seen[-1].bytes == seen[-1].bytes_total == copied.bytes
    assert seen[-1].objects_total == 11
    transit.copy(place.store, target, progress=seen.append, level="bodies")
    assert {each.step for each in seen} == {"copy", "audit"}


def test_memory_for_objects_is_bounded_by_the_setting(place: Place, target: ObjectStore) -> None:
    with place.open(settings=transit.Settings(compression="none")) as log:
        stream = log.create("s")
        for _ in range(12):
            stream.append(b"x" * 400_000)
            log.seal()
        log.publish()
    held = most = 0
    lock = threading.Lock()

    class Source(FaultDoor):
        def get_range(self, key: str, position: int, size: int) -> bytes:
            nonlocal held, most
            with lock:
                held += size
                most = max(most, held)
            return super().get_range(key, position, size)

    class Target(FaultDoor):
        def put(self, key: str, data: bytes) -> None:
            nonlocal held
            time.sleep(0.002)
            super().put(key, data)
            with lock:
                held -= len(data) if key.startswith(("segments/", "index/")) else 0

    settings = transit.Settings(transfer_bytes_max=1024 * 1024, transfers_max=8)
    transit.copy(Source(place.store), Target(target), level=None, settings=settings)
    assert 400_000 < most <= 1024 * 1024
    same(place, target)
