"""Imports of other stores' streams: once, whoever is killed and whoever does the same."""

from __future__ import annotations

import multiprocessing
import random
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

import transit
from transit import fleet
from transit.fleet import importing
from transit.fleet.importing import import_stream, imported_from, origins
from transit.fleet.lineage import why
from transit.fleet.references import (
    PARENT_REF,
    Reference,
    reference,
    resolve,
)

from .stores import Opens, Row, filled, own_place, place_in, rows


def grown(log: transit.Log, rng: random.Random) -> None:
    """Streams, branches and merges; some with names of others, which are hidden."""
    for _ in range(rng.randrange(6, 14)):
        streams = list(log.streams())
        if not streams or rng.random() < 0.4:
            name = f"s{rng.randrange(5)}"
            if name in log:
                log.hide(name)
            filled(log, name, rng.randrange(1, 8))
            continue
        parent = rng.choice(streams)
        number = f"{len(streams)}-{rng.random()}"
        branch = parent.branch(
            f"branch-{number}", at=rng.choice([None, rng.randrange(len(parent))])
        )
        branch.append(b'"%d"' % rng.randrange(99), headers={"b": "1"})
        if rng.random() < 0.5:
            parent.append(b'"more"')
        if rng.random() < 0.6:
            policy = rng.choice(["append", "interleave"])
            log.merge(f"merge-{number}", [parent, branch], policy=policy)
    log.publish()


@pytest.mark.parametrize("is_small", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_an_import_has_the_records_and_says_where_they_are_from(
    agents: fleet.Fleet, member: Opens, monkeypatch: pytest.MonkeyPatch, seed: int, is_small: bool
) -> None:
    if is_small:
        monkeypatch.setattr(importing, "PART_BYTES", 200)
        monkeypatch.setattr(importing, "_METADATA_BYTES", 100)
        monkeypatch.setattr(importing, "_SPANS", 2)
    rng = random.Random(seed)
    source, target = member("a"), member("b")
    grown(source, rng)
    for number, stream in enumerate([*source.streams(), *source.hidden()]):
        stop = rng.randrange(len(stream)) + 1
        ref = reference(source, stream, stop - 1)
        copy = import_stream(agents, target, ref, f"copy-{number}")
        assert rows(copy) == rows(stream, stop)
        assert (copy.kind, copy.codec, copy.hidden) == ("root", stream.codec, False)
        ours = {PARENT_REF: str(ref), importing.IMPORT_ORIGINS: copy.metadata["import_origins"]}
        assert copy.metadata == {**stream.metadata, **ours}
        assert imported_from(copy) == ref
        assert reference(target, copy, stop - 1).digest == ref.digest
        table = origins(target, copy)
        for offset in range(stop):
            assert place_in(table, offset) == own_place(source, stream, offset)
        assert import_stream(agents, target, ref, f"copy-{number}") == copy
        assert len(copy) == stop
        # It goes on from there.
        copy.append(b'"own"')
        own = (target.store_id, copy.name, copy.uid, stop)
        assert place_in(origins(target, copy), stop) == own
        branch = copy.branch(f"again-{number}")
        assert place_in(origins(target, branch), 0) == own_place(source, stream, 0)
    assert not list(target.hidden())
    target.publish()
    assert agents.audit().ok


def test_the_uid_says_which_of_two_streams_of_one_name(agents: fleet.Fleet, member: Opens) -> None:
    source, target = member("a"), member("b")
    old = filled(source, "run", 4)
    old_ref = reference(source, old)
    source.hide(old)
    new = filled(source, "run", 2)
    new_ref = reference(source, new)
    source.publish()
    assert rows(import_stream(agents, target, old_ref, "old")) == rows(old)
    assert rows(import_stream(agents, target, new_ref)) == rows(new)
    assert resolve(agents, old_ref) == old[3]
    with pytest.raises(transit.AlreadyExistsError, match="another name"):
        import_stream(agents, target, old_ref)
    walk = why(agents, old_ref)
    assert (walk.legs[0].provenance, walk.steps[0].step.stream) == (None, "run")
    assert walk.origin.uid == old.uid


def test_an_import_of_an_import_names_the_first_store(
    agents: fleet.Fleet, member: Opens, tmp_path: Path
) -> None:
    a, b, c = member("a"), member("b"), member("c")
    first = filled(a, "run", 3)
    a.publish()
    second = import_stream(agents, b, reference(a, first))
    second.append(b"from b")
    branch = second.branch("branch")
    branch.append(b"from b's branch")
    # A history that has the middle of the import.
    early = second.branch("early", at=0)
    early.append(b"early")
    middle = b.merge("middle", [early, second], policy="append")
    assert [each.origin.offset for each in b.lineage.spans(middle)] == [0, 1, 1]
    b.publish()
    third = import_stream(agents, c, reference(b, branch), "third")
    table = origins(c, third)
    expected = [
        *[own_place(a, first, n) for n in range(3)],
        *[own_place(b, branch, n) for n in (3, 4)],
    ]
    assert [place_in(table, n) for n in range(5)] == expected
    of_middle = origins(c, import_stream(agents, c, reference(b, middle)))
    expected = [
        own_place(a, first, 0), own_place(b, early, 1), own_place(a, first, 1),
        own_place(a, first, 2), own_place(b, second, 3),
    ]  # fmt: skip
    assert [place_in(of_middle, n) for n in range(5)] == expected
    assert [each.count for each in of_middle] == [1, 1, 2, 1]
    for offset, (number, place) in enumerate(zip([3, 2, 3, 3, 2], expected, strict=True)):
        walk = why(agents, (c, transit.Position("middle", offset)))
        assert (walk.end, len(walk.legs)) == ("origin", number)
        assert place_in((walk.origin,), walk.origin.first) == place
    shutil.rmtree(tmp_path / "fleet" / "stores" / a.store_id)
    shutil.rmtree(tmp_path / "fleet" / "stores" / b.store_id)
    # No store needs another.
    assert rows(third) == rows(branch)
    assert origins(c, third) == table
    assert import_stream(agents, c, str(reference(b, branch)), "third") == third


def test_the_names_of_imports(agents: fleet.Fleet, member: Opens) -> None:
    source, target = member("a"), member("b")
    stream = filled(source, "run")
    source.publish()
    ref = reference(source, stream)
    made = import_stream(agents, target, ref)
    assert import_stream(agents, target, ref, "twice").name == "twice"
    for name in ("$layer/x", "", "x" * 600, "\ud800", 7):
        with pytest.raises(transit.InvalidInputError):
            import_stream(agents, target, ref, name)  # type: ignore[arg-type]
    with pytest.raises(transit.InvalidInputError, match="branch"):
        import_stream(agents, source, ref, "self")
    target.hide(made, reason="no use")
    with pytest.raises(transit.AlreadyExistsError, match="hidden since"):
        import_stream(agents, target, ref)
    target.show(made)
    assert import_stream(agents, target, ref) == made
    target.delete(made, reason="gone")
    with pytest.raises(transit.AlreadyExistsError, match="deleted since"):
        import_stream(agents, target, ref)
    # What only says that it goes on from there is no import.
    target.create("run", {PARENT_REF: str(ref)}).append(b"x")
    with pytest.raises(transit.AlreadyExistsError):
        import_stream(agents, target, ref)
    target.publish()
    with agents.open("a") as read, pytest.raises(transit.ReadOnlyError):
        import_stream(agents, read, reference(target, "run"), "no")


def test_an_import_is_as_durable_as_asked(agents: fleet.Fleet, member: Opens) -> None:
    source, target = member("a"), member("b")
    stream = filled(source, "run")
    source.publish()
    ref = msgspec.structs.replace(reference(source, stream), root="", commits=0)
    copy = import_stream(agents, target, ref)
    # As of when it was copied.
    assert imported_from(copy) == reference(source, stream)
    assert len(agents.find("run")) == 1
    import_stream(agents, target, ref, durability="tiered")
    assert {each.member.store for each in agents.find("run")} == {source.store_id, target.store_id}


# Large ones, killed and done at once


class KilledError(BaseException):
    """The process ends here."""


def killed_before(write: Callable[[], Any]) -> Any:
    raise KilledError


def killed_after(write: Callable[[], Any]) -> Any:
    write()
    raise KilledError


class Frames:
    """Counts the frames that are written; `act` writes the one with number `at`."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int, act: Callable[..., Any]) -> None:
        self.at, self.act, self.count = at, act, 0
        for kind, name in (
            (transit.Stream, "append_many"), (transit.Stream, "append"),
            (transit.WriteBatch, "__exit__"),
        ):  # fmt: skip
            patch.setattr(kind, name, self.counting(getattr(kind, name)))

    def counting(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*given: Any, **named: Any) -> Any:
            self.count += 1
            if self.count != self.at:
                return call(*given, **named)
            return self.act(lambda: call(*given, **named))

        return counted


def tiny(monkeypatch: pytest.MonkeyPatch, part_bytes: int = 700) -> None:
    monkeypatch.setattr(importing, "PART_BYTES", part_bytes)
    monkeypatch.setattr(importing, "_METADATA_BYTES", 100)
    monkeypatch.setattr(importing, "_SPANS", 2)


def tangled(log: transit.Log) -> transit.Stream:
    """A history of many spans, in several parts."""
    one = filled(log, "one", 4, 60)
    two = one.branch("two", at=1)
    for number in range(4):
        one.append(b'"%d"' % number * 60, timestamp=100 + 2 * number)
        two.append(b'"%d"' % number * 60, timestamp=101 + 2 * number)
    made = log.merge("run", [one, two], policy="interleave")
    made.append(b"last")
    log.publish()
    return made


@pytest.mark.parametrize("act", [killed_before, killed_after])
@pytest.mark.parametrize("part_bytes", [700, 1 << 20])
def test_an_import_that_is_killed_is_not_there_and_goes_on(
    agents: fleet.Fleet, member: Opens, act: Callable[..., Any], part_bytes: int
) -> None:
    source = member("a")
    stream = tangled(source)
    ref, expected = reference(source, stream), rows(stream)
    places = [own_place(source, stream, n) for n in range(len(expected))]
    number, killed = 0, True
    while killed:
        number += 1
        with pytest.MonkeyPatch.context() as patch, member(f"b{number}") as target:
            tiny(patch, part_bytes)
            Frames(patch, number, act)
            try:
                import_stream(agents, target, ref)
                killed = False
            except KilledError:
                pass
        with member(f"b{number}") as target:
            if "run" in target:
                # Killed after the last frame.
                assert rows(target.stream("run")) == expected
            with pytest.MonkeyPatch.context() as patch:
                tiny(patch, part_bytes)
                copy = import_stream(agents, target, ref)
            check_once(target, copy, expected, places)
    assert number > (8 if part_bytes == 700 else 5)


def check_once(
    log: transit.Log, copy: transit.Stream, expected: list[Row], places: list[Any]
) -> None:
    """Whether an import is there once, whole, and says where it is from."""
    assert rows(copy) == expected
    assert [each.name for each in log.streams()] == [copy.name]
    assert not list(log.hidden())
    table = origins(log, copy)
    assert [place_in(table, n) for n in range(len(expected))] == places
    assert sum(each.count for each in table) == len(expected)
    assert all(each.count for each in table)
    assert sum(each.count for each in importing._copied(log, copy)) == len(expected)


def test_frames_of_another_import_in_between_are_not_written_twice(
    agents: fleet.Fleet, member: Opens
) -> None:
    source = member("a")
    stream = tangled(source)
    ref, expected = reference(source, stream), rows(stream)
    places = [own_place(source, stream, n) for n in range(len(expected))]
    number, met = 0, True
    while met:
        number += 1
        target = member(f"b{number}")

        def other(write: Callable[[], Any], target: transit.Log = target) -> Any:
            import_stream(agents, target, ref)
            return write()

        with pytest.MonkeyPatch.context() as patch:
            tiny(patch)
            frames = Frames(patch, number, other)
            copy = import_stream(agents, target, ref)
            met = frames.count >= number
        check_once(target, copy, expected, places)
    assert number > 8


def begun(
    agents: fleet.Fleet, member: Opens, monkeypatch: pytest.MonkeyPatch
) -> tuple[transit.Log, Reference, transit.Stream]:
    """A store in which an import was killed, the reference, and what is there."""
    source, target = member("a"), member("b")
    ref = reference(source, tangled(source))
    tiny(monkeypatch)
    with pytest.MonkeyPatch.context() as patch:
        Frames(patch, 7, killed_after)
        with pytest.raises(KilledError):
            import_stream(agents, target, ref)
    (part,) = target.hidden()
    return target, ref, part


def test_one_that_is_not_whole_is_found_by_nobody_and_taken_for_no_other(
    agents: fleet.Fleet, member: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, ref, part = begun(agents, member, monkeypatch)
    assert 0 < len(part) <= ref.offset
    assert "run" not in target
    # Its name is not kept for it.
    other = target.create("run")
    with pytest.raises(transit.AlreadyExistsError):
        import_stream(agents, target, ref)
    target.hide(other)
    # Shown too early by somebody, it is still not whole.
    target.show(part)
    assert len(import_stream(agents, target, ref)) == ref.offset + 1
    assert target.stream("run") == part


def test_records_of_others_in_an_import_are_found(
    agents: fleet.Fleet, member: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, ref, part = begun(agents, member, monkeypatch)
    part.append(b"of another")
    with pytest.raises(transit.CorruptError, match="imported"):
        import_stream(agents, target, ref)


def _import_in_a_process(url: str, folder: Path, text: str, start: Any) -> None:
    importing.PART_BYTES = 700  # type: ignore[misc]
    importing._METADATA_BYTES = 100  # type: ignore[misc]
    importing._SPANS = 2  # type: ignore[misc]
    with fleet.open(url) as agents, transit.open(folder, mode="shared", durability="os") as log:
        start.wait(60)
        import_stream(agents, log, text)


def test_two_processes_that_import_the_same_make_one_stream(
    agents: fleet.Fleet, member: Opens, tmp_path: Path
) -> None:
    source = member("a")
    stream = tangled(source)
    transit.open(tmp_path / "b", durability="os").close()
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(3)
    given = (agents.url, tmp_path / "b", str(reference(source, stream)), start)
    running = [context.Process(target=_import_in_a_process, args=given) for _ in range(3)]
    for each in running:
        each.start()
    for each in running:
        each.join(120)
        assert each.exitcode == 0
    with transit.open(tmp_path / "b", durability="os") as target:
        assert [each.name for each in target.streams()] == ["run"]
        assert not list(target.hidden())
        assert rows(target.stream("run")) == rows(stream)
        table = origins(target, "run")
        assert place_in(table, 3) == own_place(source, stream, 3)


@pytest.mark.parametrize("is_tiny", [False, True])
def test_threads_that_import_the_same_make_one_stream(
    agents: fleet.Fleet, member: Opens, monkeypatch: pytest.MonkeyPatch, is_tiny: bool
) -> None:
    source, target = member("a"), member("b")
    stream = tangled(source)
    if is_tiny:
        tiny(monkeypatch)
    ref = reference(source, stream)
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda _: import_stream(agents, target, ref), range(6)))
    assert set(made) == {target.stream("run")}
    assert rows(made[0]) == rows(stream)
    assert not list(target.hidden())


def test_large_records_and_empty_ones(agents: fleet.Fleet, member: Opens) -> None:
    source = member("a")
    stream = source.create("run")
    limit = 1 << 20
    for size in (limit, 0, limit - 1, 3, limit, limit // 2):
        stream.append(random.Random(size).randbytes(size), headers={"k": "\n" * 100})
    source.publish()
    small = transit.Settings(record_bytes_max=limit, frame_bytes_max=limit)
    ref = reference(source, stream)
    for number, how in enumerate([{"settings": small}, {}]):
        target = member(f"b{number}", **how)
        copy = import_stream(agents, target, ref)
        assert rows(copy) == rows(stream)
        assert copy.metadata.keys() == {PARENT_REF, importing.IMPORT_ORIGINS}
    alone = source.create("alone")
    alone.append(bytes(limit))
    source.publish()
    # With what makes the stream it would be more than a frame.
    target = member("d", settings=small)
    assert rows(import_stream(agents, target, reference(source, alone))) == rows(alone)
    big = source.create("big")
    for seed in range(4):
        big.append(random.Random(seed).randbytes(5 << 20))
    source.publish()
    assert rows(import_stream(agents, member("e"), reference(source, big))) == rows(big)
    less = member("c", settings=transit.Settings(record_bytes_max=1000))
    with pytest.raises(transit.InvalidInputError, match="record_bytes_max"):
        import_stream(agents, less, ref)


def test_what_stands_in_the_way_is_told(
    agents: fleet.Fleet, member: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = member("a"), member("b")
    ref = reference(source, tangled(source))
    tiny(monkeypatch)
    uid = importing._Import(target, ref, "run")._uid
    target.layer("fleet").create(f"origins/{uid}")
    with pytest.raises(transit.AlreadyExistsError, match="origins"):
        import_stream(agents, target, ref)
    target.create("other", uid=importing._Import(target, ref, "mine")._uid)
    with pytest.raises(transit.AlreadyExistsError, match="other"):
        import_stream(agents, target, ref, "mine")


def test_metadata_that_leave_little_room(agents: fleet.Fleet, member: Opens) -> None:
    source, target = member("a"), member("b")
    for size in (40_000, 64_000):
        stream = source.create(f"s{size}", {"long": "x" * size})
        stream.append(b"x")
        source.publish()
        copy = import_stream(agents, target, reference(source, stream))
        assert copy.metadata["long"] == "x" * size
        assert copy.metadata[importing.IMPORT_ORIGINS] == "$fleet"
        assert place_in(origins(target, copy), 0) == own_place(source, stream, 0)
        # It is exported, and deleted, with the copy.
        kept = target.layer("fleet").stream(f"origins/{copy.uid}")
        assert kept.metadata == {"about_uid": copy.uid}
        target.delete(copy, reason="old")
        assert kept.deleted
    full = source.create("full", {"long": "x" * 65_500})
    full.append(b"x")
    source.publish()
    with pytest.raises(transit.InvalidInputError, match="metadata takes"):
        import_stream(agents, target, reference(source, full))


def test_what_was_trimmed_is_not_imported(agents: fleet.Fleet, member: Opens) -> None:
    source, target = member("a"), member("b")
    stream = filled(source, "run")
    stream.trim(before=1, reason="old")
    source.publish()
    with pytest.raises(transit.ErasedError):
        import_stream(agents, target, reference(source, stream))
    assert not list(target.streams()) + list(target.hidden())


def test_an_encrypted_store_is_imported_with_its_keys(tmp_path: Path) -> None:
    keyring = transit.Keyring.create(tmp_path / "keys", passphrase="p")
    url = str(tmp_path / "fleet")
    with fleet.create(url, keyring=keyring) as agents:
        with agents.record(tmp_path / "a", encrypt="remote", durability="os") as source:
            ref = reference(source, filled(source, "run"))
            source.publish()
            expected = rows(source.stream("run"))
        with transit.open(tmp_path / "b", durability="os") as target:
            assert rows(import_stream(agents, target, ref)) == expected
            with fleet.open(url) as locked, pytest.raises(transit.SealedError):
                import_stream(locked, target, ref, "other")
