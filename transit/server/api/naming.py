"""Names of streams in requests, and whether the client may use them.

A request names a stream that is there by its name, or by `$$<uid>`, which stays its own when it is
hidden.
"""

from __future__ import annotations

from transit import Log, Stream
from transit.protocol.calls import UID_PREFIX
from transit.server.access import READ, Grant
from transit.server.refusals import RefusedError


def named(log: Log, name: str) -> Stream:
    """The stream that a request names."""
    if name.startswith(UID_PREFIX):
        return log.stream(uid=name.removeprefix(UID_PREFIX))
    return log.stream(name)


def find(log: Log, grant: Grant, right: str, name: str) -> Stream:
    """The stream that a request names, which the client may use so."""
    if name.startswith(UID_PREFIX):
        stream = named(log, name)
        grant.check(right, stream.name)
        return stream
    grant.check(right, name)
    return named(log, name)


def check_reader(grant: Grant) -> None:
    """`RefusedError` (403) unless the client may read some streams at least."""
    if not grant.allows_any(READ):
        raise RefusedError(403, "the token does not allow to read here")


def uid_name(stream: Stream) -> str:
    """What names this stream, whatever becomes of its name."""
    return UID_PREFIX + stream.uid
