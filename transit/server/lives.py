"""Which stream a path names now, and how it was configured.

A stream is created by name, and deleted by hiding it: its records stay what they are, and forks go
on. A stream with a time to live, or a time to expire, is hidden when it is asked for after that
time. A deleted stream from which others that are not deleted descend is "gone" (410), and its name
stays taken; any other is not there (404). That is derived from the lineage each time: nothing is
counted, so no count can leak.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, NamedTuple, TypeGuard

from transit import InvalidInputError, Log, NotFoundError, Scalar, Stream, TransitError
from transit.protocol import offsets
from transit.protocol.fields import content_type_of, media_type, show_time
from transit.server.asgi import Answer
from transit.server.refusals import NO_STORE, Header, RefusedError
from transit.server.states import Change, States

CONTENT_TYPE: Final = "http.content-type"
TTL: Final = "http.ttl"
EXPIRES: Final = "http.expires-at"
FORK: Final = "http.fork"
DEFAULT_TYPE: Final = "application/octet-stream"
SECOND: Final = 1_000_000_000
CLOSED: Final = (b"stream-closed", b"true")
EXPIRED: Final = "expired"
DELETED: Final = "deleted"


class Configuration(NamedTuple):
    """What was asked for when a stream was created.

    ttl: seconds. expires: UTC nanoseconds. fork: source, offset and sub-offset; empty for none.
    """

    content_type: str
    ttl: int | None = None
    expires: int | None = None
    fork: str = ""

    @property
    def metadata(self) -> dict[str, Scalar]:
        """As the stream's metadata hold it."""
        kept: dict[str, Scalar] = {CONTENT_TYPE: self.content_type}
        if self.ttl is not None:
            kept[TTL] = self.ttl
        if self.expires is not None:
            kept[EXPIRES] = self.expires
        if self.fork:
            kept[FORK] = self.fork
        return kept

    def is_like(self, other: Configuration) -> bool:
        """Whether two requests to create a stream ask for the same."""
        mine, others = media_type(self.content_type), media_type(other.content_type)
        return mine == others and self[1:] == other[1:]


class Named(NamedTuple):
    """A stream that is there, and its configuration."""

    stream: Stream
    configuration: Configuration


class Lives:
    """The streams of one store, by the names that paths give."""

    def __init__(self, log: Log, states: States) -> None:
        self._log = log
        self._states = states
        self._known: dict[str, Named] = {}
        self._hidden: dict[str, list[Stream]] = defaultdict(list)
        for stream in log.hidden():
            self._hidden[stream.name].append(stream)
        self._started = time.time_ns()

    def find(self, name: str, *, touch: bool = True) -> Named:
        """The stream that `name` names now; `RefusedError` where there is none, or none any more.

        touch: whether the request counts as use of the stream.
        """
        named = self._known.get(name)
        if named is None or named.stream.hidden:
            named = self._look(name)
        if named.configuration.ttl is not None or named.configuration.expires is not None:
            self._check_time(named, touch)
        return named

    def _look(self, name: str) -> Named:
        self._known.pop(name, None)
        try:
            stream = self._log.stream(name)
        except NotFoundError:
            raise self._absence(name) from None
        named = self._known[name] = Named(stream, configuration_of(self._log, stream))
        while len(self._known) > 10_000:
            del self._known[next(iter(self._known))]
        return named

    def _absence(self, name: str) -> RefusedError:
        if self.is_gone(name):
            return RefusedError(410, f"stream {name!r} was deleted; forks of it go on", (NO_STORE,))
        return RefusedError(404, f"there is no stream {name!r}", (NO_STORE,))

    def is_gone(self, name: str) -> bool:
        """Whether the name is a deleted stream's that others descend from."""
        return any(self._has_heirs(stream) for stream in self._hidden.get(name, ()))

    def _has_heirs(self, stream: Stream) -> bool:
        return any(
            not child.hidden or self._has_heirs(child)
            for child in self._log.lineage.children(stream, hidden=True)
            if not child.name.startswith("$")
        )

    def _check_time(self, named: Named, touch: bool) -> None:
        """Hide a stream whose time has come; otherwise note that it is used."""
        stream, (_, ttl, expires, _) = named
        now = time.time_ns()
        if expires is not None and expires <= now:
            self._expire(stream)
        if ttl is None:
            return
        state = self._states.of(stream)
        if not state.used:
            # Used before this process began: what was noted may be a quarter of the time too old.
            noted = state.touched or stream_time(stream) or now
            is_over = noted + (ttl + ttl / 4) * SECOND < now and noted < self._started
            state.used = 1 if is_over else now
        if state.used + ttl * SECOND <= now:
            self._expire(stream)
        if touch:
            state.used = now
            if state.touched + ttl * SECOND // 4 <= now and self._log.mode != "read":
                self._note_use(stream, now)

    def _note_use(self, stream: Stream, now: int) -> None:
        try:
            with self._log.batch(durability="os") as batch:
                change = self._states.stage(batch, stream, Change(touched=now))
        except TransitError:
            # It goes on being read from a store that takes no writes, or another server noted it.
            self._states.of(stream).touched = now
        else:
            self._states.written(stream, change)

    def _expire(self, stream: Stream) -> None:
        if self._log.mode != "read":
            # Where it cannot be hidden now, it is when it is asked for again.
            with suppress(TransitError):
                self.hide(stream, EXPIRED)
        raise self._absence(stream.name)

    def hide(self, stream: Stream, reason: str) -> None:
        """Take a stream's name from it."""
        self._log.hide(stream, reason=reason, durability="os")
        self.note_hidden(stream)

    def note_hidden(self, stream: Stream) -> None:
        """A stream was hidden here."""
        self._known.pop(stream.name, None)
        self._states.forget(stream)
        if stream not in self._hidden[stream.name]:
            self._hidden[stream.name].append(stream)


def stream_time(stream: Stream) -> int:
    """When a stream was last written, UTC nanoseconds; 0 for one without records."""
    return stream[-1].written if len(stream) else 0


def configuration_of(log: Log, stream: Stream) -> Configuration:
    """How a stream was configured; what nobody said is its parent's, or follows from its codec."""
    metadata: Mapping[str, Scalar] = stream.metadata
    content_type = metadata.get(CONTENT_TYPE)
    ttl, expires, fork = metadata.get(TTL), metadata.get(EXPIRES), metadata.get(FORK)
    if not _is_type(content_type):
        content_type = _inherited_type(log, stream)
    return Configuration(
        content_type,
        ttl if isinstance(ttl, int) else None,
        expires if isinstance(expires, int) else None,
        fork if isinstance(fork, str) else "",
    )


def _is_type(given: Scalar) -> TypeGuard[str]:
    """Whether metadata, which anybody may have written, can go into a header field."""
    if not isinstance(given, str) or not (given.isascii() and given.isprintable()):
        return False
    try:
        return content_type_of({"content-type": given}) is not None
    except InvalidInputError:
        return False


def _inherited_type(log: Log, stream: Stream) -> str:
    parents = log.lineage.parents(stream)
    while parents:
        parent = parents[0]
        given = parent.metadata.get(CONTENT_TYPE)
        if _is_type(given):
            return given
        stream, parents = parent, log.lineage.parents(parent)
    return "application/json" if stream.codec == "json" else DEFAULT_TYPE


def place_of(stream: Stream) -> list[Header]:
    """The field that says where a stream ends."""
    return [(b"stream-next-offset", offsets.encode_offset(len(stream)).encode())]


def described(named: Named, more: list[Header]) -> Answer:
    """The answer that says what a stream is."""
    stream, (content_type, ttl, expires, _) = named
    headers = [(b"content-type", content_type.encode()), *place_of(stream), NO_STORE, *more]
    if ttl is not None:
        headers.append((b"stream-ttl", b"%d" % ttl))
    if expires is not None:
        headers.append((b"stream-expires-at", show_time(expires).encode()))
    if stream.finished:
        headers.append(CLOSED)
    return Answer(200, headers)
