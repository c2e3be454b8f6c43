"""What is tried with any bytes by the decoders of proofs and of what is left of segments.

As `rigs.fuzz.formats`: what comes out is written again, and must be what went in.
"""

from __future__ import annotations

from typing import Any, Final

from transit.evidence.envelope import Envelope, decode_envelope, encode_envelope
from transit.evidence.statement import Leaf, Statement, decode_statement, encode_statement
from transit.format.digest import digest
from transit.format.redacted import GONE, TABLE_TAIL, Table, decode_table, encode_table
from transit.format.segment import HEADER, STORED, ZSTD, Block
from transit.log.signed import Signed, decode_signed, encode_signed
from transit.proof.chunks import decode_said

HEX: Final = "0123456789abcdef"
STORED_BYTES: Final = 130
# Where the blocks of the tables that are tried end.
END: Final = HEADER.size + STORED_BYTES + 60


def statement(data: bytes) -> None:
    """The statement of a proof."""
    assert encode_statement(decode_statement(data)) == data


def envelope(data: bytes) -> None:
    """A finality or a fork choice."""
    assert encode_envelope(decode_envelope(data)) == data


def signed(data: bytes) -> None:
    """What a store signed last."""
    assert encode_signed(decode_signed(data, "SIGNED")) == data


def said(data: bytes) -> None:
    """A record of the store's own, as its leaf has it."""
    found = decode_said(data, "leaf")
    assert data.endswith(found.payload)
    assert len(data) == 20 + len(found.writer.encode()) + len(found.payload)


def redacted_table(data: bytes) -> None:
    """Where the chunks of a redacted segment are."""
    if len(data) < 16:
        # Its tail says a size of 16 at least: `decode_table_tail`.
        return
    table = decode_table(data, digest(data), END, "fuzz")
    assert encode_table(table)[: -TABLE_TAIL.size] == data
    assert len(table.places) == len(table.positions)


def evidence_seeds() -> dict[str, list[bytes]]:
    """Seeds for each of these."""
    leaf = Leaf(
        commit=3, segment=0, index=4, size=9, path=(HEX * 4,) * 3, stream=7, first=2, count=5,
        digest=HEX * 4,
    )  # fmt: skip
    stated: Any = {"store": HEX * 2, "origin": f"example.com/r/{HEX * 2}", "size": 5, "stream": 7}
    ended = Envelope(
        proof_kind="transit.finality.v1",
        origin="example.com/r",
        checkpoint_size=5,
        manifest_root=HEX * 4,
        checkpoint_ref="checkpoints/00000000000000000005",
        checkpoint_kind="finality",
        stream_id=HEX * 2,
        stream="run-1",
        head_offset=8,
        parent_heads=(),
        selection_artifacts=(),
        application_block=None,
        non_claims=("no consensus",),
    )
    blocks = (
        Block(HEADER.size, STORED_BYTES, STORED_BYTES, STORED, 0, bytes(32)),
        Block(HEADER.size + STORED_BYTES, 60, 200, ZSTD, 7, b"\1" * 32),
    )
    table = Table(blocks, (0, GONE, 0, 1, GONE), (0, GONE, 60, 0, GONE), b"\2" * 32 * 5)
    origin = "example.com/r"
    return {
        "statement": [
            encode_statement(Statement(**stated, records=(0, 0), end=False, leaves=())),
            encode_statement(Statement(**stated, records=(2, 7), end=True, leaves=(leaf, leaf))),
        ],
        "envelope": [encode_envelope(ended)],
        "signed": [
            encode_signed(Signed(origin=origin, size=0, root=HEX * 4)),
            encode_signed(
                Signed(origin=origin, size=9, root=HEX * 4, published=("s3://b/r", 8, HEX * 4))
            ),
        ],
        "said": [bytes(20) + b"{}", bytes(16) + b"\3\0\0\0ada" + b'{"kind":"root"}'],
        "redacted_table": [encode_table(table)[: -TABLE_TAIL.size]],
    }
