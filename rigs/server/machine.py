"""The model's machine against a store behind a server: the rules of an embedded one, unchanged.

Owns what differs: the handles are connected ones, each to a server of its own on the same store's
handle; a record does not wait in memory, because what a server has answered it has framed; what a
connection does not have (`transit.client.absent`) no rule asks for.
"""

from __future__ import annotations

from typing import ClassVar

import transit
from rigs.machines.descent import Descent
from rigs.machines.fates import Fates
from rigs.machines.machine import World
from rigs.machines.reading import Reading
from rigs.machines.writing import Writing
from rigs.server.serving import Serving


class Served(World):
    """A store, the server of it, and a connected handle."""

    def start(self, mode: str) -> None:
        """Open the store, serve it, and connect."""
        self.mode = mode
        self.opened = self.open(mode)
        self.serving = Serving(self.opened)
        self.logs = [transit.connect(self.serving.url)]

    def stop(self) -> None:
        """Close all of it, from the outside in."""
        was_open = bool(self.logs)
        super().stop()
        if was_open:
            self.serving.close()
            self.opened.close()

    def reached(self, asked: str | None, *, alone: bool = False) -> str:
        """What a receipt says: never less than what survives the process."""
        return Writing.reached(self, asked)  # type: ignore[arg-type]


class Connected(Served, Writing, Descent, Reading):
    """A store without a remote, used over a connection."""

    # Each frame of a producer has a record of itself, in layer server.
    OF_A_FRAME: ClassVar[int] = 1
    # No rules: they need files, which are on the server.
    inspect_a_file: ClassVar[None] = None  # type: ignore[assignment]
    read_pieces: ClassVar[None] = None  # type: ignore[assignment]
    list_pieces: ClassVar[None] = None  # type: ignore[assignment]
    look_at_what_is_sealed: ClassVar[None] = None  # type: ignore[assignment]


class ConnectedNames(Served, Writing, Fates):
    """The same, whose streams are finished and hidden, and names bound again."""
