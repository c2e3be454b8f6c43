"""Checkpoints, proofs and exhibits, as files that are checked without the server.

A checkpoint is the text that was signed (C2SP tlog-checkpoint), a proof of growth the body that a
witness is sent; proofs and envelopes are their folders, in a zip or a tar; an exhibit is its zip.
`transit proof check` checks each of them, as do standard tools.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta

from transit import Proof, Stream
from transit.proof.checkpoint import Checkpoint
from transit.proof.notes import parse_note
from transit.protocol.evidence import (
    TAR,
    TEXT,
    ZIP,
    CheckpointLine,
    ExhibitRequest,
    FinalityRequest,
    ForkChoiceRequest,
    GrowthRequest,
    ProofRequest,
    Size,
)
from transit.protocol.folders import pack_tar, pack_zip
from transit.server.access import ADMIN, READ, Grant
from transit.server.api.naming import check_reader, find
from transit.server.api.serving import (
    PAGE,
    PAGE_MAX,
    Call,
    NoQuery,
    body_of,
    listing_answer,
    query_of,
)
from transit.server.asgi import Answer, Request
from transit.server.proving import Evidence, file_name
from transit.server.refusals import NO_STORE, Header
from transit.server.service import Service

Q = TypeVar("Q", bound=msgspec.Struct)
_TEXT: Final[Header] = (b"content-type", f"{TEXT}; charset=utf-8".encode())
# Asked for again it is not sent again, and nobody is given an older one.
_AGAIN: Final[Header] = (b"cache-control", b"private, no-cache")


class CheckpointsQuery(msgspec.Struct, forbid_unknown_fields=True):
    """after: the size to begin behind. limit: how many at most."""

    after: Size | None = None
    limit: Annotated[int, Meta(ge=1, le=PAGE_MAX)] = PAGE


class CheckpointQuery(msgspec.Struct, forbid_unknown_fields=True):
    """size: of the checkpoint; null is the newest."""

    size: Size | None = None


class EvidenceCalls:
    """The routes of evidence."""

    def __init__(self, service: Service, evidence: Evidence) -> None:
        self._service = service
        self._log = service.log
        self._evidence = evidence

    def calls(self) -> list[Call]:
        """Their table."""
        folders, text = (ZIP, TAR), (TEXT,)
        return [
            Call("GET", "/v1/checkpoints", self._list, "The checkpoints of the store.",
                 CheckpointLine, CheckpointsQuery, kind="page"),
            Call("GET", "/v1/checkpoint", self._one, "A signed checkpoint: the newest, or another.",
                 None, CheckpointQuery, kind="file", media=text, has_tag=True),
            Call("POST", "/v1/checkpoint", self._sign, "Sign a checkpoint with the server's key.",
                 None, NoQuery, kind="file", media=text),
            Call("GET", "/v1/growth", self._growth,
                 "A proof that one checkpoint grew from another.",
                 None, GrowthRequest, kind="file", media=text),
            Call("POST", "/v1/growth", self._growth, "The same, asked for in a body.",
                 None, NoQuery, GrowthRequest, kind="file", media=text),
            Call("GET", "/v1/proofs/{name}", self._proof,
                 "A proof of records, or of where a stream comes from.",
                 None, ProofRequest, kind="file", media=folders),
            Call("POST", "/v1/proofs/{name}", self._proof, "The same, asked for in a body.",
                 None, NoQuery, ProofRequest, kind="file", media=folders),
            Call("GET", "/v1/finality/{name}", self._finality, "Where a stream ended, with proofs.",
                 None, FinalityRequest, kind="file", media=folders),
            Call("POST", "/v1/finality/{name}", self._finality, "The same, asked for in a body.",
                 None, NoQuery, FinalityRequest, kind="file", media=folders),
            Call("GET", "/v1/fork-choice/{name}", self._fork_choice,
                 "Which head a merge chose, with proofs.",
                 None, ForkChoiceRequest, kind="file", media=folders),
            Call("POST", "/v1/fork-choice/{name}", self._fork_choice,
                 "The same, asked for in a body.",
                 None, NoQuery, ForkChoiceRequest, kind="file", media=folders),
            Call("GET", "/v1/exhibits/{name}", self._exhibit,
                 "A run in one file, with the proofs of it.",
                 None, ExhibitRequest, kind="file", media=(ZIP,)),
        ]  # fmt: skip

    async def _asked(self, request: Request, kind: type[Q]) -> Q:
        """What is asked for, in the query of a GET or the body of a POST."""
        if request.method != "POST":
            return query_of(request, kind)
        query_of(request, NoQuery)
        return await body_of(request, self._service, kind)

    # Checkpoints

    async def _list(self, request: Request) -> Answer:
        query = query_of(request, CheckpointsQuery)
        check_reader(request.grant)
        found, after = await self._service.read(partial(self._listed, query))
        return listing_answer(request, found, after)

    def _listed(self, query: CheckpointsQuery) -> tuple[list[CheckpointLine], str | None]:
        sizes = self._log.checkpoints()
        start = 0 if query.after is None else bisect_right(sizes, query.after)
        shown = sizes[start : start + query.limit]
        after = str(shown[-1]) if start + len(shown) < len(sizes) else None
        return [self._line(size) for size in shown], after

    def _line(self, size: int) -> CheckpointLine:
        note = parse_note(self._log.checkpoint_note(size))
        head = Checkpoint.parse(note.text)
        names = [f"{each.name}+{each.key_id.hex()}" for each in note.signatures]
        return CheckpointLine(head.size, head.origin, head.root.hex(), names)

    async def _one(self, request: Request) -> Answer:
        query = query_of(request, CheckpointQuery)
        check_reader(request.grant)
        note = await self._service.read(partial(self._log.checkpoint_note, query.size))
        tag = f'"{sha256(note).hexdigest()}"'
        fields = [(b"etag", tag.encode()), _AGAIN]
        asked = request.headers.get("if-none-match", "")
        if tag in (each.strip().removeprefix("W/") for each in asked.split(",")) or asked == "*":
            return Answer(304, fields)
        return Answer(200, [_TEXT, *fields], note)

    async def _sign(self, request: Request) -> Answer:
        query_of(request, NoQuery)
        request.grant.check(ADMIN, "")
        signed = await self._evidence.sign()
        return Answer(200, [_TEXT, NO_STORE], signed.note)

    # Proofs

    async def _growth(self, request: Request) -> Answer:
        asked = await self._asked(request, GrowthRequest)
        check_reader(request.grant)
        made = await self._evidence.work(partial(self._evidence.growth, asked))
        return Answer(200, [_TEXT, NO_STORE], made)

    async def _proof(self, request: Request) -> Answer:
        asked = await self._asked(request, ProofRequest)

        def work() -> tuple[str, bytes]:
            stream = self._find(request)
            made = self._evidence.proof(request.grant, stream, asked)
            return file_name(stream.name, proof_ending(made)), packed(made, asked.format)

        return _file(*await self._evidence.work(work), asked.format)

    async def _finality(self, request: Request) -> Answer:
        asked = await self._asked(request, FinalityRequest)
        make = partial(self._evidence.finality, request.grant)
        return await self._envelope(request, make, asked, ".finality")

    async def _fork_choice(self, request: Request) -> Answer:
        asked = await self._asked(request, ForkChoiceRequest)
        make = partial(self._evidence.fork_choice, request.grant)
        return await self._envelope(request, make, asked, ".fork-choice")

    async def _envelope(
        self,
        request: Request,
        make: Callable[[Stream, Q], Mapping[str, bytes]],
        asked: Q,
        ending: str,
    ) -> Answer:
        form: str = asked.format  # type: ignore[attr-defined]

        def work() -> tuple[str, bytes]:
            stream = self._find(request)
            return file_name(stream.name, ending), packed(make(stream, asked), form)

        return _file(*await self._evidence.work(work), form)

    async def _exhibit(self, request: Request) -> Answer:
        asked = query_of(request, ExhibitRequest)

        def work() -> tuple[str, bytes]:
            stream = self._find(request)
            made = self._evidence.exhibit(request.grant, stream, asked)
            return file_name(stream.name, ".exhibit"), made

        return _file(*await self._evidence.work(work), "zip")

    def _find(self, request: Request) -> Stream:
        grant: Grant = request.grant
        return find(self._log, grant, READ, request.name)


def packed(files: Mapping[str, bytes], form: str) -> bytes:
    """A folder as a file."""
    return pack_tar(files) if form == "tar" else pack_zip(files)


def proof_ending(proof: Proof) -> str:
    """What the name of a proof's file ends in: `@1.proof` of one record."""
    first, stop = proof.shown.records
    return f"@{first}.proof" if stop == first + 1 else ".proof"


def _file(name: str, data: bytes, form: str) -> Answer:
    kind = TAR if form == "tar" else ZIP
    told = f'attachment; filename="{name}.{form}"'.encode()
    fields = [(b"content-type", kind.encode()), (b"content-disposition", told), NO_STORE]
    return Answer(200, fields, data)
