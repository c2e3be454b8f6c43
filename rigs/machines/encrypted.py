"""The machines on encrypted stores: every store that is opened meanwhile has a keyring of its own.

Owns which keyring a store has, whatever its folder or remote is called. What the machines do and
compare is unchanged, so that whatever holds for clear stores holds for these.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import transit
from transit.format.commit import FORMAT_BYTES_MAX, decode_format
from transit.store import open_store


class Rings:
    """Keyrings by store id, each made when its store is opened first."""

    def __init__(self, folder: Path, encrypt: str) -> None:
        self._folder = folder
        self._encrypt = encrypt
        self._known: dict[bytes, transit.Keyring] = {}
        self._open, self._audit, self._restore = transit.open, transit.audit, transit.restore
        self._read_piece = transit.read_piece

    def open(self, path: Any, **how: Any) -> transit.Log:
        """As `transit.open`."""
        ring = self._ring(path, how.get("remote"))
        if how.get("mode") != "read":
            how["encrypt"] = self._encrypt
        log = self._open(path, keyring=ring, **how)
        self._known[bytes.fromhex(log.store_id)] = ring
        return log

    def audit(self, remote: Any, *given: Any, **how: Any) -> transit.Report:
        """As `transit.audit`, with and without the keyring: neither may find anything alone."""
        found = self._audit(remote, *given, keyring=self._ring(None, remote), **how)
        assert self._audit(remote, *given, **how).ok == found.ok
        return found

    def restore(self, remote: Any, path: Any, **how: Any) -> transit.Restored:
        """As `transit.restore`; the keyring is only for parts of it."""
        ring = self._ring(None, remote) if how.get("streams") is not None else None
        return self._restore(remote, path, keyring=ring, **how)

    def read_piece(self, piece: transit.Piece, *given: Any, **how: Any) -> Any:
        """As `transit.read_piece`."""
        ring = self._ring(piece.folder or None, piece.remote or None)
        return self._read_piece(piece, *given, keyring=ring, **how)

    def _ring(self, path: Any, remote: Any) -> transit.Keyring:
        # Of several remotes the first has the id.
        remote = remote[0] if isinstance(remote, list) else remote
        known = self._known.get(_store_id(path) or _store_id(remote) or b"")
        if known is not None:
            return known
        place = self._folder / str(len(list(self._folder.iterdir())))
        return transit.Keyring.create(place, wrap=_same, unwrap=_same)


def _same(data: bytes) -> bytes:
    return data


def _store_id(place: Any) -> bytes | None:
    """The id of the store at an address, a folder or a remote; None where there is none yet."""
    if place is None:
        return None
    store = open_store(os.fspath(place)) if isinstance(place, str | os.PathLike) else place
    data = store.get("FORMAT", FORMAT_BYTES_MAX)
    return None if data is None else decode_format(data, "FORMAT")


@contextlib.contextmanager
def encrypting(encrypt: str) -> Iterator[None]:
    """A block in which all stores are encrypted."""
    with tempfile.TemporaryDirectory(prefix="transit-rings-") as folder:
        rings = Rings(Path(folder), encrypt)
        with (
            patch.object(transit, "open", rings.open),
            patch.object(transit, "audit", rings.audit),
            patch.object(transit, "restore", rings.restore),
            patch.object(transit, "read_piece", rings.read_piece),
        ):
            yield
