"""TLS: a certificate and its key, read again when they are renewed.

Sources: RFC 8446, RFC 9325 (TLS 1.2 at least).
"""

from __future__ import annotations

import logging
import os
import ssl
import stat
from typing import Final

from transit import InvalidInputError

LOGGER: Final = logging.getLogger("transit.server")


class Certificate:
    """A certificate with its chain, and its key; key None: in the same file.

    `InvalidInputError` for files that are no pair, and for a key that is encrypted.
    """

    def __init__(self, certificate: str, key: str | None = None) -> None:
        self._certificate = certificate
        self._key = key or certificate
        self._seen = self._signature()
        self.context = self._made()

    @property
    def is_exposed(self) -> bool:
        """Whether others than its owner, and its group, may read the key."""
        return bool(os.stat(self._key).st_mode & (stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP))

    @property
    def key(self) -> str:
        """The path of the key."""
        return self._key

    def look(self) -> None:
        """Use the files as they are now, from the next handshake on."""
        try:
            seen = self._signature()
            if seen == self._seen:
                return
            self._seen = seen
            # Into a context of its own first: half a renewal must not spoil the one in use.
            self._made()
            self.context.load_cert_chain(self._certificate, self._key, password=_no_password)
        except (InvalidInputError, OSError) as error:
            LOGGER.warning("TLS: the certificate read before stays in use: %s", error)

    def _made(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self._certificate, self._key, password=_no_password)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise InvalidInputError(
                f"TLS: certificate {self._certificate}, key {self._key}: {reason}"
            ) from None
        return context

    def _signature(self) -> tuple[tuple[int, int, int], ...]:
        try:
            found = [os.stat(path) for path in (self._certificate, self._key)]
        except OSError as error:
            raise InvalidInputError(f"TLS: {error.filename}: {error.strerror}") from error
        return tuple((each.st_ino, each.st_size, each.st_mtime_ns) for each in found)


def _no_password() -> bytes:
    raise ValueError("the key is encrypted; give one that is not, and that only you may read")
