"""Durability "tiered": acknowledged only when the covering commit is in the remote."""

from __future__ import annotations

import threading

import pytest

import transit
from transit.testing.doors import ProcessDiedError, fail_at
from transit.tier.remote import commit_key

from .conftest import Place, contents, objects


def test_tiered_receipts_say_what_was_reached_and_the_remote_has_it(place: Place) -> None:
    with place.open(durability="tiered") as log:
        stream = log.create("s")
        receipt = stream.append(b"one")
        assert receipt.durability == "tiered"
        assert stream.append_many([b"two", b"three"]).durability == "tiered"
        assert stream.submit(b"four").result(60).durability == "tiered"
        with log.batch() as batch:
            batch.append(stream, b"five")
        stream.append(b"six", durability="os")
        log.sync(level="tiered")
    assert [r[1] for r in place.restored()["s"]] == [
        b"one",
        b"two",
        b"three",
        b"four",
        b"five",
        b"six",
    ]


def test_a_tiered_append_takes_three_requests(place: Place) -> None:
    """A segment, a commit, and a look whether the commit before is there, beside the first."""
    door = place.door()
    with place.open(remote=door) as log:
        stream = log.create("s")
        log.publish()
        counts = []
        for _ in range(5):
            before = len(door.requests)
            stream.append(b"x", durability="tiered")
            counts.append(len(door.requests) - before)
    assert counts[:4] == [3, 3, 3, 3]


def test_nothing_is_published_where_what_was_published_is_gone(place: Place) -> None:
    """Somebody empties the remote while the store is open: what follows could not be restored."""
    with place.open() as log:
        stream = log.create("s")
        stream.append(b"1", durability="tiered")
        stream.append(b"2", durability="tiered")
        for path in place.remote_path.rglob("*"):
            if path.is_file():
                path.unlink()
        for _ in range(2):
            with pytest.raises(transit.CorruptError, match="a commit that was published"):
                stream.append(b"3", durability="tiered")
        assert list(place.store.list("commits/")) == []
        assert "a commit that was published" in log.status().remote_error
    # Opened again, it finds that nothing is there, and brings what the folder has.
    with place.open() as log:
        log.publish()
    assert [row[1] for row in place.restored()["s"]] == [b"1", b"2", b"3", b"3"]


def test_concurrent_tiered_appends_share_commits(place: Place) -> None:
    with place.open() as log:
        streams = [log.create(f"s{n}") for n in range(16)]
        log.publish()
        before = log.status().commits
        barrier = threading.Barrier(16)

        def work(stream: transit.Stream) -> None:
            barrier.wait()
            for _ in range(5):
                assert stream.append(b"x", durability="tiered").durability == "tiered"

        threads = [threading.Thread(target=work, args=(stream,)) for stream in streams]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # How many share one is the scheduler's affair; without sharing there were 80.
        assert log.status().commits - before <= 80 * 3 // 4
        wanted = contents(log)
    assert place.restored() == wanted


def test_unanswered_commit_is_an_unknown_outcome_and_found_out_later(place: Place) -> None:
    door = place.door()
    with place.open(remote=door) as log:
        stream = log.create("s")
        log.publish()
        last = commit_key(log.status().commits)
        door.rule = lambda n, kind, key: "lost_after" if key == last else None
        with pytest.raises(transit.OutcomeUnknownError, match="commits/"):
            stream.append(b"x", durability="tiered")
        door.rule = None
        assert log.publish().commits == 1
        assert len(stream) == 1


@pytest.mark.parametrize(
    "fault", ["lost_before", "lost_after", "exists_after", "die_before", "die_after"]
)
def test_no_fault_at_any_request_loses_or_doubles_an_acknowledged_record(
    place: Place, fault: str
) -> None:
    acknowledged: list[bytes] = []
    settings = transit.Settings(remote_timeout_s=0.01)
    for number in range(8):
        door = place.door()
        log = place.open(remote=door, settings=settings)
        if "s" not in log:
            log.create("s")
        stream = log.stream("s")
        door.rule = fail_at(len(door.requests) + number, fault)  # type: ignore[arg-type]
        for n in range(3):
            payload = f"{fault} {number} {n}".encode()
            try:
                stream.append(payload, durability="tiered")
            except (transit.RemoteUnavailableError, transit.OutcomeUnknownError, ProcessDiedError):
                door.rule = None
                continue
            acknowledged.append(payload)
            remote = b"".join(objects(place.store).values())
            assert remote  # the commit is there; what it holds is compared at the end
        log.close()
        restored = [r[1] for r in place.restored(f"check-{number}").get("s", [])]
        assert [p for p in acknowledged if p not in restored] == []
        assert len(restored) == len(set(restored))


def test_fenced_writer_acknowledges_nothing_as_tiered(place: Place) -> None:
    with place.open("a") as log:
        log.create("s")
        log.release()
    transit.restore(place.door(), place.path / "b")
    a, b = place.open("a"), place.open("b")
    a.stream("s").append(b"a", durability="tiered")
    with pytest.raises(transit.FencedError):
        b.stream("s").append(b"b", durability="tiered")
    # What raised is in the local log; the next is refused before it is written.
    count = len(b.stream("s"))
    with pytest.raises(transit.FencedError):
        b.stream("s").append(b"b2", durability="tiered")
    assert len(b.stream("s")) == count
    assert b.stream("s").append(b"local", durability="local").durability == "local"
    a.close()
    b.close()
