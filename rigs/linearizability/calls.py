"""Calls on the streams of a real store, drawn at random and written down as they are made.

A `Caller` is one thread's way of using one open store. It notes the moment before and the moment
after each call, of the clock that all processes of a machine share, and what came of it.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import transit
from rigs.linearizability.checker import CONFLICT, NONE, Call, Contents, Result, Verb
from transit.errors import AlreadyExistsError, ConflictError, NotFoundError, OffsetError

WRITES: Final = (
    "append", "append", "append", "expect", "expect", "many", "batch", "submit", "consume",
)  # fmt: skip
LOOKS: Final = ("read", "read", "length", "last", "tail", "columns")
FORKS: Final = ("fork", "fork_at", "merge", "reconcile", "seal", "meet")
Noted = list[tuple[str, Call]]
"""Calls, each with the name of its stream."""


def notes_of(name: str) -> str:
    """The stream in which is noted down what was read of another."""
    return f"{name}/notes"


class Caller:
    """Makes calls on the streams of one open store, for one thread.

    calls: what was called, on which stream. durability: of every write.
    """

    def __init__(
        self, log: transit.Log, names: Sequence[str], who: int, seed: int, durability: str
    ) -> None:
        self._log = log
        self._names = list(names)
        self._streams = {name: log.stream(name) for name in names}
        self._who = who
        self._chance = random.Random(seed)
        self._durability = durability
        self._written = 0
        self.calls: Noted = []

    def run(self, count: int, verbs: Sequence[str]) -> None:
        """Make so many calls, of these kinds."""
        for _ in range(count):
            name = self._chance.choice(self._names)
            getattr(self, "_" + self._chance.choice(verbs))(name)

    # What is noted

    def _payload(self) -> str:
        self._written += 1
        return f"{self._who}.{self._written}"

    def _timed(self, call: Callable[[], Result]) -> tuple[int, int, Result]:
        called = time.monotonic_ns()
        try:
            result = call()
        except ConflictError:
            result = CONFLICT
        except OffsetError:
            result = NONE
        return called, time.monotonic_ns(), result

    def _note(
        self,
        name: str,
        verb: Verb,
        call: Callable[[], Result],
        payloads: Contents = (),
        expect: int | None = None,
        at: int | None = None,
    ) -> None:
        called, returned, result = self._timed(call)
        noted = Call(self._who, verb, called, returned, result, payloads, expect, at)
        self.calls.append((name, noted))

    # Writes

    def _append(self, name: str) -> None:
        stream, payload = self._streams[name], self._payload()
        self._note(
            name,
            "append",
            lambda: stream.append(payload.encode(), durability=self._durability).offset,
            (payload,),
        )

    def _expect(self, name: str) -> None:
        """Under a condition that holds when no other append comes between, or that never does."""
        stream, payload = self._streams[name], self._payload()
        expect = len(stream) + (self._chance.random() < 0.1)
        self._note(
            name,
            "append",
            lambda: (
                stream.append(payload.encode(), expect=expect, durability=self._durability).offset
            ),
            (payload,),
            expect,
        )

    def _many(self, name: str) -> None:
        stream = self._streams[name]
        payloads = (self._payload(), self._payload())
        bodies = [payload.encode() for payload in payloads]
        self._note(
            name,
            "append",
            lambda: stream.append_many(bodies, durability=self._durability).offset,
            payloads,
        )

    def _submit(self, name: str) -> None:
        stream, payload = self._streams[name], self._payload()
        self._note(
            name,
            "append",
            lambda: stream.submit(payload.encode(), durability="os").result(timeout=60).offset,
            (payload,),
        )

    def _batch(self, name: str) -> None:
        """One record for each stream, in one frame: on each stream it is one append."""
        texts = {each: self._payload() for each in self._names}
        receipts: list[transit.Receipt] = []

        def write() -> Result:
            with self._log.batch(durability=self._durability) as batch:
                for each, text in texts.items():
                    batch.append(self._streams[each], text.encode())
            receipts.extend(batch.receipts)
            return None

        called, returned, _ = self._timed(write)
        for receipt in receipts:
            text = (texts[receipt.stream],)
            call = Call(self._who, "append", called, returned, receipt.offset, text)
            self.calls.append((receipt.stream, call))

    def _consume(self, name: str) -> None:
        """One record of a stream noted down in another, and the cursor moved, in one frame.

        There is one note a record, so where the cursor is expected is where the notes end.
        """
        stream, notes = self._streams[name], self._log.stream(notes_of(name))
        cursor = stream.cursor("consumer")
        now = cursor.status()
        if now.position and now.state != stream[now.position - 1].payload:
            raise AssertionError(f"{cursor!r} at {now.position} with the state {now.state!r}")
        if not now.lag:
            return
        payload = stream[now.position].payload

        def write() -> Result:
            with self._log.batch(durability=self._durability) as batch:
                batch.append(notes, payload)
                batch.advance(cursor, now.position + 1, state=payload, expect=now.position)
            return batch.receipts[0].offset

        self._note(notes.name, "append", write, (payload.decode(),), now.position)

    # Looks

    def _read(self, name: str) -> None:
        at = self._chance.choice([0, 0, max(0, len(self._streams[name]) - 1), 10**6])
        self._note(name, "read", lambda: _texts(self._streams[name].read(at)), at=at)

    def _tail(self, name: str) -> None:
        self._note(name, "read", lambda: _texts(self._streams[name].tail(0, timeout=0)), at=0)

    def _columns(self, name: str) -> None:
        stream = self._streams[name]
        self._note(
            name,
            "read",
            lambda: tuple(p.decode() for batch in stream.batches() for p in batch.payloads),
            at=0,
        )

    def _length(self, name: str) -> None:
        self._note(name, "length", lambda: len(self._streams[name]))

    def _last(self, name: str) -> None:
        stream = self._streams[name]

        def last() -> Result:
            return stream[-1].payload.decode()

        self._note(name, "last", last)

    # Streams made of streams

    def _fork(self, name: str) -> None:
        self._fork_up_to(name, None)

    def _fork_at(self, name: str) -> None:
        """At the newest offset, or at one that may be there by then."""
        newest = len(self._streams[name]) - self._chance.randrange(2)
        self._fork_up_to(name, max(0, newest))

    def _fork_up_to(self, name: str, at: int | None) -> None:
        child = f"{name}/{self._payload()}"
        made: list[transit.Stream] = []

        def branch() -> Result:
            made.append(self._streams[name].branch(child, at=at, durability=self._durability))
            return None

        called, returned, result = self._timed(branch)
        if made:
            # What it inherited does not change, so it may be read later.
            result = _texts(made[0].read())
        self.calls.append((name, Call(self._who, "fork", called, returned, result, at=at)))

    def _merge(self, name: str) -> None:
        """A merge of all streams: of each it has what that held at some moment of the call."""
        if len(self._names) < 2:
            self._fork(name)
            return
        made: list[transit.Stream] = []

        def merge() -> Result:
            parents = [self._streams[each] for each in self._names]
            made.append(
                self._log.merge(
                    f"{name}+{self._payload()}",
                    parents,
                    policy="append",
                    durability=self._durability,
                )
            )
            return None

        called, returned, _ = self._timed(merge)
        records = list(made[0].read())
        for each in self._names:
            part = _texts(record for record in records if record.origin.stream == each)
            self.calls.append((each, Call(self._who, "fork", called, returned, part)))

    def _reconcile(self, name: str) -> None:
        """A record for each stream and a merge that has them, in one frame."""
        if len(self._names) < 2:
            self._batch(name)
            return
        texts = {each: self._payload() for each in self._names}
        receipts: list[transit.Receipt] = []
        made: list[transit.StagedStream] = []

        def write() -> Result:
            with self._log.batch(durability=self._durability) as batch:
                for each, text in texts.items():
                    batch.append(self._streams[each], text.encode())
                made.append(batch.merge(f"{name}+{self._payload()}", self._names, policy="append"))
            receipts.extend(batch.receipts)
            return None

        called, returned, _ = self._timed(write)
        records = list(made[0].stream.read())
        for each, text, receipt in zip(texts, texts.values(), receipts, strict=True):
            part = _texts(record for record in records if record.origin.stream == each)
            at = receipt.offset
            self.calls.append((each, Call(self._who, "append", called, returned, at, (text,))))
            self.calls.append((each, Call(self._who, "fork", called, returned, part, at=at)))

    def _meet(self, name: str) -> None:
        """An append to a stream that the first caller makes, while others look for it."""
        met = f"{name}/met {self._chance.randrange(4)}"
        while met not in self._streams:
            try:
                self._streams[met] = self._log.stream(met)
            except NotFoundError:
                if self._chance.random() < 0.2:
                    with contextlib.suppress(AlreadyExistsError):
                        self._streams[met] = self._log.create(met, durability=self._durability)
        self._append(met)

    def _seal(self, name: str) -> None:
        self._log.seal()


def _texts(records: Iterable[transit.Record]) -> Contents:
    return tuple(record.payload.decode() for record in records)
