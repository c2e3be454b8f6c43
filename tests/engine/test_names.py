"""Names that older rules allowed, or that grew: what is in a store is found by every call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import transit
from transit.engine.finding import find_state
from transit.engine.staging import Staging, WantedMerge, stage
from transit.format import names
from transit.format.lineage import LineageRecord, Root
from transit.format.names import cursor_stream_name

# Allowed once, or by another writer: a separator, a control, a turned text, white space, too long.
OLD = ["a\u2028b", "a\0b", "\u202ea", " a ", "a" * 600]
NEW = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \U0001f469\u200d\U0001f467 \u0378\ue000"


def put(log: transit.Log, record: LineageRecord, payloads: tuple[bytes, ...] = ()) -> None:
    """A stream under a name that no rule is asked about, as a store of other rules has it."""

    def work(staging: Staging) -> None:
        state = staging.create(record)
        for payload in payloads:
            staging.append(state, payload, b"", None, None)

    stage(log._handle, work)


def old_store(log: transit.Log, name: str) -> None:
    """A stream, a cursor on it and a merge, all under a name of older rules."""
    put(log, Root(name=name), (b"1", b"2"))
    stream_id = find_state(log._handle, name).id
    put(log, Root(name=cursor_stream_name(stream_id, name)), (b"1",))
    other = log.create("other")
    other.append(b"3")
    wanted = WantedMerge(f"{name}m", "append", None, {}, name, (None, None))
    parents = [(find_state(log._handle, each), None) for each in (name, "other")]
    stage(log._handle, lambda staging: staging.merge(wanted, parents, None))


def calls(log: transit.Log, name: str) -> dict[str, Callable[[], object]]:
    """Every call that takes the name of what is there, and a merge that is asked for again."""
    position = transit.Position(name, 1)
    return {
        "stream": lambda: log.stream(name).append(b"more"),
        "in": lambda: name in log or pytest.fail("not in"),
        "streams": lambda: next(log.streams(prefix=name)),
        "cursor": lambda: log.stream(name).cursor(name).position == 1 or pytest.fail("at 0"),
        "cursor, advanced": lambda: log.stream(name).cursor(name).advance(2),
        "branch": lambda: log.stream(name).branch("branch"),
        "position": lambda: log.lineage.why(position),
        "spans": lambda: log.lineage.spans(position),
        "diff": lambda: log.lineage.diff(position, transit.Position("other", 0)),
        "plan": lambda: log.plan([position, transit.Position("other", 0)], policy="append"),
        "merge id": lambda: log.merge(
            f"{name}m",
            [log.stream(name), log.stream("other")],
            policy="append",
            merge_id=name,
        ),
    }


def refused(log: transit.Log, name: str) -> Iterator[str]:
    """The calls that refuse what is there."""
    for call, made in calls(log, name).items():
        try:
            made()
        except transit.InvalidInputError as error:
            yield f"{call}: {error}"


@pytest.mark.parametrize("name", OLD, ids=ascii)
def test_what_is_in_a_store_is_found_under_its_name(path: Path, name: str) -> None:
    with transit.open(path / "store", remote=path / "remote") as log:
        old_store(log, name)
        assert list(refused(log, name)) == []
        log.publish()
        assert log.verify().ok
    assert transit.audit(path / "remote").ok
    restored = transit.restore(path / "remote", path / "again", streams=[name])
    with transit.open(restored.path, mode="read") as log:
        assert [record.payload for record in log.stream(name)][:2] == [b"1", b"2"]


@pytest.mark.parametrize("name", OLD, ids=ascii)
def test_a_new_thing_gets_no_such_name(path: Path, name: str) -> None:
    with transit.open(path) as log:
        s, t = log.create("s"), log.create("t")
        for made in (
            lambda: log.create(name),
            lambda: s.branch(name),
            lambda: s.cursor(name),
            lambda: log.merge(name, [s, t], policy="append"),
            lambda: log.merge("m", [s, t], policy="append", merge_id=name),
            lambda: transit.register_policy(name, lambda suffixes, params: []),
            lambda: log.stream(name),
        ):
            with pytest.raises(transit.InvalidInputError):
                made()
        assert name not in log
        assert [stream.name for stream in log.streams()] == ["s", "t"]


def test_names_as_people_write_them_name_everything(path: Path) -> None:
    transit.register_policy(NEW, lambda suffixes, params: suffixes[0])
    with transit.open(path / "store", remote=path / "remote") as log:
        stream = log.create(NEW, metadata={NEW: NEW})
        stream.append(b"1", headers={NEW: NEW})
        other = stream.branch(f"{NEW}/2")
        other.append(b"2")
        stream.cursor(NEW).advance(1)
        merged = log.merge(
            f"{NEW}m", [stream, other], policy=f"custom:{NEW}", merge_id=NEW, params={}
        )
        assert merged.merge_plan is not None
        assert merged.merge_plan.policy == f"custom:{NEW}"
        log.publish()
    transit.restore(path / "remote", path / "again", streams=[NEW])
    with transit.open(path / "again", mode="read") as log:
        stream = log.stream(NEW)
        assert dict(stream.metadata) == {NEW: NEW}
        assert dict(stream[0].headers) == {NEW: NEW}


def test_a_name_that_grew_in_a_rebase_is_found(path: Path) -> None:
    name = "n" * 512
    with transit.open(path / "a", remote=path / "remote", durability="os") as log:
        log.create(name).append(b"1")
        log.publish()
    with transit.open(path / "b", remote=path / "remote", durability="os") as log:
        log.stream(name).append(b"by b")
        log.publish()
    with transit.open(path / "a", durability="os") as log:
        log.stream(name).append(b"by a")
        log.seal()
    with transit.open(path / "a", remote=path / "remote", durability="os") as log:
        with pytest.raises(transit.FencedError):
            log.publish()
        rebased = log.rebase_onto_remote()
    ours = rebased.streams[name]
    assert len(ours) > 512
    with transit.open(path / "a", remote=path / "remote") as log:
        assert ours in log
        assert log.stream(ours)[1].payload == b"by a"
        assert log.lineage.why(transit.Position(ours, 1)).origin.stream == ours
        log.stream(ours).append(b"more")


# The same checks, with a bug put in.


PLANTS = {
    "lookups follow the rules for new names": ("transit.engine.finding", "found_name"),
    "cursors follow the rules for new names": ("transit.engine.cursor", "known_name"),
    "merge ids follow the rules for new names": ("transit.engine.merging", "known_name"),
    "restore follows the rules for new names": ("transit.engine.restoring", "findable"),
    "names in the log follow the rules for new names": ("transit.engine.log", "findable"),
}


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_bug_is_found(path: Path, monkeypatch: pytest.MonkeyPatch, plant: str) -> None:
    def strict(name: object, what: str = "stream name", *_: object) -> str:
        return names.check_name(name, what)

    module, function = PLANTS[plant]
    monkeypatch.setattr(f"{module}.{function}", strict)
    with pytest.raises((AssertionError, transit.InvalidInputError, pytest.fail.Exception)):
        test_what_is_in_a_store_is_found_under_its_name(path, OLD[0])
