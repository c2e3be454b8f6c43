"""Proofs and exhibits for clients: made within their grants, within bounds, a few at a time.

Owns the two rules that all ways to a proof keep (routes, tools of agents, the page): a client gets
a proof only where it may read every stream that the proof shows anything of, and none that holds
more than `proof_bytes_max`. A proof has whole chunks: of a parent also records after the fork, so
the right to read what was made from it is not enough.

What a proof says beside that of others (ids, counts and digests of the chunks beside its own, the
commits) every proof says: it is how it is checked.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Final, NamedTuple, TypeVar

from transit import (
    EnvelopeProof,
    InvalidInputError,
    Log,
    NotFoundError,
    Policy,
    Position,
    Proof,
    SignedCheckpoint,
    SigningKey,
    Stream,
    Witness,
)
from transit.proof.checkpoint import Checkpoint
from transit.proof.notes import parse_note
from transit.protocol.evidence import (
    ExhibitRequest,
    FinalityRequest,
    ForkChoiceRequest,
    GrowthRequest,
    ProofRequest,
)
from transit.server.access import ARTIFACTS, READ, Grant
from transit.server.refusals import NO_STORE, RefusedError
from transit.server.service import Service
from transit.trace.names import is_run

T = TypeVar("T")
Asked = ProofRequest | FinalityRequest | ForkChoiceRequest | GrowthRequest | ExhibitRequest

# What a record takes beside its payload, and a commit with the way to its root and two leaves.
_RECORD_BYTES: Final = 32
_COMMIT_BYTES: Final = 3 * 1024
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")


class Signing(NamedTuple):
    """With what a server signs checkpoints of its store when it is asked to.

    witnesses: asked to cosign. policy: that must be met, or None.
    """

    keys: tuple[SigningKey, ...]
    witnesses: tuple[Witness, ...] = ()
    policy: Policy | None = None


def signing_of(
    log: Log,
    keys: Sequence[SigningKey],
    witnesses: Sequence[Witness] = (),
    policy: Policy | None = None,
) -> Signing:
    """What signs a store's checkpoints; `InvalidInputError` for keys of another store, or none."""
    if not keys:
        raise InvalidInputError("a policy of checkpoints without a key that signs them")
    if log.mode == "read":
        raise InvalidInputError("checkpoints are signed where the store is written: it is not here")
    for key in keys:
        if not key.verifying.name.endswith(f"/{log.store_id}"):
            raise InvalidInputError(
                f"the key's name {key.verifying.name!a} does not end in /{log.store_id}, "
                "the id of the store that is served"
            )
    return Signing(tuple(keys), tuple(witnesses), policy)


class Covered(NamedTuple):
    """The newest checkpoint, and how much of a stream it covers.

    records: so many of the first. cosigned: names in lines of others than the log itself under it.
    streams: of which a proof of the stream shows anything. Nothing of it is verified here.
    """

    size: int
    origin: str
    root: str
    records: int
    cosigned: tuple[str, ...]
    streams: frozenset[str]


class Evidence:
    """What proves what one served store holds. Its threads end with `close`."""

    def __init__(self, service: Service, signing: Signing | None = None) -> None:
        self._service = service
        self._log = service.log
        self._signing = signing
        self._settings = service.settings
        self._pool = ThreadPoolExecutor(service.settings.proofs_max, "transit-server-prove")
        self._pending = 0
        self._turn = asyncio.Lock()

    def close(self) -> None:
        """End the threads; what they do is finished first."""
        self._pool.shutdown()

    def end(self) -> None:
        """Let the threads end once they are done."""
        self._pool.shutdown(wait=False)

    async def work(self, work: Callable[[], T]) -> T:
        """Do `work` among the proofs that are made; `RefusedError` 503 where too many wait."""
        if self._pending >= self._settings.proofs_waiting_max:
            raise RefusedError(503, "too many proofs are made", ((b"retry-after", b"1"), NO_STORE))
        try:
            task = self._pool.submit(work)
        except RuntimeError:
            raise RefusedError(503, "the server ends", ((b"retry-after", b"1"), NO_STORE)) from None
        # Until the thread is done, whether or not the client still waits.
        self._pending += 1
        loop = asyncio.get_running_loop()
        task.add_done_callback(partial(self._ended, loop))
        return await asyncio.wrap_future(task)

    def _ended(self, loop: asyncio.AbstractEventLoop, task: Future[object]) -> None:
        def count() -> None:
            self._pending -= 1

        if not loop.is_closed():
            loop.call_soon_threadsafe(count)

    # Checkpoints

    @property
    def signs(self) -> bool:
        """Whether the server has a key of the store's."""
        return self._signing is not None

    async def sign(self) -> SignedCheckpoint:
        """A new checkpoint, signed by the server; `RefusedError` 501 where it has no key.

        It is made to its end also where who asked for it has gone.
        """
        signing = self._signing
        if signing is None:
            raise RefusedError(
                501, "the server has no key: transit serve --checkpoint-key", (NO_STORE,)
            )
        make = partial(
            self._log.checkpoint,
            signing.keys,
            witnesses=signing.witnesses,
            policy=signing.policy,
        )

        async def made() -> SignedCheckpoint:
            async with self._turn:
                return await asyncio.to_thread(make)

        task = asyncio.create_task(made())
        # Where nobody waits any more, nobody takes up what was raised.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(task)

    def note_of(self, asked: Asked) -> bytes:
        """The note of the checkpoint that a request stands on; in a thread for reads."""
        return self._note(asked.size, asked.checkpoint)

    def _note(self, size: int | None, note: str | None) -> bytes:
        if size is not None and note is not None:
            raise InvalidInputError("a checkpoint by its size, or its note: not both")
        if note is not None:
            try:
                return note.encode()
            except UnicodeEncodeError:
                raise InvalidInputError("the checkpoint is no text") from None
        try:
            return self._log.checkpoint_note(size)
        except NotFoundError:
            if size is not None:
                raise
            # As a proof of an embedded store says it.
            raise InvalidInputError(
                "this store has no checkpoint: one is to be made, and proofs stand on it"
            ) from None

    def covered(self, stream: Stream, note: bytes) -> Covered | None:
        """What a checkpoint of the store covers of a stream; None where it is from before it."""
        parsed = parse_note(note)
        head = Checkpoint.parse(parsed.text)
        try:
            proof = self._log.prove(stream, checkpoint=note)
        except InvalidInputError:
            return None
        names = (each.name for each in parsed.signatures if each.name != head.origin)
        return Covered(
            head.size,
            head.origin,
            head.root.hex(),
            proof.shown.records[1],
            tuple(dict.fromkeys(names)),
            streams_of([proof]),
        )

    # Proofs, in a thread

    def growth(self, asked: GrowthRequest) -> bytes:
        """That one checkpoint grew from another."""
        if asked.old_size is None and asked.old is None:
            raise InvalidInputError("name the older checkpoint: old_size, or old")
        return self._log.prove_growth(self._note(asked.old_size, asked.old), self.note_of(asked))

    def proof(self, grant: Grant, stream: Stream, asked: ProofRequest) -> Proof:
        """What is in a stream, as `Log.prove`."""
        note = self.note_of(asked)
        records = None
        if asked.start is not None or asked.stop is not None:
            if asked.offset is not None:
                raise InvalidInputError("an offset, or start and stop: not both")
            records = asked.start or 0, asked.stop
        if records is not None:
            self._check_records(stream, records, note)
        if asked.end:
            self._check_commits(stream, note)
        made = self._log.prove(
            stream, asked.offset, records=records, end=asked.end, checkpoint=note
        )
        check_shown(grant, streams_of([made]))
        return made

    def finality(self, grant: Grant, stream: Stream, asked: FinalityRequest) -> EnvelopeProof:
        """Where a stream ended, as `Log.prove_finality`."""
        note = self.note_of(asked)
        self._check_commits(stream, note)
        made = self._log.prove_finality(
            stream, checkpoint_kind=asked.checkpoint_kind,
            application_block=asked.application_block, checkpoint=note,
        )  # fmt: skip
        check_shown(grant, streams_of(made.proofs))
        return made

    def fork_choice(self, grant: Grant, stream: Stream, asked: ForkChoiceRequest) -> EnvelopeProof:
        """Which head a merge chose, as `Log.prove_fork_choice`."""
        note = self.note_of(asked)
        for each in (stream, *self._log.lineage.parents(stream)):
            # Asked first: what is in the way of a proof may name them.
            check_shown(grant, (each.name,))
            self._check_commits(each, note)
        made = self._log.prove_fork_choice(
            stream, checkpoint_kind=asked.checkpoint_kind,
            application_block=asked.application_block, checkpoint=note,
        )  # fmt: skip
        check_shown(grant, streams_of(made.proofs))
        return made

    def exhibit(self, grant: Grant, run: Stream, asked: ExhibitRequest) -> bytes:
        """A run in one file, as `trace.files.exhibits.exhibit` writes it."""
        # Loaded here: it is seldom asked for.
        from transit.trace.files.exhibits.making import made

        if not is_run(run):
            raise InvalidInputError(f"{run.name} is no run: a proof is for any stream")
        note, left = self.note_of(asked), self._settings.proof_bytes_max

        def admit(stream: Stream) -> None:
            nonlocal left
            check_shown(grant, (stream.name,))
            left -= self._size(stream, stream.first_offset, None, left)
            if not stream.name.startswith(ARTIFACTS):
                self._check_commits(stream, note)

        exhibit = made(self._log, run, note, admit)
        check_shown(grant, exhibit.streams)
        return exhibit.zipped()

    # Bounds

    def _check_records(self, stream: Stream, records: tuple[int, int | None], note: bytes) -> None:
        start, stop = records
        if stop is None:
            stop = self._log.prove(stream, checkpoint=note).shown.records[1]
        if start < stop <= stream.next_offset:
            self._size(stream, start, stop, self._settings.proof_bytes_max)

    def _size(self, stream: Stream, start: int, stop: int | None, most: int) -> int:
        """What these records take; `RefusedError` 413 for more than `most`."""
        size = 0
        for batch in stream.batches(start, stop):
            size += len(batch.data) + _RECORD_BYTES * len(batch)
            if size > most:
                raise self._too_large("records")
        return size

    def _check_commits(self, stream: Stream, note: bytes) -> None:
        """Refuse a proof that a stream ended, where too many commits came after its end."""
        size, first = Checkpoint.parse(parse_note(note).text).size, 0
        count = stream.next_offset
        # What is hidden is found by no name, and then every commit counts.
        if count > stream.first_offset and not stream.hidden:
            commit = self._log.lineage.why(Position(stream.name, count - 1)).commit
            first = size if commit is None else commit.number
        if (size - first) * _COMMIT_BYTES > self._settings.proof_bytes_max:
            raise self._too_large("commits")

    def _too_large(self, what: str) -> RefusedError:
        most = self._settings.proof_bytes_max
        return RefusedError(
            413, f"its {what} take more than the {most} bytes of a proof that is made here",
            (NO_STORE,),
        )  # fmt: skip


def streams_of(proofs: Iterable[Proof]) -> frozenset[str]:
    """The names of all streams that proofs show anything of."""
    return frozenset(record.name for proof in proofs for record in proof.checked.streams.values())


def check_shown(grant: Grant, streams: Iterable[str]) -> None:
    """`RefusedError` (403) unless the client may read all that a proof shows. Names none."""
    if not all(grant.allows(READ, name) for name in streams):
        raise RefusedError(
            403, "the proof shows streams that the token does not allow to read", (NO_STORE,)
        )


def file_name(stream: str, ending: str) -> str:
    """A name for a file about a stream, in plain characters."""
    last = _UNSAFE.sub("_", stream.rpartition("/")[2]).strip("._") or "stream"
    return f"{last[:100]}{ending}"
