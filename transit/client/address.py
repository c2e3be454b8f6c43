"""Where a server is: the address that `transit.connect` takes, read strictly.

    http://host[:port][/prefix]     https://host[:port][/prefix]

A prefix is for a server behind a proxy that serves other things too. Addresses are shown and
logged, so none may hold credentials: the token is given apart.
"""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import urlsplit

from transit import InvalidInputError
from transit.store.addresses import shown

SCHEMES: Final = ("http", "https")
_PORTS: Final = {"http": 80, "https": 443}


class Address(NamedTuple):
    """A server's address; `prefix` comes before `/v1` in every path."""

    scheme: str
    host: str
    port: int
    prefix: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.prefix}"


def read_address(url: object) -> Address:
    """The address that a URL gives; `InvalidInputError` for anything else."""
    if not isinstance(url, str):
        raise InvalidInputError(f"a server's address is text, not {type(url).__name__}")
    if any(each <= " " or each == "\x7f" for each in url):
        raise InvalidInputError(f"{shown(url)!r}: an address holds no white space")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidInputError(f"{shown(url)}: not an address: {error}") from None
    scheme = parts.scheme.lower()
    if scheme not in SCHEMES or not host:
        raise InvalidInputError(f"{shown(url)}: a server's address is http://host:port, or https")
    if "@" in parts.netloc:
        raise InvalidInputError(f"{shown(url)}: an address holds no credentials: give token=")
    if parts.query or parts.fragment:
        raise InvalidInputError(f"{shown(url)}: a server's address has no query and no fragment")
    prefix = parts.path.rstrip("/")
    return Address(scheme, host, _PORTS[scheme] if port is None else port, prefix)
