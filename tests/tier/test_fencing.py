"""Two writers on one remote: one wins each commit number, the other is told and loses nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import transit
from transit import disk

from .conftest import Place, contents, write_history


def two_copies(place: Place) -> None:
    """Folders `a` and `b` with the same store, all of it published."""
    with place.open("a") as log:
        write_history(log)
        log.release()
    shutil.copytree(place.path / "a", place.path / "b")


def test_the_second_to_publish_is_fenced_and_told_by_whom(place: Place) -> None:
    two_copies(place)
    a, b = place.open("a"), place.open("b")
    a.stream("task-0").append(b"from a")
    b.stream("task-0").append(b"from b")
    a.publish()
    number = a.status().commits - 1
    with pytest.raises(transit.FencedError) as caught:
        b.publish()
    assert (caught.value.number, caught.value.epoch) == (number, a.status().epoch)
    assert caught.value.store == place.store.url
    assert "rebase_onto_remote" in str(caught.value)
    # Nothing was overwritten, nothing is lost, and local appends go on.
    assert b.stream("task-0")[-1].payload == b"from b"
    b.stream("task-0").append(b"more", durability="local")
    for _ in range(2):
        with pytest.raises(transit.FencedError):
            b.publish()
    assert b.status().remote_error
    a.close()
    b.close()
    assert place.restored()["task-0"][-1][1] == b"from a"


def test_a_fenced_publisher_makes_no_more_requests(place: Place) -> None:
    two_copies(place)
    with place.open("a") as a:
        a.stream("task-0").append(b"a")
        a.publish()
    shutil.rmtree(place.path / "a")
    door = place.door()
    with transit.open(place.path / "b", durability="os") as b:
        b.stream("task-0").append(b"b")
    with place.open("b", remote=door) as b:
        before = len(door.requests)
        for _ in range(3):
            with pytest.raises(transit.FencedError):
                b.publish()
        assert door.requests[before:] == []


def test_exactly_one_of_many_copies_wins_each_commit_number(place: Place) -> None:
    with place.open("0") as log:
        log.create("s")
        log.release()
    names = [str(n) for n in range(6)]
    for name in names[1:]:
        shutil.copytree(place.path / "0", place.path / name)
    logs = [place.open(name) for name in names]
    barrier = threading.Barrier(len(logs))
    outcomes: dict[int, str] = {}

    def work(n: int, log: transit.Log) -> None:
        barrier.wait()
        try:
            log.stream("s").append(f"from {n}".encode(), durability="tiered")
            outcomes[n] = "won"
        except transit.FencedError:
            outcomes[n] = "fenced"

    threads = [threading.Thread(target=work, args=pair) for pair in enumerate(logs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for log in logs:
        log.close()
    assert sorted(outcomes.values()) == ["fenced"] * 5 + ["won"]
    (winner,) = [n for n, outcome in outcomes.items() if outcome == "won"]
    assert [r[1] for r in place.restored()["s"]] == [f"from {winner}".encode()]


def test_handover_goes_on_with_a_higher_epoch(place: Place) -> None:
    with place.open("a") as a:
        a.create("s").append(b"1")
        a.publish()
        first = a.status().epoch
        a.stream("s").append(b"2")
        a.release()
        assert a.closed
    with place.open("b") as b:  # an empty folder: it continues what is there
        assert [r.payload for r in b.stream("s").read()] == [b"1", b"2"]
        b.stream("s").append(b"3", durability="tiered")
        assert b.status().epoch > first
        second = b.status().epoch
        b.release()
    with place.open("a") as a:  # and the first one again
        assert [r.payload for r in a.stream("s").read()] == [b"1", b"2", b"3"]
        a.stream("s").append(b"4", durability="tiered")
        assert a.status().epoch > second
    assert [r[1] for r in place.restored()["s"]] == [b"1", b"2", b"3", b"4"]


def test_opening_with_unpublished_records_behind_the_remote_is_fenced_not_adopted(
    place: Place,
) -> None:
    two_copies(place)
    with place.open("a") as a:
        a.stream("task-0").append(b"a")
        a.release()
    with transit.open(place.path / "b", durability="os") as b:
        b.stream("task-0").append(b"b")
        wanted = contents(b)
    with place.open("b") as b:
        assert contents(b) == wanted
        with pytest.raises(transit.FencedError):
            b.publish()


def diverged(place: Place) -> tuple[transit.Log, dict[str, list[bytes]]]:
    """Copy `b`, fenced off by `a`, with records of every kind of its own, and what it holds."""
    two_copies(place)
    with place.open("a") as a:
        a.stream("task-0").append(b"from a")
        a.create("taken").append(b"a's")
        a.release()
    with transit.open(place.path / "b", durability="os") as b:
        b.stream("task-0").append_many([b"from b", b"and b"], headers={"who": "b"})
        b.seal()
        b.stream("task-1/final").append(b"after the merge")
        taken = b.create("taken", metadata={"x": 1})
        taken.append_many([f"{n}".encode() for n in range(200)])
        retry = taken.branch("taken/retry", at=150)
        retry.append(b"r")
        early = b.stream("task-0").branch("early", at=10)
        early.append(b"e")
        late = b.stream("task-0").branch("late")
        late.append(b"l")
        for policy in ("interleave", "append", "base"):
            b.merge(f"m-{policy}", [b.stream("task-0"), late], policy=policy)
        b.merge("m-select", [taken, retry], policy="select", params={"selected": "taken/retry"})
        b.create("empty")
        taken.cursor("reader").advance(120)
        b.stream("task-0").cursor("reader").advance(51)
        wanted = {s.name: [r.payload for r in s.read()] for s in b.streams()}
    log = place.open("b")
    with pytest.raises(transit.FencedError):
        log.publish()
    return log, wanted


def check_rebased(place: Place, rebased: transit.Rebased, wanted: dict[str, list[bytes]]) -> None:
    with place.open("b") as b:
        report = b.verify()
        assert report.ok, report.findings
        assert report.counts["merges"] == 3 + 4
        for old, new in rebased.streams.items():
            assert [r.payload for r in b.stream(new).read()] == wanted[old], (old, new)
        assert b.stream("task-0")[-1].payload == b"from a"
        assert [r.payload for r in b.stream("taken").read()] == [b"a's"]
        moved = b.stream(rebased.streams["task-0"])
        assert moved.parents == (transit.Position("task-0", 49),)
        assert moved[-1].headers == {"who": "b"}
        assert moved.cursor("reader").position == 51
        assert b.stream(rebased.streams["taken"]).cursor("reader").position == 120
        assert b.stream(rebased.streams["taken"]).metadata == {"x": 1}
        b.publish()
        published = contents(b)
    assert place.restored() == published


def test_rebase_brings_unpublished_records_along_as_branches(place: Place) -> None:
    log, wanted = diverged(place)
    rebased = log.rebase_onto_remote()
    assert log.closed
    assert rebased.streams["taken"] != "taken"
    assert rebased.streams["early"] == "early"
    assert set(rebased.streams) == {
        "task-0", "task-1/final", "taken", "taken/retry", "early", "late", "m-interleave",
        "m-append", "m-base", "m-select", "empty",
    }  # fmt: skip
    check_rebased(place, rebased, wanted)


def test_history_as_it_was_stays_readable_after_a_rebase(place: Place) -> None:
    log, wanted = diverged(place)
    rebased = log.rebase_onto_remote()
    kept = place.path / "b" / rebased.kept
    old = place.path / "old"
    shutil.copytree(place.path / "b" / "segments", old / "segments")
    shutil.copytree(place.path / "a" / "segments", old / "segments", dirs_exist_ok=True)
    shutil.copytree(kept / "commits", old / "commits")
    shutil.copytree(kept / "wal", old / "wal")
    shutil.copy(place.path / "b" / "FORMAT", old / "FORMAT")
    with transit.open(old, mode="read") as log:
        assert {s.name: [r.payload for r in s.read()] for s in log.streams()} == wanted


class CrashError(BaseException):
    pass


@pytest.mark.slow
def test_rebase_cut_short_at_any_move_is_finished_by_the_next_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transit.handle import switching

    crashed = 0
    for after in range(40):
        place = Place(tmp_path / str(after))
        log, wanted = diverged(place)
        left = after

        def move(source: str, target: str) -> None:
            nonlocal left
            if left == 0:
                raise CrashError
            left -= 1
            disk.move(source, target)

        monkeypatch.setattr(switching, "move", move)
        try:
            rebased = log.rebase_onto_remote()
        except CrashError:
            crashed += 1
            with pytest.raises(transit.StoreUnavailableError, match="rebase"):
                place.open("b", mode="read")
            monkeypatch.undo()
            tag = (place.path / "b" / "rebase" / "READY").read_text()
            names = {"task-0": f"task-0@{tag}", "taken": f"taken@{tag}", "early": "early"}
            rebased = transit.Rebased(names, 0, f"diverged/{tag}")
            check_rebased(place, rebased, wanted)
            continue
        monkeypatch.undo()
        check_rebased(place, rebased, wanted)
        break
    assert crashed >= 4


def test_rebase_that_fails_before_it_is_ready_changes_nothing(place: Place) -> None:
    log, wanted = diverged(place)
    log.close()
    door = place.door()
    log = place.open("b", remote=door, settings=transit.Settings(remote_timeout_s=0.01))
    number = len(door.requests)
    door.rule = lambda at, kind, key: "lost_before" if at > number + 4 else None
    with pytest.raises((transit.RemoteUnavailableError, transit.OutcomeUnknownError)):
        log.rebase_onto_remote()
    with transit.open(place.path / "b") as b:
        assert {s.name: [r.payload for r in s.read()] for s in b.streams()} == wanted
        assert not (place.path / "b" / "rebase").exists()


def test_rebase_of_copies_that_never_published(place: Place) -> None:
    transit.open(place.path / "a").close()
    shutil.copytree(place.path / "a", place.path / "b")
    with place.open("a") as a:
        a.create("s").append(b"a")
        a.release()
    with transit.open(place.path / "b") as b:
        b.create("s").append_many([b"b1", b"b2"])
        b.create("t").append(b"t")
    b = place.open("b")
    with pytest.raises(transit.FencedError):
        b.publish()
    rebased = b.rebase_onto_remote()
    with place.open("b") as b:
        assert [r.payload for r in b.stream(rebased.streams["s"]).read()] == [b"b1", b"b2"]
        assert [r.payload for r in b.stream("s").read()] == [b"a"]
        assert b.verify().ok


def test_shared_writers_publish_the_same_commits(place: Place) -> None:
    one = place.open("a", mode="shared")
    two = place.open("a", mode="shared")
    one.create("s").append(b"1")
    two.stream("s").append(b"2", durability="tiered")
    one.stream("s").append(b"3", durability="tiered")
    two.publish()
    one.close()
    two.close()
    assert [r[1] for r in place.restored()["s"]] == [b"1", b"2", b"3"]


WRITER = """
import sys, transit
log = transit.open(sys.argv[1], remote=sys.argv[2], durability="os")
s = log.stream("s")
for n in range(int(sys.argv[3])):
    try:
        s.append(f"{sys.argv[1][-1]} {n}".encode(), durability="tiered")
        print("ack", n, flush=True)
    except transit.FencedError:
        print("fenced", flush=True)
        break
"""


def test_two_processes_on_one_remote(place: Place) -> None:
    with place.open("a") as log:
        log.create("s")
        log.release()
    shutil.copytree(place.path / "a", place.path / "b")
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(place.path / name), str(place.remote_path), "20"],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(transit.__file__).parents[1],
        )
        for name in ("a", "b")
    ]
    lines = {
        name: run.communicate(timeout=120)[0].splitlines()
        for name, run in zip(("a", "b"), runs, strict=True)
    }
    restored = [r[1].decode() for r in place.restored()["s"]]
    for name in ("a", "b"):
        for line in lines[name]:
            if line.startswith("ack"):
                assert f"{name} {line.split()[1]}" in restored
    assert len(restored) == len(set(restored))
