"""Events of Matrix: relations, redactions, members, and nothing lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transit.chat.imports import detect, documents, matrix, read
from transit.chat.imports.items import Edited, Item, Member, Reacted, Removed, Said
from transit.errors import InvalidInputError, NotFoundError

from .exports import ANYTHING, bads, lost, put, records_with, said, written

ROOM = "!r:example.org"


def event(number: int, kind: str = "m.room.message", **more: object) -> dict[str, object]:
    content = {"msgtype": "m.text", "body": f"text {number}"} if kind == "m.room.message" else {}
    return {
        "type": kind,
        "event_id": f"$e{number}",
        "sender": "@ada:example.org",
        "room_id": ROOM,
        "origin_server_ts": 1_600_000_000_000 + number,
        "content": content,
        **more,
    }


def related(number: int, relation: object, **more: object) -> dict[str, object]:
    content = {"msgtype": "m.text", "body": f"text {number}", "m.relates_to": relation, **more}
    return event(number, content=content)


def items_of(folder: Path, *events: object) -> list[Item]:
    put(folder, {"room.json": list(events)})
    return written(matrix.read(folder / "room.json"))


def test_a_list_lines_and_an_export_of_element_read_alike(tmp_path: Path) -> None:
    events = [event(1), event(2, content={"body": "two\nlines"})]
    put(
        tmp_path,
        {
            "list.json": events,
            "lines.jsonl": b"\xef\xbb\xbf"
            + b"\r\n\r\n".join(json.dumps(e).encode() for e in events),
            "element.json": {"room_name": "Dev", "topic": "", "messages": events},
        },
    )
    one, lines, element = (
        written(read(tmp_path / name)) for name in ("list.json", "lines.jsonl", "element.json")
    )
    for items, channel in ((one, ROOM), (lines, ROOM), (element, "Dev")):
        assert [each.id for each in said(items)] == ["matrix:$e1", "matrix:$e2"]
        assert [each.text for each in said(items)] == ["text 1", "two\nlines"]
        assert {each.channel for each in said(items)} == {channel}
        assert said(items)[0].time == 1_600_000_000_001_000_000
    assert [each.place.number for each in lines] == [1, 3]


def test_replies_and_threads_answer_what_was_meant(tmp_path: Path) -> None:
    """matrix-org/matrix-spec-proposals#3440: in a thread, `m.in_reply_to` is a fallback or not."""
    to = {"m.in_reply_to": {"event_id": "$last"}}
    thread = {"rel_type": "m.thread", "event_id": "$root"}
    items = items_of(
        tmp_path,
        related(1, to),
        related(2, thread),
        related(3, {**thread, **to, "is_falling_back": True}),
        related(4, {**thread, **to, "is_falling_back": False}),
        related(5, {**thread, **to}),
        event(6),
    )
    assert [each.answers for each in said(items)] == [
        "matrix:$last",
        "matrix:$root",
        "matrix:$root",
        "matrix:$last",
        "matrix:$last",
        None,
    ]


def test_edits_reactions_and_redactions_name_their_messages(tmp_path: Path) -> None:
    edit, bare, reaction, removal, later = items_of(
        tmp_path,
        related(1, {"rel_type": "m.replace", "event_id": "$e"}, **{"m.new_content": {"body": "n"}}),
        related(2, {"rel_type": "m.replace", "event_id": "$e"}),
        event(
            3,
            "m.reaction",
            content={"m.relates_to": {"rel_type": "m.annotation", "event_id": "$e", "key": "👍"}},
        ),
        event(4, "m.room.redaction", redacts="$e", content={"reason": "spam"}),
        event(5, "m.room.redaction", content={"redacts": "$f"}),
    )
    assert isinstance(edit, Edited)
    assert (edit.message, edit.text) == ("matrix:$e", "n")
    assert isinstance(bare, Edited)
    assert bare.text == "text 2"
    assert isinstance(reaction, Reacted)
    assert (reaction.message, reaction.reaction) == ("matrix:$e", "👍")
    assert isinstance(removal, Removed)
    assert (removal.message, removal.reason) == ("matrix:$e", "spam")
    assert isinstance(later, Removed)
    assert later.message == "matrix:$f"


def test_an_event_emptied_by_a_redaction_is_kept_and_removed(tmp_path: Path) -> None:
    """element-hq/element-web#21337: the export of a room with a redacted poll hung."""
    because = {"sender": "@mod:x", "origin_server_ts": 5, "content": {"reason": "off topic"}}
    message, gone, poll, poll_gone = items_of(
        tmp_path,
        event(1, content={}, unsigned={"redacted_because": because}),
        event(2, "m.poll.start", content={}, unsigned={"redacted_because": because}),
    )
    assert isinstance(message, Said)
    assert message.text == ""
    assert isinstance(gone, Removed)
    assert (gone.author, gone.reason, gone.time) == ("@mod:x", "off topic", 5_000_000)
    assert isinstance(poll, Said)
    assert poll.system
    assert isinstance(poll_gone, Removed)
    assert poll_gone.message == "matrix:$e2"


def test_members_join_change_their_names_and_leave(tmp_path: Path) -> None:
    """element-hq/element-web#30176: without the sender's id nobody knows who it was."""

    def member(number: int, **content: object) -> dict[str, object]:
        return event(number, "m.room.member", state_key="@bob:x", content=content)

    items = items_of(
        tmp_path,
        member(1, membership="invite"),
        member(2, membership="join", displayname="Bob"),
        event(3, sender="@bob:x"),
        member(4, membership="join", displayname="Bob", avatar_url="mxc://x"),
        member(5, membership="join", displayname="Robert"),
        event(6, sender="@bob:x"),
        member(7, membership="leave"),
    )
    invited, joined, first, avatar, renamed, second, left = items
    assert isinstance(invited, Said)
    assert invited.system
    assert isinstance(joined, Member)
    assert (joined.author, joined.name, joined.change) == ("@bob:x", "Bob", "joined")
    assert isinstance(first, Said)
    assert (first.author, first.name) == ("@bob:x", "Bob")
    assert isinstance(avatar, Said)
    assert avatar.system
    assert isinstance(renamed, Member)
    assert (renamed.name, renamed.change) == ("Robert", "renamed")
    assert isinstance(second, Said)
    assert second.name == "Robert"
    assert isinstance(left, Member)
    assert (left.name, left.change) == ("Robert", "left")


def test_encrypted_and_unknown_events_are_kept_and_decrypted_ones_are_read(tmp_path: Path) -> None:
    secret = event(1, "m.room.encrypted", content={"ciphertext": "abc"})
    both = {"decrypted": event(3), "encrypted": event(3, "m.room.encrypted")}
    one, two, three = said(items_of(tmp_path, secret, event(2, "org.example.new"), both))
    assert one.system
    assert one.source == secret
    assert two.system
    assert (three.system, three.text) == (False, "text 3")
    assert three.source["encrypted"] == both["encrypted"]


def test_the_same_event_twice_is_one_and_another_with_its_id_is_kept(tmp_path: Path) -> None:
    one, other = said(
        items_of(
            tmp_path,
            event(1, unsigned={"age": 1}),
            event(1, unsigned={"age": 2}),
            event(1, content={"body": "x"}),
        )
    )
    assert one.id == "matrix:$e1"
    assert other.id.startswith("matrix:$e1~")


def test_what_is_no_event_is_told_and_the_next_is_read(tmp_path: Path) -> None:
    bad: list[object] = [
        7,
        {},
        event(1, origin_server_ts="soon"),
        event(2, origin_server_ts=True),
        event(3, origin_server_ts=-5),
        event(4, origin_server_ts=10**15),
        event(5, event_id=None),
    ]
    items = items_of(tmp_path, *bad, event(9))
    assert [each.place.number for each in bads(items)] == list(range(1, 8))
    assert [each.id for each in said(items)] == ["matrix:$e9"]


def test_a_damaged_line_is_told_and_the_next_is_read(tmp_path: Path) -> None:
    good = json.dumps(event(1)).encode()
    path = put(tmp_path, {"x.jsonl": b"{oops}\n" + good + b'\n{"a": \xff}\n[NaN]\n'}) / "x.jsonl"
    assert detect(path) == "matrix"
    items = written(read(path))
    assert [each.place.number for each in bads(items)] == [1, 3, 4]
    assert len(said(items)) == 1


def test_one_room_can_be_chosen(tmp_path: Path) -> None:
    put(tmp_path, {"a.json": [event(1), event(2, room_id="!other:x")]})
    assert [each.id for each in said(read(tmp_path, channel="!other:x"))] == ["matrix:$e2"]
    with pytest.raises(NotFoundError, match="nowhere"):
        list(read(tmp_path, channel="nowhere"))


def test_nothing_of_an_event_is_lost(tmp_path: Path) -> None:
    relations = [
        {"rel_type": "m.replace", "event_id": "$x"},
        {"rel_type": "m.annotation", "event_id": "$x", "key": "k"},
        {"rel_type": "m.thread", "event_id": "$x", "m.in_reply_to": {"event_id": "$y"}},
        {},
    ]
    kinds = [
        "m.room.message", "m.reaction", "m.room.redaction", "m.room.member", "m.room.topic",
        "m.sticker",
    ]  # fmt: skip
    whole = [
        event(
            10 * number + each,
            kind,
            content={
                "body": f"body {number} {each}",
                "m.relates_to": relation,
                "m.new_content": {"body": "new", "msgtype": "m.notice"},
                "membership": "join",
                "displayname": f"Name {number}",
                "info": {"size": 12, "w": 1.5, "thumbnail": None},
            },
            redacts="$z",
            unsigned={"age": 99, "redacted_because": {"sender": "@m:x", "event_id": "$r"}},
        )
        for number, kind in enumerate(kinds, 1)
        for each, relation in enumerate(relations)
    ]
    items = items_of(tmp_path, *whole)
    for number, record in enumerate(whole, 1):
        assert lost(record, [each for each in items if each.place.number == number]) == []


MEMBERS = (
    "type", "event_id", "sender", "room_id", "origin_server_ts", "content", "redacts", "unsigned",
    "state_key", "prev_content", "decrypted",
)  # fmt: skip
CONTENT = records_with("body", "m.relates_to", "m.new_content", "membership", "displayname")
EVENTS = st.builds(
    lambda known, kind, content: {**event(1, kind), **known, "content": content},
    st.dictionaries(st.sampled_from(MEMBERS[:1] + MEMBERS[2:]), ANYTHING, max_size=3),
    st.sampled_from(["m.room.message", "m.reaction", "m.room.redaction", "m.room.member"]),
    CONTENT,
)


@settings(deadline=None, max_examples=60)
@given(events=st.lists(records_with(*MEMBERS) | EVENTS, max_size=5) | ANYTHING)
def test_any_json_in_the_places_of_events_is_read_or_told(
    tmp_path_factory: pytest.TempPathFactory, events: object
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    for content in (events, {"room_name": "x", "messages": events}):
        put(path.parent, {"any.json": content})
        try:
            items = written(matrix.read(path))
        except InvalidInputError:
            continue
        if isinstance(events, list):
            assert bool(items) == bool(events)


def test_a_large_document_reads_as_a_small_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = items_of(tmp_path, *(event(number) for number in range(20)))
    monkeypatch.setattr(documents, "WHOLE_BYTES_MAX", 64)
    assert list(matrix.read(tmp_path / "room.json")) == first
