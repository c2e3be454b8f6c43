"""A second reader and builder of maps, from the words of the format alone: nothing of transit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from blake3 import blake3
from xxhash import xxh32_intdigest

Pairs = list[tuple[bytes, bytes]]
Above = list[tuple[bytes, bytes, int]]


def parse(data: bytes) -> tuple[int, list[bytes], list[bytes], list[int]]:
    """Level, keys, values and counts of a node."""
    assert data[:2] == b"\x95\x01"
    at = 2

    def number(count: int) -> int:
        nonlocal at
        at += count
        return int.from_bytes(data[at - count : at], "big")

    def integer() -> int:
        code = number(1)
        return code if code < 0x80 else number({0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}[code])

    def count_of_array() -> int:
        code = number(1)
        return number({0xDC: 2, 0xDD: 4}[code]) if code >= 0xDC else code - 0x90

    def binary() -> bytes:
        nonlocal at
        count = number({0xC4: 1, 0xC5: 2, 0xC6: 4}[number(1)])
        at += count
        return data[at - count : at]

    def array(of: Callable[[], object]) -> list[object]:
        return [of() for _ in range(count_of_array())]

    level = integer()
    keys, values, counts = array(binary), array(binary), array(integer)
    assert at == len(data)
    return level, keys, values, counts  # type: ignore[return-value]


def spell(
    level: int, keys: Sequence[bytes], values: Sequence[bytes], counts: Sequence[int]
) -> bytes:
    """The bytes of a node."""

    def array(parts: Sequence[bytes]) -> bytes:
        count = len(parts)
        head = bytes([0x90 + count]) if count < 16 else b"\xdc" + count.to_bytes(2, "big")
        return head + b"".join(parts)

    def binary(data: bytes) -> bytes:
        size = len(data)
        if size < 256:
            return b"\xc4" + bytes([size]) + data
        if size < 65536:
            return b"\xc5" + size.to_bytes(2, "big") + data
        return b"\xc6" + size.to_bytes(4, "big") + data

    def integer(value: int) -> bytes:
        if value < 128:
            return bytes([value])
        code, size = next(
            (code, size) for code, size in ((0xCC, 1), (0xCD, 2), (0xCE, 4), (0xCF, 8))
            if value < 256**size
        )  # fmt: skip
        return bytes([code]) + value.to_bytes(size, "big")

    return b"\x95\x01" + bytes([level]) + array([*map(binary, keys)]) + array(
        [*map(binary, values)]
    ) + array([*map(integer, counts)])  # fmt: skip


def read(nodes: Mapping[str, str], root: str) -> Pairs:
    """All entries of a map, out of nodes in hexadecimal digits."""
    data = bytes.fromhex(nodes[root])
    assert blake3(data).hexdigest() == root
    level, keys, values, counts = parse(data)
    if not level:
        assert not counts
        return list(zip(keys, values, strict=True))
    found: Pairs = []
    for key, digest, count in zip(keys, values, counts, strict=True):
        part = read(nodes, digest.hex())
        assert (part[-1][0], len(part)) == (key, count)
        assert parse(bytes.fromhex(nodes[digest.hex()]))[0] == level - 1
        found += part
    return found


def build(pairs: Pairs) -> tuple[str, dict[str, str]]:
    """The root of the map of these entries, and all its nodes."""
    nodes: dict[str, str] = {}
    level = 0
    row: Above = [(key, value, 1) for key, value in pairs]
    while row:
        above = _cut(level, row, nodes)
        if len(above) == 1:
            return above[0][1].hex(), nodes
        row, level = above, level + 1
    return "", nodes


def _cut(level: int, row: Above, nodes: dict[str, str]) -> Above:
    above: Above = []
    part: Above = []
    size = 0
    for place, entry in enumerate(row):
        key, value, _ = entry
        more = len(key) + len(value) + (14 if level else 8)
        size += more
        part.append(entry)
        large = size >= 1024 and (not level or len(part) >= 8)
        chosen = large and xxh32_intdigest(key, level) < size * size * more * 3 // 16
        if chosen or size >= 16384 or place == len(row) - 1:
            counts = [count for _, _, count in part]
            data = spell(level, [e[0] for e in part], [e[1] for e in part], counts if level else [])
            digest = blake3(data)
            nodes[digest.hexdigest()] = data.hex()
            above.append((key, digest.digest(), sum(counts)))
            part, size = [], 0
    return above
