"""Streams from the lines of an export.

The input is read twice: first everything is checked that can be checked without writing (links of
chains, names, offsets, counts, policies), then the streams are made, each in one atomic frame where
it fits. So a bad line at the end of a large file appends nothing.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final, TypedDict

from transit import (
    AlreadyExistsError,
    Log,
    NotFoundError,
    Position,
    StagedStream,
    Stream,
    WriteBatch,
)
from transit.cli.copies import LAYER_MARK, Copies
from transit.cli.exchange import (
    Appendable,
    RecordEntry,
    Scalar,
    StreamEntry,
    appendable,
    damaged,
    is_known_here,
)
from transit.cli.export_lines import LINE_FACTOR, Entry, Source
from transit.cli.failures import CommandError, hinted

# What a frame has room for besides payloads is left free.
_FRAME_PART: Final = 2
_RECORD_REST: Final = 64
_RECORDS_MAX: Final = 1_000_000


class MergeOptions(TypedDict):
    """What decides a merge, but its name."""

    parents: Sequence[Position]
    policy: str
    base: Position | None
    params: Mapping[str, Scalar]
    metadata: Mapping[str, Scalar]
    uid: str | None


class Plan:
    """What an import will make, from a first reading of it; `names` in the order of the input.

    new_uids: make streams of their own, instead of the same ones as in the store they come from.
    """

    def __init__(self, prefix: str, *, new_uids: bool = False) -> None:
        self._prefix = prefix
        self._new_uids = new_uids
        self._uids: set[str] = set()
        self._copies = Copies()
        self.entries: dict[str, StreamEntry] = {}
        self.counts: dict[str, int] = {}
        # Branches of an empty beginning: only possible before the parent has records.
        self.early: dict[str, list[str]] = defaultdict(list)
        # Streams of layers that the store has: the same artifact comes with many runs.
        self.there: set[str] = set()

    def name(self, name: str) -> str:
        """A stream's name in the store; a layer's keep theirs, by which others refer to them.

        But for those about a stream that is copied.
        """
        if not name.startswith(LAYER_MARK):
            return self._prefix + name
        return self._copies.name(self.entries[name]) if name in self.entries else name

    def uid(self, entry: StreamEntry) -> str | None:
        """The uid a stream is made with; None for a new one."""
        return self._copies.uid(entry) if self._new_uids else entry.uid

    def metadata(self, entry: StreamEntry) -> Mapping[str, Scalar]:
        """The metadata a stream is made with."""
        return self._copies.metadata(entry)

    def read(self, sources: Sequence[Source], record_bytes_max: int) -> None:
        """Check every line; what is wrong is raised with its place."""
        self._read(sources, record_bytes_max)
        if not self.entries:
            raise CommandError("there is no stream to import")

    def _read(self, sources: Sequence[Source], record_bytes_max: int) -> None:
        for source in sources:
            current: StreamEntry | None = None
            place = source.name
            for place, entry in source.entries(record_bytes_max):
                if isinstance(entry, StreamEntry):
                    self._end(current, place)
                    current = entry
                    self._add(entry, place)
                else:
                    self._count(entry, current, place, record_bytes_max)
            self._end(current, f"{place}, at the end")

    def _add(self, entry: StreamEntry, place: str) -> None:
        if entry.name in self.entries:
            raise CommandError(f"{place}: stream {entry.name!r} is there twice")
        _check_kind(entry, place)
        self._check_uid(entry, place)
        for parent in entry.parents:
            if parent.stream not in self.entries:
                raise NotFoundError(
                    f"{place}: {entry.name!r} descends from {parent.stream!r}, which is not in the"
                    " import: export with --lineage"
                )
            if not -1 <= parent.offset < self.counts[parent.stream]:
                count = self.counts[parent.stream]
                found = f"offset {parent.offset}"
                raise damaged(place, expected=f"an offset of {count} records", found=found)
        self.entries[entry.name] = entry
        self.counts[entry.name] = entry.inherited
        if entry.kind == "branch" and entry.parents[0].offset < 0:
            self.early[entry.parents[0].stream].append(entry.name)

    def _check_uid(self, entry: StreamEntry, place: str) -> None:
        if entry.uid in self._uids:
            raise damaged(place, expected="a uid that no other stream has", found=entry.uid)
        if entry.uid is not None:
            self._uids.add(entry.uid)
            if self._new_uids:
                self._copies.take(entry.uid)

    def _count(
        self, entry: RecordEntry, current: StreamEntry | None, place: str, bytes_max: int
    ) -> None:
        if current is None or entry.stream != current.name:
            raise CommandError(
                f"{place}: a record of {entry.stream!r} does not follow the line of that stream",
                hint="`transit export` writes what can be imported",
            )
        expected = self.counts[current.name]
        if entry.offset is not None and entry.offset != expected:
            raise damaged(place, expected=f"offset {expected}", found=f"offset {entry.offset}")
        size = len(appendable(entry, place).payload)
        if size > bytes_max:
            raise CommandError(f"{place}: {size} bytes; record_bytes_max is {bytes_max}")
        self.counts[current.name] += 1

    def _end(self, entry: StreamEntry | None, place: str) -> None:
        if entry is None or entry.own is None:
            return
        count = self.counts[entry.name] - entry.inherited
        if count != entry.own:
            raise damaged(
                place, expected=f"{entry.own} records of {entry.name!r}", found=str(count)
            )

    def check_against(self, log: Log) -> None:
        """Raise for a name that is taken, and for what could not be made, before anything is."""
        for name, entry in self.entries.items():
            if self.name(name) in log:
                if not self._is_there(log.stream(self.name(name)), entry):
                    raise AlreadyExistsError(f"stream {self.name(name)!r} exists")
                self.there.add(name)
            else:
                self._check_free(log, entry)
        with suppress(_NotWritten), log.batch() as batch:
            for name, entry in self.entries.items():
                if name in self.there:
                    continue
                local, layer = split(self.name(name))
                if entry.kind == "merge":
                    batch.merge(local, layer=layer, **self.merge_options(entry))
                else:
                    batch.create(local, self.metadata(entry), entry.codec, layer=layer)
            # A batch that ends with an exception writes nothing.
            raise _NotWritten

    def merge_options(self, entry: StreamEntry) -> MergeOptions:
        """What a merge is made from, by the names in the store."""
        policy, params = entry.policy or "", dict(entry.params)
        if policy == "select":
            params["selected"] = self.name(str(params.get("selected")))
        return MergeOptions(
            parents=[Position(self.name(each.stream), each.offset) for each in entry.parents],
            policy=policy,
            base=Position(self.name(entry.base.stream), entry.base.offset) if entry.base else None,
            params=params,
            metadata=entry.metadata,
            uid=self.uid(entry),
        )

    def _check_free(self, log: Log, entry: StreamEntry) -> None:
        """Raise when the store has this very stream, under whatever name."""
        if (uid := self.uid(entry)) is None:
            return
        try:
            other = log.stream(uid=uid)
        except NotFoundError:
            return
        hidden = ", hidden" if other.hidden else ""
        with hinted(AlreadyExistsError, "--new-uids imports it as another stream"):
            raise AlreadyExistsError(
                f"stream {entry.name!r} is here already, as {other.name!r}{hidden}: uid {uid}"
            )

    def _is_there(self, stream: Stream, entry: StreamEntry) -> bool:
        """Whether a layer's stream of this name is as large, and was made as the one to import."""
        return (
            entry.name.startswith(LAYER_MARK)
            and stream.next_offset == self.counts[entry.name]
            and dict(stream.metadata) == dict(self.metadata(entry))
        )


def split(name: str) -> tuple[str, str | None]:
    """A name in the store as (name, layer); the layer of a user's stream is None."""
    if not name.startswith(LAYER_MARK):
        return name, None
    layer, slash, local = name[1:].partition("/")
    return (local, layer) if slash else (name, None)


class _NotWritten(Exception):
    """Ends a batch that only checks."""


def _check_kind(entry: StreamEntry, place: str) -> None:
    if entry.kind == "merge":
        policy = entry.policy or ""
        if not is_known_here(policy):
            raise CommandError(
                f"{place}: {entry.name!r} was merged by {policy}, which is not registered here",
                hint="export that stream whole: name it without --lineage",
            )
        names = [parent.stream for parent in entry.parents]
        good = len(names) > 1 and bool(policy)
        good = good and (policy != "select" or entry.params.get("selected") in names)
    else:
        good = len(entry.parents) == (entry.kind == "branch")
        at = entry.parents[0].offset if entry.parents else -1
        good = good and entry.inherited == at + 1
    if not good:
        raise damaged(
            place, expected=f"parents of a {entry.kind}", found=f"those of {entry.name!r}"
        )


class Importer:
    """Makes the streams of a plan in a store."""

    def __init__(self, log: Log, plan: Plan) -> None:
        self._log = log
        self._plan = plan
        self._frame_bytes = log.settings.frame_bytes_max // _FRAME_PART
        self._made: set[str] = set()

    def run(self, sources: Sequence[Source]) -> Iterator[dict[str, object]]:
        """Make all streams; a row for each once it is whole. Nothing is synced yet."""
        record_bytes_max = self._log.settings.record_bytes_max
        for source in sources:
            entries = source.entries(record_bytes_max)
            ahead = next(entries, None)
            while ahead is not None:
                place, entry = ahead
                if not isinstance(entry, StreamEntry) or entry != self._plan.entries.get(
                    entry.name
                ):
                    raise damaged(place, expected="the stream read before", found="another line")
                rest = _Records(entries)
                if entry.name in self._plan.there:
                    deque(rest, maxlen=0)
                else:
                    yield self._make(entry, rest)
                ahead = rest.after
        self._hide()

    def _hide(self) -> None:
        """Hide what was hidden, now that all that descends from it is made."""
        with self._log.batch(durability="os") as batch:
            for name, entry in self._plan.entries.items():
                if entry.hidden and name not in self._plan.there:
                    batch.hide(self._log.stream(self._plan.name(name)))

    def _make(self, entry: StreamEntry, records: Iterable[Appendable]) -> dict[str, object]:
        name, frames = self._plan.name(entry.name), 0
        for part in self._parts(records):
            if frames == 0:
                self._first_frame(entry, part)
            elif part:
                _append_all(self._log.stream(name), part)
            frames += 1
        stream = self._log.stream(name)
        wanted, count = self._plan.counts[entry.name], stream.next_offset
        if count != wanted:
            raise damaged(name, expected=f"{wanted} records", found=str(count))
        return {
            "stream": name,
            "kind": stream.kind,
            "records": count,
            "own": count - entry.inherited,
            "frames": frames,
        }

    def _parts(self, records: Iterable[Appendable]) -> Iterator[list[Appendable]]:
        """Runs that fit into a frame; the first is there even without records."""
        part: list[Appendable] = []
        size = 0
        for record in records:
            cost = (
                len(record.payload)
                + _RECORD_REST
                + sum(len(key) + len(value) for key, value in record.headers.items()) * LINE_FACTOR
            )
            if part and (size + cost > self._frame_bytes or len(part) == _RECORDS_MAX):
                yield part
                part, size = [], 0
            part.append(record)
            size += cost
        yield part

    def _first_frame(self, entry: StreamEntry, records: list[Appendable]) -> None:
        """The stream, branches of its empty beginning, and its first records: one frame.

        A merge is a frame of its own before that.
        """
        merged = self._merge(entry) if entry.kind == "merge" else None
        with self._log.batch(durability="os") as batch:
            target = merged or self._staged(batch, entry)
            self._branch_early(batch, entry.name, target)
            for record in records:
                batch.append(
                    target, record.payload, headers=record.headers, timestamp=record.timestamp
                )

    def _staged(self, batch: WriteBatch, entry: StreamEntry) -> Stream | StagedStream:
        name = self._plan.name(entry.name)
        if entry.name in self._made:
            return self._log.stream(name)
        local, layer = split(name)
        uid = self._plan.uid(entry)
        if entry.kind == "root":
            return batch.create(
                local, self._plan.metadata(entry), entry.codec, layer=layer, uid=uid
            )
        parent = self._log.stream(self._plan.name(entry.parents[0].stream))
        return batch.branch(parent, local, _fork(entry), entry.metadata, layer=layer, uid=uid)

    def _branch_early(self, batch: WriteBatch, name: str, target: Stream | StagedStream) -> None:
        waiting = [(name, target)]
        while waiting:
            parent, staged = waiting.pop()
            for child in self._plan.early.get(parent, ()):
                if child in self._made:
                    continue
                self._made.add(child)
                entry = self._plan.entries[child]
                local, layer = split(self._plan.name(child))
                made = batch.branch(
                    staged, local, None, entry.metadata, layer=layer, uid=self._plan.uid(entry)
                )
                waiting.append((child, made))

    def _merge(self, entry: StreamEntry) -> Stream:
        name, options = self._plan.name(entry.name), self._plan.merge_options(entry)
        plan = self._log.plan(
            options["parents"],
            policy=options["policy"],
            base=options["base"],
            params=options["params"],
        )
        if plan.count != entry.inherited or plan.version != entry.version:
            raise damaged(
                f"merge {name!r}",
                expected=f"{entry.inherited} records by {entry.policy}, version {entry.version}",
                found=f"{plan.count} records by version {plan.version}",
            )
        local, layer = split(name)
        made_in = self._log if layer is None else self._log.layer(layer)
        return made_in.merge(local, durability="os", **options)


class _Records:
    """The records up to the next stream, which is `after` once they are used up."""

    def __init__(self, entries: Iterator[tuple[str, Entry]]) -> None:
        self._entries = entries
        self.after: tuple[str, Entry] | None = None

    def __iter__(self) -> Iterator[Appendable]:
        for place, entry in self._entries:
            if isinstance(entry, StreamEntry):
                self.after = (place, entry)
                return
            yield appendable(entry, place)


def _fork(entry: StreamEntry) -> int | None:
    """Where to branch; None, the head, when the parent has no records at all."""
    offset = entry.parents[0].offset
    return offset if offset >= 0 else None


def _append_all(stream: Stream, records: list[Appendable]) -> None:
    payloads, timestamps, headers = zip(*records, strict=True)
    stream.append_many(payloads, headers=headers, timestamps=timestamps, durability="os")
