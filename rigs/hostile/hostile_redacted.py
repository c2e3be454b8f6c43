"""Hostile redacted segments: what takes the place of a segment that chunks were erased from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from transit.format.digest import digest
from transit.format.life import NAMES_ID, Life, encode_life, life_key
from transit.format.lineage import encode_lineage
from transit.format.names import segment_name
from transit.format.record import Chunk
from transit.format.redacted import GONE, Table, encode_header, encode_table
from transit.format.segment import HEADER, TAIL, TAIL_MAGIC, Block, encode_block
from transit.proof.chunks import record_leaves

from .hostile import CASES, MIB, OTHER, STORE, Bucket, Parts, chunk_of

KEPT = chunk_of(1, 0, [b"kept %d" % n for n in range(3)])
GONE_CHUNK = chunk_of(2, 0, [b"gone %d" % n for n in range(3)])


@dataclass
class Left:
    """What a redacted segment is made of; any of it may be changed."""

    store: bytes = STORE
    bits: int = 1
    raws: list[bytes] = field(default_factory=list)
    entries: Callable[[list[Block]], list[Block]] = lambda blocks: blocks
    places: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    digests: bytes = b""
    index: bytes = b""
    footer: bytes = b""
    table: Callable[[bytes], bytes] = lambda data: data
    object: Callable[[bytes], bytes] = lambda data: data

    def put_together(self) -> bytes:
        """The file."""
        header = encode_header(self.store)
        data = header[:12] + self.bits.to_bytes(4, "little") + header[16:]
        blocks = []
        for raw in self.raws:
            entry, stored = encode_block(raw, len(data), 3)
            blocks.append(entry)
            data += stored
        table = Table(tuple(self.entries(blocks)), self.places, self.positions, self.digests)
        data += self.index + self.table(encode_table(table)) + self.footer
        return self.object(data + TAIL.pack(digest(self.footer), len(self.footer), 1, TAIL_MAGIC))


def bucket_of(life: Life | None, change: Callable[[Left], None], *, original: bool) -> Bucket:
    """Streams 1 and 2 in one segment, and what is left of it without those of stream 2.

    life: what `$names` says of stream 2. original: whether the original is there too.
    """
    bucket = Bucket()
    lineage = [bucket.own(), bucket.named("one"), bucket.named("two")]
    bucket.add(
        [(1, 0, [b"kept %d" % n for n in range(3)]), (2, 0, [b"gone %d" % n for n in range(3)])],
        lineage,
    )
    if life is not None:

        def with_key(parts: Parts) -> None:
            parts.keys = [(life_key(2), 0)]

        bucket.add([(NAMES_ID, 0, [encode_life(life)])], change=with_key)
    segment = bucket.segments[0]
    raw_lineage = _lineage_chunk(bucket)
    left = Left(index=segment.index, footer=segment.footer)
    left.raws = [raw_lineage + KEPT]
    left.places, left.positions = [0, 0, GONE], [0, len(raw_lineage), GONE]
    leaves = [leaf[-32:] for leaf in record_leaves(Chunk(raw_lineage, 0, "lineage"))]
    left.digests = b"".join([*leaves, digest(KEPT), digest(GONE_CHUNK)])
    change(left)
    name = segment_name(bytes.fromhex(segment.ref.digest))
    bucket.objects[f"redacted/{name}"] = left.put_together()
    if not original:
        del bucket.objects[f"segments/{name}"]
    return bucket


def _lineage_chunk(bucket: Bucket) -> bytes:
    """The chunk of lineage records that `bucket_of` writes."""
    records = [bucket.own(), bucket.named("one"), bucket.named("two")]
    return chunk_of(0, 0, [encode_lineage(record) for record in records])


DELETED = Life(stream=2, streams=3, finished=3, hidden=True, deleted=True, reason="r")
ERASED = Life(stream=2, streams=3, finished=3, hidden=True, deleted=True, erased=True)


def redacted(
    place: str, life: Life | None = DELETED, *, original: bool = False
) -> Callable[[Callable[[Left], None]], Callable[[Left], None]]:
    """A case: what is left was changed in one way; where a finding must be, or "ok"."""

    def keep(change: Callable[[Left], None]) -> Callable[[Left], None]:
        CASES[change.__name__] = (place, lambda: bucket_of(life, change, original=original))
        return change

    return keep


@redacted("ok")
def redacted_as_it_should_be(left: Left) -> None:
    pass


@redacted("ok", ERASED)
def redacted_and_said_so(left: Left) -> None:
    pass


@redacted("ok", original=True)
def redacted_beside_its_original(left: Left) -> None:
    pass


@redacted("segments/", ERASED, original=True)
def redacted_and_the_original_is_back(left: Left) -> None:
    pass


@redacted("redacted/", None)
def redacted_without_a_record(left: Left) -> None:
    pass


@redacted("redacted/")
def redacted_chunk_of_other_bytes(left: Left) -> None:
    left.raws = [left.raws[0].replace(b"kept 1", b"kept 9")]


@redacted("chunks")
def redacted_leaf_of_another_chunk(left: Left) -> None:
    left.digests = left.digests[:-1] + bytes([left.digests[-1] ^ 1])


@redacted("chunks")
def redacted_leaf_and_chunk_changed_together(left: Left) -> None:
    other = KEPT.replace(b"kept 1", b"kept 9")
    left.raws = [left.raws[0].replace(KEPT, other)]
    left.digests = left.digests.replace(digest(KEPT), digest(other))


@redacted("table")
def redacted_lineage(left: Left) -> None:
    left.raws, left.places, left.positions = [KEPT], [GONE, 0, GONE], [GONE, 0, GONE]


@redacted("redacted/")
def redacted_chunks_in_another_order(left: Left) -> None:
    first = len(left.raws[0]) - len(KEPT)
    left.raws = [KEPT + left.raws[0][:first]]


@redacted("table")
def redacted_rows_that_go_back(left: Left) -> None:
    left.positions = [len(KEPT), 0, GONE]


@redacted("table")
def redacted_row_beyond_its_block(left: Left) -> None:
    left.positions[1] = len(left.raws[0])


@redacted("table")
def redacted_row_of_a_block_that_is_not_there(left: Left) -> None:
    left.places[1] = 7


@redacted("table")
def redacted_block_that_no_row_is_in(left: Left) -> None:
    left.raws.append(KEPT)


@redacted("table")
def redacted_rows_of_another_count(left: Left) -> None:
    left.places, left.positions = [*left.places, GONE], [*left.positions, GONE]


@redacted("table")
def redacted_without_digests(left: Left) -> None:
    left.digests = b""


@redacted("redacted/")
def redacted_block_of_a_gib(left: Left) -> None:
    def huge(blocks: list[Block]) -> list[Block]:
        return [Block(b.position, b.stored_bytes, 1024 * MIB, 1, b.checksum, b.digest)
                for b in blocks]  # fmt: skip

    left.entries = huge


@redacted("redacted/")
def redacted_block_of_zeros_that_unfolds(left: Left) -> None:
    left.raws = [left.raws[0] + bytes(200 * MIB)]


@redacted("table")
def redacted_table_of_billions_of_rows(left: Left) -> None:
    def wrong(data: bytes) -> bytes:
        body = b"\xff" * 12 + data[12:-40]
        return body + digest(body) + data[-8:]

    left.table = wrong


@redacted("table")
def redacted_table_of_four_gib(left: Left) -> None:
    left.table = lambda data: data[:-8] + b"\xff\xff\xff\xff" + data[-4:]


@redacted("redacted/")
def redacted_of_another_store(left: Left) -> None:
    left.store = OTHER


@redacted("redacted/")
def redacted_in_a_way_nobody_knows(left: Left) -> None:
    left.bits = 3


@redacted("redacted/")
def redacted_that_says_it_is_not(left: Left) -> None:
    left.bits = 0


@redacted("redacted/")
def redacted_cut(left: Left) -> None:
    left.object = lambda data: data[:-1]


@redacted("redacted/")
def redacted_to_nothing(left: Left) -> None:
    left.object = lambda data: b""


@redacted("redacted/")
def redacted_of_zeros(left: Left) -> None:
    left.object = lambda data: bytes(len(data))


@redacted("redacted/")
def redacted_with_the_footer_of_another(left: Left) -> None:
    left.footer = left.footer[:-1] + bytes([left.footer[-1] ^ 1])


@redacted("redacted/")
def redacted_with_another_index(left: Left) -> None:
    left.index = left.index[:-1] + bytes([left.index[-1] ^ 1])


@redacted("redacted/")
def redacted_with_more_at_its_beginning(left: Left) -> None:
    left.object = lambda data: data[: HEADER.size] + bytes(100) + data[HEADER.size :]
