"""A takeover: one winner for its commit's number, the writer before told, and nothing lost."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path

import pytest

import transit
from transit.engine import fencing
from transit.testing.doors import Fault, FaultDoor, ProcessDiedError
from transit.tier.remote import commit_key

from ..engine.canary import has
from .conftest import Place, contents, write_history
from .copies import erase, grow, published, write_secrets
from .standing import follow, payloads, standby, take_over, takeovers


def test_the_writer_before_is_fenced_off_and_loses_nothing(place: Place) -> None:
    with place.open() as old:
        old.create("s").append(b"tiered", durability="tiered")
        old.stream("s").append(b"missed 1", durability="local")
        old.create("t").append_many([b"missed 2", b"missed 3"])
        with standby(place) as standing:
            before = standing.follow()
            log, takeover = standing.take_over(reason="it hangs", by="ada")
        with log:
            assert (takeover.commit, takeover.root) == (before.commits, before.root)
            assert (takeover.records, takeover.written) == (before.records, before.written)
            assert (takeover.by, takeover.reason, takeover.lost) == ("ada", "it hangs", 0)
            assert (takeover.epoch, log.status().epoch) == (before.epoch, before.epoch + 1)
            assert payloads(log, "s") == [b"tiered"]
            # In force although the new writer wrote nothing: the remote has the commit.
            assert log.status().published == takeover.commit + 1
            with pytest.raises(transit.FencedError) as caught:
                old.publish()
            assert (caught.value.number, caught.value.epoch) == (
                takeover.commit,
                log.status().epoch,
            )
            old.stream("s").append(b"missed 4", durability="local")
            log.stream("s").append(b"goes on", durability="tiered")
            assert transit.takeovers(log) == (takeover,)
            assert takeover.missed_records is None
        done = old.rebase_onto_remote()
    assert done.records == 4
    with place.open() as old:
        assert old.verify().ok
        (counted,) = transit.takeovers(old)
        assert counted.missed_records == 4
        assert counted.missed[0].streams == 2
        assert done.kept.endswith(counted.missed[0].tag)
        assert payloads(old, done.streams["s"]) == [b"tiered", b"missed 1", b"missed 4"]
        assert payloads(old, done.streams["t"]) == [b"missed 2", b"missed 3"]
        assert payloads(old, "s") == [b"tiered", b"goes on"]
        # What is said reaches everybody once it is published.
        old.release()
    assert takeovers(place)[0].missed_records == 4
    with place.open("b") as log:
        assert transit.takeovers(log)[0].missed_records == 4
    assert transit.audit(place.store.url).findings == ()


def test_a_takeover_is_two_records_in_one_commit_that_any_auditor_takes(place: Place) -> None:
    published(place, 10)
    takeover = take_over(place)
    report = transit.audit(place.store.url, "bodies")
    assert report.findings == ()
    assert report.counts["commits"] == takeover.commit + 1
    assert report.counts["unnamed_objects"] == 0
    with transit.open(place.path / "b", mode="read") as log:
        assert log.verify().ok
        assert log.status().records == takeover.records + 2
        assert [stream.name for stream in log.streams("$takeovers/")] == [
            f"$takeovers/{takeover.takeover_id}"
        ]
        assert not any(stream.name.startswith("$") for stream in log.streams())
    # The next writer names the snapshot that was due.
    with place.open("b") as log:
        log.create("more").append(b"x", durability="tiered")
    assert transit.audit(place.store.url).findings == ()


def test_its_segment_comes_first_and_its_commit_is_linked_here_last(place: Place) -> None:
    published(place, 2)
    follow(place)
    created: list[int] = []

    def rule(at: int, kind: str, key: str) -> None:
        if not created:
            assert not (place.path / "b" / "commits" / f"{2:020}.json").exists()
        if (kind, key) == ("create", commit_key(2)):
            (new,) = files(place, "b", "segments") - files(place, "a", "segments")
            assert new in files(place, "remote", "segments")
            created.append(at)

    take_over(place, rule=rule)
    # FORMAT and a round, then the remote is tried out, then the segment.
    assert created == [1 + 3 + 9 + 1]
    assert files(place, "b", "segments") == files(place, "remote", "segments")
    assert files(place, "b", "commits") == files(place, "remote", "commits")


def files(place: Place, name: str, folder: str) -> set[str]:
    return {path.name for path in (place.path / name / folder).glob("*")}


def test_a_store_without_commits_and_an_empty_folder_are_taken_over(place: Place) -> None:
    place.open().close()
    takeover = take_over(place)
    assert (takeover.commit, takeover.root, takeover.records) == (0, "", 0)
    assert (takeover.epoch, takeover.written) == (-1, 0)
    with place.open("b") as log:
        assert log.verify().ok
        log.create("s").append(b"x", durability="tiered")
    assert transit.audit(place.store.url, "bodies").findings == ()
    with place.open() as old:
        old.create("s").append(b"missed")
        with pytest.raises(transit.FencedError):
            old.publish()


def test_what_the_writer_published_meanwhile_is_brought_and_it_is_tried_again(
    place: Place,
) -> None:
    with place.open() as old:
        old.create("s").append(b"0", durability="tiered")
        times: list[int] = []

        def rule(at: int, kind: str, key: str) -> None:
            if kind == "put" and key.startswith("segments/") and len(times) < 3:
                times.append(at)
                old.stream("s").append(b"%d" % len(times), durability="tiered")

        with standby(place, store=place.door(rule)) as standing:
            log, takeover = standing.take_over()
        with log:
            assert takeover.lost == 3
            assert payloads(log, "s") == [b"0", b"1", b"2", b"3"]
            assert (takeover.commit, takeover.records) == (4, log.status().records - 2)
            assert len(list((place.path / "b" / "segments").glob("*.seg"))) == 5
            # What is there is asked for, then it is tried again: few requests.
            assert max(b - a for a, b in pairwise(times)) <= 8
        old.stream("s").append(b"late")
        with pytest.raises(transit.FencedError):
            old.publish()


def test_a_writer_that_always_wins_is_told_to_be_alive(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fencing, "TRIES", 4)
    with place.open() as old:
        old.create("s").append(b"0", durability="tiered")

        def rule(at: int, kind: str, key: str) -> None:
            if kind == "put" and key.startswith("segments/"):
                old.stream("s").append(b"x", durability="tiered")

        with (
            standby(place, store=place.door(rule)) as standing,
            pytest.raises(transit.FencedError, match="is alive"),
        ):
            standing.take_over()
        old.stream("s").append(b"y", durability="tiered")
    assert takeovers(place) == ()
    assert follow(place).commits == 6
    assert len(list((place.path / "b" / "segments").glob("*.seg"))) == 6


def test_of_two_that_take_over_at_once_one_wins_and_the_other_is_told(place: Place) -> None:
    published(place, 2)
    for name in ("b", "c"):
        follow(place, name)
    barrier, told = threading.Barrier(2), dict[str, object]()

    def work(name: str) -> None:
        with standby(place, name, settings=transit.Settings()) as standing:
            standing.follow()
            barrier.wait()
            try:
                log, told[name] = standing.take_over(by=name)
                log.close()
            except transit.FencedError as error:
                told[name] = error

    threads = [threading.Thread(target=work, args=(name,)) for name in ("b", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [name for name, found in told.items() if isinstance(found, transit.Takeover)]
    (loser,) = told.keys() - {winner}
    assert f"{winner} took over at commit 2" in str(told[loser])
    assert [each.by for each in takeovers(place)] == [winner]
    # It is a standby of the winner now, and may decide anew.
    assert follow(place, loser).commits == 3
    assert take_over(place, loser, by=loser).commit == 3
    assert [each.by for each in takeovers(place)] == [winner, loser]


def test_a_takeover_that_was_not_known_ends_another_one(place: Place) -> None:
    published(place, 1)
    with standby(place, "c") as late:
        late.follow()
        take_over(place, "b", by="b")
        with pytest.raises(transit.FencedError, match="b took over at commit 1"):
            late.take_over()
        assert late.status().commits == 2
        assert len(takeovers(place)) == 1


# The writer that was taken over from


def test_a_writer_that_starts_again_with_all_published_is_told_before_it_writes(
    place: Place,
) -> None:
    published(place, 2)
    take_over(place)
    for _ in range(2):
        with pytest.raises(transit.FencedError, match="a standby took over") as caught:
            place.open()
        assert (caught.value.number, caught.value.epoch) == (2, 1)
    # Offline it is what it was; as a standby it goes on, and may be the writer again.
    with transit.open(place.path / "a", mode="read") as log:
        assert len(list(log.streams())) == 6
    assert follow(place, "a").commits == 3
    assert take_over(place, "a", reason="back").commit == 3
    with place.open("a") as log:
        log.create("back").append(b"x", durability="tiered")
    with pytest.raises(transit.FencedError):
        place.open("b")


def test_a_plain_handover_is_none(place: Place) -> None:
    published(place, 1)
    with place.open("c") as log:
        # As many records and streams as a takeover has.
        log.create("x").append(b"1")
        log.release()
    with place.open() as log:
        assert payloads(log, "x") == [b"1"]


def test_what_was_missed_is_counted_at_the_takeover_that_fenced_it_off(place: Place) -> None:
    published(place, 1)
    shutil.copytree(place.path / "a", place.path / "first")
    shutil.copytree(place.path / "a", place.path / "plain")
    first = take_over(place, "b")
    with place.open("b") as log:
        log.create("b").append_many([b"x"] * 3, durability="tiered")
    shutil.copytree(place.path / "b", place.path / "second")
    second = take_over(place, "c")
    for name, count in (("first", 2), ("second", 5)):
        with transit.open(place.path / name, durability="os") as log:
            log.create(f"own-{name}").append_many([b"y"] * count)
        with place.open(name) as log:
            assert log.rebase_onto_remote().records == count
        with place.open(name) as log:
            found = {each.commit: each.missed_records for each in transit.takeovers(log)}
            log.release()
    assert found == {first.commit: 2, second.commit: 5}
    # Fenced off by a writer that is no takeover: nothing is counted anywhere.
    with place.open("c") as log:
        log.release()
    assert sum(each.missed_records or 0 for each in takeovers(place)) == 7


def test_what_was_counted_is_counted_once_however_often_its_writer_is_fenced(
    place: Place,
) -> None:
    with place.open() as old:
        old.create("s").append(b"0", durability="tiered")
        old.stream("s").append(b"missed")
        take_over(place, "b")
        with pytest.raises(transit.FencedError):
            old.publish()
        old.rebase_onto_remote()
    with place.open("b") as log:
        log.create("b").append(b"x", durability="tiered")
    with place.open() as old:
        with pytest.raises(transit.FencedError):
            old.publish()
        old.rebase_onto_remote()
    with place.open() as old:
        (counted,) = transit.takeovers(old)
        assert counted.missed_records == 1
        old.release()
    assert takeovers(place) == (counted,)


def test_what_is_said_of_takeovers_is_nothing_that_one_could_miss(place: Place) -> None:
    with place.open() as old:
        old.create("s").append(b"0", durability="tiered")
        old.stream("s").append(b"missed")
        take_over(place, "b")
        with pytest.raises(transit.FencedError):
            old.publish()
        old.rebase_onto_remote()
    # Before what was counted is published, another one takes over.
    take_over(place, "c")
    with place.open() as old:
        with pytest.raises(transit.FencedError):
            old.publish()
        assert old.rebase_onto_remote().records == 2
    with place.open() as old:
        found = [(each.commit, each.missed_records) for each in transit.takeovers(old)]
        assert found == [(1, 1), (2, 1)]


# Again, by the same id


def test_the_same_id_again_opens_the_folder_and_takes_nothing_over(place: Place) -> None:
    published(place, 1)
    first = take_over(place, takeover_id="night/1", reason="r")
    with place.open("b") as log:
        log.create("own").append(b"x")
    with place.open("b") as log:
        log.publish()
    again = take_over(place, takeover_id="night/1", reason="other")
    assert again == first
    assert len(takeovers(place)) == 1
    follow(place, "c")
    take_over(place, "c", by="c")
    with pytest.raises(transit.ConflictError, match="c took over from it"):
        take_over(place, takeover_id="night/1")


@pytest.mark.parametrize("wrong", ["", " x", "a\nb", 7])
def test_what_is_no_id_reason_or_name_is_refused_before_anything_is_asked(
    place: Place, wrong: object
) -> None:
    published(place, 1)
    door = place.door()
    with standby(place, store=door) as standing:
        with pytest.raises(transit.InvalidInputError):
            standing.take_over(takeover_id=wrong)  # type: ignore[arg-type]
        for words in ({"reason": 7}, {"by": 7}, {"reason": "x" * 10_000}):
            with pytest.raises(transit.InvalidInputError):
                standing.take_over(**words)  # type: ignore[arg-type]
    assert door.requests == []


# Faults, and death


ALL: list[Fault] = ["lost_before", "lost_after", "exists_after", "die_before", "die_after"]


def check_whole(place: Place, name: str) -> int:
    """Remote and folder are stores, whatever was cut short; how many takeovers there are."""
    assert transit.audit(place.store.url).findings == ()
    with transit.open(place.path / name, mode="read") as log:
        assert log.verify().ok
    return len(takeovers(place))


@pytest.mark.parametrize(
    "faults", [["die_before", "die_after"], pytest.param(ALL, marks=pytest.mark.slow)], ids=str
)
def test_a_takeover_that_fails_at_any_request_is_made_or_not_and_goes_on(
    place: Place, faults: list[Fault]
) -> None:
    with place.open() as old:
        write_history(old, 1)
        old.publish()
    for name in ("a", "remote"):
        shutil.copytree(place.path / name, place.path / "before" / name)
    follow(place, "first")
    seen = set()
    for fault in faults:
        number, ended = 0, False
        while not ended:
            for name in ("a", "remote"):
                shutil.rmtree(place.path / name)
                shutil.copytree(place.path / "before" / name, place.path / name)
            shutil.rmtree(place.path / "b", ignore_errors=True)
            shutil.copytree(place.path / "first", place.path / "b")
            place = Place(place.path)
            grow(place, 1)
            with place.open() as old:
                old.stream("task-0").append(b"local", durability="local")
                door = FaultDoor(place.store)
                door.rule = lambda at, *_, s=number, f=fault: f if at == s else None
                standing = standby(place, store=door)
                made = False
                try:
                    log, _ = standing.take_over(takeover_id="it")
                    log.close()
                    made = True
                except (
                    ProcessDiedError,
                    transit.RemoteUnavailableError,
                    transit.OutcomeUnknownError,
                ):
                    standing.close()
                there = check_whole(place, "b")
                seen.add(there)
                assert there == 1 if made else there <= 1
                assert take_over(place, takeover_id="it").commit == 2
                assert check_whole(place, "b") == 1
                with pytest.raises(transit.FencedError):
                    old.publish()
                assert payloads(old, "task-0")[-1] == b"local"
            ended = len(door.requests) <= number
            number += 1
        assert number > 20
    assert seen == {0, 1}


_DIES = """
import os, signal, sys
import transit
from transit.testing.doors import FaultDoor
from transit.store import open_store
path, remote, stop = sys.argv[1:]
def rule(at, kind, key):
    if at == int(stop):
        os.kill(os.getpid(), signal.SIGKILL)
standing = transit.standby(path, FaultDoor(open_store(remote), rule))
log, takeover = standing.take_over(takeover_id="it")
log.close()
"""


def test_killed_in_the_middle_of_a_takeover_another_process_goes_on(place: Place) -> None:
    published(place, 2)
    follow(place)
    requests = _requests_of_a_takeover(place)
    created = requests.index(("create", commit_key(2)))
    # Before it looks, before its segment, before and right after its commit.
    for stop in (0, created - 1, created, created + 1):
        done = subprocess.run(
            [sys.executable, "-c", _DIES, str(place.path / "b"), str(place.remote_path), str(stop)],
            check=False,
        )
        assert done.returncode == -9
        assert check_whole(place, "b") == (1 if stop > created else 0)
    assert take_over(place, takeover_id="it").commit == 2
    assert check_whole(place, "b") == 1


def _requests_of_a_takeover(place: Place) -> list[tuple[str, str]]:
    """What a takeover of a copy of this store asks, by a folder that has followed."""
    there = Place(place.path / "copy")
    shutil.copytree(place.remote_path, there.remote_path)
    shutil.copytree(place.path / "b", there.path / "b")
    door = FaultDoor(there.store)
    with transit.standby(there.path / "b", door) as standing:
        log, _ = standing.take_over()
    log.close()
    return door.requests


# Stores of all kinds


@pytest.mark.parametrize("encrypt", ["remote", "all"])
def test_an_encrypted_store_is_taken_over_with_its_keyring_alone(
    place: Place, tmp_path: Path, encrypt: str
) -> None:
    key = transit.Keyring.new_key_file(tmp_path / "key")
    ring = transit.Keyring.create(tmp_path / "ring", key_file=key)
    with place.open(encrypt=encrypt, keyring=ring) as old:
        old.create("s").append(b"0", durability="tiered")
        follow(place)
        with pytest.raises(transit.SealedError):
            take_over(place)
        old.stream("s").append(b"1", durability="tiered")
        old.stream("s").append(b"missed")
        with standby(place, keyring=ring) as standing:
            log, takeover = standing.take_over(reason="a secret reason", by="b")
        with log:
            assert transit.takeovers(log) == (takeover,)
            assert payloads(log, "s") == [b"0", b"1"]
            assert log.verify().ok
        with pytest.raises(transit.FencedError):
            old.publish()
        old.rebase_onto_remote()
    with place.open(keyring=ring) as old:
        assert transit.takeovers(old)[0].missed_records == 1
    transit.restore(place.store, place.path / "earlier", at=takeover.commit - 1)
    with pytest.raises(transit.FencedError, match="took over"):
        place.open("earlier", keyring=ring)
    for path in place.remote_path.rglob("*"):
        assert path.is_dir() or not has(path.read_bytes(), b"secret reason")


def test_a_store_that_was_erased_from_is_taken_over(place: Place) -> None:
    with place.open() as log:
        write_secrets(log)
    follow(place)
    erase(place)
    with standby(place) as standing:
        log, _ = standing.take_over()
    with log:
        assert log.verify().ok
        with transit.open(place.path / "a", mode="read") as old:
            assert contents(log) == contents(old)
        log.delete("s0", reason="asked")
        log.erase()
    assert transit.audit(place.store.url).findings == ()


def test_what_was_evicted_is_taken_over_whole(place: Place) -> None:
    published(place, 3)
    with place.open() as old:
        old.evict(bytes_max=0)
        wanted = contents(old)
        old.create("missed").append(b"x")
        take_over(place)
        with pytest.raises(transit.FencedError):
            old.publish()
        assert contents(old).keys() == wanted.keys() | {"missed"}
        old.rebase_onto_remote()
    with transit.open(place.path / "b", mode="read") as log:
        assert contents(log) == wanted
        assert log.verify().ok


def test_a_remote_that_cannot_keep_writers_apart_is_refused(place: Place) -> None:
    published(place, 1)
    follow(place)

    class Overwrites(FaultDoor):
        def create(self, key: str, data: bytes) -> None:
            self._store.put(key, data)

    with (
        standby(place, store=Overwrites(place.store)) as standing,
        pytest.raises(transit.UnsuitableRemoteError),
    ):
        standing.take_over()
    assert takeovers(place) == ()
