"""Retention, holds, trims and deletions over a connection: as those of the embedded store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import transit
from transit.client.link import Link, LostError
from transit.engine.became import Became


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[transit.Log]:
    """Another store, in which the same is done."""
    with transit.open(tmp_path / "embedded", durability="os") as log:
        yield log


def fill(log: transit.Log) -> None:
    log.create("s").append_many([b"0", b"1", b"2", b"3"])
    log.stream("s").branch("s/branch", at=1).append(b"own")
    log.create("plain").append_many([b"a", b"b"])
    log.create("held").append(b"x")
    log.stream("held").hold("law")
    log.create("limited").append_many([b"x", b"y", b"z"])
    log.stream("limited").retain(transit.Retention(count_max=2), reason="r")
    log.create("kept").append(b"x")
    log.stream("kept").retain(transit.Retention(keep_for=100_000))


def plain(value: object) -> object:
    """A result without what differs between two stores: times."""
    if isinstance(value, tuple):
        return tuple(map(plain, value))
    if isinstance(value, Became):
        return value.what, value.reason, value.basis, value.before, value.hold, value.retention
    if isinstance(value, transit.Due):
        return value.stream, value.before, value.records, value.limit, value.refused
    return value


DONE: dict[str, Callable[[transit.Log], object]] = {
    "trim": lambda log: log.stream("plain").trim(before=1, reason="old"),
    "trim dry": lambda log: log.stream("s").trim(before=2, dry_run=True),
    "trim needed": lambda log: log.stream("s").trim(before=2),
    "trim too far": lambda log: log.stream("plain").trim(before=3),
    "trim below": lambda log: log.stream("plain").trim(before=-1),
    "trim no number": lambda log: log.stream("plain").trim(before="1"),  # type: ignore[arg-type]
    "delete": lambda log: log.delete("plain", reason="wish", basis="gdpr-17"),
    "delete stream": lambda log: log.delete(log.stream("plain"), reason="wish"),
    "delete twice": lambda log: [log.delete(each, reason="wish")
                                 for each in [log.stream("plain")] * 2],
    "delete none": lambda log: log.delete("none", reason="wish"),
    "delete needed": lambda log: log.delete("s", reason="wish"),
    "delete dry": lambda log: log.delete("s", reason="wish", dry_run=True),
    "delete all": lambda log: log.delete("s", reason="wish", cascade=True),
    "delete held": lambda log: log.delete("held", reason="wish", basis="court"),
    "delete held dry": lambda log: log.delete("held", reason="wish", dry_run=True),
    "delete kept": lambda log: log.delete("kept", reason="wish"),
    "delete kept by a court": lambda log: log.delete("kept", reason="wish", basis="court"),
    "delete expect": lambda log: log.delete("plain", reason="wish", expect=1),
    "delete expect less": lambda log: log.delete("plain", reason="wish", expect=-1),
    "delete on a mood": lambda log: log.delete("plain", reason="wish", basis="mood"),
    "delete long reason": lambda log: log.delete("plain", reason="é" * 1000),
    "delete half a character": lambda log: log.delete("plain", reason="\ud800"),
    "delete no text": lambda log: log.delete("plain", reason=7),  # type: ignore[arg-type]
    "delete when": lambda log: log.delete("plain", reason="wish", durability="now"),
    "retain": lambda log: log.stream("plain").retain(transit.Retention(keep_for=7), expect=2),
    "retain expect": lambda log: log.stream("plain").retain(transit.Retention(), expect=1),
    "retain nothing": lambda log: log.stream("limited").retain(transit.Retention()),
    "retain zero": lambda log: log.stream("plain").retain(transit.Retention(keep_for=0)),
    "retain none": lambda log: log.stream("plain").retain(None),  # type: ignore[arg-type]
    "due": lambda log: log.retain(dry_run=True),
    "let go": lambda log: log.retain(),
    "hold": lambda log: log.stream("plain").hold("case 7", durability="local"),
    "hold twice": lambda log: [log.stream("held").hold("law"), log.stream("held").hold("law")],
    "hold empty": lambda log: log.stream("plain").hold(""),
    "hold no text": lambda log: log.stream("plain").hold(7),  # type: ignore[arg-type]
    "release": lambda log: log.stream("held").release_hold("law"),
    "release none": lambda log: log.stream("held").release_hold("other"),
    "release empty": lambda log: log.stream("held").release_hold(""),
}  # fmt: skip


def told(log: transit.Log, work: Callable[[transit.Log], object]) -> tuple[object, ...]:
    """What something gives or raises, and how the store stands then."""
    try:
        found: object = work(log)
    except transit.TransitError as error:
        holds, names = getattr(error, "holds", None), getattr(error, "dependents", None)
        found = type(error), error.exit_code, holds, names
    streams = sorted([*log.streams(), *log.hidden()], key=lambda stream: stream.id)
    return (
        plain(found),
        [(each.name, each.first_offset, each.deleted, each.retention, each.holds,
          plain(each.became())) for each in streams],
    )  # fmt: skip


@pytest.mark.parametrize("name", DONE)
def test_it_does_and_raises_what_the_embedded_store_does(
    log: transit.Log, opened: transit.Log, embedded: transit.Log, name: str
) -> None:
    fill(opened)
    fill(embedded)
    assert told(log, DONE[name]) == told(embedded, DONE[name])


def test_what_became_of_a_stream_is_the_same_to_the_last_field(
    log: transit.Log, opened: transit.Log
) -> None:
    fill(opened)
    stream = opened.stream("plain")
    stream.hold("law", writer="bob")
    stream.release_hold("law")
    stream.trim(before=1, reason="old", basis="retention")
    opened.delete(stream, reason="wish", writer="eve")
    opened.erase()
    found = log.stream(uid=stream.uid).became()
    assert found == stream.became()
    assert [each.what for each in found] == ["held", "released", "trimmed", "deleted", "erased"]


def test_who_writes_is_for_the_server_to_say(log: transit.Log, opened: transit.Log) -> None:
    fill(opened)
    stream = log.stream("plain")
    for work in (
        lambda: log.delete(stream, reason="x", writer="me"),
        lambda: stream.trim(before=1, writer="me"),
        lambda: stream.hold("x", writer="me"),
        lambda: stream.release_hold("x", writer="me"),
        lambda: stream.retain(transit.Retention(), writer="me"),
    ):
        with pytest.raises(transit.InvalidInputError, match="name of the token"):
            work()
    assert stream.became() == ()


def test_a_stream_is_given_its_limits_once_it_is_there(log: transit.Log) -> None:
    with pytest.raises(transit.InvalidInputError, match=r"then stream\.retain"):
        log.create("new", retention=transit.Retention(keep_for=1))
    assert "new" not in log


CHANGES: dict[str, Callable[[transit.Stream, transit.Log], object]] = {
    "hold": lambda stream, log: stream.hold("case 7"),
    "release": lambda stream, log: stream.release_hold("law"),
    "retain": lambda stream, log: stream.retain(transit.Retention(count_max=9)),
    "trim": lambda stream, log: stream.trim(before=1),
    "delete": lambda stream, log: log.delete("plain", reason="wish"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_whose_answer_is_lost_is_made_once_and_raises_nothing(
    log: transit.Log, opened: transit.Log, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    fill(opened)
    stream = log.stream("held" if change == "release" else "plain")
    before = len(stream.became())
    honest, losses = Link.once, count()

    def losing(link: Link, method: str, *given: Any, **named: Any) -> Any:
        reply = honest(link, method, *given, **named)
        if method == "POST" and next(losses) == 0:
            raise LostError("the connection broke off", was_sent=True)
        return reply

    monkeypatch.setattr(Link, "once", losing)
    CHANGES[change](stream, log)
    assert next(losses) == 2, "it was sent twice"
    assert len(stream.became()) == before + 1
