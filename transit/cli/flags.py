"""The options every verb has, as they were given, before or after the verb."""

from __future__ import annotations

from typing import Final

ENCRYPTED: Final = ("remote", "all")
"""What an encrypted store may encrypt."""


class Flags:
    """What was given on the command line; None: not given. What comes later wins.

    store, remote: addresses. keyring, key_file: paths. encrypt: one of `ENCRYPTED`. config: path of
    a configuration file. format: "auto", "table", "json". color: whether to colour. debug: show
    where an unexpected error came from.
    """

    def __init__(self) -> None:
        self.store: str | None = None
        self.remote: str | None = None
        self.keyring: str | None = None
        self.key_file: str | None = None
        self.encrypt: str | None = None
        self.config: str | None = None
        self.format: str = "auto"
        self.color: bool | None = None
        self.debug: bool = False
