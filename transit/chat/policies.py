"""How a channel is threaded: which classifier, and how sure it has to be; the same for all who run
one.

A stream of its own keeps what was set and by whom; the last record counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from transit import InvalidInputError, Position
from transit.chat.classifying import Classifier
from transit.chat.naming import ensure, find, metadata_of, policy_name
from transit.chat.posts import Posts
from transit.chat.records import (
    AUTHOR,
    KIND,
    MALFORMED,
    POLICY,
    PolicyBody,
    check_text,
    decode_policy,
    encode,
    headers_of,
)

DECIDE_AT: Final = 0.8
BUILT_IN: Final = ("linear", "rule", "source")


class ChannelPolicy(msgspec.Struct, frozen=True):
    """classifier: the name of one that comes with transit. decide_at: below it, it only proposes.

    by: who set it, time: when, UTC nanoseconds, position: in which record; None: nobody set it.
    """

    classifier: str = "linear"
    decide_at: float = DECIDE_AT
    by: str = ""
    time: int = 0
    position: Position | None = None


def policy_of(channel: Posts) -> ChannelPolicy:
    """What counts for a channel now."""
    stream = find(channel.log, policy_name(channel.stream.uid))
    if stream is None:
        return ChannelPolicy()
    for offset in range(stream.next_offset - 1, stream.first_offset - 1, -1):
        record = stream[offset]
        if record.headers.get(KIND) != POLICY:
            continue
        try:
            body = decode_policy(record.payload)
        except MALFORMED:
            continue
        if body.classifier in BUILT_IN and 0 <= body.decide_at <= 1:
            by = record.headers.get(AUTHOR, "")
            return ChannelPolicy(
                body.classifier, body.decide_at, by, record.timestamp, record.origin
            )
    return ChannelPolicy()


def set_policy(
    channel: Posts, *, classifier: str | None, decide_at: float | None, by: str
) -> ChannelPolicy:
    """Set what is given, and leave the rest."""
    before = policy_of(channel)
    classifier = before.classifier if classifier is None else classifier
    if classifier not in BUILT_IN:
        raise InvalidInputError(f"a policy's classifier is one of {BUILT_IN}, not {classifier!r}")
    wanted = before.decide_at if decide_at is None else check_threshold(decide_at)
    stream = ensure(
        channel.log, policy_name(channel.stream.uid), metadata_of(channel.stream, POLICY)
    )
    told = headers_of(POLICY, check_text(by, "by"))
    stream.append(encode(PolicyBody(classifier, wanted)), headers=told)
    return policy_of(channel)


def built_in(name: str) -> Classifier:
    """The classifier of this name that comes with transit."""
    from transit.chat.classifiers import linear, rule, source  # Read when they are wanted.

    made: dict[str, Callable[[], Classifier]] = {"linear": linear, "rule": rule, "source": source}
    return made[name]()


def check_threshold(decide_at: object) -> float:
    """A probability, or `InvalidInputError`."""
    if not isinstance(decide_at, int | float) or isinstance(decide_at, bool):
        raise InvalidInputError(f"decide_at must be 0 to 1, not {decide_at!r}")
    if not 0 <= decide_at <= 1:
        raise InvalidInputError(f"decide_at must be 0 to 1, not {decide_at!r}")
    return float(decide_at)
