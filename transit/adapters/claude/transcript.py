"""The records of one transcript: lines of a session, or of a subagent in it.

A transcript is the stream `claude/<project>/<session>`, or `claude/<project>/<session>/<subpath>`
(each id as `naming.quoted` has it). Kinds of records (header `kind`):

    entry      a line, as JSON
    summary    what the SDK's `fold_session_summary` made of all lines before it; only of a session,
               in the frame of the lines that changed it

The uuid of a line is its identity: one that is there already is not written again, whoever sends
it. Lines are written on the condition that nobody wrote since they were compared.

Where a session was forked, its stream descends from the other's, and inherits no record of it: the
SDK gives each line of a fork another uuid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from transit import (
    AlreadyExistsError,
    ConflictError,
    ErasedError,
    InvalidInputError,
    Log,
    NotFoundError,
    Record,
    Scalar,
    Stream,
    StreamFinishedError,
)
from transit.adapters.encoding import (
    LARGE,
    Encoded,
    decode,
    encode,
    encode_any,
    stored,
    value_of,
)
from transit.adapters.naming import described, quoted
from transit.trace import Redaction

PREFIX: Final = "claude/"
KIND: Final = "kind"
UUID: Final = "uuid"
_TRIES: Final = 1000
# Records read at a time on the way back to a summary, at first.
_BACK: Final = 16

Fold = Callable[[dict[str, Any] | None, Mapping[str, str], list[Any]], dict[str, Any]]


class Key(NamedTuple):
    """What names a transcript. subpath: "" for the session's own."""

    project: str
    session: str
    subpath: str = ""


class _WithUuid(msgspec.Struct):
    uuid: Any = None


_uuid_of: Final = msgspec.json.Decoder(_WithUuid)


class Transcript:
    """One transcript, and what is known of its records. For one thread at a time."""

    def __init__(
        self, key: Key, fold: Fold, redact: Redaction | None, durability: str | None
    ) -> None:
        self.key = key
        self.name = name_of(key, redact)
        self._fold, self._redact, self._durability = fold, redact, durability
        self._forget(None)

    def _forget(self, stream: Stream | None) -> None:
        self._stream = stream
        self._seen = 0
        self._offsets: dict[str, int] = {}
        self._summary: dict[str, Any] | None = None

    # Reading

    def load(self, log: Log) -> list[Any] | None:
        """The lines; None where nothing was ever written."""
        try:
            records = log.stream(self.name).read(where={KIND: "entry"})
            return [value_of(log, record) for record in records]
        except (NotFoundError, ErasedError):
            return None

    # Writing

    def append(self, log: Log, entries: Sequence[Any]) -> None:
        """Write the lines that are not there yet, all or none."""
        given = [self._encoded(each) for each in entries]
        for _ in range(_TRIES):
            try:
                self._refresh(log)
                new = self._new(given)
                if not new or self._write(log, new, entries):
                    return
            except (ConflictError, StreamFinishedError, ErasedError, AlreadyExistsError):
                # Somebody else wrote, or deleted the session, meanwhile.
                continue
        raise ConflictError(f"{self.name}: others wrote first, {_TRIES} times")

    def _encoded(self, entry: Any) -> Encoded:
        if not isinstance(entry, dict):
            raise InvalidInputError(f"{self.name}: a line is an object, not {entry!r}")
        encoded = encode(entry, self._redact)
        encoded.headers[KIND] = "entry"
        return encoded

    def _refresh(self, log: Log) -> None:
        """Take up what was written since, by whomever."""
        try:
            stream = log.stream(self.name)
        except NotFoundError:
            self._forget(None)
            return
        if self._stream is None or stream.uid != self._stream.uid:
            self._forget(stream)
        # Of the store as it is open now: it may have been opened again.
        self._stream = stream
        for record in stream.read(self._seen):
            self._take(record)

    def _take(self, record: Record) -> None:
        if record.headers.get(KIND) == "entry":
            uuid = record.headers.get(UUID) or uuid_of(record.payload)
            if uuid is not None:
                self._offsets.setdefault(uuid, record.offset)
        elif record.headers.get(KIND) == "summary":
            self._summary = decode(record.payload)
        self._seen = record.offset + 1

    def _new(self, given: list[Encoded]) -> list[Encoded]:
        """The lines that are not there; none where the whole batch is there as it is sent."""
        uuids = [uuid_of(each.payload) for each in given]
        first = next((n for n, uuid in enumerate(uuids) if uuid is not None), None)
        if first is not None:
            offset = self._offsets.get(str(uuids[first]))
            if offset is not None and self._is_there(offset - first, given):
                # Lines without a uuid are known by those beside them.
                return []
        known = set(self._offsets)
        new = []
        for each, uuid in zip(given, uuids, strict=True):
            if uuid is None or uuid not in known:
                new.append(each)
            if uuid is not None:
                known.add(uuid)
        return new

    def _is_there(self, start: int, given: list[Encoded]) -> bool:
        assert self._stream is not None
        if start < 0 or start + len(given) > self._seen:
            return False
        records = self._stream.read(start, start + len(given))
        return all(
            record.headers.get(KIND) == "entry" and record.payload == each.payload
            for record, each in zip(records, given, strict=True)
        )

    def _write(self, log: Log, new: list[Encoded], entries: Sequence[Any]) -> bool:
        kept = [self._stored(log, each) for each in new]
        payloads = [each.payload for each in kept]
        headers = [each.headers for each in kept]
        summary = self._folded(new)
        if summary is not None:
            payloads.append(encode_any(summary).payload)
            headers.append({KIND: "summary"})
        if self._stream is None:
            self._begin(log, payloads, headers, entries)
        else:
            self._stream.append_many(
                payloads, headers=headers, expect=self._seen, durability=self._durability
            )
        return True

    def _stored(self, log: Log, given: Encoded) -> Encoded:
        kept = stored(log, given, self._durability)
        if LARGE in kept.headers:
            uuid = uuid_of(given.payload)
            if uuid is not None:
                kept.headers[UUID] = uuid
        return kept

    def _folded(self, new: list[Encoded]) -> dict[str, Any] | None:
        """The summary, where these lines change it."""
        if self.key.subpath:
            return None
        before = self._summary
        key = {"project_key": self.key.project, "session_id": self._shown(self.key.session)}
        lines = [decode(each.payload) for each in new]
        folded = self._fold(before, key, lines)
        data = folded["data"]
        return None if before is not None and before["data"] == data else {**folded, "mtime": 0}

    def _shown(self, text: str) -> str:
        return text if self._redact is None else self._redact.text(text)[0]

    def _begin(
        self,
        log: Log,
        payloads: list[bytes],
        headers: list[dict[str, str]],
        entries: Sequence[Any],
    ) -> None:
        metadata = self._metadata()
        source, message = self._forked_from(log, entries)
        with log.batch(durability=self._durability) as batch:
            if source is None:
                staged = batch.create(self.name, metadata)
            else:
                about = {"forked_from": source.name, "forked_from_message": message}
                staged = batch.branch(source, self.name, metadata={**metadata, **about}, empty=True)
            batch.append_many(staged, payloads, headers=headers)

    def _metadata(self) -> dict[str, Scalar]:
        ids = {"session_id": self.key.session, "project_key": self.key.project}
        if self.key.subpath:
            ids["subpath"] = self.key.subpath
        return described("claude", "claude-agent-sdk", ids, self._redact)

    def _forked_from(self, log: Log, entries: Sequence[Any]) -> tuple[Stream | None, str]:
        """The session that these lines are copies of, and the last of its lines."""
        froms = [found for each in entries if isinstance(found := each.get("forkedFrom"), dict)]
        if not froms or self.key.subpath:
            return None, ""
        source, message = froms[-1].get("sessionId"), froms[-1].get("messageUuid")
        if not isinstance(source, str):
            return None, ""
        try:
            name = name_of(Key(self.key.project, source), self._redact)
            return log.stream(name), self._shown(str(message))
        except NotFoundError:
            return None, ""


def name_of(key: Key, redact: Redaction | None) -> str:
    """The name of a transcript's stream."""
    parts = (key.project, key.session, *((key.subpath,) if key.subpath else ()))
    return PREFIX + "/".join(quoted(each, redact) for each in parts)


def uuid_of(payload: bytes) -> str | None:
    """The uuid of a line, if it has one."""
    try:
        found = _uuid_of.decode(payload).uuid
    except ValueError:
        # What only Python's JSON has.
        found = decode(payload).get("uuid")
    return found if isinstance(found, str) else None


def summary_of(stream: Stream) -> dict[str, Any] | None:
    """The last summary of a session's stream."""
    stop, back = len(stream), _BACK
    while stop > 0:
        start = max(0, stop - back)
        for record in reversed(list(stream.read(start, stop))):
            if record.headers.get(KIND) == "summary":
                found: dict[str, Any] = decode(record.payload)
                return found
        stop, back = start, back * 4
    return None


def children_of(log: Log, name: str) -> Iterator[Stream]:
    """The streams of subagents of a session."""
    return log.streams(f"{name}/")
