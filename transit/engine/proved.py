"""What proofs show, read as a store is: streams by name and uid, and their records.

Owns a `Log` without a store. Only what reads is there, and only what the proofs hold: everything
else is `NotFoundError`, also a stream that the store would have. So a program that reads runs makes
the same of proofs as of the store that they were made from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final, overload

from transit.engine.finding import Which
from transit.engine.lineage import Lineage
from transit.engine.log import Log
from transit.engine.plans import MergePlan
from transit.engine.provenance import HistorySpan, history_span
from transit.engine.stream import Stream
from transit.errors import InvalidInputError, NotFoundError, OffsetError, ProofError
from transit.evidence.checking import Checked, ShownRecord
from transit.format.headers import NO_HEADERS
from transit.format.lineage import (
    Branch,
    Kind,
    LineageRecord,
    Merge,
    Scalar,
    heads_of,
    kind_of,
    triples,
)
from transit.lineage.graph import Graph
from transit.lineage.spans import Position as Place
from transit.picking import Where
from transit.replay import Position, Record, Source

_UNKNOWN: Final = "stream-{}-is-not-shown"


class ProvedLog(Log):
    """The streams of some proofs. Made by `open_proved`; nothing can be written to it."""

    def __init__(self, proofs: Iterable[Checked]) -> None:
        self._proofs = tuple(proofs)
        self._lineages: dict[int, LineageRecord] = {}
        for proof in self._proofs:
            self._lineages |= proof.streams
        self._shown = {proof.shown.stream_id: proof for proof in self._proofs}

    def __repr__(self) -> str:
        return f"<transit.Log of {len(self._shown)} proofs>"

    def __enter__(self) -> Log:
        return self

    def close(self) -> None:
        """Nothing is open."""

    @property
    def store_id(self) -> str:
        """The id of the store that the proofs are of."""
        return self._proofs[0].statement.store

    @property
    def lineage(self) -> Lineage:
        """Where the records were appended; other questions a proof does not answer."""
        return ProvedLineage(self)

    def stream(self, name: str | None = None, *, uid: str | None = None) -> Stream:
        """The stream with this name, or this uid; `NotFoundError` where no proof shows it."""
        for stream_id, record in self._lineages.items():
            if (record.name == name) if uid is None else (record.uid == uid):
                return ProvedStream(self, stream_id, record)
        raise NotFoundError(f"no proof shows a stream {name if uid is None else uid!r}")

    def __contains__(self, name: object) -> bool:
        """Whether a proof shows a stream with this name."""
        return any(record.name == name for record in self._lineages.values())

    def spans(self, stream: int) -> Iterator[HistorySpan]:
        """Where a stream's records were appended; `NotFoundError` where no proof shows that."""
        for span in Graph(self._record).history(stream, self.count(stream)):
            yield history_span(self._record(span.stream), span)

    def _record(self, stream: int) -> LineageRecord:
        try:
            return self._lineages[stream]
        except KeyError:
            raise NotFoundError(f"no proof shows stream {stream}") from None

    def name_of(self, stream: int) -> str:
        """The name of a stream; of one that no proof shows, a text that says so."""
        record = self._lineages.get(stream)
        return _UNKNOWN.format(stream) if record is None else record.name

    def uid_of(self, stream: int) -> str:
        """The uid of a stream; "" of one that no proof shows."""
        record = self._lineages.get(stream)
        return "" if record is None else record.uid

    def count(self, stream: int) -> int:
        """How many records of a stream are known to be there."""
        proof = self._shown.get(stream)
        return 0 if proof is None else proof.shown.records[1]

    def records(self, stream: int, stop: int) -> Iterator[ShownRecord]:
        """A stream's records before `stop`; `ProofError` where no proof has all of them."""
        failure: Exception = NotFoundError(f"no proof shows stream {stream}")
        for proof in self._proofs:
            try:
                return proof.history(stream, stop)
            except (ProofError, NotFoundError) as error:
                failure = error
        raise failure


class ProvedLineage(Lineage):
    """What proofs show of how streams descend from one another."""

    def __init__(self, log: ProvedLog) -> None:
        self._log = log

    def spans(self, x: Which) -> tuple[HistorySpan, ...]:
        """As `Lineage.spans`, of a stream."""
        stream = self._log.stream(x) if isinstance(x, str) else x
        if not isinstance(stream, ProvedStream):
            raise InvalidInputError(f"not a stream that a proof shows: {x!r}")
        return tuple(self._log.spans(stream.id))


class ProvedStream(Stream):
    """A stream that proofs show."""

    __slots__ = ("_count", "_id", "_log", "_record")

    def __init__(self, log: ProvedLog, stream_id: int, record: LineageRecord) -> None:
        self._log = log
        self._id = stream_id
        self._record = record
        self._count = log.count(stream_id)

    def __repr__(self) -> str:
        return f"<transit.Stream {self.name!r} of a proof>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ProvedStream) and self._record == other._record

    def __hash__(self) -> int:
        return hash(self._record.uid)

    @property
    def name(self) -> str:
        """The stream's name."""
        return self._record.name

    @property
    def id(self) -> int:
        """The stream's number in its store."""
        return self._id

    @property
    def uid(self) -> str:
        """What the stream is called for ever."""
        return self._record.uid

    @property
    def kind(self) -> Kind:
        """ "root", "branch" or "merge"."""
        return kind_of(self._record)

    @property
    def metadata(self) -> Mapping[str, Scalar]:
        """What was given when the stream was made."""
        return dict(self._record.metadata)

    @property
    def codec(self) -> str | None:
        """The codec of typed values, or None."""
        return self._record.codec

    @property
    def parents(self) -> tuple[Position, ...]:
        """Where it descends from; a parent that no proof shows has a name that says so."""
        return tuple(self._position(head) for head in heads_of(self._record))

    @property
    def parent_uids(self) -> tuple[str, ...]:
        """The uids of the streams in `parents`; "" for one that no proof shows."""
        return tuple(self._log.uid_of(parent) for parent, _ in heads_of(self._record))

    @property
    def fork_offset(self) -> int | None:
        """A branch's last inherited offset; None when nothing is inherited."""
        record = self._record
        return record.fork if isinstance(record, Branch) and record.fork >= 0 else None

    @property
    def own_start(self) -> int:
        """The offset of its first own record."""
        return self._record.start

    @property
    def merge_plan(self) -> MergePlan | None:
        """How a merged stream was made; None for other streams."""
        record = self._record
        if not isinstance(record, Merge):
            return None
        return MergePlan(
            policy=record.policy,
            version=record.version,
            params=dict(record.params),
            base=None if record.base is None else self._position(record.base),
            spans=tuple(
                (self._position((stream, first)), count)
                for stream, first, count in triples(record.plan)
            ),
            base_uid="" if record.base is None else self._log.uid_of(record.base[0]),
        )

    def _position(self, place: Place) -> Position:
        return Position(self._log.name_of(place[0]), place[1])

    @property
    def next_offset(self) -> int:
        """How many records are known to be there."""
        return self._count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, offset: int) -> Record: ...
    @overload
    def __getitem__(self, offset: slice) -> list[Record]: ...
    def __getitem__(self, offset: int | slice) -> Record | list[Record]:
        """As that of a stream in a store."""
        if isinstance(offset, slice):
            start, stop, step = offset.indices(self._count)
            if step != 1:
                raise InvalidInputError("a slice of a stream has no step")
            return list(self.read(start, max(start, stop)))
        place = offset + self._count if offset < 0 else offset
        if not 0 <= place < self._count:
            raise OffsetError(f"{self.name} has no offset {offset}; it has {self._count} records")
        return next(self.read(place, place + 1))

    def __iter__(self) -> Iterator[Record]:
        return self.read()

    def read(
        self, start: int | None = None, stop: int | None = None, *, where: Where | None = None
    ) -> Iterator[Record]:
        """The records from `start` to before `stop`; `ProofError` where one is not shown.

        A stream that no proof is about is read as far as it is asked for.
        """
        if where is not None:
            raise InvalidInputError("records of a proof are not picked by headers")
        until = self._count if stop is None else stop
        for shown in self._log.records(self._id, until):
            if shown.offset >= (start or 0):
                yield _record(shown)


def _record(shown: ShownRecord) -> Record:
    headers = MappingProxyType(dict(shown.headers)) if shown.headers else NO_HEADERS
    source = Source(shown.origin_stream, shown.origin_offset - shown.offset, shown.writer)
    return Record(shown.offset, shown.timestamp, shown.payload, headers, source, shown.written)


def open_proved(proofs: Iterable[Checked]) -> Log:
    """What proofs of one store show, to be read as that store is; there is no other way in.

    proofs: what `check_proof` gave. `InvalidInputError` for none, and for those of several stores.
    """
    found = tuple(proofs)
    if len({proof.statement.store for proof in found}) != 1:
        raise InvalidInputError("proofs of one store are wanted")
    return ProvedLog(found)
