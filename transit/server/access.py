"""Who may do what: rights of a token, by prefix of stream names.

A prefix is text: `fix-1` covers `fix-10` too, `fix-1/` does not. Streams of layers, named `$…`, are
in no such prefix. Of these a token reaches what the runs that it may use need:

    $trace/artifact/D   large payloads by their digest: to read, with the right to read anything; to
                        append, with the right to append anywhere. Who knows the digest has seen
                        the payload, or a record that names it.
    $trace/notes/U      notes on the run with uid U: as the run itself

and what the channels that it may use need, by the channel's uid U:

    $chat/decisions/U           to read, and to append, as the channel
    $chat/decisions/U/N         the same, and to merge, as the channel: an adoption
    $chat/reruns/U/NAME         to read, to append and to branch, as the channel
    $chat/readers/U/WHO         to read, and to append, as the channel
    $chat/policy/U              to read, and to append, as the channel

Nothing else of layers, unless a prefix of the token begins with `$`, or its prefix is empty: then
all but what the server keeps for itself. `$trace/ends` tells how all runs of the store ended, so
only such a token reaches it; it holds nothing that the runs do not say themselves.

What is served of views has names of the same kind, which no stream has (`transit.server.views`):

    $views/N                  to read tables of the view named N, of streams that may be read too
    $views/N/subscribers/S    to append: to say how far subscriber S of that view is

Streams of layer `views` hold states of all streams of a store: a prefix `$views/` reaches them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from transit import NotFoundError
from transit.server.refusals import NO_STORE, RefusedError

READ: Final = "read"
APPEND: Final = "append"
BRANCH: Final = "branch"
MERGE: Final = "merge"
ADMIN: Final = "admin"
RIGHTS: Final = (READ, APPEND, BRANCH, MERGE, ADMIN)

ARTIFACTS: Final = "$trace/artifact/"
NOTES: Final = "$trace/notes/"
CHAT: Final = "$chat/"
_UID: Final = "([0-9a-f]{32})"
_OF_CHANNELS: Final = (
    (re.compile(rf"\$chat/(?:decisions|policy)/{_UID}"), frozenset((READ, APPEND))),
    (
        re.compile(rf"\$chat/decisions/{_UID}/[1-9][0-9]*", re.ASCII),
        frozenset((READ, APPEND, MERGE)),
    ),
    (re.compile(rf"\$chat/reruns/{_UID}/[^/]+"), frozenset((READ, APPEND, BRANCH))),
    (re.compile(rf"\$chat/readers/{_UID}/[^/]+"), frozenset((READ, APPEND))),
)
"""Names of streams about a channel, and the rights on the channel that are rights on these."""
_OWN: Final = ("$server/", "$lineage")
"""What the store and the server keep for themselves: nobody reaches it from outside."""

Rights = tuple[tuple[str, frozenset[str]], ...]
"""Pairs of a prefix and the rights below it."""
NameOf = Callable[[str], str | None]
"""From the uid of a stream to its name; None where there is none."""


def _nameless(uid: str) -> None:
    return None


class Grant:
    """What one client may do. name: that of its token, kept as the writer of its records.

    name_of: finds the run, or the channel, that a stream of a layer is about.
    """

    __slots__ = ("_name_of", "_rights", "name")

    def __init__(self, name: str = "", rights: Rights = (), name_of: NameOf = _nameless) -> None:
        self.name = name
        self._rights = rights
        self._name_of = name_of

    def allows(self, right: str, stream: str) -> bool:
        """Whether it may do that to this stream."""
        if stream[:1] == "$":
            return self._allows_layer(right, stream)
        return any(right in rights and stream.startswith(prefix) for prefix, rights in self._rights)

    def allows_any(self, right: str) -> bool:
        """Whether it may do that to some streams: to those below one of its prefixes at least."""
        return any(right in rights for _, rights in self._rights)

    def allows_below(self, right: str, prefix: str) -> bool:
        """Whether it may do that to some streams of a layer whose names begin so."""
        return any(
            right in rights and (prefix.startswith(own) or own.startswith(prefix))
            for own, rights in self._rights
            if not own or own[0] == "$"
        )

    def check(self, right: str, stream: str) -> None:
        """`RefusedError` (403) unless it may do that to this stream.

        `NotFoundError` where a stream of a layer was to be read: whether it is there is not told.
        """
        if stream[:1] != "$":
            # As `allows`, with fewer steps: it is asked for each request.
            for prefix, rights in self._rights:
                if right in rights and stream.startswith(prefix):
                    return
        elif self._allows_layer(right, stream):
            return
        if right == READ and stream[:1] == "$":
            # Without its name: it may be asked for by its uid.
            raise NotFoundError("there is no such stream")
        raise RefusedError(403, f"the token does not allow to {right} here", (NO_STORE,))

    def _allows_layer(self, right: str, stream: str) -> bool:
        if stream.startswith(_OWN):
            return False
        for prefix, rights in self._rights:
            if right in rights and (not prefix or stream.startswith(prefix)):
                return True
        if stream.startswith(CHAT):
            return self._allows_about(right, channel_of(right, stream))
        if right not in (READ, APPEND):
            return False
        if stream.startswith(ARTIFACTS):
            return self._allows_user(right)
        if stream.startswith(NOTES):
            return self._allows_about(right, stream.removeprefix(NOTES))
        return False

    def _allows_about(self, right: str, uid: str) -> bool:
        """Whether it may do that to the user's stream with this uid; "" is none's."""
        name = self._name_of(uid) if uid else None
        return name is not None and name[:1] != "$" and self.allows(right, name)

    def _allows_user(self, right: str) -> bool:
        return any(right in rights and prefix[:1] != "$" for prefix, rights in self._rights)


def channel_of(right: str, stream: str) -> str:
    """The uid of the channel whose right this is; "" where it is no channel's."""
    for pattern, rights in _OF_CHANNELS:
        found = pattern.fullmatch(stream)
        if found is not None:
            return found[1] if right in rights else ""
    return ""


def right_to_create(stream: str) -> str:
    """What creating a root of this name needs: what derives such a stream, for one of a channel."""
    if stream.startswith(CHAT):
        for right in (MERGE, BRANCH):
            if channel_of(right, stream):
                return right
    return APPEND


NOTHING: Final = Grant()
EVERYTHING: Final = Grant("", (("", frozenset(RIGHTS)),))
