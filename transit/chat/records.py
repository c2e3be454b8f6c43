"""The records of channels and of their layer: kinds, headers, payloads.

A record's header `kind` says what it is, `author_id` who wrote it, `message_id` what its sender or
its platform calls it. The payload is a JSON object. Records name messages of their own stream by
offset: a message's offset is the same in the stream, in each branch of it, and after a rebase or an
import under another name.

    in a channel        channel-message, message-edit, message-reaction, message-removal,
                        participant, thread-backlink, thread-summary, channel-unresolved
    in a thread branch  thread-reply, message-edit, message-reaction, message-removal
    in $chat/decisions  classifier-evidence, human-override
    in $chat/readers    reader-position
    in $chat/policy     channel-policy

Records of other kinds, or with another payload, may lie between them: they are passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from transit import InvalidInputError

KIND: Final = "kind"
AUTHOR: Final = "author_id"
MESSAGE_ID: Final = "message_id"
SYSTEM: Final = "system"
RESERVED: Final = frozenset((KIND, AUTHOR, MESSAGE_ID, SYSTEM))
"""Headers that are the room's own."""

# Of streams, in their metadata.
CHANNEL_ROOT: Final = "channel-root"
THREAD_BRANCH: Final = "thread-branch"
THREAD_FROZEN: Final = "thread-frozen"
# Of records.
CHANNEL_MESSAGE: Final = "channel-message"
THREAD_REPLY: Final = "thread-reply"
EDIT: Final = "message-edit"
REACTION: Final = "message-reaction"
REMOVAL: Final = "message-removal"
PARTICIPANT: Final = "participant"
BACKLINK: Final = "thread-backlink"
SUMMARY: Final = "thread-summary"
EVIDENCE: Final = "classifier-evidence"
OVERRIDE: Final = "human-override"
POSITION: Final = "reader-position"
POLICY: Final = "channel-policy"
UNRESOLVED: Final = "channel-unresolved"

MESSAGES: Final = frozenset((CHANNEL_MESSAGE, THREAD_REPLY))
CHANGES: Final = frozenset((EDIT, REACTION, REMOVAL))

Source = Mapping[str, Any]
"""What an import found that has no place elsewhere."""


class MessageBody(msgspec.Struct, omit_defaults=True):
    """A message. name: of its author. answers, starts: the sender's or the platform's word."""

    text: str
    name: str = ""
    answers: int | None = None
    starts: bool = False
    data: Any = None
    source: dict[str, Any] | None = None


class EditBody(msgspec.Struct, omit_defaults=True):
    """Message `of` has this text from here on."""

    of: int
    text: str
    source: dict[str, Any] | None = None


class ReactionBody(msgspec.Struct, omit_defaults=True):
    """The author's reaction to message `of`, or its withdrawal."""

    of: int
    reaction: str
    withdrawn: bool = False
    source: dict[str, Any] | None = None


class RemovalBody(msgspec.Struct, omit_defaults=True):
    """Views leave message `of` out of sight from here on."""

    of: int
    reason: str = ""
    source: dict[str, Any] | None = None


class ParticipantBody(msgspec.Struct, omit_defaults=True):
    """The author joined, left, or is called otherwise: change is "joined", "left" or "renamed"."""

    change: str
    name: str = ""
    source: dict[str, Any] | None = None


class BacklinkBody(msgspec.Struct):
    """A branch was made for the replies in a thread."""

    thread: str
    channel_id: str
    anchor_ref: str
    thread_kind: str
    fork_offset: int


class SummaryBody(msgspec.Struct):
    """What a thread says, up to the channel's offset `covers` and the branch's `covers_replies`."""

    of: int
    text: str
    covers: int
    covers_replies: int


class DecisionBody(msgspec.Struct):
    """What a classifier says that a message answers; parent None: it starts a thread.

    alternatives: other parents and their scores, likeliest first. decided: whether the score
    reached the threshold; otherwise it is proposed. decided_at: UTC nanoseconds.
    """

    message: int
    parent: int | None
    score: float
    decided: bool
    threshold: float
    alternatives: list[tuple[int | None, float]]
    classifier: str
    version: str
    digest: str
    decided_at: int


class OverrideBody(msgspec.Struct, omit_defaults=True):
    """What a person says of a message or of its thread.

    action: confirm, reanchor, split, merge, suppress, reopen, resolve. parent: what the message
    answers; None: it starts a thread. other: a message of the thread that is merged.
    supersedes_ref: the record that said something of this before, as STREAM@OFFSET.
    """

    action: str
    message: int
    decided_at: int
    parent: int | None = None
    other: int | None = None
    reason: str = ""
    supersedes_ref: str | None = None


class PositionBody(msgspec.Struct, omit_defaults=True):
    """How far somebody has seen the thread that begins at offset `thread`.

    seen: the offset after the last message that was seen in the channel. marked: what was seen
    there for the first time, as offsets: it stays seen, whatever thread it is in later. branch: the
    branch that replies were seen in, and seen_replies: the offset after the last of them.
    """

    thread: int
    seen: int = 0
    marked: list[int] = []
    branch: str = ""
    seen_replies: int = 0


class PolicyBody(msgspec.Struct):
    """How a channel is threaded from here on."""

    classifier: str
    decide_at: float


encode = msgspec.json.Encoder().encode

decode_message = msgspec.json.Decoder(MessageBody).decode
decode_edit = msgspec.json.Decoder(EditBody).decode
decode_reaction = msgspec.json.Decoder(ReactionBody).decode
decode_removal = msgspec.json.Decoder(RemovalBody).decode
decode_participant = msgspec.json.Decoder(ParticipantBody).decode
decode_backlink = msgspec.json.Decoder(BacklinkBody).decode
decode_summary = msgspec.json.Decoder(SummaryBody).decode
decode_decision = msgspec.json.Decoder(DecisionBody).decode
decode_override = msgspec.json.Decoder(OverrideBody).decode
decode_policy = msgspec.json.Decoder(PolicyBody).decode
decode_position = msgspec.json.Decoder(PositionBody).decode

MALFORMED: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What the decoders raise for what is no such record."""


class TargetBody(msgspec.Struct):
    """Which message a change is about."""

    of: int


decode_target = msgspec.json.Decoder(TargetBody).decode


def headers_of(
    kind: str, author: str, message_id: str | None = None, more: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The headers of a record; `more`: those of the sender, under names of their own."""
    headers = {KIND: kind, AUTHOR: author}
    if message_id is not None:
        headers[MESSAGE_ID] = message_id
    if more:
        taken = RESERVED.intersection(more)
        if taken:
            raise InvalidInputError(f"headers {sorted(taken)} are the channel's own")
        headers.update(more)
    return headers


def check_text(value: object, what: str) -> str:
    """Text that is not empty, or `InvalidInputError`."""
    if not isinstance(value, str):
        raise InvalidInputError(f"{what} must be text, not {type(value).__name__}")
    if not value:
        raise InvalidInputError(f"{what} is empty")
    return value
