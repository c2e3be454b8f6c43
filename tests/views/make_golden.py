"""Make the golden map of format version 1: `python -m tests.views.make_golden`.

It was made once; a later transit must read it, and make it again of the same entries. So it is only
made anew together with a new format version, under a name of its own.
"""

from __future__ import annotations

import json
from pathlib import Path

from transit.views.maps.map import Map

GOLDEN = Path(__file__).parent / "golden" / "map-1.json"


class Kept:
    """Nodes in hexadecimal digits."""

    def __init__(self) -> None:
        self.nodes: dict[str, str] = {}

    def load(self, digest: bytes) -> bytes:
        return bytes.fromhex(self.nodes[digest.hex()])

    def save(self, digest: bytes, data: bytes) -> None:
        self.nodes[digest.hex()] = data.hex()


def entries() -> list[tuple[bytes, bytes]]:
    """Keys and values of all sizes that are spelled otherwise, and enough for three levels."""
    few = [(b"%03d" % n, b"v" * (n * 7 % 61)) for n in range(300)]
    long = [(b"a" * n, b"") for n in (1, 255, 256, 1024)]
    large = [(b"b%d" % n, b"\0" * n) for n in (255, 256, 5000)]
    many = [(b"c%02d" % n * 250, b"w" * n) for n in range(40)]
    return sorted([(b"", b"the empty key"), *few, *long, *large, *many])


def main() -> None:
    kept = Kept()
    root = Map.build(kept, entries()).root
    GOLDEN.parent.mkdir(exist_ok=True)
    text = json.dumps({"root": root.hex(), "nodes": kept.nodes}, indent=0, sort_keys=True)
    GOLDEN.write_text(text + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
