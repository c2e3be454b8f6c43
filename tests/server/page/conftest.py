"""Served stores, and tabs of one browser that look at them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import transit
from tests.trace.pages import Browser, chromium

from .served import Site, Tab

Open = Callable[..., Tab]


# No longer: while it is open no event loop can be run beside it.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def log(tmp_path: Path) -> Iterator[transit.Log]:
    """An open store with nothing in it."""
    with transit.open(tmp_path / "store", durability="os") as opened:
        yield opened


@pytest.fixture
def serve(log: transit.Log) -> Iterator[Callable[..., Site]]:
    """A function that serves the store; it ends with the test."""
    sites: list[Site] = []

    def served(**how: Any) -> Site:
        sites.append(Site(log, **how))
        return sites[-1]

    yield served
    while sites:
        sites.pop().close()


@pytest.fixture
def site(serve: Callable[..., Site]) -> Site:
    """The store, served without tokens."""
    return serve()


@pytest.fixture
def look(browser: Browser, site: Site) -> Iterator[Open]:
    """A function that opens an address of the site; none may complain, or ask another server."""
    tabs: list[Tab] = []

    def opened(address: str = "", **how: Any) -> Tab:
        tabs.append(Tab(browser, how.pop("site", site), how))
        tabs[-1].go(address)
        return tabs[-1]

    yield opened
    while tabs:
        tabs.pop().close()
