"""What an export holds: for each stream a line that says what it is, then a line for each record.

Two spellings of the same entries: "jsonl" writes them as they are, "chain" links them by their
digests (`transit.cli.chain`). Exported whole, a stream is a root with all it inherits. With its
lineage it has its own records only; branches and merges are made again when it is imported.

A stream's line:

    type            "stream"
    name, kind      kind is "root", "branch" or "merge"
    uid             what the stream is called in every store; without it, it gets a new one
    codec, metadata as they were given
    parents         [{"stream", "offset"}, …]: where it descends from; -1: from an empty beginning
    inherited, own  how many records it has from elsewhere, and how many lines follow
    policy, version, params, base    of a merge
"""

from __future__ import annotations

import binascii
import time
from base64 import b64decode
from collections.abc import Mapping
from typing import Annotated, Final, Literal, NamedTuple

import msgspec

from transit.cli.failures import CORRUPT, CommandError
from transit.cli.records import Encoding
from transit.cli.values import parse_moment

STREAM_TYPE: Final = "stream"
# Metadata of a layer's stream that is about another stream, and goes where that goes.
ABOUT_UID: Final = "about_uid"
CUSTOM_PREFIX: Final = "custom:"
_SHIPPED: Final = ("custom:chat-thread",)
"""Custom policies that come with transit, so that each process can run them."""

Scalar = str | int | float | bool | None


class At(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A position: a stream's name and an offset, -1 for its empty beginning."""

    stream: str
    offset: int


class StreamEntry(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """What a stream is; `type` is always "stream".

    name: no other stream of the export has it: a hidden one whose name another has gets one of its
    own. hidden: an import hides it, once all that descends from it is made.
    """

    type: Literal["stream"]
    name: str
    kind: Literal["root", "branch", "merge"]
    uid: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$", max_length=32)] | None = None
    codec: str | None = None
    metadata: Mapping[str, Scalar] = {}
    parents: tuple[At, ...] = ()
    inherited: int = 0
    own: int | None = None
    policy: str | None = None
    version: int | None = None
    params: Mapping[str, Scalar] = {}
    base: At | None = None
    hidden: bool = False


class RecordEntry(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One record: as `read` prints it. Without a timestamp it gets that of its import.

    When it was written, and by which writer, is as the exported store says; an import writes anew.
    """

    stream: str
    offset: int | None = None
    timestamp: str | None = None
    payload: str
    encoding: Encoding = "utf-8"
    headers: Mapping[str, str] = {}
    origin: At | None = None
    written: str | None = None
    writer: str = ""


def damaged(place: str, expected: str, found: str) -> CommandError:
    """The error for an export that is not as it was written."""
    return CommandError(
        f"{place}: expected {expected}, found {found}",
        kind="corrupt",
        exit_code=CORRUPT,
        hint="the export was changed or cut short: take another copy of it",
        fields={"place": place, "expected": expected, "found": found},
    )


class Appendable(NamedTuple):
    """A record as `append` takes it."""

    payload: bytes
    timestamp: int
    headers: Mapping[str, str]


def appendable(entry: RecordEntry, place: str) -> Appendable:
    """The record of an entry; one without a timestamp gets the present time."""
    try:
        timestamp = time.time_ns() if entry.timestamp is None else parse_moment(entry.timestamp)
        return Appendable(_payload(entry.payload, entry.encoding), timestamp, entry.headers)
    except (ValueError, OverflowError, binascii.Error) as error:
        raise CommandError(f"{place}: {error}") from None


def _payload(text: str, encoding: Encoding) -> bytes:
    return text.encode() if encoding == "utf-8" else b64decode(text, validate=True)


def is_known_here(policy: str) -> bool:
    """Whether a merge by this policy can be made again by any process."""
    return not policy.startswith(CUSTOM_PREFIX) or policy in _SHIPPED
