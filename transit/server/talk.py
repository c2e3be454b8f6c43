"""What is told of channels, messages and threads: rows for the page and for tools, in bounds.

Texts are cut where they are made, so that none is kept or sent whole. How much is read, and what
is kept, is of `transit.server.channels`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from transit import Stream
from transit.chat.messages import Message, fold
from transit.chat.records import CHANGES, KIND, MALFORMED, MESSAGES, SYSTEM, decode_target
from transit.chat.verdicts import Decision, Override

TEXT_MAX: Final = 4_000
WORD_MAX: Final = 200
TITLE_MAX: Final = 100
"""Characters of a message, of a name or a reason, of a thread's first message where it is named."""
REACTIONS_MAX: Final = 20
SCORE_MIN: Final = 0.005
"""What is less is no alternative that is told."""
BACK_MAX: Final = 256
"""Records that the last message of a channel is sought in, where it is only listed."""


class Said(msgspec.Struct, frozen=True):
    """What a message says. left: characters of its text that are not shown.

    writer: of its record, the name of a token or ""; whatever the author is said to be. removed_by,
    reason: who removed it, and why. is_gone: its record was deleted.
    """

    author: str
    name: str
    time: int
    text: str = ""
    left: int = 0
    edits: int = 0
    edited_by: str = ""
    reactions: tuple[tuple[str, int], ...] = ()
    is_removed: bool = False
    removed_by: str = ""
    reason: str = ""
    is_system: bool = False
    is_gone: bool = False
    answers: int | None = None
    writer: str = ""


class Why(msgspec.Struct, frozen=True):
    """Why a message is in its thread.

    kind: decided, proposed, said (by a person), or "" where nobody said anything. by: the
    classifier, or the person. parent: what the message answers by that; None: it
    starts a thread. others: other parents and their scores. record: the offset in the decisions.
    is_merged: a person made its thread one with another.
    """

    kind: str = ""
    by: str = ""
    version: str = ""
    action: str = ""
    reason: str = ""
    parent: int | None = None
    score: float = 0.0
    threshold: float = 0.0
    others: tuple[tuple[int | None, float], ...] = ()
    record: int = -1
    is_merged: bool = False


class Line(msgspec.Struct, frozen=True):
    """A message in its place. thread: the first message of its thread; title: of that.

    replies: how many are in branches at this message.
    """

    stream: str
    offset: int
    said: Said
    thread: int
    title: str
    why: Why
    is_reply: bool = False
    replies: int = 0


class Lines(msgspec.Struct, frozen=True):
    """Some messages of a channel. begin, end: offsets; count: of all.

    earlier, later: where the messages before and behind them begin; None where none are.
    """

    lines: Sequence[Line]
    begin: int
    end: int
    count: int
    earlier: int | None
    later: int | None


class Summed(msgspec.Struct, frozen=True):
    """A summary of a thread. is_stale: there is more now."""

    text: str
    by: str
    time: int
    is_stale: bool


class ThreadRow(msgspec.Struct, frozen=True):
    """A thread as it is listed. last: when something was last said in it."""

    root: int
    title: str
    author: str
    state: str
    messages: int
    replies: int
    begun: int
    last: int
    summary: Summed | None


class Frozen(msgspec.Struct, frozen=True):
    """A frozen copy of a thread."""

    name: str
    records: int
    by: str
    reason: str


class WholeThread(msgspec.Struct, frozen=True):
    """A thread that is looked at: its row, some of its messages, and what was made of it.

    Messages in the channel come before replies. start: how many come before the ones that are
    given; count: of all. state: who said how it stands.
    """

    row: ThreadRow
    lines: Sequence[Line]
    start: int
    count: int
    state: Why
    branches: Sequence[str]
    frozen: Sequence[Frozen]


class ChannelRow(msgspec.Struct, frozen=True):
    """A channel as it is listed. messages: how many; None where only records are counted."""

    uid: str
    name: str
    purpose: str
    records: int
    messages: int | None
    last: Said | None


def last_said(stream: Stream, count: int) -> Said | None:
    """The last message among the last records of a channel, as it is shown."""
    records = list(stream.read(max(stream.first_offset, count - BACK_MAX), count))
    for place in range(len(records) - 1, -1, -1):
        record = records[place]
        if record.headers.get(KIND) in MESSAGES:
            changes = [
                each
                for each in records[place:]
                if each.headers.get(KIND) in CHANGES and _target(each.payload) == record.offset
            ]
            is_system = SYSTEM in record.headers
            return said_of(fold(stream.name, record, changes, is_system=is_system))
    return None


def said_of(message: Message) -> Said:
    """What a message says, in bounds."""
    reactions = [(cut(key, 40), len(who)) for key, who in message.reactions.items()]
    text = message.text
    return Said(
        author=cut(message.author, WORD_MAX),
        name=cut(message.name, WORD_MAX),
        time=message.time,
        text=text[:TEXT_MAX],
        left=max(0, len(text) - TEXT_MAX),
        edits=len(message.edits),
        edited_by=cut(message.edits[-1].author, WORD_MAX) if message.edits else "",
        reactions=tuple(reactions[:REACTIONS_MAX]),
        is_removed=message.removed,
        removed_by=cut(message.removed_by, WORD_MAX),
        reason=cut(message.removed_reason, WORD_MAX),
        is_system=message.system,
        answers=message.answers,
        writer=cut(message.writer, WORD_MAX),
    )


def title_of(said: Said) -> str:
    """The first message of a thread, where the thread is named."""
    if said.is_removed or said.is_gone:
        return "(removed)"
    line = said.text.strip().partition("\n")[0]
    return cut(f"{said.name} {line}" if said.is_system else line, TITLE_MAX) or "(empty)"


def why_of(found: Decision | Override) -> Why:
    """What a record of decisions says of a message."""
    if isinstance(found, Override):
        return Why(
            "said",
            cut(found.by, WORD_MAX),
            action=cut(found.action, WORD_MAX),
            reason=cut(found.reason, WORD_MAX),
            parent=found.parent,
            record=found.position.offset,
        )
    return Why(
        "decided" if found.decided else "proposed",
        cut(found.classifier, WORD_MAX),
        cut(found.version, WORD_MAX),
        parent=found.parent,
        score=found.score,
        threshold=found.threshold,
        others=tuple(
            (each.parent, each.score) for each in found.alternatives[:3] if each.score >= SCORE_MIN
        ),
        record=found.position.offset,
    )


def cut(text: str, most: int) -> str:
    """The beginning of a text."""
    return text if len(text) <= most else text[: most - 1] + "…"


def _target(payload: bytes) -> int:
    try:
        return decode_target(payload).of
    except MALFORMED:
        return -1
