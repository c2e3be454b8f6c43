"""What is tried with any bytes by the decoders of `transit.chat` (see `rigs.fuzz.formats`)."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from transit import Position, Record
from transit.chat.folding import Folding
from transit.chat.imports import read
from transit.chat.imports.items import Bad
from transit.chat.messages import fold
from transit.chat.records import DecisionBody, EditBody, MessageBody, OverrideBody, encode
from transit.chat.scoring import read_annotation
from transit.format.headers import NO_HEADERS
from transit.replay import Source

_COUNT: Final = 200
_TIME_MAX: Final = 1 << 63
_KINDS: Final = {b"d": "classifier-evidence", b"o": "human-override"}


def decisions(data: bytes) -> None:
    """Lines of decisions (d) and overrides (o), as the fold of a channel of 200 records."""
    lines = data.split(b"\n")
    headers = [{"kind": _KINDS.get(line[:1], "other")} for line in lines]
    payloads = [line[1:] for line in lines]
    whole, parts = Folding(), Folding()
    whole.take(_COUNT, headers, payloads)
    for place, (header, payload) in enumerate(zip(headers, payloads, strict=True)):
        parts.take(_COUNT, [header], [payload])
        parts.root(place % _COUNT)
    for message in range(_COUNT):
        root = whole.root(message)
        assert root == parts.root(message) <= message
        assert whole.root(root) == root
        assert message in whole.members(root) or whole.root(message) == message
        assert (whole.parent(message) or 0) < max(1, message)
        assert whole.why(message) == parts.why(message)
    for root in whole.roots():
        assert list(whole.members(root)) == sorted(set(whole.members(root)))


def messages(data: bytes) -> None:
    """A message and what was said of it later: lines, of which the first is the message."""
    first, *later = data.split(b"\n")
    changes = [
        _record(line[1:], _CHANGE_KINDS[line[:1]]) for line in later if line[:1] in _CHANGE_KINDS
    ]
    shown = fold("dev", _record(first, "channel-message"), changes, is_system=False)
    assert shown.position == Position("dev", 7)
    if shown.removed:
        assert (shown.text, shown.edits, shown.source) == ("", (), None)


_CHANGE_KINDS: Final = {b"e": "message-edit", b"r": "message-reaction", b"x": "message-removal"}


def _record(payload: bytes, kind: str) -> Record:
    headers = {"kind": kind, "author_id": "ada"}
    return Record(7, 1, payload, headers or NO_HEADERS, Source("dev", 0), 1)


def irc(data: bytes) -> None:
    """A log of IRC."""
    _read(data, "2020-01-01.txt", "irc")


def slack(data: bytes) -> None:
    """A day of a Slack export."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "channels.json").write_bytes(b'[{"id": "C1", "name": "general"}]')
        (root / "users.json").write_bytes(b'[{"id": "U1", "name": "ada"}]')
        (root / "general").mkdir()
        (root / "general" / "2020-01-01.json").write_bytes(data)
        _check(root, "slack")


def discord(data: bytes) -> None:
    """An export of DiscordChatExporter."""
    _read(data, "export.json", "discord")


def matrix(data: bytes) -> None:
    """Events of Matrix."""
    _read(data, "events.jsonl", "matrix")


def mbox(data: bytes) -> None:
    """A mailbox."""
    _read(data, "mail.mbox", "mbox")


def annotation(data: bytes) -> None:
    """Links that people annotated."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.annotation.txt"
        path.write_bytes(data)
        for link in read_annotation(path):
            assert link.parent is None or 0 <= link.parent <= link.child


def _read(data: bytes, name: str, form: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        _check(path, form)


def _check(path: Path, form: str) -> None:
    ids = set()
    for item in read(path, form):
        # What is kept can be written.
        msgspec.json.encode(item)
        if isinstance(item, Bad):
            assert len(item.raw) <= 2000
            continue
        assert 0 <= item.time < _TIME_MAX
        assert item.id not in ids, item.id
        ids.add(item.id)


# Seeds


def chat_seeds() -> dict[str, list[bytes]]:
    """Inputs that reach all of it, by target."""
    decided = [
        DecisionBody(1, 0, 0.9, True, 0.8, [(None, 0.1)], "linear", "1", "ab", 5),
        DecisionBody(2, None, 0.9, True, 0.8, [], "linear", "1", "ab", 5),
        DecisionBody(3, 2, 0.5, False, 0.8, [], "linear", "1", "ab", 5),
    ]
    said = [
        OverrideBody("reanchor", 3, 6, parent=1),
        OverrideBody("merge", 0, 7, other=2),
        OverrideBody("split", 2, 8),
        OverrideBody("resolve", 0, 9, reason="done"),
    ]
    lines = [*(b"d" + encode(each) for each in decided), *(b"o" + encode(each) for each in said)]
    talk = [
        encode(MessageBody("hello", "Ada", 3, data=[1], source={"a": "b"})),
        b"e" + encode(EditBody(7, "hello!")),
        b'r{"of":7,"reaction":"+1"}',
        b'x{"of":7,"reason":"spam"}',
    ]
    return {
        "chat_decisions": [b"\n".join(lines), lines[0]],
        "chat_messages": [b"\n".join(talk), b"\n".join(talk[:3])],
        "chat_irc": [
            b"[03:02] <ada> hi\n[03:03] <bob> ada: yes\n=== bob is now known as rob\n* rob is\n",
            b"--- Log opened Mon Nov 15 2004\n03:12 -!- eve [e@x] has joined #dev\n03:13 <eve> h\n",
        ],
        "chat_slack": [_json(_SLACK)],
        "chat_discord": [_json(_DISCORD)],
        "chat_matrix": [b"\n".join(map(_json, _MATRIX)), _json(_MATRIX)],
        "chat_mbox": [_MBOX],
        "chat_annotation": [b"999 1000 -\n1001 1001 -\n1002 1001 -\n"],
    }


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


_SLACK: Final = [
    {"type": "message", "user": "U1", "text": "hi <@U2>", "ts": "1577836800.000100"},
    {
        "type": "message", "user": "U2", "text": "yes", "ts": "1577836801.000200",
        "thread_ts": "1577836800.000100", "edited": {"user": "U2", "ts": "1577836802.000000"},
        "reactions": [{"name": "+1", "users": ["U1"], "count": 1}],
    },
    {"type": "message", "subtype": "channel_join", "user": "U3", "text": "x", "ts": "1577836803.0"},
    {
        "type": "message", "subtype": "message_deleted", "deleted_ts": "1577836800.000100",
        "ts": "1577836804.000000",
    },
]  # fmt: skip
_DISCORD: Final = {
    "guild": {"id": "1", "name": "g"},
    "channel": {"id": "2", "name": "dev"},
    "messages": [
        {
            "id": "100", "type": "Default", "timestamp": "2020-07-04T15:49:15.02+00:00",
            "timestampEdited": None, "content": "hi",
            "author": {"id": "7", "name": "ada", "nickname": "Ada", "isBot": False},
            "reactions": [{"emoji": {"name": "x"}, "count": 1, "users": [{"id": "8"}]}],
        },
        {
            "id": "101", "type": "Reply", "timestamp": "2020-07-04T15:50:15Z", "content": "y",
            "timestampEdited": "2020-07-04T15:51:15+00:00", "author": {"id": "8", "name": "bob"},
            "reference": {"messageId": "100", "channelId": "2"},
        },
    ],
}  # fmt: skip
_MATRIX: Final = [
    {
        "type": "m.room.message", "event_id": "$1", "room_id": "!r:x", "sender": "@ada:x",
        "origin_server_ts": 1577836800000, "content": {"msgtype": "m.text", "body": "hi"},
    },
    {
        "type": "m.room.message", "event_id": "$2", "room_id": "!r:x", "sender": "@bob:x",
        "origin_server_ts": 1577836801000,
        "content": {
            "msgtype": "m.text", "body": "yes",
            "m.relates_to": {"m.in_reply_to": {"event_id": "$1"}},
        },
    },
    {
        "type": "m.reaction", "event_id": "$3", "room_id": "!r:x", "sender": "@ada:x",
        "origin_server_ts": 1577836802000,
        "content": {"m.relates_to": {"rel_type": "m.annotation", "event_id": "$2", "key": "+1"}},
    },
    {
        "type": "m.room.redaction", "event_id": "$4", "room_id": "!r:x", "sender": "@ada:x",
        "origin_server_ts": 1577836803000, "redacts": "$1", "content": {},
    },
]  # fmt: skip
_MBOX: Final = (
    b"From ada@x Wed Jan  1 00:00:00 2020\n"
    b"From: Ada <ada@x>\nMessage-ID: <1@x>\nDate: Wed, 1 Jan 2020 00:00:00 +0000\n"
    b"Subject: =?utf-8?q?hell=C3=B6?=\n\nhello\n\n"
    b"From bob@x Wed Jan  1 00:01:00 2020\n"
    b"From: bob@x\nMessage-ID: <2@x>\nIn-Reply-To: <1@x>\nReferences: <1@x>\n"
    b"Date: Wed, 1 Jan 2020 00:01:00 +0000\nSubject: Re: hello\n\nyes\n"
)
