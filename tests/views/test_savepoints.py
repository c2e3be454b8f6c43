"""Savepoints: what is kept, what of it can be trusted, and what happens without it."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import transit
from rigs.views.programs import event, everything, folded, rows_of
from tests.cli.shell import transit as command
from transit import views
from transit.views.histories import last_digest
from transit.views.pack import decode_pack
from transit.views.savepoints import PERSIST, LogKeeper, MemoryKeeper

COUNT = 120
Change = Callable[[transit.Stream], dict[str, Any]]


def filled(log: transit.Log, chance: random.Random, name: str = "s") -> transit.Stream:
    """A stream with records."""
    stream = log.create(name)
    stream.append_many([event(chance) for _ in range(COUNT)])
    return stream


def kept(log: transit.Log, kind: str, view: views.View, stream: transit.Stream) -> transit.Stream:
    """The savepoints, "roots", or nodes, "packs", of a stream."""
    return log.layer("views").stream(f"{view.id}/{kind}/{stream.uid}")


def nodes_in(packs: transit.Stream) -> set[bytes]:
    """The nodes in the packs of a stream."""
    return {node.data for record in packs for node in decode_pack(record.payload, "a pack")}


def is_right(view: views.View, stream: transit.Stream) -> bool:
    """Whether a view is what the records come to, at some offsets."""
    models = {at: folded(stream, at).rows() for at in (0, 1, len(stream) // 2, len(stream))}
    return all(rows_of(view.of(stream, at)) == rows for at, rows in models.items())


def test_they_are_written_every_so_many_records(log: transit.Log, chance: random.Random) -> None:
    stream = filled(log, chance)
    view = views.open(log, everything, savepoint_records=50)
    view.of(stream, 70)
    assert view.savepoints(stream) == (50,)
    view.of(stream)
    assert view.savepoints(stream) == (50, 100)
    state = view.save(stream)
    assert view.savepoints(stream) == (50, 100, 120)
    assert view.save(stream) == state
    assert len(kept(log, "roots", view, stream)) == 3
    assert views.open(log, everything).savepoints(stream) == (50, 100, 120)


@pytest.mark.parametrize("persist", PERSIST)
def test_they_are_asked_for_once_a_look(
    persist: str, log: transit.Log, chance: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over a connection each time is a request."""
    asked: list[str] = []
    for keeper in (LogKeeper, MemoryKeeper):

        def look(self: Any, stream: transit.Stream, right: Any = keeper.look) -> None:
            asked.append(stream.uid)
            right(self, stream)

        monkeypatch.setattr(keeper, "look", look)
    stream = filled(log, chance)
    branch = stream.branch("branch", at=60)
    branch.append(event(chance))
    view = views.open(log, everything, persist=persist, savepoint_records=200)
    looks: list[Callable[[], object]] = [
        lambda: view.of(stream), lambda: view.of(stream), lambda: view.of(stream, 30),
        lambda: view.of(branch), lambda: list(view.skipped(branch)), lambda: view.save(stream),
        lambda: view.savepoints(stream), lambda: view.of(stream, 30),
    ]  # fmt: skip
    for each in looks:
        asked.clear()
        each()
        # One that writes asks once more, for what others wrote before its own.
        most = 2 if each is looks[5] and persist != "ephemeral" else 1
        assert max(map(asked.count, asked)) <= most
    assert view.savepoints(stream) == (COUNT,)


def test_a_view_reads_the_last_of_them_and_earlier_ones_when_they_are_asked_for(
    log: transit.Log, chance: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    right = LogKeeper._read

    def counted(self: Any, roots: transit.Stream, start: int, stop: int, length: int) -> Any:
        read.extend(range(start, stop))
        return right(self, roots, start, stop, length)

    stream = filled(log, chance)
    views.open(log, everything, savepoint_records=1).of(stream)
    monkeypatch.setattr(LogKeeper, "_read", counted)
    view = views.open(log, everything, savepoint_records=1)
    assert view.of(stream).position == COUNT
    assert read == list(range(COUNT - 8, COUNT))
    stream.append(event(chance))
    assert rows_of(view.of(stream)) == folded(stream).rows()
    assert read[8:] == [COUNT]
    assert rows_of(view.of(stream, 90)) == folded(stream, 90).rows()
    assert len(read) < COUNT // 2
    assert view.savepoints(stream) == tuple(range(1, COUNT + 2))
    assert sorted(read) == list(range(COUNT + 1))


def test_a_fork_costs_nothing_and_shares_what_is_kept(
    log: transit.Log, chance: random.Random
) -> None:
    stream = filled(log, chance)
    view = views.open(log, everything, savepoint_records=50)
    view.save(stream)
    packs = kept(log, "packs", view, stream)
    count, size = len(packs), sum(len(record.payload) for record in packs)
    branch = stream.branch("b", at=109)
    assert view.of(branch).root == view.of(stream, 110).root
    assert view.savepoints(branch) == ()
    branch.append(event(chance))
    view.save(branch)
    own = kept(log, "packs", view, branch)
    # What the state at the fork consists of is not kept again; one event may change much of it.
    there, made = nodes_in(packs), nodes_in(own)
    assert made
    assert not there & made
    assert sum(len(record.payload) for record in own) < size
    assert len(packs) == count


def test_an_empty_state_can_be_kept(log: transit.Log) -> None:
    stream = log.create("s")
    view = views.open(log, everything)
    assert view.save(stream).root == ""
    assert view.savepoints(stream) == ()
    stream.append(b'{"do":[]}')
    assert view.save(stream).root == ""
    assert view.savepoints(stream) == (1,)
    assert views.open(log, everything).of(stream).root == ""
    assert view.verify(stream).ok


def written(stream: transit.Stream, position: int, **other: Any) -> dict[str, Any]:
    """What makes a savepoint one of the first records of a stream, whatever else is in it."""
    return {"next": position, "last": last_digest(stream, position), **other}


LIES: dict[str, Change] = {
    "no hex": lambda s: written(s, COUNT + 1, root="zz" * 32),
    "short": lambda s: written(s, COUNT + 1, root="abcd"),
    "beyond": lambda s: {"next": COUNT + 2},
    "far beyond": lambda s: {"next": 2**63},
    "negative": lambda s: {"next": -1},
    "nothing": lambda s: {"next": 0, "last": "", "root": "ab" * 32},
    "another history": lambda s: {"next": COUNT + 1, "last": "ab" * 32, "root": ""},
    "no uid": lambda s: written(s, COUNT + 1, place=["nonsense", 0, 0]),
    "a number below 0": lambda s: written(s, COUNT + 1, place=[s.uid, -1, 0]),
    "a text": lambda s: {"next": "1"},
    "without a root": lambda s: {"root": None},
}


@pytest.mark.parametrize("lie", LIES)
def test_what_is_no_savepoint_is_passed_over(
    lie: str, log: transit.Log, chance: random.Random
) -> None:
    stream = filled(log, chance)
    view = views.open(log, everything, savepoint_records=50)
    view.save(stream)
    stream.append(event(chance))
    roots = kept(log, "roots", view, stream)
    point = msgspec.json.decode(roots[len(roots) - 1].payload)
    roots.append(msgspec.json.encode({**point, **LIES[lie](stream)}))
    cold = views.open(log, everything, savepoint_records=50)
    assert is_right(cold, stream)
    assert cold.savepoints(stream)[:3] == (50, 100, 120)


PLACES: dict[str, Callable[[transit.Stream, transit.Stream], list[Any]]] = {
    "none": lambda s, p: [],
    "a user's stream": lambda s, p: [s.uid, 0, 0],
    "the savepoints": lambda s, p: [p.uid, 0, 0],
    "no stream": lambda s, p: ["ab" * 16, 0, 0],
    "no pack": lambda s, p: [p.uid, 2**40, 0],
    "no node": lambda s, p: [p.uid, 0, 2**31],
    "another node": lambda s, p: [p.uid, 0, 0],
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ["roots", "packs"])
def test_a_root_whose_place_is_wrong_is_folded_again(
    kind: str, place: str, log: transit.Log, chance: random.Random
) -> None:
    stream = filled(log, chance)
    right = views.open(log, everything, persist="ephemeral")
    view = views.open(log, everything, savepoint_records=50)
    view.save(stream)
    stream.append(event(chance))
    roots = kept(log, "roots", view, stream)
    point = msgspec.json.decode(roots[len(roots) - 1].payload)
    wrong = PLACES[place](stream, kept(log, kind, view, stream)) or None
    point |= written(stream, COUNT + 1, root=right.of(stream).root, place=wrong)
    roots.append(msgspec.json.encode(point))
    cold = views.open(log, everything, savepoint_records=50)
    assert is_right(cold, stream)
    stream.append(event(chance))
    assert is_right(cold, stream)
    cold.save(stream)
    assert is_right(views.open(log, everything), stream)


RUBBISH = [
    b"", b"null", b"[]", b"{}", b"\xff\xfe", b'{"next":' + b"9" * 5_000 + b"}",
    b'{"a":' + b"[" * 200_000,
    b'{"next":1,"last":"\xff","root":"","place":null,"applied":0}',
    b'{"next":121,"last":"\\ud800","root":"","place":null,"applied":0}',
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(RUBBISH)))
def test_rubbish_among_savepoints_is_passed_over(
    number: int, log: transit.Log, chance: random.Random
) -> None:
    stream = filled(log, chance)
    view = views.open(log, everything, savepoint_records=50)
    view.save(stream)
    kept(log, "roots", view, stream).append(RUBBISH[number])
    stream.append(event(chance))
    cold = views.open(log, everything, savepoint_records=50)
    assert is_right(cold, stream)
    assert (cold.save(stream).position, cold.savepoints(stream)[-1]) == (121, 121)


def test_a_root_that_nothing_comes_to_is_said(log: transit.Log, chance: random.Random) -> None:
    stream = filled(log, chance)
    view = views.open(log, everything, savepoint_records=50)
    view.save(stream)
    stream.append(event(chance))
    roots = kept(log, "roots", view, stream)
    point = msgspec.json.decode(roots[2].payload)
    roots.append(msgspec.json.encode({**point, **written(stream, 121, root="ab" * 32)}))
    cold = views.open(log, everything)
    with pytest.raises(views.DivergedError, match="folded again"):
        list(cold.of(stream).people)
    assert rows_of(cold.of(stream, 120)) == folded(stream, 120).rows()
    assert not cold.verify(stream).ok


def test_packs_that_are_none_are_folded_again(log: transit.Log, chance: random.Random) -> None:
    stream = filled(log, chance)
    view = views.open(log, everything, savepoint_records=50)
    view.save(stream)
    right = views.open(log, everything, persist="ephemeral")
    stream.append(event(chance))
    packs, roots = (kept(log, kind, view, stream) for kind in ("packs", "roots"))
    whole = packs[0].payload
    for changed in (b"", whole[:-1], whole[:5] + b"\1" + whole[6:], b"{}"):
        packs.append(changed)
        point = msgspec.json.decode(roots[2].payload)
        place = [packs.uid, len(packs) - 1, 0]
        root = right.of(stream).root
        roots.append(
            msgspec.json.encode({**point, **written(stream, len(stream), root=root, place=place)})
        )
        cold = views.open(log, everything, savepoint_records=50)
        assert is_right(cold, stream), changed[:8]
        stream.append(event(chance))


def test_a_read_only_store_is_folded_and_nothing_is_kept(
    log: transit.Log, chance: random.Random
) -> None:
    stream = filled(log, chance)
    views.open(log, everything, savepoint_records=50).of(stream)
    log.sync("local")
    with transit.open(log.path, mode="read") as reader:
        view = views.open(reader, everything, savepoint_records=10)
        own = reader.stream("s")
        assert is_right(view, own)
        assert view.savepoints(own) == (50, 100)
        assert view.unsaved is None
        with pytest.raises(transit.ReadOnlyError):
            view.save(own)
        with pytest.raises(transit.ReadOnlyError):
            next(view.changes(own, "sub")).done()


def test_a_closed_store_is_a_typed_error(log: transit.Log, chance: random.Random) -> None:
    stream = filled(log, chance)
    view = views.open(log, everything)
    view.of(stream)
    cold = views.open(log, everything).of(stream)
    log.close()
    calls: list[Callable[[], object]] = [
        lambda: view.of(stream), lambda: view.of("s"), lambda: view.save(stream),
        lambda: view.verify(stream), lambda: view.savepoints(stream),
        lambda: next(view.changes(stream, "sub")), lambda: view.subscribers(stream),
        lambda: next(view.skipped(stream)), lambda: views.open(log, everything).of("s"),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(transit.ClosedError):
            call()
    assert cold.position == COUNT


def test_streams_that_are_none_of_the_stores_are_refused(
    log: transit.Log, tmp_path: Path, chance: random.Random
) -> None:
    view = views.open(log, everything)
    with transit.open(tmp_path / "other") as other:
        stream = filled(other, chance)
        for wrong in (stream, "nothing", 5, None, ("s", 1)):
            with pytest.raises((transit.InvalidInputError, transit.NotFoundError)):
                view.of(wrong)  # type: ignore[arg-type]
    assert list(log.layer("views").streams()) == []


def test_a_hidden_stream_and_one_of_the_same_name_are_two(
    log: transit.Log, chance: random.Random
) -> None:
    stream = filled(log, chance)
    view = views.open(log, everything, savepoint_records=50)
    view.save(stream)
    log.hide("s")
    with pytest.raises(transit.NotFoundError):
        view.of("s")
    assert is_right(view, stream)
    again = log.create("s")
    again.append_many([event(chance) for _ in range(COUNT + 5)])
    assert view.of("s").position == COUNT + 5
    assert is_right(view, again)
    assert is_right(view, stream)
    assert is_right(views.open(log, everything), again)


def test_views_of_two_versions_of_code_are_beside_one_another(
    log: transit.Log, chance: random.Random
) -> None:
    stream = filled(log, chance)
    newer = views.reducer(*everything.tables, reads=bytes, version=2)(
        lambda people, pairs, heard, event, at: None
    )
    old, new = views.open(log, everything), views.open(log, newer)
    assert old.id != new.id
    old.save(stream)
    new.save(stream)
    assert is_right(views.open(log, everything), stream)
    assert len(views.open(log, newer).of(stream).people) == 0


def test_a_bucket_brings_all_or_a_part_of_it(tmp_path: Path, chance: random.Random) -> None:
    remote = str(tmp_path / "remote")
    settings = transit.Settings(seal_bytes=16 * 1024, block_bytes=4096)
    with transit.open(tmp_path / "a", remote=remote, settings=settings) as log:
        stream = filled(log, chance)
        log.seal()
        view = views.open(log, everything, savepoint_records=50)
        view.save(stream)
        log.seal()
        expected = rows_of(view.of(stream))
        log.release()
    parts: dict[str, dict[str, Any]] = {
        "whole": {}, "lazy": {"lazy": True}, "part": {"streams": ["s"]},
        "both": {"streams": ["s", "$views/"]},
    }  # fmt: skip
    for name, options in parts.items():
        transit.restore(remote, tmp_path / name, **options)
        attached = remote if name == "lazy" else None
        with transit.open(tmp_path / name, mode="read", remote=attached) as log:
            view = views.open(log, everything)
            assert rows_of(view.of("s")) == expected, name
            assert rows_of(view.of("s", 110)) == folded(log.stream("s"), 110).rows()


def test_a_rebase_leaves_savepoints_behind_and_states_are_right(
    tmp_path: Path, chance: random.Random
) -> None:
    remote = str(tmp_path / "remote")
    with transit.open(tmp_path / "a", remote=remote) as log:
        stream = filled(log, chance)
        views.open(log, everything, savepoint_records=50).save(stream)
        log.release()
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    with transit.open(tmp_path / "b", remote=remote) as log:
        with transit.open(tmp_path / "a", remote=remote) as other:
            other.stream("s").append_many([event(chance) for _ in range(30)])
            other.publish()
        stream = log.stream("s")
        stream.append_many([event(chance) for _ in range(60)])
        views.open(log, everything, savepoint_records=50).save(stream)
        with pytest.raises(transit.FencedError):
            log.publish()
        rebased = log.rebase_onto_remote()
    with transit.open(tmp_path / "b", remote=remote) as log:
        view = views.open(log, everything, savepoint_records=50)
        for name in ("s", rebased.streams["s"]):
            assert is_right(view, log.stream(name)), name
            assert view.verify(name).ok
        assert (len(log.stream("s")), len(log.stream(rebased.streams["s"]))) == (150, 180)


def test_an_export_leaves_savepoints_behind_and_takes_subscribers_along(
    tmp_path: Path, chance: random.Random
) -> None:
    with transit.open(tmp_path / "a") as log:
        stream = filled(log, chance)
        branch = stream.branch("b", at=60)
        branch.append_many([event(chance) for _ in range(20)])
        view = views.open(log, everything, savepoint_records=50)
        view.save(branch)
        expected = {name: rows_of(view.of(name)) for name in ("s", "b")}
        change = next(view.changes(branch, "sub"))
        change.done()
    exported = command(tmp_path / "a", "export", "--all")
    assert exported.code == 0, exported.err
    transit.open(tmp_path / "b").close()
    imported = command(tmp_path / "b", "import", stdin=exported.out)
    assert imported.code == 0, imported.err
    with transit.open(tmp_path / "b") as log:
        view = views.open(log, everything, savepoint_records=50)
        assert {name: rows_of(view.of(name)) for name in ("s", "b")} == expected
        assert is_right(view, log.stream("b"))
        again = next(view.changes("b", "sub"))
        assert (again.offset, again.number) > (change.offset, change.number)
