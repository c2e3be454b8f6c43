from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rigs.seeds import run_seed
from rigs.views.models import MemoryNodes
from transit import CorruptError, NotFoundError, TransitError, UnsupportedVersionError
from transit.views.maps import cutting
from transit.views.maps.map import Map, Shelf
from transit.views.maps.node import (
    KEY_BYTES_MAX,
    LEVEL_MAX,
    NODE_BYTES_MAX,
    VALUE_BYTES_MAX,
    Node,
    children,
    decode_node,
    digest_of,
    encode_node,
)

LEAF = Node(0, (b"", b"a", b"b" * 300), (b"1", b"", b"v" * 300), ())
INNER = Node(3, (b"a", b"z"), (b"x" * 32, b"y" * 32), (1, 2**40))


def keys() -> st.SearchStrategy[list[bytes]]:
    return st.lists(st.binary(max_size=40), min_size=1, max_size=30, unique=True).map(sorted)


@st.composite
def nodes(draw: st.DrawFn) -> Node:
    level, found = draw(st.integers(0, LEVEL_MAX)), draw(keys())
    size = len(found)
    sizes = (32, 32) if level else (0, 300)
    values = draw(
        st.lists(st.binary(min_size=sizes[0], max_size=sizes[1]), min_size=size, max_size=size)
    )
    counts = draw(st.lists(st.integers(1, 2**50), min_size=size, max_size=size)) if level else []
    return Node(level, tuple(found), tuple(values), tuple(counts))


@given(nodes())
def test_a_node_comes_back_from_its_bytes(node: Node) -> None:
    data = encode_node(node)
    assert decode_node(data, "here") == decode_node(data, "here", node.level) == node
    assert children(data) == (list(node.values) if node.level else [])


@pytest.mark.parametrize("node", [LEAF, INNER])
def test_every_truncation_of_a_node_is_refused(node: Node) -> None:
    data = encode_node(node)
    for size in range(len(data)):
        with pytest.raises(CorruptError, match=r"^here: "):
            decode_node(data[:size], "here")


@pytest.mark.parametrize("node", [LEAF, INNER])
def test_every_bit_flip_of_a_node_is_refused_or_is_another_node(node: Node) -> None:
    data = encode_node(node)
    for place in range(8 * len(data)):
        changed = bytearray(data)
        changed[place // 8] ^= 1 << place % 8
        try:
            found = decode_node(bytes(changed), "here")
        except (CorruptError, UnsupportedVersionError):
            continue
        assert found != node
        assert encode_node(found) == changed


def test_another_level_than_expected_is_refused() -> None:
    with pytest.raises(CorruptError, match="expected a node of level 2, found level 3"):
        decode_node(encode_node(INNER), "here", 2)


def test_a_newer_version_is_told_from_damage() -> None:
    with pytest.raises(UnsupportedVersionError, match="version 2"):
        decode_node(b"\x95\x02" + encode_node(LEAF)[2:], "here")


def test_the_largest_node_that_a_map_makes_is_taken() -> None:
    made = MemoryNodes()
    few = [(b"%05d" % n, b"v" * 60) for n in range(10)]
    Map.build(made, [*few, (b"9" * KEY_BYTES_MAX, bytes(VALUE_BYTES_MAX))])
    assert max(map(len, made.data.values())) > VALUE_BYTES_MAX
    full = cutting.SIZE_MAX + 8 + KEY_BYTES_MAX + VALUE_BYTES_MAX
    assert full < NODE_BYTES_MAX


def test_level_is_in_the_digest() -> None:
    first, second = (Node(level, (b"a",), (b"x" * 32,), (1,)) for level in (1, 2))
    assert digest_of(encode_node(first)) != digest_of(encode_node(second))


def test_a_shelf_forgets_what_was_not_asked_for() -> None:
    made = MemoryNodes()
    root = Map.build(made, ((b"%05d" % n, b"v" * 60) for n in range(5000))).root
    shelf = Shelf(made, kept_bytes=40_000)
    view = Map(shelf, root)
    assert len(list(view.items())) == 5000
    made.loaded = 0
    view.get(b"00000")
    assert made.loaded > 0, "the first leaf was kept through a walk over all"
    made.loaded = 0
    for _ in range(9):
        view.get(b"00000")
    assert made.loaded == 0
    held = {**shelf._old, **shelf._new}
    assert sum(len(made.data[digest]) for digest in held) <= 40_000 + NODE_BYTES_MAX


def test_a_shelf_of_no_bytes_keeps_nothing_and_reads_all_the_same() -> None:
    made = MemoryNodes()
    root = Map.build(made, ((b"%05d" % n, b"v" * 60) for n in range(500))).root
    view = Map(Shelf(made, kept_bytes=0), root)
    assert len(list(view.items())) == 500
    assert view.get(b"00100") == b"v" * 60


def test_any_damage_to_any_node_of_a_map_is_found_when_it_is_read() -> None:
    seed = run_seed()
    print("seed", seed)
    chance = random.Random(seed)
    made = MemoryNodes()
    root = Map.build(made, ((b"%05d" % n, b"v" * 60) for n in range(3000))).root
    for digest, data in list(made.data.items()):
        changed = bytearray(data)
        changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        made.data[digest] = bytes(changed)
        with pytest.raises(CorruptError, match=digest.hex()):
            list(Map(made, root).items())
        del made.data[digest]
        with pytest.raises(NotFoundError):
            list(Map(made, root).items())
        made.data[digest] = data
    assert issubclass(CorruptError, TransitError)
