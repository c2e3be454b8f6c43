"""The threads of a channel: a fold of decisions, overrides and branches.

Leaves to `transit.chat.folding` what a thread is, and to `transit.chat.talks` what can be done
with one. Nothing of it is kept: it is made of records, and goes on with those that came since.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence

from transit import (
    ConflictError,
    InvalidInputError,
    Log,
    NotFoundError,
    Receipt,
    Stream,
    StreamFinishedError,
)
from transit.chat.folding import Folding
from transit.chat.freezing import freeze
from transit.chat.index import SAID
from transit.chat.naming import decisions_name, ensure, find, metadata_of
from transit.chat.posts import Posts, Said
from transit.chat.records import OVERRIDE, OverrideBody, check_text, encode, headers_of
from transit.chat.talks import Talk
from transit.chat.verdicts import Decision, Override, verdict


class Thread(Talk):
    """One thread: its messages, replies to it, and what people say of it."""

    def __init__(self, threads: Threads, root: int) -> None:
        super().__init__(threads.channel, threads.fold, root)
        self._threads = threads

    def why(self, message: Said) -> Decision | Override | None:
        """What says that a message answers another one of it."""
        return self._threads.why(message)

    # What people say of it

    def resolve(self, *, by: str, reason: str = "") -> None:
        """It is done; replies may come all the same."""
        self._threads.set_state(self.root, "resolve", by, reason)

    def reopen(self, *, by: str, reason: str = "") -> None:
        """It is neither done nor suppressed any more."""
        self._threads.set_state(self.root, "reopen", by, reason)

    def suppress(self, *, by: str, reason: str = "") -> None:
        """Leave it out of lists. Its messages stay where they were said."""
        self._threads.set_state(self.root, "suppress", by, reason)

    def split(
        self, *, at: Said, by: str, messages: Sequence[Said] = (), reason: str = ""
    ) -> Thread:
        """Let a message of it start a thread of its own; as `Threads.split`."""
        return self._threads.split(at, by=by, messages=messages, reason=reason)

    def freeze(self, *, reason: str = "", by: str = "") -> Stream:
        """Its messages as a stream of their own, which nobody can change and any auditor can check.

        A merge that copies nothing; see `transit.chat.freezing`.
        """
        return freeze(self, self._channel, self._threads.writable(), reason=reason, by=by)


class Threads:
    """What is decided of a channel's messages, or would be by another run. Safe for threads.

    stream: of the decisions of a run; None: those that are in force, whichever these are.
    """

    def __init__(self, channel: Posts, stream: Stream | None = None) -> None:
        self.channel = channel
        self._is_run = stream is not None
        self._lock = threading.RLock()
        self._stream = stream
        self._adoption = 0
        self.fold = Folding()

    def __repr__(self) -> str:
        return f"<transit.chat.Threads of {self.channel.name!r}>"

    @property
    def stream(self) -> Stream | None:
        """The stream of decisions in force; None before the first decision."""
        with self._lock:
            return self._current()

    def refresh(self) -> Threads:
        """Take in what came since."""
        with self._lock:
            stream = self._current()
            if stream is None:
                return self
            stop = stream.next_offset
            # After the decisions: what they are about is there.
            count = self.channel.stream.next_offset
            if self.fold.is_outgrown(count):
                self.fold = Folding()
            if stop > self.fold.stop:
                for batch in stream.batches(self.fold.stop, stop):
                    self.fold.take(count, batch.headers, batch.payloads)
        return self

    def _current(self) -> Stream | None:
        if self._is_run:
            return self._stream
        log, uid = self.channel.log, self.channel.stream.uid
        if self._stream is None:
            self._stream = find(log, decisions_name(uid))
        while self._stream is not None and self._stream.finished:
            after = find(log, decisions_name(uid, self._adoption + 1))
            if after is None:
                break
            self._stream, self._adoption, self.fold = after, self._adoption + 1, Folding()
        return self._stream

    def writable(self) -> Stream:
        """The stream that decisions go to; made where there is none."""
        with self._lock:
            stream = self._current()
            if stream is None:
                channel = self.channel
                name = decisions_name(channel.stream.uid)
                metadata = metadata_of(channel.stream, "channel-decisions")
                stream = self._stream = ensure(channel.log, name, metadata)
            return stream

    @property
    def adoption(self) -> int:
        """How many runs were adopted."""
        return self._adoption

    # Looking at them

    def __iter__(self) -> Iterator[Thread]:
        """The threads in the order of their first messages.

        Without those that are suppressed, and lines of the platform that nobody answered.
        """
        index = self.channel.index
        for each in self.all():
            if each.state != "suppressed" and (index.kind(each.root) == SAID or len(each) > 1):
                yield each

    def all(self) -> Iterator[Thread]:
        """All threads, those that are suppressed too."""
        index = self.channel.index
        roots = set(self.fold.roots())
        roots.update(self.fold.root(anchor) for anchor in index.branches)
        for root in sorted(roots):
            if index.kind(root):
                yield Thread(self, root)

    def of(self, message: Said) -> Thread:
        """The thread that a message, or a reply in a branch, is in."""
        stream, _, offset = self.channel.find(message)
        if stream != self.channel.stream:
            offset = stream.own_start - 1
        return Thread(self, self.fold.root(offset))

    def why(self, message: Said) -> Decision | Override | None:
        """What says which message this one answers, or proposes it; None where nothing does."""
        place = self.fold.why(self.channel.offset_of(message))
        return None if place is None else self._verdict(place)

    def undecided(self) -> Iterator[Decision]:
        """What classifiers proposed and nobody decided, in the order of the messages."""
        for offset in self.channel.index.messages(0):
            place = self.fold.evidence(offset)
            if place is not None and not self.fold.is_decided(offset):
                found = self._verdict(place)
                if isinstance(found, Decision):
                    yield found

    def decisions(self, start: int = 0) -> Iterator[Decision | Override]:
        """All that was decided and said, in order, also what counts no more."""
        if self._stream is not None:
            for record in self._stream.read(start):
                yield verdict(record)

    def _verdict(self, place: int) -> Decision | Override:
        assert self._stream is not None
        return verdict(self._stream[place])

    # What people say

    def override(self, message: Said, *, parent: Said | None, by: str, reason: str = "") -> Receipt:
        """Say what a message answers; parent None: it starts a thread. Beats every classifier."""
        channel = self.channel
        offset = channel.offset_of(message)
        anchor = None if parent is None else channel.offset_of(parent)
        if anchor is not None and anchor >= offset:
            raise InvalidInputError(f"message {offset} cannot answer {anchor}, which came later")
        return self._say("reanchor", offset, by, reason, parent=anchor)

    def confirm(self, message: Said, *, by: str, reason: str = "") -> Receipt:
        """Say that the last classifier was right, also where it only proposed."""
        offset = self.channel.offset_of(message)
        self.refresh()
        place = self.fold.evidence(offset)
        if place is None:
            raise NotFoundError(f"no classifier said anything of message {offset}")
        found = self._verdict(place)
        assert isinstance(found, Decision)
        return self._say("confirm", offset, by, reason, parent=found.parent)

    def merge(self, threads: Sequence[Thread], *, by: str, reason: str = "") -> Thread:
        """Make several threads one; splitting at the first message of one undoes it."""
        roots = sorted({thread.root for thread in threads})
        if len(roots) < 2:
            raise InvalidInputError("a merge takes two threads or more")
        for other in roots[1:]:
            self._say("merge", roots[0], by, reason, other=other)
        return self.refresh().of(roots[0])

    def split(
        self, at: Said, *, by: str, messages: Sequence[Said] = (), reason: str = ""
    ) -> Thread:
        """Let a message start a thread of its own, with all that answers it, and `messages` too."""
        channel, offset = self.channel, self.channel.offset_of(at)
        others = [channel.offset_of(each) for each in messages]
        if any(each <= offset for each in others):
            raise InvalidInputError("what is split off with a message came after it")
        self._say("split", offset, by, reason)
        for other in others:
            self._say("reanchor", other, by, reason, parent=offset)
        return self.refresh().of(offset)

    def set_state(self, root: int, action: str, by: str, reason: str) -> None:
        """Resolve, reopen or suppress a thread."""
        self._say(action, root, by, reason)
        self.refresh()

    def _say(
        self,
        action: str,
        message: int,
        by: str,
        reason: str,
        *,
        parent: int | None = None,
        other: int | None = None,
    ) -> Receipt:
        if self._is_run:
            raise InvalidInputError("a run is not in force: adopt it, then override")
        told = headers_of(OVERRIDE, check_text(by, "by"))
        while True:
            self.refresh()
            stream, fold = self.writable(), self.fold
            before = self._before(action, message, other)
            body = OverrideBody(
                action,
                message,
                time.time_ns(),
                parent,
                other,
                reason,
                None if before is None else f"{stream.name}@{before}",
            )
            try:
                return stream.append(encode(body), headers=told, expect=fold.stop)
            except ConflictError:
                # Others said something meanwhile.
                continue
            except StreamFinishedError:
                # Others adopted a run meanwhile; or it was finished, and there is no other.
                if self.writable() == stream:
                    raise

    def _before(self, action: str, message: int, other: int | None) -> int | None:
        if action == "merge" and other is not None:
            return self.fold.merged(message, other)
        if action in ("suppress", "reopen", "resolve"):
            place = self.fold.state(message)[1]
            return None if place < 0 else place
        return self.fold.why(message)


class Threaded(Posts):
    """A channel with its threads."""

    def __init__(self, log: Log, stream: Stream) -> None:
        super().__init__(log, stream)
        self._threads = Threads(self)

    def threads(self) -> Threads:
        """Its threads, as they are now: a fold of decisions, overrides and branches."""
        return self._threads.refresh()
