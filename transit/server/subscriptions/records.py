"""What is remembered of one subscription, and the records that make it.

A record names what changed; every `WHOLE`th holds all. Places are offsets of the next record to
process; -1 for a stream of which nothing was processed yet. Times are UTC nanoseconds by the
server's clock.
"""

from __future__ import annotations

import hashlib
from typing import Final, Literal

import msgspec

from transit import Stream

WHOLE: Final = 256
Kind = Literal["webhook", "pull-wake"]
GLOB: Final = 1
EXPLICIT: Final = 2


class Asked(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a subscription was asked for: what asking again must be equal to."""

    type: Kind
    lease_ms: int
    pattern: str = ""
    streams: tuple[str, ...] = ()
    url: str = ""
    wake_stream: str = ""
    description: str = ""


class Wake(msgspec.Struct, frozen=True):
    """A call to work: how far the streams went when it was made."""

    generation: int
    id: str
    tails: dict[str, int]


class Change(msgspec.Struct, omit_defaults=True):
    """One record: what changed.

    links: by path, the place and the kinds of link as bits; kinds 0 removes it. wake: a new one;
    ended: it is over, and so is the lease. token: the digest of what the worker must show.
    """

    full: bool = False
    asked: Asked | None = None
    created: int = 0
    writer: str = ""
    links: dict[str, tuple[int, int]] = {}
    generation: int | None = None
    wake: Wake | None = None
    ended: bool = False
    holder: str | None = None
    token: str | None = None
    lease_until: int | None = None
    attempts: int | None = None
    next_attempt: int | None = None


class Subscription:
    """One subscription, as its records say."""

    def __init__(self, id: str, stream: Stream) -> None:
        self.id = id
        self.stream = stream
        self.next_record = 0
        self.asked = Asked("pull-wake", 0)
        self.created = 0
        self.writer = ""
        self.links: dict[str, tuple[int, int]] = {}
        self.generation = 0
        self.wake: Wake | None = None
        self.holder = ""
        self.token = ""
        self.lease_until = 0
        self.attempts = 0
        self.next_attempt = 0

    def apply(self, change: Change) -> None:
        """Take up a record."""
        if change.full:
            self.links.clear()
            self.wake, self.holder, self.token, self.lease_until = None, "", "", 0
        if change.asked is not None:
            self.asked, self.created, self.writer = change.asked, change.created, change.writer
        for path, (place, kinds) in change.links.items():
            if kinds:
                self.links[path] = place, kinds
            else:
                self.links.pop(path, None)
        if change.generation is not None:
            self.generation = change.generation
        if change.ended:
            self.wake, self.holder, self.token, self.lease_until = None, "", "", 0
        if change.wake is not None:
            self.wake, self.generation = change.wake, change.wake.generation
        for name in ("holder", "token", "lease_until", "attempts", "next_attempt"):
            value = getattr(change, name)
            if value is not None:
                setattr(self, name, value)
        self.next_record += 1

    def whole(self) -> Change:
        """The record that holds all of it."""
        return Change(
            True, self.asked, self.created, self.writer, dict(self.links), self.generation,
            self.wake, False, self.holder, self.token, self.lease_until, self.attempts,
            self.next_attempt,
        )  # fmt: skip

    def load(self) -> None:
        """Take up what the store has."""
        count, first = len(self.stream), 0
        changes: list[Change] = []
        for stop in range(count, 0, -32):
            first = max(0, stop - 32)
            part = [_DECODER.decode(each.payload) for each in self.stream[first:stop]]
            changes[:0] = part
            if any(change.full for change in part):
                break
        for change in changes:
            self.apply(change)
        self.next_record = count


_DECODER: Final = msgspec.json.Decoder(Change)
ENCODER: Final = msgspec.json.Encoder()


def digest_of(token: str) -> str:
    """What is kept of a worker's token: it is long and random, so that a plain digest is enough."""
    return hashlib.sha256(token.encode()).hexdigest()
