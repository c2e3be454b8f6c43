"""The records of a session: what was said in a conversation, and what was taken back.

A session is the stream `agents/session/<id>`: a record an item, and a record `pop` for an item that
was taken back. Nothing is changed. Where a conversation goes on from an earlier item, with another
text or with none, its stream ends with a record `moved`, and goes on as a branch
`agents/session/<id>/<n>` that inherits what stays, in one frame. So every text that was ever said
is there, and the branches show where it was changed.

Kinds of records (header `kind`), and what readers do with them, in order:

    item     an item of the conversation: it is put on the end; header `turn`: the user said it
    pop      the item at the end is taken off
    moved    {"to": name}: the stream is finished, the conversation goes on there

Several processes may use one session: what depends on what was read is written on the condition
that nobody wrote meanwhile, and worked out again otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from transit import (
    AlreadyExistsError,
    ConflictError,
    ErasedError,
    InvalidInputError,
    Log,
    NotFoundError,
    Record,
    StorePermissionError,
    Stream,
    StreamFinishedError,
)
from transit.adapters.encoding import Encoded, decode, encode, stored, whole
from transit.adapters.naming import described, quoted
from transit.adapters.removing import Removed, is_embedded
from transit.trace import Redaction

PREFIX: Final = "agents/session/"
KIND: Final = "kind"
TURN: Final = "turn"
# A race is lost this often only where something else is wrong.
_TRIES: Final = 1000
_T = TypeVar("_T")


class Kept(NamedTuple):
    """An item of the conversation: where it is, and what is to be decoded."""

    offset: int
    payload: bytes
    headers: Mapping[str, str]


class _AgainError(Exception):
    """Somebody else wrote first."""


class History:
    """The records of one session. For one thread at a time."""

    def __init__(
        self,
        open_log: Callable[[], Log],
        session_id: str,
        redact: Redaction | None,
        durability: str | None,
    ) -> None:
        self._open_log = open_log
        self._redact = redact
        self._durability = durability
        self.session_id = session_id
        self.name = PREFIX + quoted(session_id, redact)
        self._forget(None)

    def _forget(self, log: Log | None) -> None:
        self._log = log
        self._stream: Stream | None = None
        # Where the conversation began: with it all of it is put out of sight.
        self._root: Stream | None = None
        self._follow(None, [], 0)

    def _follow(self, stream: Stream | None, kept: list[Kept], seen: int) -> None:
        self._stream, self._kept, self._seen = stream, kept, seen
        # Whether something was taken back since the last item; where the stream went on.
        self._taken_back = False
        self._next: str | None = None

    # Reading

    def items(self, limit: int | None = None) -> list[Any]:
        """The items, or the last `limit` of them; all where it is negative, as the SDK has it."""
        log = self._refresh()
        kept = self._kept
        if limit is not None and limit >= 0:
            kept = kept[max(0, len(kept) - limit) :]
        return [_value(log, each) for each in kept]

    def state(self) -> list[Kept]:
        """What there is, as it is stored."""
        self._refresh()
        return list(self._kept)

    def value(self, kept: Kept) -> Any:
        """An item of `state`."""
        return _value(self._refresh(), kept)

    @property
    def stream(self) -> Stream | None:
        """Where the conversation is now; None while nothing was said."""
        self._refresh()
        return self._stream

    # Changing

    def add(self, items: Sequence[object], about: Mapping[str, str]) -> None:
        """Put items on the end, all or none."""
        payloads = self._encoded(items)
        self._retry(lambda log: self._add(log, payloads, about))

    def pop(self) -> Any:
        """Take the last item back: it, or None."""
        return self._retry(self._pop)

    def clear(self) -> None:
        """Take everything back."""
        self._retry(self._clear)

    def replace(self, expected: Sequence[Kept], items: Sequence[object]) -> bool:
        """Put `items` in the place of the last ones, which must be `expected`; or do nothing."""
        payloads = self._encoded(items)
        return self._retry(lambda log: self._replace(log, list(expected), payloads))

    def replace_all(self, items: Sequence[object]) -> None:
        """Put `items` in the place of all that there is."""
        payloads = self._encoded(items)
        self._retry(lambda log: self._replace(log, list(self._kept), payloads))

    def fork(self, turn: int | None, made: History) -> None:
        """Make the session `made`, which begins with the items before a turn (None: all)."""
        log = self._refresh()
        if self._stream is None:
            raise NotFoundError(f"{self.name}: there is no such session")
        kept = self._kept if turn is None else self._kept[: self._begin_of(turn)]
        if kept:
            self._stream.branch(
                made.name, kept[-1].offset, made._metadata(), durability=self._durability
            )
            return
        with log.batch(durability=self._durability) as batch:
            batch.branch(self._stream, made.name, metadata=made._metadata(), empty=True)

    def _begin_of(self, turn: int) -> int:
        places = [place for place, each in enumerate(self._kept) if TURN in each.headers]
        if type(turn) is not int or not 1 <= turn <= len(places):
            raise InvalidInputError(
                f"{self.session_id}: no turn {turn!r}; the user said something {len(places)} times"
            )
        return places[turn - 1]

    def delete(self, reason: str, basis: str) -> Removed:
        """Delete all that was ever said, the newest stream first; hide it where that is denied."""
        log = self._refresh()
        streams = list(self._streams(log))
        try:
            done = self._delete(log, streams, reason, basis)
        except StorePermissionError:
            if is_embedded(log):
                raise
            with log.batch() as batch:
                for stream in streams:
                    batch.hide(stream, reason=reason)
            done = Removed((), tuple(stream.name for stream in streams))
        self._forget(log)
        return done

    @staticmethod
    def _delete(log: Log, streams: list[Stream], reason: str, basis: str) -> Removed:
        own = {stream.name for stream in streams}
        gone: list[str] = []
        for stream in streams:
            would = log.delete(stream, reason=reason, basis=basis, dry_run=True)
            if not {name for name, _, _ in would.dependents} <= own:
                # Refused before anything went.
                log.delete(stream, reason=reason, basis=basis)
        for stream in reversed(streams):
            done = log.delete(stream, reason=reason, basis=basis)
            # Where the answer to a first request was lost, the second one deletes nothing.
            gone += done.streams or (stream.name,)
        return Removed(tuple(gone), ())

    def _streams(self, log: Log) -> Iterator[Stream]:
        """The streams that the conversation was in, in order."""
        stream = log.stream(self.name) if self.name in log else None
        while stream is not None:
            yield stream
            last = stream[-1] if len(stream) else None
            if last is None or last.headers.get(KIND) != "moved":
                return
            stream = log.stream(str(decode(last.payload)["to"]))

    # Inside

    def _retry(self, step: Callable[[Log], _T]) -> _T:
        for _ in range(_TRIES):
            log = self._refresh()
            try:
                return step(log)
            except (_AgainError, ConflictError, StreamFinishedError):
                continue
        raise ConflictError(f"{self.name}: others wrote first, {_TRIES} times")

    def _refresh(self) -> Log:
        """Take up what was written since, by whomever."""
        log = self._open_log()
        if log is not self._log:
            # Opened again: after it was closed, or in a child made by fork.
            self._forget(log)
        elif self._root is not None and self._root.hidden:
            # Deleted, or put out of sight: what is said from now on is another conversation.
            self._forget(log)
        while self._catch_up(log):
            pass
        return log

    def _catch_up(self, log: Log) -> bool:
        """Take up what the stream has; whether the conversation went on in another one."""
        try:
            if self._stream is None:
                self._root = log.stream(self.name)
                self._follow(self._root, [], 0)
            assert self._stream is not None
            self._take(self._stream.read(self._seen))
            if self._next is not None:
                self._go_on(log.stream(self._next))
                return True
        except (NotFoundError, ErasedError):
            self._forget(log)
        return False

    def _take(self, records: Iterable[Record]) -> None:
        for record in records:
            kind = record.headers.get(KIND)
            if kind == "item":
                self._kept.append(Kept(record.offset, record.payload, record.headers))
                self._taken_back = False
            elif kind == "pop":
                del self._kept[-1:]
                self._taken_back = True
            elif kind == "moved":
                self._next = str(decode(record.payload)["to"])
            self._seen = record.offset + 1

    def _go_on(self, stream: Stream) -> None:
        """The conversation went on in a branch, which inherits items from the end of those kept."""
        start = stream.own_start
        self._follow(stream, [each for each in self._kept if each.offset < start], start)

    def _add(self, log: Log, items: list[Encoded], about: Mapping[str, str]) -> None:
        if self._taken_back:
            return self._move(log, self._kept, items, about)
        payloads, headers = self._records(log, items, about)
        if self._stream is None:
            return self._begin(log, payloads, headers)
        receipt = self._stream.append_many(payloads, headers=headers, durability=self._durability)
        self._took(receipt.offset, payloads, headers)

    def _begin(self, log: Log, payloads: list[bytes], headers: list[dict[str, str]]) -> None:
        try:
            with log.batch(durability=self._durability) as batch:
                staged = batch.create(self.name, self._metadata())
                batch.append_many(staged, payloads, headers=headers)
        except AlreadyExistsError:
            raise _AgainError from None
        self._root = staged.stream
        self._follow(self._root, [], 0)
        self._took(0, payloads, headers)

    def _took(self, first: int, payloads: list[bytes], headers: list[dict[str, str]]) -> None:
        """Our own records: they need not be read, unless others came in between."""
        if first == self._seen:
            for offset, (payload, each) in enumerate(zip(payloads, headers, strict=True), first):
                self._kept.append(Kept(offset, payload, each))
            self._seen = first + len(payloads)

    def _pop(self, log: Log) -> Any:
        if self._stream is None or not self._kept:
            return None
        last = _value(log, self._kept[-1])
        self._stream.append(
            b"", headers={KIND: "pop"}, expect=self._seen, durability=self._durability
        )
        return last

    def _clear(self, log: Log) -> None:
        if self._kept:
            self._move(log, [], [], {})

    def _replace(self, log: Log, expected: list[Kept], items: list[Encoded]) -> bool:
        stays = len(self._kept) - len(expected)
        if stays < 0 or self._kept[stays:] != expected:
            return False
        if self._stream is None:
            if items:
                self._begin(log, *self._records(log, items, {}))
        else:
            self._move(log, self._kept[:stays], items, {})
        return True

    def _move(
        self, log: Log, stay: list[Kept], items: list[Encoded], about: Mapping[str, str]
    ) -> None:
        """Go on as a branch after the last item that stays."""
        payloads, headers = self._records(log, items, about)
        stream = self._stream
        assert stream is not None
        name = self._next_name(stream)
        try:
            with log.batch(durability=self._durability) as batch:
                if stay:
                    branch = batch.branch(stream, name, stay[-1].offset, self._metadata())
                else:
                    branch = batch.branch(stream, name, metadata=self._metadata(), empty=True)
                moved = json.dumps({"to": name}).encode()
                batch.append(stream, moved, headers={KIND: "moved"}, expect=self._seen)
                batch.finish(stream)
                batch.append_many(branch, payloads, headers=headers)
        except AlreadyExistsError:
            # A stream of that name that is not ours to go on in.
            if name in log and self._stream is stream and not stream.finished:
                self._skipped += 1
            raise _AgainError from None
        self._go_on(branch.stream)
        self._took(self._seen, payloads, headers)

    _skipped = 0

    def _next_name(self, stream: Stream) -> str:
        _, _, last = stream.name.removeprefix(self.name).rpartition("/")
        return f"{self.name}/{int(last or 1) + 1 + self._skipped}"

    def _encoded(self, items: Sequence[object]) -> list[Encoded]:
        found = []
        for item in items:
            encoded = encode(item, self._redact)
            if isinstance(item, dict) and item.get("role") == "user":
                encoded.headers[TURN] = "true"
            found.append(encoded)
        return found

    def _records(
        self, log: Log, items: list[Encoded], about: Mapping[str, str]
    ) -> tuple[list[bytes], list[dict[str, str]]]:
        kept = [stored(log, each, self._durability) for each in items]
        headers = [{KIND: "item", **about, **each.headers} for each in kept]
        return [each.payload for each in kept], headers

    def _metadata(self) -> dict[str, Any]:
        ids = {"session_id": self.session_id}
        return dict(described("openai-agents", "openai-agents", ids, self._redact))


def check_id(session_id: object) -> str:
    """A session's id; `InvalidInputError` unless it is text that is not empty."""
    if not isinstance(session_id, str) or not session_id:
        raise InvalidInputError(f"a session's id is text that is not empty, not {session_id!r}")
    return session_id


def _value(log: Log, kept: Kept) -> Any:
    return decode(whole(log, kept.payload, kept.headers))
