"""What the page needs of the server that it is a part of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from transit.server.access import Grant
from transit.server.channels import Channels
from transit.server.proving import Evidence
from transit.server.service import Service
from transit.server.views.room import ViewRoom
from transit.trace import Prices


class Served(Protocol):
    """A server with a page.

    grant_of: what a token allows, None for one that is not known; None where no tokens are asked
    for. prices: of tokens, for what runs cost; None where nobody said. views: what is served of
    views, SQL and reconcilers. evidence: what makes proofs. channels: those that are looked at.
    """

    service: Service
    views: ViewRoom
    evidence: Evidence
    channels: Channels
    grant_of: Callable[[str], Grant | None] | None
    prices: Prices | None
