"""Layer: the door for a room above the engine, which keeps its records in streams of its own.

The streams of layer `room` are named `$room/<name>`: names that a user's stream cannot have. They
are streams like all others, in the same frames, sealed, published, restored, audited and read
alike; they are only not listed among the user's. A room keeps nothing beside them.

What becomes of them elsewhere:

    rebase               made again, or as branches, as the user's streams are; those that are
                         marked as derived stay behind, unless a stream that is brought along
                         descends from them
    restore(streams=)    where they are named; `$room/` names all of a layer
    export, import       with --all, but for those marked as derived; with --lineage those whose
                         metadata name a stream that is exported as `about_uid`; or by name
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from transit.engine.creation import create_branch, create_stream, new_name, root_record
from transit.engine.finding import Which, find_state, listed, state_of
from transit.engine.merging import create_merge, wanted_merge
from transit.engine.stream import Stream
from transit.errors import InvalidInputError, NotFoundError
from transit.format.lineage import LineageRecord, Metadata, Scalar
from transit.format.names import check_layer, layer_of
from transit.handle.handle import Handle
from transit.opened import Opened
from transit.replay import Position

DERIVED: Final = "derived"
"""Metadata of a layer's stream that can be made again from others: true, or not there."""


class Layer(Opened):
    """The streams of one layer of an open store; made by `Log.layer`. Names here are without `$`.

    Safe for threads. Equal to another of the same layer and store.
    """

    __slots__ = ("_handle", "_prefix", "name")

    def __init__(self, handle: Handle, name: str) -> None:
        self._handle = handle
        self.name = check_layer(name)
        self._prefix = f"${self.name}/"

    def __repr__(self) -> str:
        return f"<transit.Layer {self.name!r} of {self._handle.root!r}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Layer):
            return NotImplemented
        return self._handle is other._handle and self.name == other.name

    def __hash__(self) -> int:
        return hash((id(self._handle), self.name))

    def create(
        self,
        name: str,
        metadata: Mapping[str, Scalar] | None = None,
        *,
        codec: str | None = None,
        derived: bool = False,
        protect: str | None = None,
        durability: str | None = None,
    ) -> Stream:
        """A new, empty stream of this layer; as `Log.create`.

        derived: it holds nothing that cannot be made again from other streams, so that a rebase and
        an export leave it out. Noted in its metadata. protect: also as `Stream.protection` gives
        it, for what is made from that stream alone.
        """
        if derived:
            metadata = {**(metadata or {}), DERIVED: True}
        record = root_record(new_name(name, self.name), metadata, codec, protect=protect)
        return Stream(self._handle, create_stream(self._handle, record, durability))

    def branch(
        self,
        parent: Stream | str,
        name: str,
        at: int | None = None,
        metadata: Mapping[str, Scalar] | None = None,
        *,
        expect: int | None = None,
        durability: str | None = None,
    ) -> Stream:
        """A new stream of this layer that inherits `parent`, any stream; as `Stream.branch`."""
        whole = new_name(name, self.name)
        source = state_of(self._handle, parent)
        state = create_branch(self._handle, source, whole, at, metadata, expect, durability)
        return Stream(self._handle, state)

    def merge(  # noqa: PLR0913 - as many things decide a merge
        self,
        name: str,
        parents: Sequence[Which],
        *,
        policy: str,
        base: Position | None = None,
        params: Mapping[str, Scalar] | None = None,
        metadata: Mapping[str, Scalar] | None = None,
        merge_id: str | None = None,
        uid: str | None = None,
        expect: Sequence[int | None] | None = None,
        durability: str | None = None,
    ) -> Stream:
        """A new stream of this layer, made from heads of any streams; as `Log.merge`.

        Parents, base and params name streams of layers as `$<layer>/<name>`.
        """
        handle = self._handle
        handle.writer.check()
        wanted = wanted_merge(handle, name, policy, params, metadata, merge_id, self.name, uid)
        return Stream(handle, create_merge(handle, wanted, parents, base, expect, durability))

    def stream(self, name: str) -> Stream:
        """The stream of this layer with this name; `NotFoundError` when there is none."""
        if not isinstance(name, str):
            raise InvalidInputError(f"stream name must be str, not {type(name).__name__}")
        self._handle.refresh()
        return Stream(self._handle, find_state(self._handle, self._prefix + name))

    def __contains__(self, name: object) -> bool:
        """Whether there is a stream of this layer with this name."""
        if not isinstance(name, str):
            raise InvalidInputError(f"stream name must be str, not {type(name).__name__}")
        self._handle.refresh()
        try:
            find_state(self._handle, self._prefix + name)
        except (InvalidInputError, NotFoundError):
            # What cannot be a name names nothing.
            return False
        return True

    def streams(
        self,
        prefix: str = "",
        *,
        where: Metadata | None = None,
        after: Stream | str | None = None,
        limit: int | None = None,
    ) -> Iterator[Stream]:
        """The streams of this layer; as `Log.streams`."""
        if not isinstance(prefix, str):
            raise InvalidInputError(f"prefix must be str, not {type(prefix).__name__}")
        if isinstance(after, str):
            after = self.stream(after)
        return listed(self._handle, self._prefix + prefix, where, after, limit)

    def local_name(self, stream: Stream) -> str:
        """The name of a stream of this layer, as `stream()` takes it."""
        if not stream.name.startswith(self._prefix):
            raise InvalidInputError(f"{stream.name}: is no stream of layer {self.name}")
        return stream.name[len(self._prefix) :]


def is_derived(record: LineageRecord) -> bool:
    """Whether a stream is a layer's that can be made again from others."""
    return layer_of(record.name) is not None and record.metadata.get(DERIVED) is True
