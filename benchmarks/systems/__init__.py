"""The systems that are compared: transit, and what people would pick instead.

One module each. A module is loaded when its system is measured, so that whatever is not installed
is left out with the reason, and the rest is measured.
"""

from __future__ import annotations

from importlib import import_module
from typing import Final

from benchmarks.systems.system import System

SYSTEMS: Final = {
    "transit": "embedded:Transit",
    "jsonl": "jsonl:JsonLines",
    "sqlite": "sqlite:Sqlite",
    "lmdb": "lightning:Lightning",
    "rocksdb": "rocks:Rocks",
    "zodb": "zodb:Zodb",
    "lance": "lancets:Lance",
    "icechunk": "ice:Icechunk",
    "duckdb": "duck:Duck",
    "redis": "redis_streams:RedisStreams",
    "nats": "jetstream:JetStream",
}
"""Module and class below this package, by name, in the order of the report."""


def load(name: str) -> type[System]:
    """The adapter class; ImportError says what is not installed."""
    module, _, attribute = SYSTEMS[name].partition(":")
    found = getattr(import_module(f"{__name__}.{module}"), attribute)
    assert isinstance(found, type)
    assert issubclass(found, System)
    return found
