"""Stores that a server serves (`transit serve`), used as embedded ones: `transit.connect`.

Owns the other side of the server's routes under /v1 (`transit.protocol.calls`): classes that are
the engine's by type, and requests by what they do. What a network cannot give is in one list
(`absent`). Needs urllib3.

    address       where a server is
    link          one request and its answer: connections, deadlines, what is asked again
    lanes         frames, written once however often they are sent
    submitting    records that are gathered into frames
    waiters       threads that wait for tasks of event loops
    connection    the four together, and what is known of the store
    pages         records as they are sent -> the engine's
    absent        what is not there, and why
    views, states, changes
                  views, SQL and reconcilers of the server; states: tables at an offset
    stream, cursor, layer, batch, lineage, watching, log
                  what a user holds
    kept          a stream's side that says how long its records are there, and lets them go
    health        whether a server is well
    evidence      checkpoints and proofs, checked here
    removal       the log's side that lets records go
    listing, asking, following
                  what those share: streams by name, merges, waiting for more
    witnesses     how a log reaches a witness of its checkpoints
"""

from __future__ import annotations

from transit.client.address import read_address
from transit.client.connection import Connection
from transit.client.link import Link
from transit.client.log import ConnectedLog
from transit.engine.trusted import Keys, policy_of
from transit.errors import InvalidInputError
from transit.proof.policy import Policy


def connect(
    url: str,
    *,
    token: str | None = None,
    durability: str | None = None,
    timeout_s: float = 30.0,
    ca_file: str | None = None,
    keys: Keys | None = None,
    policy: Policy | None = None,
) -> ConnectedLog:
    """See `transit.connect`."""
    if type(timeout_s) not in (int, float) or not 0 < timeout_s < float("inf"):
        raise InvalidInputError(f"timeout_s must be seconds, not {timeout_s!r}")
    trusted = policy_of(keys, policy)
    address = read_address(url)
    link = Link(address, token, float(timeout_s), ca_file)
    try:
        return ConnectedLog(Connection(link, durability, trusted))
    except BaseException:
        link.close()
        raise
