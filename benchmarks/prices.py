"""What requests and stored bytes cost, so that a count of requests says something."""

from __future__ import annotations

import msgspec


class Prices(msgspec.Struct, frozen=True):
    """US dollars; the defaults are list prices of S3 Standard in us-east-1 as of 2026.

    put: per 1,000 PUT and LIST. get: per 1,000 GET and HEAD. month: per GB and month, up to 50 TB.
    Deletions are free. Bytes that leave the region, which cost more than all of this, are not here.
    """

    put: float = 0.005
    get: float = 0.0004
    month: float = 0.023


def parse_prices(text: str) -> Prices:
    """Prices from `put=0.005,get=0.0004,month=0.023`, any of them; ValueError otherwise."""
    given: dict[str, float] = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        if name not in Prices.__struct_fields__:
            raise ValueError(f"no such price: {name!r}")
        given[name] = float(value)
        if not 0 <= given[name] < float("inf"):
            raise ValueError(f"not a price: {part!r}")
    return Prices(**given)
