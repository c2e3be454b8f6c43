"""Running a classifier over a channel: each message once, in order, from a durable place on.

Owns where a run stands, what its classifier is shown, and how decisions are written: in one frame
with the place, so that each message is decided once whatever crashes and however many run. Leaves
to classifiers what is decided.

A decider that begins anew is shown what was said in the last `EPOCH` to two times `EPOCH` records
before its first message, and it begins anew at each multiple of `EPOCH`, whether or not the process
does. So what is decided depends on the channel alone, and not on where a process was stopped.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from transit import (
    ConflictError,
    Cursor,
    InvalidInputError,
    Position,
    Record,
    Stream,
    StreamFinishedError,
)
from transit.chat.classifying import Candidate, Classifier, Decider, Ranking, Said
from transit.chat.messages import body_of
from transit.chat.naming import LAYER, metadata_of, rerun_name, reruns_prefix
from transit.chat.policies import built_in, check_threshold, policy_of
from transit.chat.records import (
    AUTHOR,
    EVIDENCE,
    KIND,
    MESSAGES,
    PARTICIPANT,
    SYSTEM,
    DecisionBody,
    encode,
    headers_of,
)
from transit.chat.threads import Threaded, Threads
from transit.chat.verdicts import Decision, decision

EPOCH: Final = 1000
"""Records after which a decider begins anew."""
_FRAME: Final = 256
"""Decisions in one frame, at most."""
_ALTERNATIVES: Final = 3


class Threading:
    """A classifier at work on a channel; made by `threading`.

    Several may run at once, in threads and processes: each message is decided by one of them.
    """

    def __init__(
        self,
        channel: Threaded,
        classifier: Classifier,
        decide_at: float,
        run: Threads | None = None,
    ) -> None:
        self.channel, self.classifier = channel, classifier
        self.decide_at = check_threshold(decide_at)
        self._run = run

    def __repr__(self) -> str:
        return f"<transit.chat.Threading of {self.channel.name!r} by {self.classifier.name!r}>"

    @property
    def is_run(self) -> bool:
        """Whether its decisions are not in force, but of a run beside those that are."""
        return self._run is not None

    @property
    def threads(self) -> Threads:
        """What comes of it."""
        return self.channel.threads() if self._run is None else self._run.refresh()

    @property
    def position(self) -> int:
        """The offset of the next record of the channel that it will look at."""
        return self._cursor(self.threads.writable()).position

    def run(self, *, follow: bool = False, timeout: float | None = None) -> Iterator[Decision]:
        """Decide what is not decided yet, and give each decision once it is written.

        follow: wait for more messages, until none came for `timeout` seconds (None: for ever).
        """
        while True:
            yield from self._up_to_now()
            if not follow or not self._waits(timeout):
                return

    def rerun(
        self,
        classifier: Classifier | None = None,
        *,
        decide_at: float | None = None,
        name: str | None = None,
    ) -> Threading:
        """Another run over the whole channel, which changes nothing until it is adopted.

        A branch of the decisions: it has what people said so far. name: of the run; None: "1", "2",
        … Running it again goes on where it stands. Give `run()`'s decisions a look, compare it
        (`chat.compare`), adopt it (`Channel.adopt`) or leave it.
        """
        channel, threads = self.channel, self.threads
        decisions = threads.writable()
        layer = channel.log.layer(LAYER)
        if name is None:
            count = sum(1 for _ in layer.streams(reruns_prefix(channel.stream.uid)))
            name = str(count + 1)
        whole = rerun_name(channel.stream.uid, name)
        if whole in layer:
            stream = layer.stream(whole)
        else:
            metadata = {**metadata_of(channel.stream, "channel-rerun"), "run": name}
            stream = layer.branch(decisions, whole, None, metadata)
        return Threading(
            channel,
            self.classifier if classifier is None else classifier,
            self.decide_at if decide_at is None else decide_at,
            Threads(channel, stream),
        )

    def _waits(self, timeout: float | None) -> bool:
        """Whether there is more now, or within the time."""
        position = self.position
        for _ in self.channel.stream.tail(position, timeout):
            return True
        return False

    def _up_to_now(self) -> Iterator[Decision]:
        while True:
            stream = self.threads.writable()
            try:
                yield from self._decide(stream, self._cursor(stream))
            except ConflictError:
                # Another one decided these: from where that stands.
                continue
            except StreamFinishedError:
                # A run was adopted; or it was finished, and there is no other.
                if self.threads.writable() == stream:
                    raise
                continue
            return

    def _decide(self, stream: Stream, cursor: Cursor) -> Iterator[Decision]:
        position, stop = cursor.position, self.channel.stream.next_offset
        while position < stop:
            epoch = position // EPOCH
            decider = self.classifier.decider()
            for said in self._said(max(0, (epoch - 1) * EPOCH), position):
                decider.see(said)
            last = min(stop, (epoch + 1) * EPOCH)
            while position < last:
                end = min(last, position + _FRAME)
                bodies = [self._body(decider, said) for said in self._said(position, end)]
                yield from self._write(stream, cursor, position, end, bodies)
                position = end

    def _said(self, start: int, stop: int) -> Iterator[Said]:
        channel = self.channel.stream
        for record in channel.read(max(start, channel.first_offset), stop):
            said = said_of(record)
            if said is not None:
                yield said

    def _body(self, decider: Decider, said: Said) -> DecisionBody:
        ranking = checked(decider.decide(said), said)
        decider.see(said)
        best = ranking[0] if ranking else Candidate(None, 0.0)
        return DecisionBody(
            message=said.offset,
            parent=best.parent,
            score=best.score,
            decided=bool(ranking) and best.score >= self.decide_at,
            threshold=self.decide_at,
            alternatives=[(each.parent, each.score) for each in ranking[1 : _ALTERNATIVES + 1]],
            classifier=self.classifier.name,
            version=self.classifier.version,
            digest=self.classifier.digest,
            decided_at=time.time_ns(),
        )

    def _write(
        self, stream: Stream, cursor: Cursor, position: int, end: int, bodies: list[DecisionBody]
    ) -> Iterator[Decision]:
        told = headers_of(EVIDENCE, self.classifier.name)
        with self.channel.log.batch() as batch:
            batch.append_many(stream, map(encode, bodies), headers=told)
            batch.advance(cursor, end, expect=position)
        for body, receipt in zip(bodies, batch.receipts, strict=True):
            yield decision(body, Position(receipt.stream, receipt.offset))

    def _cursor(self, stream: Stream) -> Cursor:
        return cursor_of(self.channel.stream, stream.uid)


def cursor_of(channel: Stream, uid: str) -> Cursor:
    """Where the classifier stands whose decisions go to the stream of this uid."""
    return channel.cursor(f"chat/{uid}")


def threading(
    channel: Threaded, *, classifier: Classifier | None = None, decide_at: float | None = None
) -> Threading:
    """A run of a classifier over a channel, whose decisions are in force.

    decide_at: below this score, 0 to 1, it only proposes: the message stays as it is. 0 decides
    all. None: as the channel's policy says, which is `chat.linear()` and 0.8 where nobody set it.
    """
    policy = policy_of(channel)
    return Threading(
        channel,
        built_in(policy.classifier) if classifier is None else classifier,
        policy.decide_at if decide_at is None else decide_at,
    )


def said_of(record: Record) -> Said | None:
    """What a classifier sees of a record; None where it is no message."""
    headers = record.headers
    kind = headers.get(KIND)
    if kind not in MESSAGES and kind != PARTICIPANT:
        return None
    body = body_of(record)
    author = headers.get(AUTHOR, "")
    return Said(
        record.offset,
        author,
        body.name or author,
        body.text,
        record.timestamp,
        SYSTEM in headers or kind == PARTICIPANT,
        body.answers,
        body.starts,
    )


def checked(ranking: Ranking, said: Said) -> list[Candidate]:
    """A classifier's ranking; `InvalidInputError` for one that says what cannot be."""
    found: list[Candidate] = []
    for each in ranking:
        parent, score = each
        if parent is not None and (type(parent) is not int or not 0 <= parent < said.offset):
            raise InvalidInputError(f"message {said.offset} cannot answer {parent!r}")
        if not isinstance(score, int | float) or not 0 <= score <= 1:
            raise InvalidInputError(f"a score is 0 to 1, not {score!r}")
        found.append(Candidate(parent, round(float(score), 4)))
    return sorted(found, key=lambda each: -each.score)
