"""Where the nodes of a state come from: memory, what is recorded, or the records once more."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Final

from transit import CorruptError, FormatError, NotFoundError, StoreUnavailableError
from transit.views.errors import DivergedError
from transit.views.maps.node import children, made_children
from transit.views.pack import NodePlace, decode_pack, digest_of

CACHE_BYTES_MAX = 16 << 20
"""Bytes of nodes that one view keeps in memory."""

_TRIES: Final = 3
_flat = chain.from_iterable
ReadPack = Callable[[NodePlace], bytes]
Again = Callable[[], dict[bytes, bytes]]
"""All nodes of a state, folded again."""


class RecordedNodes:
    """The nodes that packs hold, by digest. Safe for threads.

    Where a node is, is known from the node above it: a pack has the places of the children of its
    nodes, a savepoint that of its root.
    """

    def __init__(self, read_pack: ReadPack) -> None:
        self._read_pack = read_pack
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        self.places: dict[bytes, NodePlace] = {}

    def learn(self, places: dict[bytes, NodePlace]) -> None:
        """Take up where nodes are."""
        self.places.update(places)

    def load(self, digest: bytes) -> bytes:
        """The bytes of a node; `NotFoundError` or `CorruptError` where they are not to be had."""
        with self._lock:
            data = self._kept.get(digest)
            if data is not None:
                self._kept.move_to_end(digest)
                return data
        place = self.places.get(digest)
        if place is None:
            raise NotFoundError(f"no pack is known that has the node {digest.hex()}")
        return self._load_pack(digest, place)

    def _load_pack(self, digest: bytes, place: NodePlace) -> bytes:
        name = f"pack {place.pack} of {place.source}"
        found = None
        for number, (data, below) in enumerate(decode_pack(self._read_pack(place), name)):
            own = digest_of(data)
            if number == place.number:
                found = data if own == digest else None
            self._take_up(own, data, place._replace(number=number), below, name)
        if found is None:
            raise CorruptError(name, expected=digest.hex(), found="another node, or none")
        return found

    def _take_up(
        self,
        digest: bytes,
        data: bytes,
        place: NodePlace,
        below: Iterable[NodePlace],
        name: str,
    ) -> None:
        digests = children(data)
        self.places.setdefault(digest, place)
        for child, child_place in zip(digests, below, strict=False):
            self.places.setdefault(child, child_place)
        self._keep(digest, data)

    def _keep(self, digest: bytes, data: bytes) -> None:
        with self._lock:
            if digest not in self._kept:
                self._bytes += len(data)
            self._kept[digest] = data
            while self._bytes > CACHE_BYTES_MAX and len(self._kept) > 1:
                _, old = self._kept.popitem(last=False)
                self._bytes -= len(old)

    def keep(self, nodes: Mapping[bytes, bytes]) -> None:
        """Hold nodes in memory that were just written."""
        for digest, data in nodes.items():
            self._keep(digest, data)

    def forget(self, digests: Iterable[bytes]) -> None:
        """Drop what is known of nodes that could not be had: they are to be written again."""
        for digest in digests:
            self.places.pop(digest, None)


class StateNodes:
    """The nodes of one state: those not recorded yet, and behind them the recorded ones.

    again: folds the state once more, for nodes that were recorded and cannot be had.
    """

    def __init__(self, fresh: dict[bytes, bytes], recorded: RecordedNodes, again: Again) -> None:
        self.fresh = fresh
        self.recorded = recorded
        self.again = again

    def load(self, digest: bytes) -> bytes:
        """The bytes of a node."""
        data = self.fresh.get(digest)
        if data is not None:
            return data
        try:
            return self.recorded.load(digest)
        except (NotFoundError, FormatError, StoreUnavailableError):
            # Also where a newer transit wrote the pack.
            found = self.again()
            self.recorded.forget(found)
            self.fresh.update(found)
        data = self.fresh.get(digest)
        if data is None:
            raise DivergedError(
                f"node {digest.hex()} cannot be had, and the records folded again do not give it"
            )
        return data

    def save(self, digest: bytes, data: bytes) -> None:
        """Keep a new node."""
        self.fresh[digest] = data


def all_nodes(nodes: StateNodes, root: bytes) -> dict[bytes, bytes]:
    """The nodes below a root, by digest, and the root's."""
    found: dict[bytes, bytes] = {}
    left = [root] if root else []
    while left:
        digest = left.pop()
        if digest not in found:
            found[digest] = nodes.load(digest)
            left += children(found[digest])
    return found


def unrecorded(
    nodes: StateNodes, root: bytes
) -> tuple[dict[bytes, bytes], dict[bytes, Sequence[bytes]]]:
    """The nodes below a root, and the root's, that are in no pack, and the children of each.

    Each comes before its children. Where recorded ones turn out to be gone meanwhile, they are
    among them; `NotFoundError` where that goes on.
    """
    places = nodes.recorded.places
    for _ in range(_TRIES):
        found: dict[bytes, bytes] = {}
        below: dict[bytes, Sequence[bytes]] = {}
        level = [root] if root and root not in places else []
        while level:
            for each in level:
                found[each] = nodes.load(each)
                below[each] = made_children(found[each])
            level = list(dict.fromkeys(_flat(below[each] for each in level)))
            level = [each for each in level if each not in places and each not in found]
        if all(each in found or each in places for each in _flat(below.values())):
            return found, below
    raise NotFoundError("packs of nodes are lost while others are written")
