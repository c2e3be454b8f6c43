"""ConnectedLayer: the streams of one layer of a store that is served."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from transit.client.asking import heads_of, merge_step
from transit.client.batch import create_step
from transit.client.connection import Connection
from transit.client.listing import listed, reference_of
from transit.client.stream import ConnectedStream, branch_step
from transit.engine.creation import new_name
from transit.engine.finding import Which
from transit.engine.layer import DERIVED, Layer
from transit.engine.stream import Stream
from transit.errors import InvalidInputError
from transit.format.lineage import Metadata, Scalar
from transit.format.names import check_layer, findable
from transit.protocol.calls import Step
from transit.replay import Position


class ConnectedLayer(Layer):
    """See `Layer`. Safe for threads."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self.name = check_layer(name)
        self._prefix = f"${self.name}/"

    def __repr__(self) -> str:
        return f"<transit.Layer {self.name!r} at {self._connection}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ConnectedLayer):
            return NotImplemented
        return self._connection is other._connection and self.name == other.name

    def __hash__(self) -> int:
        return hash((id(self._connection), self.name))

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
        """See `Layer.create`."""
        if derived:
            metadata = {**(metadata or {}), DERIVED: True}
        step = create_step(new_name(name, self.name), metadata, codec, None, protect)
        return self._made(step, durability)

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
        """See `Layer.branch`."""
        whole, source = new_name(name, self.name), reference_of(self._connection, parent)
        return self._made(branch_step(source, whole, at, metadata, None, expect), durability)

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
        """See `Layer.merge`."""
        heads = heads_of(self._connection, parents)
        step = merge_step(
            name, heads, policy=policy, base=base, params=params, metadata=metadata,
            merge_id=merge_id, layer=self.name, uid=uid, expect=expect,
        )  # fmt: skip
        return self._made(step, durability)

    def _made(self, step: Step, durability: str | None) -> Stream:
        (about,) = self._connection.write((step,), durability).made
        return ConnectedStream(self._connection, about)

    def stream(self, name: str) -> Stream:
        """The stream of this layer with this name; `NotFoundError` when there is none."""
        about = self._connection.describe(self._whole(name))
        return ConnectedStream(self._connection, about)

    def __contains__(self, name: object) -> bool:
        """Whether there is a stream of this layer with this name."""
        if not isinstance(name, str):
            raise InvalidInputError(f"stream name must be str, not {type(name).__name__}")
        try:
            whole = self._whole(name)
        except InvalidInputError:
            # What cannot be a name names nothing.
            return False
        return self._connection.finds(whole) is not None

    def _whole(self, name: str) -> str:
        if not isinstance(name, str):
            raise InvalidInputError(f"stream name must be str, not {type(name).__name__}")
        return findable(self._prefix + name)

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
        return listed(self._connection, self._prefix + prefix, where, after, limit)
