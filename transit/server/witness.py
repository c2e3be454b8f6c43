"""A witness of other logs, at /witness/ of a server (C2SP tlog-witness 1.0.0).

    POST /witness/add-checkpoint        a log's checkpoint, with the path from the latest one known
    GET  /witness/<hex>/checkpoint      the latest one, cosigned; <hex>: SHA-256 of the log's origin

Owns what a witness remembers, as records of the layer `witness` of the store that is served:

    $witness/<hex>       the notes it cosigned for one log, each with its own cosignatures; the last
                         one is the latest
    $witness/evidence    checkpoints signed by a log's key that did not extend the latest one

A cosignature is answered once the note is durable, appended only if no other came meanwhile: so
there are never two cosigned trees of one size, whatever dies when. No token is asked for: a request
is judged by the log's signature, and an address may send `witness_rate_max` a second. What is
decided is `transit.proof.witness`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import Final, NamedTuple

from transit import (
    AlreadyExistsError,
    InvalidInputError,
    NotFoundError,
    SigningKey,
    Stream,
    VerifyingKey,
)
from transit.proof.checkpoint import Checkpoint, add_signatures
from transit.proof.notes import parse_note, parse_signatures
from transit.proof.witness import Answer as Decided
from transit.proof.witness import Latest, decide, monitor_path
from transit.server.allowances import Allowances
from transit.server.asgi import Answer, Request
from transit.server.gate import WITNESS
from transit.server.refusals import NO_STORE, RefusedError
from transit.server.routes import Route
from transit.server.service import Service

LAYER: Final = "witness"
EVIDENCE: Final = "evidence"
BODY_BYTES_MAX: Final = 1024 * 1024 + 100_000
EVIDENCE_MAX: Final = 1_000


class WitnessKeys(NamedTuple):
    """Whom a witness cosigns, and with which keys of its own. logs: by origin."""

    keys: tuple[SigningKey, ...]
    logs: Mapping[str, Sequence[VerifyingKey]]


def witness_keys(keys: Sequence[SigningKey], logs: Sequence[VerifyingKey]) -> WitnessKeys:
    """Keys of a witness and of the logs it witnesses; `InvalidInputError` where one is missing."""
    if not keys or not logs:
        raise InvalidInputError("a witness needs a key of its own, and the key of a log")
    by_origin: dict[str, list[VerifyingKey]] = {}
    for key in logs:
        by_origin.setdefault(key.name, []).append(key)
    return WitnessKeys(tuple(keys), by_origin)


class Witnessing:
    """The witness of one server."""

    def __init__(self, service: Service, keys: WitnessKeys) -> None:
        if not service.is_writable:
            raise InvalidInputError("a witness writes down what it cosigns: the store is read-only")
        self._service = service
        self._keys = keys
        self._layer = service.log.layer(LAYER)
        self._allowances = Allowances(service.settings.witness_rate_max)
        # Digests of the evidence that is kept, once it was looked at.
        self._evidence: set[bytes] | None = None
        self._names = {monitor_path(origin): origin for origin in keys.logs}

    def routes(self) -> list[Route]:
        """Its routes."""
        return [
            Route("POST", WITNESS + "add-checkpoint", self._add),
            Route("GET", WITNESS + "{name}", self._latest),
        ]

    async def _add(self, request: Request) -> Answer:
        service = self._service
        self._allowances.take(request)
        body = await request.body(BODY_BYTES_MAX, service.settings.body_s)
        # Again where another process of a shared store came between.
        decided = await service.write_again(partial(self._decide, body))
        if decided.new_state is not None or decided.evidence:
            await service.reach("local")
        content_type = decided.content_type.encode()
        return Answer(decided.status, [(b"content-type", content_type), NO_STORE], decided.body)

    async def _latest(self, request: Request) -> Answer:
        origin = self._names.get(request.name)
        note = b"" if origin is None else (await self._service.read(partial(self._note, origin)))
        if not note:
            raise RefusedError(404, "no checkpoint of such a log was cosigned here", (NO_STORE,))
        return Answer(200, [(b"content-type", b"text/plain; charset=utf-8"), NO_STORE], note)

    # In a thread that writes

    def _decide(self, body: bytes) -> Decided:
        origin = _origin_of(body)
        stream = self._stream(origin) if origin in self._keys.logs else None
        count = 0 if stream is None else len(stream)
        note = stream[-1].payload if stream is not None and count else b""
        decided = decide(
            body,
            {origin: _latest_of(note)} if note else {},
            logs=self._keys.logs,
            keys=self._keys.keys,
            now=int(time.time()),
        )
        if decided.evidence:
            self._keep_evidence(decided.evidence)
        if decided.new_state is not None and stream is not None:
            lines = parse_signatures(decided.body.decode(), "cosignature")
            cosigned = add_signatures(parse_note(decided.new_state.note), lines)
            stream.append(cosigned.encode(), expect=count, durability="os")
        return decided

    def _note(self, origin: str) -> bytes:
        try:
            stream = self._layer.stream(_name_of(origin))
        except NotFoundError:
            return b""
        return stream[-1].payload if len(stream) else b""

    def _stream(self, origin: str) -> Stream:
        name = _name_of(origin)
        try:
            return self._layer.stream(name)
        except NotFoundError:
            try:
                return self._layer.create(name, {"origin": origin})
            except AlreadyExistsError:
                return self._layer.stream(name)

    def _keep_evidence(self, note: bytes) -> None:
        try:
            stream = self._layer.stream(EVIDENCE)
        except NotFoundError:
            stream = self._layer.create(EVIDENCE)
        if self._evidence is None:
            self._evidence = {sha256(each.payload).digest() for each in stream}
        known = sha256(note).digest()
        # Who has a log's key could fill the disk otherwise.
        if len(self._evidence) < EVIDENCE_MAX and known not in self._evidence:
            stream.append(note, durability="os")
            self._evidence.add(known)


def _name_of(origin: str) -> str:
    return sha256(origin.encode()).hexdigest()


def _origin_of(body: bytes) -> str:
    """The first line of the checkpoint in a body, whatever else it is; "" where there is none."""
    _, _, note = body.partition(b"\n\n")
    return note.partition(b"\n")[0].decode("utf-8", "replace")


def _latest_of(note: bytes) -> Latest:
    head = Checkpoint.parse(parse_note(note).text)
    return Latest(head.size, head.root, note)
