"""How often an address may ask that shows no token."""

from __future__ import annotations

from typing import Any

import pytest

from transit.server.allowances import ADDRESSES_MAX, Allowances, address_of
from transit.server.asgi import Head, Request
from transit.server.refusals import RefusedError


def from_(address: str | None) -> Request:
    scope: dict[str, Any] = {"method": "POST", "path": "/", "headers": []}
    if address is not None:
        scope["client"] = (address, 1)
    return Request(Head(scope))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def refusal(allowances: Allowances, address: str | None) -> RefusedError | None:
    try:
        allowances.take(from_(address))
    except RefusedError as error:
        return error
    return None


def test_an_address_has_its_rate_and_another_has_its_own() -> None:
    clock = Clock()
    allowances = Allowances(3.0, clock)
    assert [refusal(allowances, "10.0.0.1") for _ in range(3)] == [None] * 3
    refused = refusal(allowances, "10.0.0.1")
    assert refused is not None
    assert refused.status == 429
    assert (b"retry-after", b"1") in refused.headers
    assert refusal(allowances, "10.0.0.2") is None
    clock.now += 0.34
    assert refusal(allowances, "10.0.0.1") is None
    assert refusal(allowances, "10.0.0.1") is not None
    clock.now += 1000
    assert [refusal(allowances, "10.0.0.1") for _ in range(3)] == [None] * 3
    assert refusal(allowances, "10.0.0.1") is not None


def test_a_rate_below_one_leaves_one_and_says_how_long_to_wait() -> None:
    allowances = Allowances(0.1, Clock())
    assert refusal(allowances, "10.0.0.1") is None
    refused = refusal(allowances, "10.0.0.1")
    assert refused is not None
    assert (b"retry-after", b"10") in refused.headers


def test_only_so_many_addresses_are_remembered() -> None:
    allowances = Allowances(1.0, Clock())
    for number in range(ADDRESSES_MAX + 5):
        allowances.take(from_(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"))
    assert len(allowances._left) == ADDRESSES_MAX


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("unix", "unix"),
        (None, ""),
    ],
)
def test_one_network_of_ipv6_is_one_address(address: str | None, counted: str) -> None:
    assert address_of(from_(address)) == counted
