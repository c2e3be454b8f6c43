"""Every decoder there is, as something that takes any bytes; and how to try them for a long time.

A target decodes bytes. It may end with an error that its callers know how to handle, and with
nothing else: any other exception, and any difference between what was decoded and what comes back
of it, is a violation.

`soak` needs nothing but Python. `rigs/fuzz/fuzz.py` tries the same targets under atheris, which
looks for inputs that reach new lines.
"""

from __future__ import annotations

import random
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import transit
from rigs.fuzz import chats, evidence, formats, keyrings, programs, proofs, reseal, views
from rigs.fuzz.reseal import Reseal
from transit.cli.failures import CommandError

BYTES_MAX: Final = 16 * 1024
_TYPED: Final = (transit.TransitError,)
_COMMAND: Final = (transit.TransitError, CommandError)
_ROUND: Final = 200

Seeds = Mapping[str, Sequence[bytes]]
Say = Callable[[str], object]


class Target(NamedTuple):
    """One decoder. reseals: ways to make changed bytes valid again. expected: its errors."""

    run: Callable[[bytes], None]
    reseals: tuple[Reseal, ...] = ()
    expected: tuple[type[Exception], ...] = _TYPED


TARGETS: Final[dict[str, Target]] = {
    "wal_header": Target(formats.wal_header, (reseal.wal_header,)),
    "frame": Target(formats.one_frame, (reseal.first_frame,)),
    "wal": Target(formats.wal, (reseal.wal, reseal.wal_deeply)),
    "chunks": Target(formats.chunks, (reseal.chunk,)),
    "lineage": Target(formats.lineage, (reseal.canonical,)),
    "life": Target(formats.life, (reseal.canonical,)),
    "takeover": Target(formats.takeover),
    "cursor": Target(formats.cursor),
    "plans": Target(formats.plans),
    "commit": Target(formats.commit, (reseal.commit,)),
    "format": Target(formats.format_file, (reseal.canonical,)),
    "head": Target(formats.head, (reseal.canonical,)),
    "snapshot": Target(formats.snapshot, (reseal.snapshot_file,)),
    "footer": Target(formats.footer),
    "tail": Target(formats.tail),
    "index": Target(formats.index),
    "block": Target(formats.block),
    "names": Target(formats.file_names),
    "inspected": Target(programs.inspected, (reseal.any_file,)),
    "store": Target(programs.store, (reseal.wal, reseal.wal_deeply)),
    "trace_event": Target(programs.trace_event),
    "trace_parts": Target(programs.trace_parts),
    "trace_packing": Target(programs.trace_packing),
    "imported": Target(programs.imported, (reseal.chain,), _COMMAND),
    "configured": Target(programs.configured, (), _COMMAND),
    "map_node": Target(views.map_node, (views.respelled,)),
    "map_key": Target(views.map_key),
    "wasm_result": Target(views.wasm_result),
    "note": Target(proofs.note),
    "inclusion_file": Target(proofs.inclusion_file),
    "consistency_file": Target(proofs.consistency_file),
    "witness_request": Target(proofs.witness_request),
    "witness_answer": Target(proofs.witness_answer),
    "policy": Target(proofs.policy),
    "vkey": Target(proofs.vkey),
    "bundle": Target(proofs.bundle),
    "statement": Target(evidence.statement, (reseal.canonical,)),
    "envelope": Target(evidence.envelope, (reseal.canonical,)),
    "signed": Target(evidence.signed, (reseal.canonical,)),
    "said": Target(evidence.said),
    "redacted_table": Target(evidence.redacted_table),
    "chunk_envelope": Target(keyrings.envelope),
    "keyring": Target(keyrings.document, (keyrings.resealed,)),
    "moments": Target(programs.moments, (), (ValueError,)),
    "chat_decisions": Target(chats.decisions),
    "chat_messages": Target(chats.messages),
    "chat_irc": Target(chats.irc),
    "chat_slack": Target(chats.slack),
    "chat_discord": Target(chats.discord),
    "chat_matrix": Target(chats.matrix),
    "chat_mbox": Target(chats.mbox),
    "chat_annotation": Target(chats.annotation),
}


def violation(target: Target, data: bytes) -> str:
    """What is wrong with how a target takes `data`; "" when nothing is."""
    try:
        target.run(data)
    except target.expected:
        return ""
    except Exception:
        return traceback.format_exc(limit=-8)
    return ""


def mutated(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """`data` with a few changes of the kinds that break decoders; at most `BYTES_MAX` long."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5))):
        chance.choice(_CHANGES)(changed, others, chance)
    return bytes(changed[:BYTES_MAX])


def _set_byte(data: bytearray, others: Sequence[bytes], chance: random.Random) -> None:
    if data:
        data[chance.randrange(len(data))] = chance.choice(
            (0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256))
        )


def _flip_bit(data: bytearray, others: Sequence[bytes], chance: random.Random) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _set_number(data: bytearray, others: Sequence[bytes], chance: random.Random) -> None:
    width = chance.choice((2, 4, 4, 8, 8))
    if len(data) >= width:
        at = chance.randrange(len(data) - width + 1)
        value = chance.choice(_NUMBERS) + chance.randrange(-2, 3)
        data[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, "little")


def _set_digits(data: bytearray, others: Sequence[bytes], chance: random.Random) -> None:
    """Another number where a text has one."""
    places = [at for at in range(len(data)) if data[at : at + 1].isdigit()]
    if places:
        at = stop = chance.choice(places)
        while data[stop : stop + 1].isdigit():
            stop += 1
        data[at:stop] = str(chance.choice(_NUMBERS) * chance.choice((1, 1, -1))).encode()


def _cut(data: bytearray, others: Sequence[bytes], chance: random.Random) -> None:
    start = chance.randrange(len(data) + 1)
    del data[start : start + chance.choice((1, 2, 8, 64, len(data)))]


def _repeat(data: bytearray, others: Sequence[bytes], chance: random.Random) -> None:
    start = chance.randrange(len(data) + 1)
    part = data[start : start + chance.choice((1, 3, 16, 48, 200))]
    data[start:start] = part * chance.choice((1, 1, 2, 30))


def _splice(data: bytearray, others: Sequence[bytes], chance: random.Random) -> None:
    other = chance.choice(others)
    start = chance.randrange(len(other) + 1)
    part = other[start : start + chance.choice((4, 16, 64, len(other)))]
    at = chance.randrange(len(data) + 1)
    data[at : at + chance.choice((0, len(part)))] = part


def _nest(data: bytearray, others: Sequence[bytes], chance: random.Random) -> None:
    """Brackets around, or in the midst."""
    at = chance.randrange(len(data) + 1)
    mark = chance.choice((b"[", b'{"a":', b"{", b'"', b"\\", b"\\ud800", b"null", b"1e999"))
    data[at:at] = mark * chance.choice((1, 1, 2, 100, 2000))


def _overwrite(data: bytearray, others: Sequence[bytes], chance: random.Random) -> None:
    """Other text of the same size, which sizes stated elsewhere still fit."""
    text = chance.choice(_TEXTS)
    if len(data) >= len(text):
        at = chance.randrange(len(data) - len(text) + 1)
        data[at : at + len(text)] = text


_TEXTS: Final = (
    b"123", b"1", b"[]", b"{}", b"[1]", b'""', b"null", b'"a"', b"},{", b'":"', b"\\u0000", b"\xff",
)  # fmt: skip
_NUMBERS: Final = (
    0, 1, 48, 64, 255, 4096, 2**16, 2**22, 2**31, 2**32, 2**53, 2**62, 2**63, 2**64, 10**40,
)  # fmt: skip
_CHANGES: Final = (
    _set_byte, _flip_bit, _set_number, _set_number, _set_digits, _overwrite, _cut,
    _repeat, _splice, _nest,
)  # fmt: skip


def inputs(target: Target, seeds: Sequence[bytes], seed: object) -> Iterator[bytes]:
    """Mutations of the seeds without end, the same ones for the same `seed`; most are resealed."""
    chance = random.Random(str(seed))
    while True:
        data = mutated(chance.choice(seeds), seeds, chance)
        if target.reseals and chance.random() < 0.8:
            data = chance.choice(target.reseals)(data)
        yield data


def soak(
    seconds: float, seed: int, say: Say, seeds: Seeds, keep: Callable[[str, bytes], object]
) -> int:
    """Try all targets alternately for so long; the count of violations.

    seeds: by target. keep: told the target and the input of each violation.
    """
    broken = tried = 0
    deadline = time.monotonic() + seconds
    streams = {name: inputs(TARGETS[name], seeds[name], f"{seed} {name}") for name in TARGETS}
    while time.monotonic() < deadline:
        for name, stream in streams.items():
            for _ in range(_ROUND):
                data, tried = next(stream), tried + 1
                problem = violation(TARGETS[name], data)
                if problem:
                    broken += 1
                    keep(name, data)
                    say(f"{name}, seed {seed}: {problem}")
    say(f"{tried} inputs of {len(TARGETS)} decoders, seed {seed}: {broken} violations")
    return broken
