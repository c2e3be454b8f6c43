"""Finding streams: by name, by handle, by metadata.

Owns what may stand for a stream in a call: the stream itself or its name, and, where a place in it
is meant, a position. Lineage records are read in order of creation; metadata has no index.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

from transit.engine.checks import check_limit
from transit.engine.plans import Head, head_at
from transit.engine.scanning import lineage_records
from transit.engine.stream import Stream
from transit.errors import InvalidInputError, NotFoundError, RetentionGapError, SealedError
from transit.format.lineage import Metadata, Scalar, check_metadata
from transit.format.names import found_name, layer_of
from transit.format.uid import check_uid
from transit.handle.handle import Handle
from transit.log.catalog import StreamState
from transit.replay import Position

Which = Stream | str | Position
"""A stream or its name, which stand for the head of this moment, or a position."""


class StreamCount:
    """How many streams of the user's are not hidden; each time only what is new is read."""

    def __init__(self) -> None:
        self._seen = 0
        self._count = 0
        self._hidden: frozenset[int] = frozenset()

    def of(self, handle: Handle) -> int | None:
        """The count; None where records that say so are out of reach: see `Status.streams`."""
        record = handle.catalog.record
        seen, count = self._seen, self._count
        try:
            hidden = handle.catalog.hidden()
            for stream_id, each in lineage_records(handle, seen):
                seen = stream_id + 1
                count += not each.name.startswith("$")
            for ids, change in ((hidden - self._hidden, -1), (self._hidden - hidden, 1)):
                count += change * sum(not record(i).name.startswith("$") for i in ids)
        except (RetentionGapError, SealedError):
            return None
        self._seen, self._count, self._hidden = seen, count, hidden
        return count


def find_state(handle: Handle, name: object) -> StreamState:
    """The state of stream `name`, a user's or a layer's; `NotFoundError` when there is none."""
    catalog = handle.catalog
    stream_id = catalog.find(found_name(name, lambda text: catalog.find(text) is not None))
    if stream_id is None:
        raise NotFoundError(f"{catalog.root}: there is no stream {name!r}")
    return catalog.state(stream_id)


def find_with_uid(handle: Handle, uid: object) -> StreamState:
    """The state of the stream with this uid, hidden or not; `NotFoundError` when there is none."""
    catalog = handle.catalog
    stream_id = catalog.find_uid(check_uid(uid))
    if stream_id is None:
        raise NotFoundError(f"{catalog.root}: there is no stream with the uid {uid!r}")
    return catalog.state(stream_id)


def state_of(handle: Handle, stream: Stream | str) -> StreamState:
    """The state of a stream of this store, given as itself or by name."""
    if isinstance(stream, str):
        handle.refresh()
        return find_state(handle, stream)
    if not isinstance(stream, Stream):
        raise InvalidInputError(f"not a stream or its name: {type(stream).__name__}")
    if not stream.is_of(handle):
        raise InvalidInputError(f"{stream.name} is a stream of another open store")
    return stream._state


def head_of(handle: Handle, x: Which, lowest: int = 0) -> tuple[StreamState, Head]:
    """What `x` stands for: a stream, and the offset of the last record that counts."""
    if isinstance(x, Stream | str):
        state = state_of(handle, x)
        return state, (state.id, handle.next_offset(state) - 1)
    if not isinstance(x, tuple) or len(x) != 2:
        raise InvalidInputError(f"not a stream, a name or a position: {x!r}")
    state = find_state(handle, x[0])
    return state, head_at(handle, state, x[1], lowest)


def listed(
    handle: Handle,
    prefix: str,
    where: Metadata | None = None,
    after: Stream | str | None = None,
    limit: int | None = None,
    *,
    hidden: bool = False,
) -> Iterator[Stream]:
    """The streams whose names in the store start with `prefix`, in order of creation.

    Those of layers only where the prefix begins with `$`; those of the store itself never. where,
    after, limit: as `Log.streams` takes them. hidden: those that are hidden instead of the others.
    """
    wanted = check_metadata(where, "where")
    check_limit(limit, "streams")
    handle.refresh()
    start = 0 if after is None else state_of(handle, after).id + 1
    layers, left_out = prefix.startswith("$"), handle.catalog.hidden()
    found = (
        Stream(handle, handle.catalog.state(stream_id, record))
        for stream_id, record in lineage_records(handle, start)
        if record.name.startswith(prefix)
        and (stream_id in left_out) is hidden
        and (layer_of(record.name) is not None if layers else not record.name.startswith("$"))
        and _has(record.metadata, wanted)
    )
    return found if limit is None else islice(found, limit)


def _has(metadata: Mapping[str, Scalar], wanted: Mapping[str, Scalar]) -> bool:
    # To Python True equals 1; to the user who wrote the metadata it does not.
    return all(
        key in metadata
        and metadata[key] == value
        and isinstance(metadata[key], bool) == isinstance(value, bool)
        for key, value in wanted.items()
    )
