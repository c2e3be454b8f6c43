"""Letting go of what was recorded: deleted where that is allowed, put out of sight elsewhere.

Owns what is said of it. Over a connection the server decides: a token deletes streams on which it
has the right admin. Bytes are freed where the store is, and never over a connection.
"""

from __future__ import annotations

from typing import NamedTuple

from transit import Log, StorePermissionError, Stream


class Removed(NamedTuple):
    """What became of streams, by name.

    deleted: nobody can read their records any more. Their bytes stay until `Log.erase`, or
    `transit erase`, where the store is: those of a served store until the server's owner erases.
    hidden: out of sight, and all of it is still there: forks need it, or the server does not let
    this client delete it.
    """

    deleted: tuple[str, ...]
    hidden: tuple[str, ...]


def is_embedded(log: Log) -> bool:
    """Whether the store is this process's own, and not one of a server."""
    return type(log) is Log


def delete_or_hide(
    log: Log, stream: Stream, *, reason: str, basis: str, expect: int | None = None
) -> Removed:
    """Delete a stream, or hide it where a server does not let this client delete it.

    reason, basis, expect: as `Log.delete` takes them. Raises what that raises otherwise.
    """
    try:
        done = log.delete(stream, reason=reason, basis=basis, expect=expect)
    except StorePermissionError:
        if is_embedded(log):
            raise
        log.hide(stream, reason=reason, expect=expect)
        return Removed((), (stream.name,))
    # Where the answer to a first request was lost, the second one deletes nothing.
    return Removed(done.streams or (stream.name,), ())
