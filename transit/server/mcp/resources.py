"""Streams and records by address.

    transit://stream/<name>             the last records of a stream, shortened
    transit://record/<name>@<offset>    one record, whole, up to 64 KiB
    transit://proof/<name>@<offset>     the proof of that record, a zip; without @ where the stream
                                        comes from
    transit://exhibit/<name>            a run in one file, a zip

Names are percent-encoded, `@` too; `/` may be as it is. Answers are the JSON that `read` gives, or
files.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import quote

from transit import NotFoundError, Stream
from transit.protocol.paths import decode_path
from transit.server.mcp.arguments import ANSWER_BYTES_MAX, ITEMS, Read, arguments_of
from transit.server.mcp.calling import Caller
from transit.server.mcp.evidence import EXHIBIT, PROOF, exhibit_file, proof_file
from transit.server.mcp.pages import Item
from transit.server.mcp.reading import read

STREAM: Final = "transit://stream/"
RECORD: Final = "transit://record/"
LISTED_MAX: Final = 100
_OFFSET: Final = re.compile(r"[0-9]{1,18}")


class Listed(NamedTuple):
    """A page of streams, and what the next one is asked for with; None at the end."""

    streams: list[Stream]
    cursor: str | None


def address_of(name: str) -> str:
    """The address of a stream."""
    return STREAM + quote(name, safe="/")


def listed(caller: Caller, cursor: str | None) -> Listed:
    """The streams after `cursor`, in order of creation; `NotFoundError` for one that is none."""
    after = None if cursor is None else caller.log.stream(uid=cursor)
    found: list[Stream] = []
    for stream in caller.log.streams(after=after):
        if not caller.sees(stream.name):
            continue
        if len(found) == LISTED_MAX:
            return Listed(found, found[-1].uid)
        found.append(stream)
    return Listed(found, None)


async def read_address(caller: Caller, address: str) -> Item | bytes:
    """What is at an address, bytes of a file; `NotFoundError` for one that is not ours."""
    if address.startswith(EXHIBIT):
        return await exhibit_file(caller, decode_path(address.removeprefix(EXHIBIT).encode()))
    if address.startswith(PROOF):
        return await _proof(caller, address)
    if address.startswith(STREAM):
        name = decode_path(address.removeprefix(STREAM).encode())
        given: Item = {"stream": name, "start": -ITEMS}
        return await read(caller, arguments_of(Read, given))
    name, at, offset = address.removeprefix(RECORD).rpartition("@")
    if address.startswith(RECORD) and at and _OFFSET.fullmatch(offset):
        given = {"stream": decode_path(name.encode()), "start": int(offset), "limit": 1}
        more = {"view": "full", "max_bytes": ANSWER_BYTES_MAX}
        answer = await read(caller, arguments_of(Read, {**given, **more}))
        if answer["records"]:
            return answer
    raise _nothing(address)


async def _proof(caller: Caller, address: str) -> bytes:
    name, at, offset = address.removeprefix(PROOF).partition("@")
    if at and not _OFFSET.fullmatch(offset):
        raise _nothing(address)
    return await proof_file(caller, decode_path(name.encode()), int(offset) if at else None)


def _nothing(address: str) -> NotFoundError:
    return NotFoundError(
        f"there is nothing at {address[:600]!r}: {STREAM}NAME, {RECORD}NAME@OFFSET, "
        f"{PROOF}NAME@OFFSET or {EXHIBIT}NAME is wanted"
    )
