"""The connection that all handles of one connected log share.

Owns what is asked how: reads are asked again, frames go by lanes, and both wait for what was
submitted before them, so a program sees its own records in the order in which it wrote them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TypeVar
from urllib.parse import quote

from transit import ClosedError, InvalidInputError, NotFoundError, Policy
from transit.client.address import Address
from transit.client.lanes import Lanes
from transit.client.link import Link, Reply
from transit.client.submitting import Submitting
from transit.client.waiters import Waiters
from transit.config import DURABILITIES, Durability, Settings, durability_level
from transit.engine.checks import too_large
from transit.protocol.calls import (
    COUNT_HEADER,
    MSGPACK,
    NEXT_HEADER,
    Description,
    FrameAnswer,
    FrameRequest,
    Step,
    StoreAnswer,
    decode,
    decode_page,
    encode,
)
from transit.protocol.paths import encode_name

T = TypeVar("T")
Query = Mapping[str, object]


class Connection:
    """A link, its lanes, and what is known of the store that is served.

    policy: by which its checkpoints are believed; None: signatures are left to others.
    """

    def __init__(self, link: Link, durability: str | None, policy: Policy | None = None) -> None:
        self.policy = policy
        self.link = link
        self.address: Address = link.address
        self.store: StoreAnswer = decode(link.get("/v1/store").body, MSGPACK, StoreAnswer)
        self.durability: Durability = (
            self.store.durability if durability is None else durability_level(durability).durability
        )
        self.settings = Settings(
            record_bytes_max=self.store.record_bytes_max,
            frame_bytes_max=self.store.frame_bytes_max,
        )
        self._lanes = Lanes(link, self.store.body_bytes_max)
        self.waiters = Waiters()
        self.submitting = Submitting(
            self._lanes.send, link.may_wait, self.store.body_bytes_max, self.store.encryption
        )

    def __repr__(self) -> str:
        return str(self.address)

    def check(self) -> None:
        """`ClosedError` when it was closed, `ForkedError` in another process."""
        self.link.check()

    def close(self) -> None:
        """Send what was submitted, and let the connections go."""
        let_go(self.submitting, self.waiters, self.link)

    def level(self, durability: str | None) -> Durability:
        """The durability that a call asks for; `InvalidInputError` for what is none."""
        if durability is None:
            return self.durability
        if durability in DURABILITIES:
            return durability
        return durability_level(durability).durability

    # Asking

    def get(self, path: str, query: Query | None = None, wait_s: float = 0.0) -> Reply:
        """The answer to a GET."""
        self._settle()
        return self.link.get(path + query_text(query), wait_s)

    def value(self, path: str, kind: type[T], query: Query | None = None) -> T:
        """The value that a GET answers."""
        return decode(self.get(path, query).body, MSGPACK, kind)

    def page(self, path: str, kind: type[T], query: Query) -> tuple[list[T], str]:
        """A page of values, and what `after` is for the next, empty after the last."""
        return page_of(self.get(path, query), kind)

    def post(
        self,
        path: str,
        body: object,
        kind: type[T],
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "POST",
    ) -> T:
        """The value that a POST answers which changes nothing when it is made again."""
        self._settle()
        data = b"" if body is None else encode(body, MSGPACK)
        reply = self.link.ask(method, path, data, headers=headers or {})
        return decode(reply.body, MSGPACK, kind)

    def asked(
        self, path: str, body: object, headers: Mapping[str, str], lacking: frozenset[int]
    ) -> Reply:
        """The answer to a POST that changes nothing; see `Link.ask`."""
        self._settle()
        return self.link.ask("POST", path, encode(body, MSGPACK), headers=headers, lacking=lacking)

    def file(
        self, method: str, path: str, query: Query | None = None, *, body: object = None
    ) -> bytes:
        """The bytes that are answered as they are, to a request that changes nothing made again."""
        self._settle()
        data = None if method == "GET" else b""
        if body is not None:
            data = encode(body, MSGPACK)
        return self.link.ask(method, path + query_text(query), data).body

    def wanted(self, durability: str | None) -> Durability | None:
        """The durability to ask for; None where the server's own is meant."""
        level = self.level(durability)
        return None if level == self.store.durability else level

    def describe(self, reference: str) -> Description:
        """The stream of a name or of `UID_PREFIX` and a uid; `NotFoundError` when there is none."""
        return self.value("/v1/streams/" + encode_name(reference), Description)

    def finds(self, reference: str) -> Description | None:
        """As `describe`; None when there is none."""
        try:
            return self.describe(reference)
        except (NotFoundError, InvalidInputError):
            # What cannot be a name names nothing.
            return None

    def _settle(self) -> None:
        # Looked at first: what interrupts a call of its thread must not wait.
        self.link.check_free()
        self.submitting.settle()

    # Writing

    def write(self, steps: Sequence[Step], durability: str | None) -> FrameAnswer:
        """What a frame of these steps did."""
        level = None if durability is None else self.level(durability)
        if level is None and self.durability != self.store.durability:
            level = self.durability
        self._settle()
        return self._lanes.send(FrameRequest(list(steps), level))

    def check_size(self, payload: bytes) -> bytes:
        """A payload; `InvalidInputError` when it is larger than a record may be."""
        if len(payload) > self.store.record_bytes_max:
            raise too_large(len(payload), self.store.record_bytes_max)
        return payload


def let_go(submitting: Submitting, waiters: Waiters, link: Link) -> None:
    """Close what a connection is made of; the parts alone, so that it can be collected."""
    try:
        link.check()
    except ClosedError:
        # Closed before, or in the child of the process that has it.
        link.close()
        return
    submitting.close()
    waiters.close()
    link.close()


def page_of(reply: Reply, kind: type[T]) -> tuple[list[T], str]:
    """The values of a page, and the text of its `Transit-Next`."""
    headers = reply.headers
    count = int(headers.get(COUNT_HEADER, "0"))
    return decode_page(reply.body, MSGPACK, kind, count), headers.get(NEXT_HEADER, "")


def query_text(query: Query | None) -> str:
    """A query with its question mark; what is None is left out."""
    if not query:
        return ""
    shown = [f"{key}={_shown(value)}" for key, value in query.items() if value is not None]
    return "?" + "&".join(shown) if shown else ""


class Encoded(str):
    """Text that is percent-encoded already."""

    __slots__ = ()


def _shown(value: object) -> str:
    if isinstance(value, Encoded):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    text = value if isinstance(value, str) else str(value) if isinstance(value, int) else None
    return quote(json.dumps(value) if text is None else text, safe="")
