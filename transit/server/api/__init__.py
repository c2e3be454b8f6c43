"""What the embedded engine can do, over HTTP: the routes beside the Durable Streams protocol.

Owns how calls of the engine are asked for and answered under /v1; what they do is the engine's,
what their bodies look like `transit.protocol.calls`. Every route is one entry of a table, from
which it is served and described.

    serving    a route as an entry of the table; queries, bodies and answers of either media type
    naming     names of streams in requests, and whether the client may use them
    streams    listings and descriptions
    frames     steps, written as one frame
    steps      what each step needs a right for, and how it is staged
    producers  what is remembered of those who send frames, so that a retry writes nothing
    records    reading, and waiting for more
    lineage    how streams descend from one another
    cursors    where cursors stand
    store      what is served; plans of merges; what an administrator asks for
    changes    which streams have more, as events; readers: what one watch is to be told;
    recent     which streams changed lately, for all watches
    evidence   checkpoints, proofs and exhibits, as files
    keeping    how long records are kept, and taking them away
    openapi    the description of all that

Routes of views, SQL and reconcilers are in `transit.server.views`; they are entries of this table.
"""

from __future__ import annotations

from collections.abc import Iterable

from transit.server.api.changes import ChangeCalls
from transit.server.api.cursors import Cursors
from transit.server.api.evidence import EvidenceCalls
from transit.server.api.frames import Frames
from transit.server.api.keeping import KeepingCalls
from transit.server.api.lineage import LineageCalls
from transit.server.api.openapi import Describing
from transit.server.api.records import Reading
from transit.server.api.serving import Call
from transit.server.api.store import StoreCalls
from transit.server.api.streams import Listings
from transit.server.proving import Evidence
from transit.server.routes import Route
from transit.server.service import Service
from transit.server.streams import Streams


def table(
    service: Service, streams: Streams, evidence: Evidence, more: Iterable[Call] = ()
) -> list[Call]:
    """All routes of the superset; more: those of other rooms."""
    calls = [
        *StoreCalls(service).calls(),
        *Listings(service).calls(),
        *Frames(service, streams).calls(),
        *Reading(service, streams).calls(),
        *Cursors(service).calls(),
        *LineageCalls(service).calls(),
        *ChangeCalls(service, streams).calls(),
        *EvidenceCalls(service, evidence).calls(),
        *KeepingCalls(service, streams.lives).calls(),
        *more,
    ]
    return [*calls, *Describing(calls).calls()]


def routes(calls: Iterable[Call]) -> list[Route]:
    """The same, as the server finds them."""
    return [Route(call.method, call.path, call.handler) for call in calls]
