"""Planted bugs that a rig for damaged bytes must find: checks that are left out, one at a time.

Each plant replaces functions of the engine for the length of a `with` block, wherever transit
imported them; the engine's own code has no switch.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from transit.auditor.snapshots import SnapshotAudit
from transit.disk import read_file
from transit.format import commit, digest, frame, segment, snapshot
from transit.format.checksum import checksum
from transit.format.compression import decompress
from transit.log import recover
from transit.log.segments import Segment
from transit.tier import fetch, publish, restore
from transit.tier.progress import Meter
from transit.verify.segments import SegmentCheck

Replacement = tuple[object, str, object]


@contextlib.contextmanager
def replaced(*replacements: Replacement) -> Iterator[None]:
    """Have other functions instead, wherever transit imported them: (owner, name, function)."""
    done: list[Replacement] = []
    try:
        for owner, name, new in replacements:
            old = getattr(owner, name)
            for place in _places(owner, name, old):
                done.append((place, name, getattr(place, name)))
                setattr(place, name, new)
        yield
    finally:
        for place, name, old in reversed(done):
            setattr(place, name, old)


def _places(owner: object, name: str, old: object) -> list[object]:
    if isinstance(owner, type):
        return [owner]
    modules = [module for key, module in list(sys.modules.items()) if key.startswith("transit.")]
    return [owner, *(m for m in modules if m is not owner and getattr(m, name, None) is old)]


def _nothing(*given: object, **named: object) -> None:
    return None


# Local


def _block_unchecked() -> list[Replacement]:
    def decode_block(entry: segment.Block, stored: bytes, place: str) -> bytes:
        if entry.codec == segment.STORED:
            return stored
        return decompress(stored, entry.raw_bytes, place)

    return [(segment, "decode_block", decode_block)]


def _body_unchecked() -> list[Replacement]:
    return [(frame, "body_is_valid", lambda *given: True)]


def _header_unchecked() -> list[Replacement]:
    def decode(data: bytes, at: int, position: int, seed: int) -> frame.FrameHeader | None:
        if data[at : at + 4] != frame.FRAME_MAGIC or len(data) - at < frame.FRAME_BYTES:
            return None
        header = frame.FrameHeader._make(frame.FRAME.unpack_from(data, at)[1:])
        return header if header.position == position else None

    return [(frame, "decode_frame_header", decode)]


def _place_unchecked() -> list[Replacement]:
    def unseeded(data: bytes, seed: int = 0) -> int:
        return checksum(data)

    def decode(data: bytes, at: int, position: int, seed: int) -> frame.FrameHeader | None:
        if data[at : at + 4] != frame.FRAME_MAGIC or len(data) - at < frame.FRAME_BYTES:
            return None
        header = frame.FrameHeader._make(frame.FRAME.unpack_from(data, at)[1:])
        return header._replace(position=position)

    return [
        (frame, "decode_frame_header", decode),
        (frame, "body_is_valid", lambda *given: True),
        (frame, "checksum", unseeded),
    ]


def _middle_cut() -> list[Replacement]:
    return [(recover, "stated_beyond", _nothing)]


def _rotten_cut() -> list[Replacement]:
    return [(recover, "_rotten", lambda *given: None)]


def _damage_skipped() -> list[Replacement]:
    def judge(*given: object) -> None:
        return None

    return [(recover, "judge_tail", judge), (recover, "judge_end", judge)]


def _commit_unchecked() -> list[Replacement]:
    def decode(data: bytes, place: str) -> commit.Commit:
        return commit._decode(commit._commit_decoder, data, commit.COMMIT_BYTES_MAX, place)

    return [(commit, "decode_commit", decode)]


def _footer_unchecked() -> list[Replacement]:
    plain = segment.decode_footer

    def decode(data: bytes, expected: bytes, place: str) -> segment.Footer:
        return plain(data, digest.digest(data), place)

    return [(segment, "decode_footer", decode), (snapshot, "digest", digest.digest)]


def _size_unchecked() -> list[Replacement]:
    return [(Segment, "check_present", _nothing)]


# Remote


def _cache_believed() -> list[Replacement]:
    def cached(self: fetch.Fetcher, name: str) -> bytes | None:
        return None if self._cache is None else self._cache.get(name)

    return [(fetch.Fetcher, "_cached", cached)]


def _fetched_believed() -> list[Replacement]:
    def read(
        self: fetch.Fetcher, ref: commit.SegmentRef, blocks: list[segment.Block]
    ) -> list[bytes]:
        return [self.read(ref, block.position, block.stored_bytes) for block in blocks]

    return [(fetch.Fetcher, "_read_blocks", read), *_block_unchecked()]


def _restored_believed() -> list[Replacement]:
    plain = restore.Restorer._copy

    def copy(self: restore.Restorer, ref: commit.SegmentRef, *rest: object) -> str:
        plain(self, ref, *rest)  # type: ignore[arg-type]
        return ref.digest

    return [(restore.Restorer, "_copy", copy)]


def _snapshot_unaudited() -> list[Replacement]:
    return [(SnapshotAudit, "check", _nothing)]


def _bodies_unaudited() -> list[Replacement]:
    return [(SegmentCheck, "digest", _nothing), (SegmentCheck, "contents", lambda check: True)]


def _damage_published() -> list[Replacement]:
    class Believing(publish.Publisher):
        def _upload(self, item: publish._Item, fresh: bool, meter: Meter) -> None:
            self._put(item, read_file(item.path, item.bytes) or b"")

    return [(publish.Publisher, "_upload", Believing._upload)]


class Plant(NamedTuple):
    """A bug, and where it shows: the sample, and the classes of file that are damaged.

    missing: what the engine does not do.
    """

    missing: str
    sample: str
    classes: tuple[str, ...]
    replacements: Callable[[], list[Replacement]]


PLANTS: Final[Mapping[str, Plant]] = {
    "block_unchecked": Plant(
        "a block's checksum is not compared", "killed", ("segments",), _block_unchecked
    ),
    "body_unchecked": Plant(
        "the checksum of a frame's body is not compared", "closed", ("wal",), _body_unchecked
    ),
    "header_unchecked": Plant(
        "the checksum of a frame's header is not compared", "closed", ("wal",), _header_unchecked
    ),
    "place_unchecked": Plant(
        "a frame is valid wherever it lies", "closed", ("wal",), _place_unchecked
    ),
    "middle_cut": Plant("what a later frame calls durable is cut", "closed", ("wal",), _middle_cut),
    "rotten_cut": Plant("a rotten last frame is cut", "killed", ("wal",), _rotten_cut),
    "damage_skipped": Plant(
        "the end of a WAL is not judged at all", "closed", ("wal",), _damage_skipped
    ),
    "commit_unchecked": Plant(
        "a commit's checksum is not compared", "killed", ("commits",), _commit_unchecked
    ),
    "footer_unchecked": Plant(
        "a footer is not compared with the commit", "killed", ("segments",), _footer_unchecked
    ),
    "size_unchecked": Plant(
        "opening does not look whether a segment is there", "killed", ("segments",), _size_unchecked
    ),
    "cache_believed": Plant(
        "what is in the cache is not compared", "evicted", ("cache",), _cache_believed
    ),
    "fetched_believed": Plant(
        "fetched blocks are not compared", "remote", ("segments",), _fetched_believed
    ),
    "restored_believed": Plant(
        "a restored segment is not digested", "remote", ("segments",), _restored_believed
    ),
    "snapshot_unaudited": Plant(
        "an audit does not read snapshots", "remote", ("index",), _snapshot_unaudited
    ),
    "bodies_unaudited": Plant(
        "an audit reads no bodies", "remote", ("segments",), _bodies_unaudited
    ),
    "commits_believed": Plant(
        "a remote's commits are not compared", "remote", ("commits",), _commit_unchecked
    ),
    "damage_published": Plant(
        "a file is uploaded without its digest", "publishing", ("segments",), _damage_published
    ),
}
