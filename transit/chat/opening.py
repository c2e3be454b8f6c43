"""Channels, whole: what is posted, which threads it makes, who has seen it, how it is threaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from transit import AlreadyExistsError, Log, NotFoundError, Receipt, Stream
from transit.chat.adopting import adopt
from transit.chat.deciding import Threading
from transit.chat.marking import Reader
from transit.chat.naming import CHANNEL_ID
from transit.chat.policies import ChannelPolicy, policy_of, set_policy
from transit.chat.posts import Said
from transit.chat.records import CHANNEL_ROOT, KIND
from transit.chat.threads import Thread, Threaded


def channel(
    log: Log, name: str, *, purpose: str = "", metadata: Mapping[str, Any] | None = None
) -> Channel:
    """The channel of this name; made where there is none.

    purpose, metadata: kept with a channel that is made. `InvalidInputError` where another stream
    has the name.
    """
    try:
        return Channel(log, log.stream(name))
    except NotFoundError:
        pass
    told = {KIND: CHANNEL_ROOT, CHANNEL_ID: name, **(metadata or {})}
    if purpose:
        told["purpose"] = purpose
    try:
        return Channel(log, log.create(name, told, codec="json"))
    except AlreadyExistsError:
        # Another thread or process made it meanwhile.
        return Channel(log, log.stream(name))


def channels(log: Log, prefix: str = "") -> Iterator[Channel]:
    """The channels of a store whose names begin with `prefix`, the oldest first."""
    for stream in log.streams(prefix, where={KIND: CHANNEL_ROOT}):
        yield Channel(log, stream)


class Channel(Threaded):
    """A channel of an open store, embedded or connected. Safe for threads.

    A branch of a channel is one too, with decisions of its own: `Channel(log, branch)`.
    """

    def override(self, message: Said, *, parent: Said | None, by: str, reason: str = "") -> Receipt:
        """Say what a message answers; as `Threads.override`."""
        return self.threads().override(message, parent=parent, by=by, reason=reason)

    def merge_threads(self, threads: Sequence[Thread], *, by: str, reason: str = "") -> Thread:
        """Make several threads one; as `Threads.merge`."""
        return self.threads().merge(threads, by=by, reason=reason)

    def adopt(self, run: Threading, *, by: str, reason: str = "") -> Stream:
        """Put another run of a classifier in force; see `transit.chat.adopting`."""
        return adopt(self, run, by=by, reason=reason)

    @property
    def policy(self) -> ChannelPolicy:
        """Which classifier threads it, and how sure that has to be."""
        return policy_of(self)

    def set_policy(
        self, *, by: str, classifier: str | None = None, decide_at: float | None = None
    ) -> ChannelPolicy:
        """Say how the channel is threaded from now on.

        classifier: "linear", "rule" or "source". decide_at: below it, 0 to 1, it only proposes.
        """
        return set_policy(self, classifier=classifier, decide_at=decide_at, by=by)

    def reader(self, who: str) -> Reader:
        """How far somebody has seen each thread, durably."""
        return Reader(self, who)
