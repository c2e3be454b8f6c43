"""The options every verb has, as they were given, before or after the verb."""

from __future__ import annotations


class Flags:
    """What was given on the command line; None: not given. What comes later wins.

    store, remote: addresses. config: path of a configuration file. format: "auto", "table", "json".
    color: whether to colour. debug: show where an unexpected error came from.
    """

    def __init__(self) -> None:
        self.store: str | None = None
        self.remote: str | None = None
        self.config: str | None = None
        self.format: str = "auto"
        self.color: bool | None = None
        self.debug: bool = False
