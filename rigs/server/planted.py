"""`transit serve` with a bug planted in it: `python -m rigs.server.planted NAME serve …`.

Each is wrong in one way that a soak must find; a soak that has not found them proves nothing.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from rigs.plants.replacing import replace, replace_in
from transit.cli import main
from transit.protocol.events import data_event
from transit.server import asking, live
from transit.server.api.producers import Slot
from transit.server.appending import Appending
from transit.server.asgi import Answer, Request
from transit.server.creating import Creating
from transit.server.lives import place_of
from transit.server.service import Service
from transit.server.states import States

_HELD: Final[list[object]] = []
_LATE_S: Final = 0.05
_LEAKED_BYTES: Final = 64 * 1024


def acknowledged_before_the_write() -> None:
    """A producer's record is written a moment after its request is answered."""

    async def early(appending: Appending, request: Request, name: str) -> Answer:
        data = await asking.body_of(appending._service, request)
        stream = appending._lives.find(name).stream
        loop = asyncio.get_running_loop()
        loop.call_later(_LATE_S, appending._append, request, name, data)
        return Answer(204, [*place_of(stream), (b"producer-seq", b"0")])

    replace(Appending, "answer", early)


def producers_forgotten() -> None:
    """What is remembered of producers of the protocol is dropped when a server starts."""
    load = States._load

    def forgetful(states: States, stream: Any) -> Any:
        state = load(states, stream)
        state.producers.clear()
        return state

    replace(States, "_load", forgetful)


def frames_forgotten() -> None:
    """What is remembered of producers of frames is dropped when a server starts."""
    take_up, reach = Slot.take_up, Service.reach

    async def slow(service: Service, durability: Any) -> None:
        # As a slow disk: a server that is killed has written more that it has not answered.
        await asyncio.sleep(_LATE_S)
        await reach(service, durability)

    def forgetful(slot: Slot) -> bool:
        is_first = slot._stream is None
        found = take_up(slot)
        if is_first:
            slot._producers.clear()
        return found

    replace(Slot, "take_up", forgetful)
    replace(Service, "reach", slow)


def events_cut_short() -> None:
    """An event of several records leaves the last one out."""

    def cut(payloads: Any, **kind: bool) -> bytes:
        return data_event(payloads[:-1] or payloads, **kind)

    replace_in(live, "data_event", cut)


def memory_leaked() -> None:
    """Something of each request is kept."""
    reach = Service.reach

    async def kept(service: Service, durability: Any) -> None:
        _HELD.append(bytearray(os.urandom(_LEAKED_BYTES)))
        await reach(service, durability)

    replace(Service, "reach", kept)


def descriptors_leaked() -> None:
    """Each fork leaves a file open."""
    made = Creating._fork

    def leaking(creating: Creating, *given: Any) -> Any:
        _HELD.append(os.open(os.devnull, os.O_RDONLY))
        return made(creating, *given)

    replace(Creating, "_fork", leaking)


PLANTS: Final[Mapping[str, Callable[[], None]]] = {
    each.__name__: each
    for each in (
        acknowledged_before_the_write,
        producers_forgotten,
        frames_forgotten,
        events_cut_short,
        memory_leaked,
        descriptors_leaked,
    )
}


if __name__ == "__main__":
    PLANTS[sys.argv[1]]()
    sys.argv[:] = ["transit", *sys.argv[2:]]
    main()
