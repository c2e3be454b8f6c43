"""How often those may ask who show no token: an allowance for each address.

Owns only so many of them: whose allowance was used longest ago is forgotten first, and has all of
it again. Of IPv6 a network of 64 bits counts as one address: whoever has one, has all of it.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from transit.server.asgi import Request
from transit.server.refusals import NO_STORE, RefusedError

ADDRESSES_MAX: Final = 10_000


class Allowances:
    """What each address has left. rate: requests a second; as many may be saved up, one at least.

    clock: seconds.
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._saved = max(rate, 1.0)
        self._clock = clock
        # By address: what is left, and as of when.
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, request: Request) -> None:
        """Count a request; `RefusedError` (429) where its address has sent too many."""
        address, now = address_of(request), self._clock()
        left, at = self._left.pop(address, (self._saved, now))
        left = min(self._saved, left + (now - at) * self._rate)
        is_refused = left < 1.0
        self._left[address] = (left if is_refused else left - 1.0), now
        if len(self._left) > ADDRESSES_MAX:
            self._left.popitem(last=False)
        if is_refused:
            wait = b"%d" % max(1, math.ceil((1.0 - left) / self._rate))
            detail = f"{self._rate:g} requests a second may come from one address"
            raise RefusedError(429, detail, ((b"retry-after", wait), NO_STORE))


def address_of(request: Request) -> str:
    """Where a request comes from; "" where nothing says it."""
    client = request.scope.get("client")
    if client is None:
        return ""
    try:
        address = ipaddress.ip_address(client[0])
    except ValueError:
        return str(client[0])
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, 64), strict=False))
