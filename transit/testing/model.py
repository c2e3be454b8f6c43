"""The store as plain dicts and lists: the answer the engine is held to.

Every stream keeps its whole history as a list of records, the inherited ones copied, and lineage
is recursion over parents. Streams are named, never held. A node of lineage is a `ModelPosition`:
a stream's name with the offset of its last record counted, -1 when none is. A hidden stream goes
by another key, its name and its number, everywhere; `shown` gives the name back.

The model owns what a store answers. It knows nothing of bytes, files, durability, processes or
clocks: every timestamp is given by the caller. It imports nothing from transit but the errors,
raises them where the engine should, and leaves no trace of an operation that raised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from transit.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidInputError,
    MergeBaseError,
    NotFastForwardError,
    NotFoundError,
    OffsetError,
    StreamFinishedError,
)
from transit.testing.modelled import (
    Advance,
    Append,
    Branch,
    Create,
    Finish,
    Hide,
    Merge,
    ModelCursor,
    ModelPlan,
    ModelPosition,
    ModelRecord,
    ModelStream,
    Operation,
    Scalar,
    Suffixes,
    check_name,
    checked,
    interleaved,
    selected,
    shown,
)
from transit.testing.removing import Removing

__all__ = [
    "Advance", "Append", "Branch", "Create", "Finish", "Hide", "Merge", "ModelCursor", "ModelLog",
    "ModelPlan", "ModelPosition", "ModelRecord", "ModelStream", "Operation", "Scalar", "shown",
]  # fmt: skip

Policy = Callable[[Suffixes, Mapping[str, Scalar]], Iterable[ModelRecord]]


class ModelLog(Removing):
    """All streams of one store, in the order they were created."""

    def __init__(self, policies: Mapping[str, Policy] | None = None) -> None:
        self.streams: dict[str, ModelStream] = {}
        self.hidden: dict[str, ModelStream] = {}
        self.cursors: dict[tuple[str, str], ModelCursor] = {}
        self.merges: dict[str, str] = {}
        self.policies = dict(policies or {})
        # A node's vector never changes, so it is worked out once: merges of merges reach the
        # same ancestors along exponentially many paths.
        self._vectors: dict[ModelPosition, dict[str, int]] = {}

    # Writing

    def create(
        self,
        name: str,
        metadata: Mapping[str, Scalar] | None = None,
        codec: str | None = None,
    ) -> None:
        """A new root stream."""
        self._check_new(name)
        self.add(ModelStream(name, 0, metadata=dict(metadata or {}), codec=codec))

    def append(
        self,
        name: str,
        payload: bytes,
        timestamp: int,
        headers: Mapping[str, str] | None = None,
        expect: int | None = None,
    ) -> int:
        """One record at the end of a stream; its offset."""
        stream = self.stream(name)
        if stream.finished:
            raise StreamFinishedError(f"{name}: finished")
        offset = len(stream.records)
        self._expect(name, expect)
        origin = ModelPosition(name, offset)
        record = ModelRecord(offset, timestamp, payload, dict(headers or {}), origin)
        stream.records.append(record)
        return offset

    def append_many(
        self,
        name: str,
        payloads: Sequence[bytes],
        timestamps: Sequence[int],
        headers: Sequence[Mapping[str, str] | None] | None = None,
        expect: int | None = None,
    ) -> tuple[int, int]:
        """Several records at the end of a stream; the first and the last offset."""
        if not payloads:
            raise InvalidInputError(f"{name}: nothing to append")
        each = headers if headers is not None else [None] * len(payloads)
        if not len(payloads) == len(timestamps) == len(each):
            raise InvalidInputError(f"{name}: columns differ in length")
        first = self.append(name, payloads[0], timestamps[0], each[0], expect)
        for payload, timestamp, header in list(zip(payloads, timestamps, each, strict=True))[1:]:
            self.append(name, payload, timestamp, header)
        return first, first + len(payloads) - 1

    def batch(self, operations: Sequence[Operation]) -> list[ModelPosition]:
        """All operations in order, or none; the position of every record appended."""
        trial = self.copy()
        receipts = []
        for operation in operations:
            match operation:
                case Create(name, metadata, codec):
                    trial.create(name, metadata, codec)
                case Append(name, payload, timestamp, headers, expect):
                    offset = trial.append(name, payload, timestamp, headers, expect)
                    receipts.append(ModelPosition(name, offset))
                case Branch(parent, name, at, metadata, expect):
                    trial.branch(parent, name, at, metadata, expect)
                case Merge(name, parents, policy, base, params, metadata, merge_id, expects):
                    trial.merge(name, parents, policy, base, params, metadata, merge_id, expects)
                case Advance(name, cursor, position, state, expect):
                    trial.advance(name, cursor, position, state, expect)
                case Finish(name, expect):
                    trial.finish(name, expect)
                case Hide(name):
                    trial.hide(name)
        self._become(trial)
        return receipts

    def finish(self, name: str, expect: int | None = None) -> None:
        """No more records."""
        self._expect(name, expect)
        self.stream(name).finished = True

    def hide(self, name: str) -> str:
        """Out of sight; the key it goes by from here on."""
        stream = self.stream(name)
        key = f"{name}\0{stream.number}"
        self.hidden[key] = self.streams.pop(name)
        self.hidden = dict(sorted(self.hidden.items(), key=lambda item: item[1].number))
        self._rename(name, key)
        return key

    def show(self, key: str) -> None:
        """Undo `hide`."""
        name = shown(key)
        if name in self.streams:
            raise AlreadyExistsError(f"{name!r} is taken")
        self.streams[name] = self.hidden.pop(key)
        self._rename(key, name)
        self.streams = dict(sorted(self.streams.items(), key=lambda item: item[1].number))

    def _rename(self, old: str, new: str) -> None:
        """A stream goes by another name, wherever it is named."""

        def moved(position: ModelPosition) -> ModelPosition:
            return position._replace(stream=new) if position.stream == old else position

        for stream in self.known.values():
            stream.name = new if stream.name == old else stream.name
            stream.parents = tuple(map(moved, stream.parents))
            stream.records = [replace(r, origin=moved(r.origin)) for r in stream.records]
        self.cursors = {
            (new if name == old else name, cursor): stands
            for (name, cursor), stands in self.cursors.items()
        }
        self.merges = {i: new if name == old else name for i, name in self.merges.items()}
        self._vectors.clear()

    def _become(self, other: ModelLog) -> None:
        self.streams, self.hidden = other.streams, other.hidden
        self.cursors, self.merges, self._vectors = other.cursors, other.merges, {}

    @property
    def known(self) -> dict[str, ModelStream]:
        """All streams, hidden ones too."""
        every = {**self.streams, **self.hidden}
        return dict(sorted(every.items(), key=lambda item: item[1].number))

    def branch(
        self,
        parent: str,
        name: str,
        at: int | None = None,
        metadata: Mapping[str, Scalar] | None = None,
        expect: int | None = None,
    ) -> None:
        """A stream that inherits `parent` up to and including offset `at`."""
        self._expect(parent, expect)
        inherited = self.stream(parent).records
        fork = len(inherited) - 1 if at is None else at
        if at is not None and not 0 <= at < len(inherited):
            raise OffsetError(f"{parent}: no offset {at} to fork at")
        self._check_new(name)
        made = ModelStream(name, 0, "branch", dict(metadata or {}), (ModelPosition(parent, fork),))
        made.fork, made.start = fork, fork + 1
        made.records, made.codec = inherited[: fork + 1], self.stream(parent).codec
        made.first = min(self.stream(parent).first, fork + 1)
        self.add(made)

    def merge(
        self,
        name: str,
        parents: Sequence[str | ModelPosition],
        policy: str,
        base: ModelPosition | None = None,
        params: Mapping[str, Scalar] | None = None,
        metadata: Mapping[str, Scalar] | None = None,
        merge_id: str | None = None,
        expect: Sequence[int | None] | None = None,
    ) -> str:
        """A stream made from several heads; the name of the one that has this merge id."""
        if merge_id in self.merges:
            return self._merged_before(merge_id)
        for parent, wanted in zip(parents, expect or (), strict=expect is not None):
            self._expect(parent if isinstance(parent, str) else parent.stream, wanted)
        heads = self._heads(parents)
        plan = self.plan(heads, policy, base, params)
        numbered = [(self.known[head.stream].number, head.offset) for head in heads]
        merge_id = merge_id or repr(
            (name, numbered, plan.base, policy, sorted((params or {}).items()))
        )
        if merge_id in self.merges:
            return self._merged_before(merge_id)
        self._check_new(name)
        records = [
            replace(self._record(origin), offset=offset)
            for offset, origin in enumerate(plan.origins)
        ]
        made = ModelStream(name, 0, "merge", dict(metadata or {}), heads)
        made.start, made.records = len(records), records
        made.first = self.inherited_gone(name, plan.origins)
        codecs = {self.stream(head.stream).codec for head in heads}
        made.codec = codecs.pop() if len(codecs) == 1 else None
        self.add(made)
        self.merges[merge_id] = name
        return name

    def _merged_before(self, merge_id: str) -> str:
        if self.merges[merge_id] in self.hidden:
            raise AlreadyExistsError(f"{merge_id!r} made a stream that is hidden")
        return self.merges[merge_id]

    def advance(
        self,
        name: str,
        cursor: str,
        offset: int,
        state: bytes | None = None,
        expect: int | None = None,
    ) -> None:
        """Move a cursor forward; staying changes its state at most."""
        now = self.cursor(name, cursor)
        if expect is not None and expect != now.position:
            raise ConflictError(f"{name}: cursor {cursor} is at {now.position}, not {expect}")
        if not now.position <= offset <= len(self.stream(name).records):
            raise OffsetError(f"{name}: cursor {cursor} cannot move to {offset}")
        if offset > now.position or (state is not None and state != now.state):
            self.cursors[name, cursor] = ModelCursor(offset, state)

    def copy(self) -> ModelLog:
        """The same as it is now, which goes its own way from here on."""
        copy = ModelLog(self.policies)
        copy.cursors, copy.merges = dict(self.cursors), dict(self.merges)
        for mine, kept in ((copy.streams, self.streams), (copy.hidden, self.hidden)):
            for name, stream in kept.items():
                mine[name] = replace(stream, records=list(stream.records))
        return copy

    def add(self, stream: ModelStream) -> None:
        """A stream with all its history, as the next one created."""
        self.streams[stream.name] = replace(stream, number=len(self.known) + 1)

    # Reading

    def stream(self, name: str) -> ModelStream:
        """The stream of this name."""
        if name not in self.streams:
            raise NotFoundError(f"no stream {name!r}")
        return self.streams[name]

    def record(self, name: str, offset: int) -> ModelRecord:
        """One record; a negative offset counts from the end."""
        records = self.stream(name).records
        if not -len(records) <= offset < len(records):
            raise OffsetError(f"{name}: no offset {offset}")
        return records[offset]

    def read(self, name: str, start: int = 0, stop: int | None = None) -> list[ModelRecord]:
        """The records from `start` to before `stop`."""
        records = self.stream(name).records
        if not 0 <= start <= len(records) or (stop is not None and stop < 0):
            raise OffsetError(f"{name}: no offsets {start} to {stop}")
        return records[start:stop]

    def cursor(self, name: str, cursor: str) -> ModelCursor:
        """Where a cursor stands."""
        self.stream(name)
        return self.cursors.get((name, cursor), ModelCursor(0))

    # Lineage

    def vector(self, node: ModelPosition) -> dict[str, int]:
        """The highest offset of every stream that lies in the node's ancestry, itself included."""
        if node not in self._vectors:
            found = {node.stream: node.offset}
            for nearer in self._reached(node):
                for name, offset in self.vector(nearer).items():
                    found[name] = max(offset, found.get(name, -1))
            self._vectors[node] = found
        return dict(self._vectors[node])

    def history(self, node: ModelPosition | None) -> list[ModelRecord]:
        """The records of a node; of none, none."""
        return [] if node is None else self.known[node.stream].records[: node.offset + 1]

    def origin(self, node: ModelPosition) -> ModelPosition:
        """Where the node's last record was appended."""
        return self._record(node).origin

    def canonical(self, node: ModelPosition) -> ModelPosition:
        """The first name of the node's history: the origin of its last record, when that fits.

        Inside a merge it may not: the origin's stream need not hold the records merged before.
        """
        stream = self.known[node.stream]
        if stream.kind == "branch" and node.offset < stream.start:
            return self.canonical(ModelPosition(stream.parents[0].stream, node.offset))
        same = self._origins(self.origin(node)) == self._origins(node)
        return self.origin(node) if same else node

    def is_ancestor(self, a: ModelPosition, b: ModelPosition) -> bool:
        """Whether a's last record lies in the ancestry of b; nothing lies in every one."""
        return a.offset < 0 or self._within(self.origin(a), b)

    def merge_bases(self, *heads: ModelPosition) -> list[ModelPosition]:
        """The nearest common ancestors of all heads, the latest created stream first."""
        vectors = [self.vector(head) for head in heads]
        shared = []
        for name, stream in self.known.items():
            offset = min(vector.get(name, -2) for vector in vectors)
            # Up to its fork offset a branch is only another name of its parent.
            if offset >= -1 and (stream.fork is None or offset > stream.fork):
                shared.append(ModelPosition(name, offset))
        # A shared merge that is empty stands before its parents: nothing is common then.
        named = {self.canonical(node) for node in self._nearest(shared) if node.offset >= 0}
        nearest = self._nearest(named)
        return sorted(nearest, key=lambda p: (self.known[p.stream].number, p.offset))[::-1]

    def ancestors(self, node: ModelPosition) -> set[str]:
        """Names of the streams in the node's ancestry, its own left out."""
        return set(self.vector(node)) - {node.stream}

    def children(self, name: str) -> list[str]:
        """Names of the streams that were branched or merged from this one."""
        return [s.name for s in self.streams.values() if name in [p.stream for p in s.parents]]

    def plan(
        self,
        parents: Sequence[str | ModelPosition],
        policy: str,
        base: ModelPosition | None = None,
        params: Mapping[str, Scalar] | None = None,
    ) -> ModelPlan:
        """What a merge of these heads would make."""
        heads = self._heads(parents)
        chosen = self._base(heads, base)
        records = self._merged(heads, chosen, policy, dict(params or {}))
        return ModelPlan(chosen, tuple(record.origin for record in records))

    # What the above is made of

    def _expect(self, name: str, expect: int | None) -> None:
        found = len(self.stream(name).records)
        if expect is not None and expect != found:
            raise ConflictError(f"{name}: next offset is {found}, not {expect}")

    def _check_new(self, name: str) -> None:
        check_name(name)
        if name in self.streams:
            raise AlreadyExistsError(f"{name!r} is taken")

    def _record(self, position: ModelPosition) -> ModelRecord:
        return self.known[position.stream].records[position.offset]

    def _origins(self, node: ModelPosition) -> list[ModelPosition]:
        return [record.origin for record in self.history(node)]

    def _within(self, a: ModelPosition, b: ModelPosition) -> bool:
        return a.offset <= self.vector(b).get(a.stream, -1)

    def _nearest(self, nodes: Iterable[ModelPosition]) -> list[ModelPosition]:
        every = list(nodes)
        return [a for a in every if not any(a != b and self._within(a, b) for b in every)]

    def _reached(self, node: ModelPosition) -> list[ModelPosition]:
        stream = self.known[node.stream]
        if stream.kind == "branch":
            parent, fork = stream.parents[0]
            return [ModelPosition(parent, min(node.offset, fork))]
        if stream.kind == "merge" and node.offset >= stream.start - 1:
            return list(stream.parents)
        if stream.kind == "merge":
            highest: dict[str, int] = {}
            for record in stream.records[: node.offset + 1]:
                name, offset = record.origin
                highest[name] = max(offset, highest.get(name, -1))
            return [ModelPosition(name, offset) for name, offset in highest.items()]
        return []

    def _contained(self, node: ModelPosition) -> set[ModelPosition]:
        return {
            ModelPosition(name, offset)
            for name, highest in self.vector(node).items()
            for offset in range(self.known[name].start, highest + 1)
        }

    def _heads(self, parents: Sequence[str | ModelPosition]) -> tuple[ModelPosition, ...]:
        heads = []
        for parent in parents:
            head = self.stream(parent).head if isinstance(parent, str) else parent
            if not -1 <= head.offset < len(self.stream(head.stream).records):
                raise OffsetError(f"{head.stream}: no offset {head.offset}")
            heads.append(head)
        names = [head.stream for head in heads]
        if len(names) < 2 or len(set(names)) != len(names):
            raise InvalidInputError("a merge has two or more distinct parents")
        return tuple(heads)

    def _base(
        self, heads: Sequence[ModelPosition], base: ModelPosition | None
    ) -> ModelPosition | None:
        if base is None:
            bases = self.merge_bases(*heads)
            return bases[0] if bases else None
        for name in (self.canonical(base), self.origin(base)):
            if all(self._within(name, head) for head in heads):
                return name
        raise MergeBaseError(f"{base} is not an ancestor of every head")

    def _suffixes(self, heads: Sequence[ModelPosition], base: ModelPosition | None) -> Suffixes:
        taken = {record.origin for record in self.history(base)}
        suffixes = []
        for head in heads:
            suffix = [record for record in self.history(head) if record.origin not in taken]
            taken.update(record.origin for record in suffix)
            suffixes.append(tuple(suffix))
        return tuple(suffixes)

    def _merged(
        self,
        heads: Sequence[ModelPosition],
        base: ModelPosition | None,
        policy: str,
        params: Mapping[str, Scalar],
    ) -> list[ModelRecord]:
        prefix = self.history(base)
        suffixes = self._suffixes(heads, base)
        if policy == "fast-forward":
            return self.history(self._winner(heads))
        if policy == "select":
            return self.history(selected(heads, params))
        if policy == "append":
            return prefix + [record for suffix in suffixes for record in suffix]
        if policy == "interleave":
            return prefix + interleaved(suffixes)
        if policy == "base":
            return prefix
        kind, _, custom = policy.partition(":")
        if kind != "custom" or custom not in self.policies:
            raise NotFoundError(f"no merge policy {policy!r}")
        return prefix + checked(suffixes, self.policies[custom](suffixes, params))

    def _winner(self, heads: Sequence[ModelPosition]) -> ModelPosition:
        everything = [self._contained(head) for head in heads]
        for head, contained in zip(heads, everything, strict=True):
            if all(contained >= other for other in everything):
                return head
        raise NotFastForwardError("no head contains all the others")
