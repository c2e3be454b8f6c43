"""A store that bad input must leave as it was, and ways to give it some."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

import transit
from transit import Log, Settings, Stream

Contents = Callable[[Log], object]
Run = Callable[..., str]

SETTINGS = Settings(record_bytes_max=1000, frame_bytes_max=4000, lock_timeout_s=0.2)
HUGE = 2**80


class Store(NamedTuple):
    """An open store and what is in it."""

    log: Log
    s: Stream
    child: Stream
    empty: Stream

    @property
    def cursor(self) -> transit.Cursor:
        return self.s.cursor("c")


def refused(kind: type[transit.TransitError], call: Callable[[], object]) -> str:
    """The message of the error that `call` must raise."""
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    # A message that only repeats a value does not tell the user what to do.
    assert len(message) > 8, message
    return message


def batched(store: Store, stage: Callable[[Any], object]) -> None:
    """Run `stage` in a batch; what it raises ends the batch."""
    with store.log.batch() as batch:
        batch.append(store.s, b"never written")
        batch.append(batch.create("never created"), b"never written")
        stage(batch)


def ask(store: Store, question: str, *nodes: object) -> object:
    """Ask the lineage something."""
    return getattr(store.log.lineage, question)(*nodes)


def shown(value: object) -> str:
    """A test's id, which must be the same in every process that collects it."""
    return re.sub(r" at 0x[0-9a-f]+", "", ascii(value))
