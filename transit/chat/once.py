"""The same message twice is there once.

What a sender calls a message is its id; who posts it again, after an answer that was lost or a
crash, gets the first receipt.
"""

from __future__ import annotations

from collections.abc import Mapping

from transit import (
    AlreadyExistsError,
    ConflictError,
    Durability,
    Log,
    Receipt,
    StorePermissionError,
    Stream,
)
from transit.chat.identities import hash_of
from transit.chat.index import Index
from transit.chat.records import AUTHOR, KIND, MESSAGE_ID, check_text


def post_once(
    log: Log,
    stream: Stream,
    known: Index,
    payload: bytes,
    headers: Mapping[str, str],
    timestamp: int | None,
    durability: str | None,
    writer: str = "",
) -> Receipt:
    """Append a message unless one of its id is there: then the receipt of that.

    stream, known: where it is posted, and what is known of that, up to now or a little before.
    What is looked at and what is written are one step: the record is appended only where the stream
    still ends where it was looked at.
    """
    message_id = headers[MESSAGE_ID]
    if type(message_id) is not str or not message_id:
        check_text(message_id, "a message's id")
    value = hash_of(message_id)
    while True:
        # Before the look: another thread may take in its own record, of this id, meanwhile.
        stop = known.stop
        if known.has(value):
            found = known.find(message_id)
            if found is not None:
                return _receipt(log, stream, found, payload, headers, durability)
        try:
            receipt = stream.append(
                payload,
                headers=headers,
                timestamp=timestamp,
                expect=stop,
                durability=durability,
                writer=writer,
            )
        except ConflictError:
            known.refresh()
            continue
        known.note_message(receipt.offset, headers[AUTHOR], value)
        return receipt


def _receipt(
    log: Log,
    stream: Stream,
    offset: int,
    payload: bytes,
    headers: Mapping[str, str],
    durability: str | None,
) -> Receipt:
    record = stream[offset]
    said = record.headers.get(AUTHOR), record.headers.get(KIND), record.payload
    if said != (headers[AUTHOR], headers[KIND], payload):
        raise AlreadyExistsError(
            f"{stream.name}@{offset} has the id {headers[MESSAGE_ID]!r}, and says something else"
        )
    reached = _made_durable(log, log.durability if durability is None else durability)
    return Receipt(stream.name, offset, record.timestamp, reached)


def _made_durable(log: Log, wanted: str) -> Durability:
    """What is there may have been written with a weaker durability than is wanted now."""
    levels: dict[str, Durability] = {each: each for each in ("local", "tiered", "replicated")}
    level = levels.get(wanted)
    if level is None:
        return "os"
    try:
        log.sync(level)
    except StorePermissionError:
        # A client without the right admin: the receipt says what is certain.
        return "os"
    return level
