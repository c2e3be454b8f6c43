"""Why a request got no answer, or could not be made; whether waiting helps; and texts for it.

Owns the reading of the clients' own errors (botocore, aiohttp, ssl, the system's), by class name,
so that none of them has to be loaded. Their texts are shown only where they hold no more than a
host, a profile or a system's reason; what may be a password is struck out of them.
"""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Iterator
from typing import Final, NamedTuple

_CHAIN_MAX: Final = 8
_TEXT_SIZE_MAX: Final = 300
_USERINFO: Final = re.compile(r"//[^\s\"'`]*@")
_QUERY: Final = re.compile(r"\?[^\s\"'`]*")
_HOST: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/\s\"'`?#@]*")
# OpenSSL's errors that come again at every try. Others, as a closed connection, may be temporary.
_TLS_FINAL: Final = (
    "CERTIFICATE", "WRONG_VERSION_NUMBER", "UNSUPPORTED_PROTOCOL", "PROTOCOL_VERSION",
    "HANDSHAKE_FAILURE", "UNKNOWN_CA", "HTTP_REQUEST", "NO_CIPHERS", "PEM", "BAD_ECC_CERT",
)  # fmt: skip
_NO_SUCH_HOST: Final = tuple(
    getattr(socket, name) for name in ("EAI_NONAME", "EAI_NODATA") if hasattr(socket, name)
)


class Cause(NamedTuple):
    """What an error says, and what to do about it; final: whether waiting does not help."""

    text: str
    hint: str
    final: bool


def chain(error: BaseException) -> Iterator[BaseException]:
    """`error` and the errors it was raised from, outermost first.

    botocore's errors hold theirs. What was being handled when one was raised (`__context__`) may
    be an error of the user's own, and says nothing.
    """
    found: object = error
    for _ in range(_CHAIN_MAX):
        if not isinstance(found, BaseException):
            return
        yield found
        found = found.__cause__ or _details(found).get("error")


def _details(error: BaseException) -> dict[str, object]:
    """What botocore's errors were made of."""
    found = getattr(error, "kwargs", None)
    return found if isinstance(found, dict) else {}


def cause_of(error: BaseException) -> Cause:
    """Why there was no answer, as far as the errors below `error` tell."""
    links = list(chain(error))
    names = [type(link).__name__ for link in links]
    host = _host_of(links)
    for link in links:
        if isinstance(link, socket.gaierror):
            return _of_name_service(link, host)
    tls = [link for link in links if _tls_reason(link)]
    if tls:
        return _of_tls(tls[-1], host)
    if "ProxyConnectionError" in names:
        text = scrubbed(str(links[names.index("ProxyConnectionError")]))
        hint = "look at the proxy set in HTTP_PROXY, HTTPS_PROXY and NO_PROXY, or in the options"
        return Cause(_with_reason(text, links), hint, final=True)
    if "HTTPClientError" in names and isinstance(links[-1], FileNotFoundError | PermissionError):
        text = _with_reason("a file that the client needs for TLS", links)
        hint = "look at the CA file set in AWS_CA_BUNDLE, in the profile, or as the option verify"
        return Cause(text, hint, final=True)
    return Cause(_with_reason(f"{names[0]}{host}", links), "", final=False)


def _of_name_service(error: socket.gaierror, host: str) -> Cause:
    final = error.errno in _NO_SUCH_HOST
    hint = "look at the host in endpoint_url, and whether this machine is on a network"
    return Cause(f"{error.strerror or 'unknown host'}{host}", hint if final else "", final)


def _tls_reason(error: BaseException) -> str:
    """OpenSSL's name of what went wrong, "" for an error that is not its."""
    if isinstance(error, OSError) and any(c.__name__ == "SSLError" for c in type(error).__mro__):
        return str(getattr(error, "reason", "") or "")
    return ""


def _of_tls(error: BaseException, host: str) -> Cause:
    reason = _tls_reason(error)
    said = str(getattr(error, "verify_message", "") or reason.replace("_", " ").lower())
    text = f"TLS{host}: {scrubbed(said)}"
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"):
        hint = "does the server speak TLS at this port? if not, endpoint_url begins with http://"
    elif "expired" in said or "not yet valid" in said:
        hint = "the server's certificate has to be renewed, or this machine's clock is wrong"
    elif "mismatch" in said:
        hint = "endpoint_url names another host than the server's certificate does"
    elif "CERTIFICATE" in reason or "PEM" in reason:
        hint = (
            "name the file of the authority that signed the server's certificate: AWS_CA_BUNDLE,"
            " or the option client_kwargs={'verify': FILE}"
        )
    else:
        hint = "the server and this client share no way of TLS"
    final = any(part in reason for part in _TLS_FINAL)
    return Cause(text, hint if final else "", final)


def _host_of(links: list[BaseException]) -> str:
    """ " at scheme://host:port" where a client's error names the endpoint."""
    for link in links:
        url = _details(link).get("endpoint_url")
        found = _HOST.match(_USERINFO.sub("//", url)) if isinstance(url, str) else None
        if found is not None:
            return f" at {found[0]}"
    return ""


def _with_reason(text: str, links: list[BaseException]) -> str:
    """`text`, and the system's reason, as "Connection refused"."""
    for link in reversed(links):
        number = link.errno if isinstance(link, OSError) else None
        if number is not None and number in errno.errorcode:
            return f"{text}: {os.strerror(number)}"
    return text


def scrubbed(text: str) -> str:
    """A client's text without what may be a password or a signature."""
    return _QUERY.sub("", _USERINFO.sub("//***@", text))[:_TEXT_SIZE_MAX]
