"""What is tried with any bytes by the decoders of `transit.views` (see `rigs.fuzz.formats`)."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Final

import msgspec

from rigs.views.models import MemoryNodes
from transit import NotFoundError
from transit.views.maps.keys import Value, decode_key, encode_key
from transit.views.maps.map import Map, Shelf
from transit.views.maps.node import Node, children, decode_node, digest_of, encode_node
from transit.views.modules.abi import ResultDecoder
from transit.views.tables import table

PLACE: Final = "input"


def map_node(data: bytes) -> None:
    """A node, spelled again; then as the root of a map that has no other node."""
    node = decode_node(data, PLACE)
    assert encode_node(node) == data
    assert node.total >= len(node.keys)
    assert children(data) == (list(node.values) if node.level else [])
    nodes = MemoryNodes()
    nodes.data[digest_of(data)] = data
    made = Map(Shelf(nodes), digest_of(data))
    key = node.keys[len(node.keys) // 2]
    # What is below is not there.
    with contextlib.suppress(NotFoundError):
        assert dict(made.items()) == dict(zip(node.keys, node.values, strict=True))
        assert made.get(key) is not None
    with contextlib.suppress(NotFoundError):
        after = made.edit({key: b"other"})
        assert [change.key for change in made.diff(after)] in ([key], [])


def map_key(data: bytes) -> None:
    """A key, whose value has no other."""
    assert encode_key(decode_key(data, PLACE)) == data


class Row(msgspec.Struct, frozen=True):
    """A row of many types."""

    name: str
    place: tuple[int, bool]
    size: float = 0.0
    more: tuple[str | int | None, ...] = ()


class Pair(msgspec.Struct, frozen=True):
    """A row whose key has two fields."""

    first: int
    second: bytes


RESULTS: Final = ResultDecoder(
    (table("rows", Row, key="name"), table("pairs", Pair, key=("first", "second")))
)


def wasm_result(data: bytes) -> None:
    """What a module answers: the changes, spelled again, are the same changes."""
    found = RESULTS.decode(data)
    rows = [None if each.row is None else msgspec.structs.astuple(each.row) for each in found]
    again = [[each.table, each.key, row] for each, row in zip(found, rows, strict=True)]
    assert repr(RESULTS.decode(msgspec.msgpack.encode(again))) == repr(found)
    assert len(data) >= 4 * len(found)


def result_seeds() -> list[bytes]:
    """Results of every shape."""
    row = ["a", [1, True], 1.5, ["x", 2, None]]
    results: Sequence[object] = (
        [],
        [[0, "a", row], [1, [7, b"x"], [7, b"x"]]],
        [[0, "b", None], [1, [2**60, b""], None]],
        [[0, str(n), [str(n), [n, False], 0.0, []]] for n in range(20)],
    )
    return [b"", *map(msgspec.msgpack.encode, results)]


def respelled(data: bytes) -> bytes:
    """A node in the shortest spelling, its keys in order, where it is something like a node."""
    try:
        found = msgspec.msgpack.decode(data)
        version, level, keys, values, counts = found
        again: bytes = msgspec.msgpack.encode([version, level, sorted({*keys}), values, counts])
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
        return data
    return again


def node_seeds() -> list[bytes]:
    """Nodes of every shape."""
    digests = (b"x" * 32, b"y" * 32)
    few: Sequence[Node] = (
        Node(0, (b"",), (b"",), ()),
        Node(0, (b"a", b"b" * 300, b"c"), (b"1", b"2" * 300, b""), ()),
        Node(0, tuple(b"%03d" % n for n in range(40)), (b"v" * 9,) * 40, ()),
        Node(1, (b"a", b"z"), digests, (1, 300)),
        Node(7, (b"a", b"z"), digests, (2**40, 2**62)),
    )
    return [encode_node(node) for node in few]


def key_seeds() -> list[bytes]:
    """Keys of every type."""
    moment = b"\x80\x80\x06\x50\xc0\xbd\x4a\xc2\x00"
    values: tuple[Value, ...] = (
        None,
        True,
        0,
        -1,
        300,
        2**70,
        -(2**70),
        1.5,
        -0.5,
        "a\0é",
        b"\0\xff",
        (1, ("a",)),
    )
    keys = [encode_key(value) for value in values]
    return [*keys, moment, encode_key(values[:-1])]
