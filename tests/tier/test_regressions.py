"""Mistakes that were planted on purpose and that no other test noticed."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable

import pytest

import transit
from transit.format.commit import encode_format
from transit.log.guides import GuideShelf
from transit.testing.doors import FaultDoor, ProcessDiedError
from transit.tier import fetch, retain
from transit.tier.conditional import put_if_absent
from transit.tier.fetch import Fetcher
from transit.tier.remote import Remote, commit_key

from .conftest import Place, contents, write_history


def flipped(data: bytes) -> bytes:
    """`data` with one bit changed in the middle."""
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


class FlippingOnce(FaultDoor):
    """A store on whose way the first answer for each key below `prefix` is damaged."""

    prefix = "commits/"

    def get(self, key: str, bytes_max: int) -> bytes | None:
        data = super().get(key, bytes_max)
        first = [asked for _, asked in self.requests].count(key) == 1
        return flipped(data) if data and first and key.startswith(self.prefix) else data


def published(place: Place, rounds: int = 3) -> dict[str, object]:
    with place.open() as log:
        write_history(log, rounds)
        log.publish()
        return dict(contents(log))


def test_publish_goes_on_without_sending_again_what_is_there(place: Place) -> None:
    # transit.tier.publish, `fresh`
    def rule(number: int, kind: str, key: str) -> str | None:
        return "die_before" if kind == "create" and key.startswith("commits/") else None

    door = place.door()
    with place.open(remote=door) as log:
        write_history(log)
        door.rule = rule  # type: ignore[assignment]
        with pytest.raises(ProcessDiedError):
            log.publish()
    sent = {key for kind, key in door.requests if kind == "put" and key.startswith("segments/")}
    assert sent
    door = place.door()
    with place.open(remote=door) as log:
        log.publish()
    assert not sent & {key for kind, key in door.requests if kind == "put"}


def test_yes_of_a_store_that_takes_damaged_bytes_is_read_back(place: Place) -> None:
    # transit.tier.conditional, `refuses_damage`
    class Careless(FaultDoor):
        refuses_damage = False  # type: ignore[assignment]

        def create(self, key: str, data: bytes) -> None:
            super().create(key, flipped(data))

    found = put_if_absent(Careless(place.store), "commits/x", b"ours", 100, 1.0)
    assert found == flipped(b"ours")


def test_store_that_claims_the_remote_at_the_same_time_is_noticed(place: Place) -> None:
    # transit.tier.remote, `claim`
    class Racing(FaultDoor):
        def create(self, key: str, data: bytes) -> None:
            if key == "FORMAT":
                super().create(key, encode_format(os.urandom(16)))
            super().create(key, data)

    transit.open(place.path / "a").close()
    with pytest.raises(transit.InvalidInputError, match="holds store"):
        place.open("a", remote=Racing(place.store))


def test_commit_damaged_on_its_way_is_read_again(place: Place) -> None:
    # transit.tier.remote, `checked_commit`
    wanted = published(place)
    transit.restore(FlippingOnce(place.store), place.path / "r")
    with transit.open(place.path / "r", mode="read") as log:
        assert contents(log) == wanted


def test_commit_under_the_number_of_another_is_corrupt(place: Place) -> None:
    # transit.tier.remote, `checked_commit`
    published(place)
    place.store.put(commit_key(7), place.store.get(commit_key(1), 100_000) or b"")
    with pytest.raises(transit.CorruptError, match="number 7"):
        Remote(place.store, place.settings).checked_commit(7)


def test_index_snapshot_is_checked_and_read_again(place: Place) -> None:
    # transit.tier.remote, `whole`
    published(place, 12)
    key, size = next(iter(place.store.list("index/")))
    name = key.removeprefix("index/").removesuffix(".idx")
    data = place.store.get(key, size)
    door = FlippingOnce(place.store)
    door.prefix = "index/"
    assert Remote(door, place.settings).snapshot(name, size) == data
    place.store.put(key, flipped(data or b""))
    with pytest.raises(transit.CorruptError, match=name):
        Remote(place.store, place.settings).snapshot(name, size)


def test_sealed_records_of_our_own_are_fenced_not_adopted_over(place: Place) -> None:
    # transit.tier.adopt, the last common commit
    with place.open("a") as a:
        a.create("s").append(b"0")
        a.release()
    shutil.copytree(place.path / "a", place.path / "b")
    with place.open("a") as a:
        for payload in (b"a1", b"a2"):
            a.stream("s").append(payload)
            a.seal()
        a.release()
    with transit.open(place.path / "b") as b:
        b.stream("s").append(b"b1")
        b.seal()
    with place.open("b") as b:
        assert [r.payload for r in b.stream("s").read()] == [b"0", b"b1"]
        with pytest.raises(transit.FencedError) as caught:
            b.publish()
        assert caught.value.number == 1


def test_continuing_a_remote_reads_the_guides_it_has_in_a_snapshot_from_there(place: Place) -> None:
    # transit.tier.adopt, the index snapshot
    with place.open() as log:
        for number in range(20):
            log.create(f"s{number}").append(b"x")
            log.seal()
        log.release()
    door = place.door()
    place.open("b", remote=door).close()
    asked = {key for _, key in door.requests if key.startswith("segments/")}
    assert len(asked) < 20 / 2


class CrashError(BaseException):
    pass


def test_eviction_cut_short_leaves_a_store_that_says_where_the_rest_is(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    # transit.tier.retain, the order of note and removal
    published(place, 12)

    def remove(path: str) -> None:
        os.unlink(path)
        raise CrashError

    log = place.open()
    with monkeypatch.context() as patch:
        patch.setattr(retain, "remove", remove)
        with pytest.raises(CrashError):
            log.evict(bytes_max=0)
    log.close()
    with (
        transit.open(place.path / "a", mode="read") as reader,
        pytest.raises(transit.RetentionGapError, match="only in the remote"),
    ):
        list(reader.streams())


def test_eviction_drops_nothing_whose_object_has_another_size(place: Place) -> None:
    # transit.tier.retain, `evict`
    published(place, 12)
    key, size = next(iter(place.store.list("segments/")))
    place.store.put(key, (place.store.get(key, size) or b"")[:-1])
    with place.open() as log:
        with pytest.raises(transit.CorruptError, match=key):
            log.evict(bytes_max=0)
        assert len(list((place.path / "a" / "segments").iterdir())) == 12


def test_evicted_store_takes_new_streams_without_its_remote(place: Place) -> None:
    # transit.tier.retain, the guides that stay
    published(place, 12)
    with place.open() as log:
        log.evict(bytes_max=0)
    shutil.rmtree(place.path / "a" / "cache", ignore_errors=True)
    with transit.open(place.path / "a") as log:
        log.create("new").append(b"x")
        assert [r.payload for r in log.stream("new").read()] == [b"x"]
    with place.open() as log:
        log.publish()
    assert [r[1] for r in place.restored()["new"]] == [b"x"]


def test_eviction_keeps_what_is_within_its_limits(place: Place) -> None:
    # transit.tier.retain, `_choose`
    with place.open() as log:
        log.create("s").append(b"old", timestamp=1)
        log.publish()
        assert log.evict(older_than=3600).segments == 0  # another record in it is new
        assert log.evict(bytes_max=log.status().segment_bytes).segments == 0
        assert log.evict(bytes_max=log.status().segment_bytes - 1).segments == 1


def restore_cut_short(place: Place, segments: int) -> None:
    """Folder `r` with this many segments of a restore that was cut short."""
    seen = 0

    def rule(number: int, kind: str, key: str) -> str | None:
        nonlocal seen
        seen += key.startswith("segments/")
        return "die_before" if seen > segments else None

    settings = transit.Settings(transfers_max=1)
    with pytest.raises(ProcessDiedError):
        transit.restore(place.door(rule), place.path / "r", settings=settings)  # type: ignore[arg-type]


def test_segment_damaged_since_a_restore_was_cut_short_is_fetched_again(place: Place) -> None:
    # transit.tier.restore, `_fetch_segment`
    wanted = published(place, 12)
    restore_cut_short(place, 3)
    kept = [path for path in (place.path / "r" / "segments").iterdir() if path.suffix == ".seg"]
    assert kept
    for path in kept:
        path.write_bytes(flipped(path.read_bytes()))
    assert place.restored("r") == wanted


def test_commits_of_a_longer_restore_that_was_cut_short_are_dropped(place: Place) -> None:
    # transit.tier.restore, `fetch_commits`
    published(place, 12)
    restore_cut_short(place, 0)
    transit.restore(place.door(), place.path / "r", at=3)
    with transit.open(place.path / "r", mode="read") as log:
        assert log.status().commits == 4
        assert log.verify().ok


def test_lazy_restore_takes_the_guides_from_all_snapshots(place: Place) -> None:
    # transit.tier.restore, `fetch_snapshots`
    with place.open() as log:
        for number in range(40):
            log.create(f"s{number}").append(b"x")
            log.seal()
        log.publish()
    door = place.door()
    transit.restore(door, place.path / "r", lazy=True)
    assert len({key for _, key in door.requests if key.startswith("segments/")}) <= 8


def test_restore_of_a_branch_brings_the_record_it_was_forked_at(place: Place) -> None:
    # transit.tier.restore, `needed_segments`
    with place.open() as log:
        stream = log.create("s")
        for payload in (b"0", b"1", b"2"):
            stream.append(payload)
            log.seal()
        stream.branch("fork", at=1)
        log.publish()
    result = transit.restore(place.door(), place.path / "r", streams=["fork"])
    assert result.segments_remote == 1
    with transit.open(place.path / "r") as log:
        assert [r.payload for r in log.stream("fork").read()] == [b"0", b"1"]


def test_restore_of_a_stream_brings_the_names_of_all_it_descends_from(place: Place) -> None:
    # transit.tier.restore, `needed_segments`
    with place.open() as log:
        for name in ("p", "q", "stranger"):
            log.create(name)
            log.seal()
        log.stream("p").branch("fork")
        log.seal()
        log.stream("q").append(b"x")
        log.seal()
        parents = [log.stream("p"), log.stream("q")]
        log.merge("merged", parents, policy="select", params={"selected": "p"})
        log.publish()
    for name in ("fork", "merged"):
        transit.restore(place.door(), place.path / name, streams=[name])
        with transit.open(place.path / name) as log:
            found = [parent.stream for parent in log.stream(name).parents]
            assert found == (["p"] if name == "fork" else ["p", "q"])


def test_follower_waits_for_a_commit_that_is_missing_before_others(place: Place) -> None:
    # transit.tier.bucket, `refresh` and `_follow`
    with place.open() as log:
        stream = log.create("s")
        log.publish()
        with transit.open(place.store.url, mode="read") as follower:
            for n in range(4):
                stream.append(b"%d" % n)
                log.seal()
            log.publish()
            key = commit_key(3)
            data = place.store.get(key, 100_000) or b""
            place.store.delete(key)
            assert follower.refresh() == 2
            assert len(follower.stream("s")) == 2
            place.store.put(key, data)
            assert follower.refresh() == 2
            assert [r.payload for r in follower.stream("s").read()] == [b"0", b"1", b"2", b"3"]


class Broken(FaultDoor):
    """A store whose first answer for a range is not what is there."""

    def __init__(self, place: Place, spoil: Callable[[bytes], bytes]) -> None:
        super().__init__(place.store)
        self.spoil = spoil

    def get_range(self, key: str, position: int, size: int) -> bytes:
        data = super().get_range(key, position, size)
        return self.spoil(data) if len(self.requests) == 1 else data


def test_guide_damaged_on_its_way_is_read_again_wherever_the_damage_is(place: Place) -> None:
    # transit.tier.fetch, `_fetch_guide`
    with place.open() as log:
        write_history(log, 1)
        log.publish()
        segment = log._handle.catalog.view.segments[0]
        ref, wanted = segment.ref, segment.guide()
        store_id = bytes.fromhex(log.store_id)

    def fetcher(spoil: Callable[[bytes], bytes]) -> Fetcher:
        nowhere = GuideShelf(str(place.path / "nowhere"), store_id)
        return Fetcher(Remote(Broken(place, spoil), place.settings), nowhere, None)

    def flip(before_end: int) -> Callable[[bytes], bytes]:
        return lambda data: (
            data[:-before_end] + bytes([data[-before_end] ^ 1]) + data[len(data) - before_end + 1 :]
        )

    end = len(wanted.index) + len(wanted.footer)
    for before_end in (1, *range(13, end, 13)):
        assert fetcher(flip(before_end)).guide(ref) == wanted, before_end
    assert fetcher(lambda data: data[:-1]).guide(ref) == wanted
    with pytest.raises(transit.CorruptError):
        fetcher(lambda data: data[:-1]).read(ref, 0, 100)


def test_damaged_block_in_the_cache_is_fetched_again(place: Place) -> None:
    # transit.tier.fetch, `_cached`
    wanted = published(place)
    transit.restore(place.door(), place.path / "r", lazy=True)
    for _ in range(2):
        with place.open("r", mode="read") as log:
            assert contents(log) == wanted
        cached = list((place.path / "r" / "cache").iterdir())
        assert cached
        for path in cached:
            path.write_bytes(flipped(path.read_bytes()))


def test_blocks_read_ahead_are_bounded(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    # transit.tier.fetch, `_fetch_blocks`
    monkeypatch.setattr(fetch, "AHEAD_BYTES_MAX", 65_536)
    settings = transit.Settings(compression="none", block_bytes=4096, cache_bytes_max=0)
    with place.open(settings=settings) as log:
        for name in "abcdefgh":
            log.create(name).append_many([os.urandom(1000) for _ in range(300)])
            log.seal()
        log.publish()
    with transit.open(place.store.url, mode="read", settings=settings) as log:
        for name in "abcdefgh":
            for offset in range(12):
                assert log.stream(name)[offset].payload
        fetcher = log._handle.catalog.elsewhere
        assert isinstance(fetcher, Fetcher)
        assert 65_536 < sum(map(len, fetcher._ahead.values())) <= 2 * 65_536


def test_branch_at_the_very_offset_where_histories_part_moves_along(place: Place) -> None:
    # transit.engine.rebasing, `_position`
    log = two_writers(place, own=2)
    stream = log.stream("task-0")
    stream.branch("at", at=50).append(b"x")
    stream.branch("before", at=49).append(b"y")
    wanted = {name: log.stream(name)[-2].payload for name in ("at", "before")}
    assert wanted["at"] == b"0"
    rebased = log.rebase_onto_remote()
    with place.open("b") as b:
        for name, payload in wanted.items():
            assert b.stream(name)[-2].payload == payload
        moved = rebased.streams["task-0"]
        assert b.stream("at").parents == (transit.Position(moved, 50),)
        assert b.stream("before").parents == (transit.Position("task-0", 49),)


def test_merges_with_one_id_on_both_sides_are_told_apart_by_a_rebase(place: Place) -> None:
    # transit.engine.rebasing, `_translated`
    with place.open("a") as a:
        a.create("s").append(b"0")
        a.release()
    shutil.copytree(place.path / "a", place.path / "b")
    for name in ("a", "b"):
        with transit.open(place.path / name) as log:
            parents = [log.stream("s").branch(f"of-{name}"), log.stream("s")]
            log.merge(f"m-{name}", parents, policy="append", merge_id="job")
    with place.open("a") as a:
        a.release()
    b = place.open("b")
    with pytest.raises(transit.FencedError):
        b.publish()
    b.rebase_onto_remote()
    with place.open("b") as b:
        catalog = b._handle.catalog
        found = [catalog.record(b.stream(name).id) for name in ("m-a", "m-b")]
        assert found[0].merge_id == "job"  # type: ignore[union-attr]
        assert found[1].merge_id != "job"  # type: ignore[union-attr]


# Bugs that were found in the same way.


def two_writers(place: Place, own: int = 100, **options: object) -> transit.Log:
    """The store in folder `b`, open and fenced off by `a`, with `own` records of its own."""
    with place.open("a") as a:
        write_history(a)
        a.release()
    shutil.copytree(place.path / "a", place.path / "b")
    with place.open("a") as a:
        a.stream("task-0").append(b"from a")
        a.release()
    with transit.open(place.path / "b", durability="os") as b:
        b.stream("task-0").append_many([b"%d" % n for n in range(own)])
    log = place.open("b", **options)
    with pytest.raises(transit.FencedError):
        log.publish()
    return log


@pytest.mark.parametrize("options", [{"publish_interval_s": 0.02}, {"seal_interval_s": 0.02}])
def test_opening_that_failed_leaves_nothing_that_writes(
    place: Place, options: dict[str, float]
) -> None:
    settings = transit.Settings(remote_timeout_s=0.05, **options)  # type: ignore[arg-type]
    with place.open(settings=settings) as log:
        log.create("s").append(b"0")
    door = place.door(lambda number, kind, key: "lost_before" if key == "HEAD" else None)
    with pytest.raises(transit.RemoteUnavailableError):
        place.open(remote=door, settings=settings)
    door.rule = None
    with transit.open(place.path / "a", durability="local") as log:
        for n in range(1, 20):
            log.stream("s").append(b"%d" % n)
            time.sleep(0.01)
    with transit.open(place.path / "a") as log:
        assert [r.payload for r in log.stream("s").read()] == [b"%d" % n for n in range(20)]


def test_record_acknowledged_while_a_rebase_runs_is_in_the_store(place: Place) -> None:
    settings = transit.Settings(seal_interval_s=0.001, flush_interval_ms=1)
    log = two_writers(place, settings=settings)
    stream = log.stream("task-0")
    acknowledged: list[bytes] = []

    def append() -> None:
        try:
            for n in range(1_000_000):
                stream.append(b"during %d" % n, durability="local")
                acknowledged.append(b"during %d" % n)
        except transit.TransitError:
            pass

    thread = threading.Thread(target=append)
    thread.start()
    while len(acknowledged) < 20:
        time.sleep(0.001)
    rebased = log.rebase_onto_remote()
    thread.join()
    with place.open("b") as b:
        kept = {r.payload for r in b.stream(rebased.streams["task-0"]).read()}
        assert [p for p in acknowledged if p not in kept] == []
        assert b.verify().ok


def test_rebase_publishes_nothing_before_it_is_whole(place: Place) -> None:
    log = two_writers(place, settings=transit.Settings(publish_interval_s=0.001, publish_bytes=1))
    before = len(list(place.store.list("commits/")))
    log.rebase_onto_remote()
    assert len(list(place.store.list("commits/"))) == before


def test_rebase_with_small_frames(place: Place) -> None:
    settings = transit.Settings(frame_bytes_max=20_000, record_bytes_max=10_000)
    log = two_writers(place, own=20_000, settings=settings)
    rebased = log.rebase_onto_remote()
    assert rebased.records == 20_000
    with place.open("b", settings=settings) as b:
        assert len(b.stream(rebased.streams["task-0"])) == 50 + 20_000


def test_follower_makes_up_for_a_refresh_that_failed(place: Place) -> None:
    with place.open() as log:
        stream = log.create("s")
        stream.append(b"1")
        log.publish()
        transit.restore(place.door(), place.path / "copy")
        door = place.door()
        with place.open("copy", remote=door, mode="read") as follower:
            held = follower.stream("s")
            stream.append(b"2")
            log.publish()
            door.rule = lambda n, kind, key: "lost_before" if key.startswith("segments/") else None
            with pytest.raises(transit.RemoteUnavailableError):
                follower.refresh()
            door.rule = None
            follower.refresh()
            assert [r.payload for r in held.read()] == [b"1", b"2"]


def test_unexpected_error_in_the_background_reaches_the_future_and_the_next_goes_on(
    place: Place,
) -> None:
    door = place.door()
    with place.open(remote=door) as log:
        stream = log.create("s")
        log.publish()

        def rule(number: int, kind: str, key: str) -> None:
            raise ValueError("boom")

        door.rule = rule
        with pytest.raises(transit.TransitError):
            stream.submit(b"1", durability="tiered").result(60)
        door.rule = None
        assert stream.submit(b"2", durability="tiered").result(60).durability == "tiered"


def test_shared_writer_publishes_after_another_evicted(place: Place) -> None:
    with place.open(mode="shared") as a, place.open(mode="shared") as b:
        a.create("s").append(b"1")
        a.publish()
        b.status()
        a.stream("s").append(b"2", durability="tiered")
        a.evict(bytes_max=0)
        assert b.stream("s").append(b"3", durability="tiered").durability == "tiered"
    assert [r[1] for r in place.restored()["s"]] == [b"1", b"2", b"3"]


@pytest.mark.parametrize("damage", ["lost", "changed"])
def test_store_without_its_index_snapshots_is_read_restored_and_continued(
    place: Place, damage: str
) -> None:
    with place.open() as log:
        write_history(log, 20)
        log.release()
    with place.open() as log:
        wanted = contents(log)
    for key, _ in list(place.store.list("index/")):
        if damage == "lost":
            place.store.delete(key)
        else:
            place.store.put(key, b"other bytes")
    with transit.open(place.store.url, mode="read") as log:
        assert contents(log) == wanted
    assert place.restored() == wanted
    with place.open("continued") as log:
        assert contents(log) == wanted


def test_shared_mode_on_an_empty_folder_does_not_begin_a_history_beside_the_remotes(
    place: Place,
) -> None:
    with place.open() as log:
        log.create("s").append(b"1")
        log.release()
    try:
        log = place.open("b", mode="shared")
    except transit.InvalidInputError:
        return
    with log:
        assert [r.payload for r in log.stream("s").read()] == [b"1"]


def test_blocks_read_ahead_are_counted_once(place: Place) -> None:
    settings = transit.Settings(compression="none", block_bytes=65_536)
    with place.open(settings=settings) as log:
        stream = log.create("s")
        for n in range(30):
            stream.append_many([bytes([n, m]) * 5_000 for m in range(50)])
        log.publish()
    with transit.open(
        place.store.url, mode="read", settings=transit.Settings(cache_bytes_max=0)
    ) as log:
        fetcher = log._handle.catalog.elsewhere
        for _ in range(5):
            for n, _record in enumerate(log.stream("s").read()):
                if n == 700:
                    break
            held = sum(map(len, fetcher._ahead.values()))  # type: ignore[attr-defined]
            assert fetcher._ahead_bytes == held  # type: ignore[attr-defined]


def test_head_hint_of_any_size_is_only_a_hint(place: Place) -> None:
    with place.open() as log:
        write_history(log)
        log.release()
    place.store.put("HEAD", b"x" * 5000)
    with transit.open(place.store.url, mode="read") as log:
        assert log.status().commits == 3
    place.open().close()


def test_future_is_not_resolved_before_the_commit_is_there(place: Place) -> None:
    # transit.handle.tiering, `_resolve`
    door = place.door()
    with place.open(remote=door, settings=transit.Settings(remote_timeout_s=0.05)) as log:
        stream = log.create("s")
        log.publish()
        door.rule = lambda n, kind, key: "lost_before" if key.startswith("commits/") else None
        with pytest.raises((transit.OutcomeUnknownError, transit.RemoteUnavailableError)):
            stream.submit(b"x", durability="tiered").result(60)
        door.rule = None


def test_fenced_writer_seals_nothing_for_a_remote_that_will_not_take_it(place: Place) -> None:
    # transit.handle.tiering, `_round`
    log = two_writers(place)
    log.stream("task-0").append(b"one more")
    before = log.status().commits
    with pytest.raises(transit.FencedError):
        log.publish()
    assert log.status().commits == before
    log.close()


def test_size_that_is_published_counts_sealed_records_and_not_what_is_there(place: Place) -> None:
    # transit.handle.tiering, `_unpublished_bytes`
    settings = transit.Settings(publish_bytes=100_000, compression="none", flush_interval_ms=5)
    with place.open(settings=settings) as log:
        stream = log.create("s")
        stream.append(os.urandom(90_000))
        log.publish()
        published = log.status().published
        stream.append(os.urandom(50_000))
        time.sleep(0.1)
        assert log.status().published == published
        log.seal()
        stream.append(os.urandom(60_000))
        deadline = time.monotonic() + 30
        while log.status().published == published and time.monotonic() < deadline:
            time.sleep(0.01)
        assert log.status().published > published


def test_damaged_index_snapshot_in_the_folder_costs_requests_and_nothing_else(place: Place) -> None:
    # transit.log.guides, `_load`
    wanted = published(place, 12)
    with place.open() as log:
        log.evict(bytes_max=0)
    shutil.rmtree(place.path / "a" / "cache", ignore_errors=True)
    for path in (place.path / "a" / "index").iterdir():
        path.write_bytes(flipped(path.read_bytes()))
    with place.open(mode="read") as log:
        assert contents(log) == wanted
