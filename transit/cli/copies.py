"""Copies: what the streams of an import are called where they become streams of their own.

Streams of layers that are about another stream, such as the notes on a run, are about its copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from uuid import uuid4

from transit.cli.exchange import ABOUT_UID, Scalar, StreamEntry

LAYER_MARK: Final = "$"
# Metadata of a run that was begun in another; see `transit.trace.names`.
PARENT_UID: Final = "parent_uid"


class Copies:
    """The new uids of the streams that are copied, by those they were exported with."""

    def __init__(self) -> None:
        self._new: dict[str, str] = {}

    def take(self, uid: str) -> None:
        """A stream with this uid becomes another one."""
        self._new[uid] = uuid4().hex

    def uid(self, entry: StreamEntry) -> str | None:
        """The uid of the copy; None for any new one."""
        return self._new.get(entry.uid or "")

    def name(self, entry: StreamEntry) -> str:
        """The name of a layer's stream: it has the uid in it of what it is about."""
        old, new = self._about(entry)
        return entry.name.replace(old, new) if old else entry.name

    def metadata(self, entry: StreamEntry) -> Mapping[str, Scalar]:
        """The metadata of a stream: what it is about, and the run it was begun in, as copies."""
        old, new = self._about(entry)
        parent = entry.metadata.get(PARENT_UID)
        changed: dict[str, Scalar] = {ABOUT_UID: new} if old else {}
        if isinstance(parent, str) and parent in self._new:
            changed[PARENT_UID] = self._new[parent]
        return {**entry.metadata, **changed}

    def _about(self, entry: StreamEntry) -> tuple[str, str]:
        """The uids, old and new, of what a layer's stream is about; empty without a copy."""
        about = entry.metadata.get(ABOUT_UID)
        if not entry.name.startswith(LAYER_MARK) or not isinstance(about, str):
            return "", ""
        return (about, self._new[about]) if about in self._new else ("", "")
