"""What shows that a stream is what it is, on its page: checkpoint, files to take along, retention.

Owns what is said there, and the two addresses by which a browser gets files: the page's cookie
means nothing to the routes under /v1. Nothing of a checkpoint is verified for a page, and it says
so: whoever wants to know takes the file along.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256

import msgspec

from transit import Became, Log, Stream, TransitError
from transit.protocol.evidence import ZIP, ExhibitRequest, ProofRequest
from transit.protocol.folders import pack_zip
from transit.protocol.keeping import RetentionAnswer
from transit.server.access import READ, Grant
from transit.server.api.keeping import kept
from transit.server.asgi import Answer, Request
from transit.server.page import asking
from transit.server.page.derived import Site
from transit.server.page.lists import is_run
from transit.server.page.serving import Served
from transit.server.proving import Covered, Evidence, file_name
from transit.server.refusals import NO_STORE
from transit.server.routes import Route

KNOWN_MAX = 1_000
NEWEST_S = 5.0
_TAKEN = ("trimmed", "deleted", "erased")


class Shown(msgspec.Struct, frozen=True):
    """What is said of a stream.

    covered: by the newest checkpoint; None where none covers it. may_take: whether the client may
    read all that a proof of it shows. at: the record that the page is about. went: what was
    trimmed, deleted, erased.
    """

    covered: Covered | None
    may_take: bool
    is_run: bool
    at: int | None
    kept: RetentionAnswer
    went: tuple[Became, ...]

    @property
    def is_held(self) -> bool:
        """Whether something is to be said of how long it is kept."""
        limits = msgspec.structs.astuple(self.kept.retention)
        return bool(self.kept.holds or any(each is not None for each in limits))


class EvidencePages:
    """The files that a page offers, and what it says of them."""

    def __init__(self, site: Site, served: Served) -> None:
        self._site = site
        self._evidence: Evidence = served.evidence
        self._service = served.service
        # What a checkpoint covers never changes: by the stream and the checkpoint's note.
        self._known: dict[tuple[str, bytes], Covered | None] = {}
        # The newest note, None for none, and when it was looked for.
        self._newest: tuple[float, bytes | None] = (-math.inf, None)

    def routes(self) -> list[Route]:
        """What they answer."""
        page = self._site.page
        return [
            Route("GET", "/proof", page(self._proof)),
            Route("GET", "/exhibit", page(self._exhibit)),
        ]

    async def shown(self, request: Request, stream: Stream, at: int | None = None) -> Shown:
        """What is said of a stream on its page."""
        grant = request.grant
        return await self._service.read(lambda: self._shown(grant, stream, at))

    def _shown(self, grant: Grant, stream: Stream, at: int | None) -> Shown:
        covered, state = self._covered(stream), kept(stream)
        may_take = covered is not None and all(grant.allows(READ, name) for name in covered.streams)
        went = tuple(each for each in state.became if each.what in _TAKEN)
        return Shown(covered, may_take, is_run(stream), at, state, went)

    def _covered(self, stream: Stream) -> Covered | None:
        note = self._note()
        if note is None:
            return None
        try:
            key = stream.uid, sha256(note).digest()
            if key not in self._known:
                if len(self._known) >= KNOWN_MAX:
                    self._known.clear()
                self._known[key] = self._evidence.covered(stream, note)
            return self._known[key]
        except TransitError:
            # The page is shown without: what is wrong, a proof that is asked for says.
            return None

    def _note(self) -> bytes | None:
        """The newest checkpoint; of a store with a remote as it was a moment ago."""
        now, (at, note) = time.monotonic(), self._newest
        if self._service.has_remote and now - at < NEWEST_S:
            return note
        # Where nothing is here a remote is asked: a page must not wait for one that is away each
        # time that it is looked at.
        note = None
        with suppress(TransitError):
            note = self._service.log.checkpoint_note()
        self._newest = time.monotonic(), note
        return note

    async def _proof(self, request: Request) -> Answer:
        query = asking.known(request, "name", "at")
        stream = await self._site.stream_of(request, query.get("name", ""))
        at = asking.number(query["at"], "at") if "at" in query else None
        asked = ProofRequest(start=0, end=True) if at is None else ProofRequest(offset=at)
        if at is None and stream.first_offset:
            asked = ProofRequest(start=stream.first_offset, end=True)
        grant, evidence = request.grant, self._evidence
        data = await evidence.work(lambda: pack_zip(evidence.proof(grant, stream, asked)))
        return _file(file_name(stream.name, ".proof" if at is None else f"@{at}.proof"), data)

    async def _exhibit(self, request: Request) -> Answer:
        query = asking.known(request, "name")
        run = await self._site.stream_of(request, query.get("name", ""))
        grant, evidence = request.grant, self._evidence
        data = await evidence.work(lambda: evidence.exhibit(grant, run, ExhibitRequest()))
        return _file(file_name(run.name, ".exhibit"), data)


def gone(log: Log, grant: Grant, name: str) -> RetentionAnswer | None:
    """The stream that had a name and was deleted last; None where there is none to be told of."""
    if name[:1] == "$" or not grant.allows(READ, name):
        return None
    found = [each for each in _hidden(log, name) if each.deleted]
    return kept(found[-1]) if found else None


def _hidden(log: Log, name: str) -> Iterator[Stream]:
    return (each for each in log.hidden(name) if each.name == name)


def _file(name: str, data: bytes) -> Answer:
    told = f'attachment; filename="{name}.zip"'.encode()
    policy = (b"content-security-policy", b"default-src 'none'")
    fields = [(b"content-type", ZIP.encode()), (b"content-disposition", told), policy, NO_STORE]
    return Answer(200, fields, data)
