"""Taking over: the commit that fences the writer before, tried until it has a number.

Owns the attempts: what the writer publishes meanwhile is brought, and the next number is tried. A
takeover by somebody else ends it: whoever decided to take over did not know of that one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from transit.config import Settings
from transit.disk import remove
from transit.engine.standing import Standing
from transit.engine.takeovers import Takeover, takeover_of
from transit.errors import ConflictError, CorruptError, FencedError
from transit.format.commit import Commit
from transit.format.lineage import LINEAGE_ID, Root, decode_lineage
from transit.format.names import layer_of
from transit.format.takeover import (
    TAKEOVERS,
    TakeoverRecord,
    decode_takeover,
    encode_takeover,
    takeover_stream_name,
)
from transit.handle.encrypting import check_keys
from transit.log.catalog import Catalog
from transit.log.takeover import seal_takeover, time_of_next
from transit.tier.fence import create_takeover
from transit.tier.remote import Remote

TRIES: Final = 32
"""How often a takeover is tried while the writer goes on publishing."""


class Wanted(NamedTuple):
    """A takeover asked for; all of it is checked."""

    takeover_id: str
    by: str
    reason: str


def fence_off(standing: Standing, remote: Remote, settings: Settings, wanted: Wanted) -> Takeover:
    """Take over the store, LOCK held: what the takeover's record says.

    Raises `FencedError` when somebody else took over meanwhile, or the writer won every number.
    """
    catalog = standing.catalog
    catalog.follow(write=False)
    known = catalog.stream_count()
    standing.catch_up(None)
    check_keys(catalog)
    name = takeover_stream_name(wanted.takeover_id)
    if (made := catalog.find(name)) is not None:
        return _made_before(catalog, made, wanted.takeover_id)
    _check_alone(catalog, known, remote.url)
    remote.claim(standing.store_id)
    for lost in range(TRIES):
        said = _record(catalog, wanted, lost)
        sealed = seal_takeover(catalog, settings, name, encode_takeover(said), said.at)
        if create_takeover(remote, catalog, sealed) is None:
            return takeover_of(wanted.takeover_id, said)
        # No commit ever names it.
        remove(catalog.places.segment(sealed.ref.digest))
        standing.catch_up_again()
        _check_alone(catalog, known, remote.url)
    raise _outrun(catalog, remote.url)


def _outrun(catalog: Catalog, url: str) -> FencedError:
    head = catalog.commits.head
    return FencedError(
        f"{url}: the writer published each time that it was to be taken over, {TRIES} times, so it "
        "is alive: end it first, or try again; nothing was changed",
        store=url,
        number=head.number if head else 0,
        epoch=head.epoch if head else 0,
    )


def _record(catalog: Catalog, wanted: Wanted, lost: int) -> TakeoverRecord:
    """What this takeover says: what it goes on from is what the folder has now."""
    commits = catalog.commits
    return TakeoverRecord(
        at=time_of_next(catalog),
        by=wanted.by,
        reason=wanted.reason,
        commit=commits.count,
        root=commits.root,
        records=commits.next_lsn,
        written=written_last(commits.head),
        epoch=commits.head.epoch if commits.head else -1,
        lost=lost,
    )


def written_last(head: Commit | None) -> int:
    """When the last record of a commit was written, UTC nanoseconds; 0 without one."""
    return head.segments[-1].written[1] if head is not None else 0


def _made_before(catalog: Catalog, stream: int, takeover_id: str) -> Takeover:
    """The takeover that was made by this id, if it is the last one there was."""
    for later, name in _takeovers_from(catalog, stream + 1):
        said = _first_record(catalog, later, name)
        raise ConflictError(
            f"{catalog.root}: takeover {takeover_id!r} was made, and at commit {said.commit} "
            f"{said.by} took over from it"
        )
    return takeover_of(takeover_id, _first_record(catalog, stream, takeover_id))


def _check_alone(catalog: Catalog, known: int, url: str) -> None:
    """`FencedError` when somebody else took over since there were `known` streams here."""
    for stream, name in _takeovers_from(catalog, known):
        said = _first_record(catalog, stream, name)
        raise FencedError(
            f"{url}: {said.by} took over at commit {said.commit}, before this could; nothing was "
            "changed: this folder is a standby of that writer now",
            store=url,
            number=said.commit,
            epoch=said.epoch + 1,
        )


def _takeovers_from(catalog: Catalog, first: int) -> Iterator[tuple[int, str]]:
    """The takeovers' streams from id `first` on: id and name."""
    if first == catalog.stream_count():
        return
    for chunk in catalog.chunks(LINEAGE_ID, first, catalog.stream_count()):
        start = max(first - chunk.first, 0)
        for stream, payload in enumerate(chunk.payloads(start), chunk.first + start):
            record = decode_lineage(payload, stream)
            # What a rebase made a branch of is no takeover of its own.
            if isinstance(record, Root) and layer_of(record.name) == TAKEOVERS:
                yield stream, record.name


def _first_record(catalog: Catalog, stream: int, name: str) -> TakeoverRecord:
    for chunk in catalog.chunks(stream, 0, 1):
        said = decode_takeover(chunk.payload(0), f"{name}@0")
        if isinstance(said, TakeoverRecord):
            return said
    raise CorruptError(f"{name}@0", expected="a takeover", found="another record, or none")
