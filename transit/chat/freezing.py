"""Frozen threads: "these and only these messages are this thread", for any auditor to check.

A frozen thread is a merge of the channel, its decisions and the thread's branches, which copies no
record: policy `custom:chat-thread`, version 1, params {"thread": offset of its first message}. What
it holds, in this order:

1. the thread's messages in the channel, with all that was said of them later: edits, reactions,
   removals, summaries, the records of its branches; in the order of the channel
2. the records of each branch, in the order of the parents
3. the decisions and overrides that make these messages this thread, in their order

A verifier folds the decisions again and compares. Several merges of the same heads are one fold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from transit import (
    AlreadyExistsError,
    InvalidInputError,
    PolicyInput,
    PolicyPart,
    Position,
    Scalar,
    Stream,
    register_policy,
)
from transit.chat.folding import Folding
from transit.chat.messages import Message, fold
from transit.chat.naming import CHANNEL_ID, frozen_prefix
from transit.chat.posts import Posts
from transit.chat.records import (
    BACKLINK,
    CHANGES,
    KIND,
    MALFORMED,
    MESSAGES,
    PARTICIPANT,
    SUMMARY,
    SYSTEM,
    THREAD_FROZEN,
    decode_backlink,
    decode_target,
)
from transit.chat.talks import Talk

POLICY: Final = "custom:chat-thread"
VERSION: Final = 1
_NAMES_TRIED: Final = 10_000


def freeze(thread: Talk, channel: Posts, decisions: Stream, *, reason: str, by: str) -> Stream:
    """The thread as it is now, as a stream `<channel>/frozen/<offset>`, `-2`, … after the first."""
    name = f"{frozen_prefix(channel.name)}{thread.root}"
    about = {
        KIND: THREAD_FROZEN,
        CHANNEL_ID: channel.name,
        "anchor_ref": thread.anchor_ref,
        "thread_kind": "frozen",
        "frozen_by": by,
        "reason": reason,
    }
    for number in range(1, _NAMES_TRIED):
        try:
            return channel.log.merge(
                name if number == 1 else f"{name}-{number}",
                [channel.stream, decisions, *thread.branches],
                policy=POLICY,
                params={"thread": thread.root},
                metadata={key: value for key, value in about.items() if value},
            )
        except AlreadyExistsError:
            continue
    raise AlreadyExistsError(f"{name}: frozen {_NAMES_TRIED} times")


def read_frozen(stream: Stream) -> Iterator[Message]:
    """The messages of a frozen thread, with what was said of them, by the time of each."""
    if stream.metadata.get(KIND) != THREAD_FROZEN:
        raise InvalidInputError(f"{stream.name} is no frozen thread")
    records = list(stream)
    changes: dict[Position, list[int]] = {}
    for record in records:
        if record.headers.get(KIND) in CHANGES:
            origin = Position(record.origin.stream, decode_target(record.payload).of)
            changes.setdefault(origin, []).append(record.offset)
    shown = (*MESSAGES, PARTICIPANT)
    said = [record for record in records if record.headers.get(KIND) in shown]
    for record in sorted(said, key=lambda each: each.timestamp):
        later = [records[offset] for offset in changes.get(record.origin, ())]
        is_system = SYSTEM in record.headers or record.headers[KIND] == PARTICIPANT
        yield fold(stream.name, record, later, is_system=is_system)


# The policy


class _Known(NamedTuple):
    """What was read of a channel and its decisions so far."""

    folding: Folding
    changes: dict[int, list[int]]
    """Offsets of records about a message, by that."""
    counts: list[int]
    """How many records of the channel, and of the decisions, were read."""


def place(given: PolicyInput, params: Mapping[str, Scalar]) -> Iterator[Position]:
    """The positions of a frozen thread's records."""
    root = params.get("thread")
    if set(params) != {"thread"} or type(root) is not int or root < 0:
        raise InvalidInputError(f'policy {POLICY} takes "thread", an offset, not {dict(params)}')
    if len(given.parts) < 2:
        raise InvalidInputError(f"policy {POLICY} takes a channel, its decisions, and branches")
    channel, decisions, *branches = given.parts
    known = _known(given, channel, decisions)
    if root >= len(channel) or known.folding.root(root) != root:
        raise InvalidInputError(f"no thread begins at offset {root}")
    members = known.folding.members(root)
    shown = {root, *members}
    for member in members:
        shown.update(known.changes.get(member, ()))
    for offset in sorted(shown):
        yield channel.position(offset)
    for branch in branches:
        for number in range(len(branch)):
            yield branch.position(number)
    evidence = sorted({each for member in members for each in known.folding.about(member)})
    for offset in evidence:
        yield decisions.position(offset)


def _known(given: PolicyInput, channel: PolicyPart, decisions: PolicyPart) -> _Known:
    """The fold of the two, gone on with where it was made of the beginnings of the same."""
    key = POLICY, _beginning(channel), _beginning(decisions)
    known = given.memo.get(key)
    counts = [len(channel), len(decisions)]
    if (
        not isinstance(known, _Known)
        or known.counts[0] > counts[0]
        or known.counts[1] > counts[1]
        or known.folding.is_outgrown(counts[0])
    ):
        known = _Known(Folding(), {}, [0, 0])
        given.memo[key] = known
    if known.counts[0] < counts[0]:
        _read_changes(known.changes, channel, known.counts[0])
    if known.counts[1] < counts[1]:
        for batch in decisions.batches(known.counts[1]):
            known.folding.take(counts[0], batch.headers, batch.payloads)
    known.counts[:] = counts
    return known


def _beginning(part: PolicyPart) -> tuple[object, ...]:
    """What tells one history from another that shares its first records: all but the last count."""
    return (*part.spans[:-1], *(span[:2] for span in part.spans[-1:]))


def _read_changes(changes: dict[int, list[int]], channel: PolicyPart, start: int) -> None:
    offset = start
    for batch in channel.batches(start):
        payloads = None
        for number, headers in enumerate(batch.headers):
            kind = headers.get(KIND)
            if kind in CHANGES or kind in (SUMMARY, BACKLINK):
                payloads = batch.payloads if payloads is None else payloads
                of = _about(kind, payloads[number])
                if of is not None:
                    changes.setdefault(of, []).append(offset + number)
        offset += len(batch)


def _about(kind: str | None, payload: bytes) -> int | None:
    try:
        return (
            decode_backlink(payload).fork_offset if kind == BACKLINK else decode_target(payload).of
        )
    except MALFORMED:
        return None


register_policy("chat-thread", place, VERSION, by="positions")
