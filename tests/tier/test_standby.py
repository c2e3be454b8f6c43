"""A standby: everything that the remote shows, in a folder that is a store at every moment."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import transit
from transit.format.commit import decode_commit
from transit.locks import Lock
from transit.testing.doors import FaultDoor, ProcessDiedError
from transit.tier.remote import commit_key, segment_key

from ..engine.canary import CANARY, has
from .conftest import Place, contents, write_history
from .copies import damage, erase, grow, other_history, published, sign, write_secrets
from .standing import QUICK, follow, standby


def in_folder(place: Place, name: str = "b") -> dict[str, list[object]]:
    with transit.open(place.path / name, mode="read") as log:
        assert log.verify().ok
        return contents(log)  # type: ignore[return-value]


def files(place: Place, name: str, folder: str) -> set[str]:
    return {path.name for path in (place.path / name / folder).glob("*")}


def test_everything_is_brought_and_then_what_is_new(place: Place) -> None:
    published(place, 3)
    with standby(place) as standing:
        before = standing.status()
        assert (before.commits, before.root, before.looked, before.behind) == (0, "", 0, None)
        assert not before.is_current
        status = standing.follow()
        assert (status.commits, status.behind, status.segments) == (3, 0, 3)
        assert in_folder(place) == in_folder(place, "a")
        assert files(place, "b", "segments") == files(place, "remote", "segments")
        # A reader beside it sees what comes.
        with transit.open(place.path / "b", mode="read") as reader:
            grow(place, 12)
            status = standing.follow()
            assert (status.commits, status.is_current) == (15, True)
            assert len(reader.stream("more")) == 12
            assert reader.status().commits == 15
        assert files(place, "b", "commits") == files(place, "remote", "commits")
        assert files(place, "b", "index") == files(place, "remote", "index")
        assert not (place.path / "b" / "REMOTE").exists()


def test_what_it_states_is_what_a_takeover_would_go_on_from(place: Place) -> None:
    published(place, 1)
    with place.open() as log:
        log.create("late").append(b"x", durability="tiered")
        written = log.stream("late")[0].written
        status = follow(place)
        assert status.written == written
        assert status.age_s > 0
        assert (status.root, status.epoch) == (log.status().head, log.status().epoch)
        assert status.records == log.status().records
        assert status.may_miss == ("memory", "os", "local")
        log.stream("late").append(b"y", durability="local")
        assert follow(place).records == status.records


def test_looking_where_nothing_is_new_takes_three_requests(place: Place) -> None:
    published(place, 3)
    door = place.door()
    with standby(place, store=door) as standing:
        standing.follow()
        door.requests.clear()
        standing.follow()
        assert door.requests == [
            ("get", commit_key(2)),
            ("get", "HEAD"),
            ("get", commit_key(3)),
        ]
        door.requests.clear()
        standing.status()
        assert door.requests == []


def test_a_dry_run_says_how_far_behind_it_is_and_changes_nothing(place: Place) -> None:
    published(place, 2)
    with standby(place) as standing:
        first = standing.dry_run()
        assert (first.commits, first.behind, first.segments) == (2, 2, 0)
        assert not (place.path / "b").exists()
        standing.follow()
        grow(place, 3)
        before = sorted(path for path in (place.path / "b").rglob("*") if path.name != "LOCK")
        said = standing.dry_run()
        assert (said.commits, said.behind) == (5, 3)
        assert sorted(p for p in (place.path / "b").rglob("*") if p.name != "LOCK") == before
        assert standing.status().behind == 3
        assert standing.follow().root == said.root
        assert standing.status().is_current


def test_a_folder_that_left_segments_away_gets_them_all(place: Place) -> None:
    published(place, 3)
    transit.restore(place.store, place.path / "b", lazy=True)
    assert files(place, "b", "segments") == set()
    assert follow(place).commits == 3
    assert files(place, "b", "segments") == files(place, "remote", "segments")


def test_what_the_writer_has_evicted_is_brought(place: Place) -> None:
    published(place, 3)
    with place.open() as log:
        assert log.evict(bytes_max=0).segments == 3
    assert follow(place).commits == 3
    shutil.rmtree(place.path / "a")
    assert len(in_folder(place)) == 9


@pytest.mark.parametrize("encrypt", ["remote", "all"])
def test_an_encrypted_store_is_followed_without_its_keys(
    place: Place, tmp_path: Path, encrypt: str
) -> None:
    key = transit.Keyring.new_key_file(tmp_path / "key")
    ring = transit.Keyring.create(tmp_path / "ring", key_file=key)
    with place.open(encrypt=encrypt, keyring=ring) as log:
        write_history(log)
        log.delete("task-0/final", reason="asked")
        log.publish()
        wanted = contents(log)
    assert follow(place).commits == 4
    with place.open(keyring=ring) as log:
        log.create("more").append(b"x", durability="tiered")
    assert follow(place).commits == 5
    with transit.open(place.path / "b", mode="read", keyring=ring) as log:
        assert log.verify().ok
        found = contents(log)
    del found["more"]
    assert found == wanted


def canaries(place: Place, name: str = "b") -> list[str]:
    paths = (path for path in (place.path / name).rglob("*") if path.is_file())
    return [str(path) for path in paths if has(path.read_bytes())]


def test_what_was_erased_before_is_brought_as_what_is_left(place: Place) -> None:
    with place.open() as log:
        write_secrets(log)
    erase(place)
    follow(place)
    assert len(files(place, "b", "redacted")) == 2
    assert canaries(place) == []
    assert in_folder(place) == in_folder(place, "a")


def test_what_is_erased_later_goes_from_the_standby_and_all_that_was_made_of_it(
    place: Place,
) -> None:
    with place.open() as log:
        write_secrets(log)
    with standby(place) as standing:
        standing.follow()
        (place.path / "b" / "cache").mkdir(exist_ok=True)
        (place.path / "b" / "cache" / ("0" * 64)).write_bytes(CANARY)
        room = place.path / "b" / "rooms" / "room"
        room.mkdir(parents=True)
        (room / "made").write_bytes(CANARY)
        assert len(canaries(place)) == 4
        erase(place)
        status = standing.follow()
        assert status.is_current
        assert canaries(place) == []
        assert in_folder(place) == in_folder(place, "a")
        # Once more: other chunks of the same segments.
        erase(place, "s1")
        standing.follow()
        for path in files(place, "remote", "redacted"):
            ours = (place.path / "b" / "redacted" / path).read_bytes()
            assert ours == (place.path / "remote" / "redacted" / path).read_bytes()
        assert in_folder(place) == in_folder(place, "a")


def test_a_commit_that_says_what_was_erased_comes_after_it_went_here(place: Place) -> None:
    with place.open() as log:
        write_secrets(log)
    follow(place)
    erase(place)
    last = len(files(place, "remote", "commits")) - 1

    def rule(at: int, kind: str, key: str) -> None:
        if kind == "size" and key.startswith("segments/"):
            assert f"{last:020}.json" not in files(place, "b", "commits")
            raise ProcessDiedError

    with pytest.raises(ProcessDiedError), standby(place, store=place.door(rule)) as standing:
        standing.follow()
    follow(place)
    assert canaries(place) == []


def test_segments_come_before_the_commit_that_names_them(place: Place) -> None:
    published(place, 1)
    follow(place)
    grow(place, 20)
    seen: list[str] = []

    def rule(at: int, kind: str, key: str) -> None:
        for name in sorted(files(place, "b", "commits")):
            data = (place.path / "b" / "commits" / name).read_bytes()
            for segment in decode_commit(data, name).segments:
                assert f"{segment.digest}.seg" in files(place, "b", "segments")
        seen.append(key)

    with standby(place, store=place.door(rule)) as standing:
        standing.follow()
    assert len(seen) > 20
    assert in_folder(place) == in_folder(place, "a")


@pytest.mark.parametrize(
    "fault", ["die_after", pytest.param("lost_before", marks=pytest.mark.slow)]
)
def test_cut_short_at_any_request_it_goes_on(place: Place, fault: str) -> None:
    with place.open() as log:
        write_secrets(log)
    transit.restore(place.store, place.path / "first", settings=QUICK)
    grow(place, 3)
    erase(place)
    wanted, number, ended = in_folder(place, "a"), 0, False
    while not ended:
        shutil.rmtree(place.path / "b", ignore_errors=True)
        if number % 2:
            shutil.copytree(place.path / "first", place.path / "b")
        door = FaultDoor(place.store)
        door.rule = lambda at, kind, key, stop=number: fault if at == stop else None  # type: ignore[assignment,misc,return-value]
        try:
            with standby(place, store=door) as standing:
                standing.follow()
        except (ProcessDiedError, transit.RemoteUnavailableError):
            if (place.path / "b" / "FORMAT").exists():
                with transit.open(place.path / "b", mode="read") as log:
                    assert log.verify().ok
        ended = len(door.requests) <= number
        follow(place)
        assert in_folder(place) == wanted
        assert canaries(place) == []
        number += 3
    assert number > 30


def test_damage_on_the_way_is_not_taken_up(place: Place) -> None:
    published(place, 2)
    follow(place)
    grow(place, 1)
    data = place.store.get(commit_key(2), 10**5) or b""
    key = segment_key(decode_commit(data, "").segments[0].digest)
    damage(place.store, key)
    for _ in range(2):
        with pytest.raises(transit.CorruptError, match=key):
            follow(place)
    assert len(in_folder(place)) == 6
    damage(place.store, key)
    assert follow(place).commits == 3


def test_a_gap_in_the_remote_is_damage_and_not_the_end(place: Place) -> None:
    published(place, 2)
    follow(place)
    grow(place, 3)
    place.store.delete(commit_key(2))
    with pytest.raises(transit.CorruptError, match="because there is commit 4"):
        follow(place)


def test_a_remote_that_lost_its_commits_is_no_remote_with_nothing_new(place: Place) -> None:
    published(place, 2)
    with standby(place) as standing:
        standing.follow()
        place.remote_path.rename(place.path / "away")
        for call in (standing.follow, standing.dry_run, standing.take_over):
            with pytest.raises(transit.ConflictError, match="or lost it"):
                call()
        assert not place.remote_path.exists()
        (place.path / "away").rename(place.remote_path)
        assert standing.follow().is_current


# Whose folder it is


def test_a_folder_with_records_that_were_never_published_is_refused(place: Place) -> None:
    published(place, 1)
    with place.open() as log:
        log.create("own").append(b"x")
    with pytest.raises(transit.ConflictError, match="never published"):
        follow(place, "a")
    with place.open() as log:
        log.seal()
    with pytest.raises(transit.ConflictError, match="commit 1 is not in"):
        follow(place, "a")
    with place.open() as log:
        log.publish()
    assert follow(place, "a").commits == 2


def test_another_history_and_another_store_are_refused(place: Place) -> None:
    published(place, 3)
    other = other_history(place, 1)
    follow(place)
    with pytest.raises(transit.ConflictError):
        follow(place, store=other)
    with transit.open(place.path / "x", remote=place.path / "y") as log:
        log.create("s").append(b"x", durability="tiered")
    with pytest.raises(transit.InvalidInputError, match="holds store"):
        follow(place, "x")
    with pytest.raises(transit.UnsuitableRemoteError):
        transit.standby(place.remote_path, place.remote_path)
    with (
        pytest.raises(transit.NotFoundError),
        transit.standby(place.path / "z", place.path / "nothing") as standing,
    ):
        standing.follow()


def test_a_history_that_does_not_extend_a_checkpoint_is_refused(place: Place) -> None:
    published(place, 3)
    sign(place)
    note = place.store.get("checkpoint", 10**5) or b""
    assert follow(place, checkpoint=note).commits == 3
    other = other_history(place, 1)
    with pytest.raises(transit.SplitViewError):
        follow(place, "c", store=other, checkpoint=note)
    assert not (place.path / "c" / "FORMAT").exists()


def test_two_standbys_of_one_folder_take_turns(place: Place) -> None:
    published(place, 2)
    with standby(place) as one, standby(place) as two:
        one.follow()
        two.follow()
        grow(place, 2)
        assert one.follow().commits == two.follow().commits == 4
        assert two.status().segments == 4


def test_a_folder_that_is_written_to_is_no_standby(place: Place) -> None:
    published(place, 2)
    with standby(place, settings=transit.Settings(open_timeout_s=0.0)) as standing:
        standing.follow()
        with place.open("b") as log:
            with pytest.raises(transit.LockedError, match="no standby any more"):
                standing.follow()
            log.create("own").append(b"x")
        with pytest.raises(transit.ConflictError, match="never published"):
            standing.follow()


def test_lock_is_free_between_rounds_and_held_within(place: Place) -> None:
    published(place, 2)
    free: list[bool] = []

    def rule(at: int, kind: str, key: str) -> None:
        if (place.path / "b" / "FORMAT").exists() and key.startswith("commits/"):
            lock = Lock(str(place.path / "b" / "LOCK"))
            free.append(lock.try_acquire())
            lock.close()

    with standby(place, store=place.door(rule)) as standing:
        standing.follow()
        standing.follow()
        assert len(free) >= 2
        assert not all(free)
        assert free[-1] is False
        with place.open("b"):
            pass


def test_a_folder_that_was_replaced_is_refused(place: Place) -> None:
    published(place, 2)
    with standby(place) as standing:
        standing.follow()
        (place.path / "b").rename(place.path / "moved")
        shutil.copytree(place.path / "moved", place.path / "b")
        grow(place, 1)
        with pytest.raises(transit.StoreMovedError):
            standing.follow()
    assert follow(place).commits == 3


def test_closed_it_does_nothing(place: Place) -> None:
    published(place, 1)
    standing = standby(place)
    standing.close()
    standing.close()
    for call in (standing.follow, standing.status, standing.dry_run, standing.take_over):
        with pytest.raises(transit.ClosedError):
            call()
    with pytest.raises(transit.ClosedError), standing:
        pass
