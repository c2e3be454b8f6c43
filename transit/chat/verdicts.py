"""Decisions and overrides as they are read: what a record of them says, and where it is."""

from __future__ import annotations

import msgspec

from transit import CorruptError, Position, Record
from transit.chat.classifying import Candidate
from transit.chat.records import (
    AUTHOR,
    EVIDENCE,
    KIND,
    MALFORMED,
    DecisionBody,
    decode_decision,
    decode_override,
)


class Decision(msgspec.Struct, frozen=True):
    """What a classifier said that a message answers.

    message: its offset in the channel. parent: the offset of the message that it answers; None: it
    starts a thread. score: 0 to 1. decided: whether the score reached the threshold; otherwise it
    is proposed, and changes nothing. alternatives: other parents, likeliest first. decided_at: UTC
    nanoseconds. position: of the record.
    """

    message: int
    parent: int | None
    score: float
    decided: bool
    threshold: float
    alternatives: tuple[Candidate, ...]
    classifier: str
    version: str
    digest: str
    decided_at: int
    position: Position


class Override(msgspec.Struct, frozen=True):
    """What a person said of a message or of its thread.

    action: confirm, reanchor, split, merge, suppress, reopen or resolve. supersedes_ref: the record
    that said something of it before, as STREAM@OFFSET; None where none did. Else as `Decision`.
    """

    action: str
    message: int
    parent: int | None
    other: int | None
    by: str
    reason: str
    supersedes_ref: str | None
    decided_at: int
    position: Position


def verdict(record: Record) -> Decision | Override:
    """What a record of decisions says; `CorruptError` where it is none."""
    try:
        if record.headers.get(KIND) == EVIDENCE:
            return decision(decode_decision(record.payload), record.origin)
        body = decode_override(record.payload)
    except MALFORMED as error:
        place = f"{record.origin.stream}@{record.origin.offset}"
        raise CorruptError(place, expected="a decision or an override", found=str(error)) from None
    return Override(
        body.action,
        body.message,
        body.parent,
        body.other,
        record.headers.get(AUTHOR, ""),
        body.reason,
        body.supersedes_ref,
        body.decided_at,
        record.origin,
    )


def decision(body: DecisionBody, position: Position) -> Decision:
    """What the record at a position says."""
    return Decision(
        body.message,
        body.parent,
        body.score,
        body.decided,
        body.threshold,
        tuple(Candidate(*each) for each in body.alternatives),
        body.classifier,
        body.version,
        body.digest,
        body.decided_at,
        position,
    )
