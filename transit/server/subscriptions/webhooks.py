"""The request that wakes a webhook: where it may go, its signature, its answer.

A webhook's address comes from a client, so the server must not be made to ask for it what only the
server can reach: addresses of private and local networks are refused when the subscription is made,
and once more when the name is resolved, right before the connection is made to that very address.
Redirects are not followed.

Sources: section 12.8 of the Durable Streams protocol; RFC 8037 and RFC 7638 (keys and their names).
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import socket
import ssl
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from urllib.parse import SplitResult, urlsplit

import msgspec
import urllib3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from urllib3.util import Timeout

ANSWER_BYTES_MAX: Final = 64 * 1024
TIMEOUT_S: Final = 30.0
THREADS: Final = 4


class RefusedAddressError(Exception):
    """A webhook's address is one the server does not send to."""


class Webhooks:
    """Sends wakes; its key is made anew with each process."""

    def __init__(self, base_url: str, *, allow_loopback: bool) -> None:
        self.base_url = base_url
        self._allow_loopback = allow_loopback
        self._key = Ed25519PrivateKey.generate()
        public = self._key.public_key().public_bytes_raw()
        x = _base64url(public)
        thumbprint = msgspec.json.encode({"crv": "Ed25519", "kty": "OKP", "x": x})
        self.key_id = "ds_" + _base64url(hashlib.sha256(thumbprint).digest())
        self.key_set: dict[str, object] = {
            "keys": [
                {
                    "kty": "OKP", "crv": "Ed25519", "x": x, "kid": self.key_id, "use": "sig",
                    "alg": "EdDSA",
                }
            ]
        }  # fmt: skip
        self._pool = ThreadPoolExecutor(THREADS, "transit-server-webhook")

    def close(self) -> None:
        """End the threads; requests that are on their way are not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def sign(self, body: bytes) -> str:
        """The signature of a body as its header field holds it."""
        moment = str(int(time.time()))
        signature = _base64url(self._key.sign(moment.encode() + b"." + body))
        return f"t={moment},kid={self.key_id},ed25519={signature}"

    def check(self, url: str) -> SplitResult:
        """The parts of an address that may be sent to; `RefusedAddressError` otherwise."""
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            raise RefusedAddressError("webhook.url is no URL") from None
        if not host or parts.username is not None or parts.password is not None:
            raise RefusedAddressError("webhook.url names no host, or a user")
        is_local = host == "localhost" or _is_loopback(host)
        if parts.scheme == "http" and is_local and self._allow_loopback:
            return parts
        if parts.scheme != "https":
            raise RefusedAddressError("webhook.url must begin with https://")
        if is_local or not _is_public(host):
            raise RefusedAddressError("webhook.url is an address of a private network")
        return parts

    async def send(self, url: str, notification: Mapping[str, object]) -> dict[str, object] | None:
        """Send a wake: the answer, {} for one that says nothing; None where it was not taken."""
        body = msgspec.json.encode(notification)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._send, url, body)

    def _send(self, url: str, body: bytes) -> dict[str, object] | None:
        try:
            parts = self.check(url)
            port = parts.port or (443 if parts.scheme == "https" else 80)
            host = parts.hostname or ""
            address = self._resolve(host, port)
            path = parts.path or "/"
            headers = {
                "host": parts.netloc,
                "content-type": "application/json",
                "webhook-signature": self.sign(body),
            }
            with _connection(parts.scheme, address, port, host) as pool:
                answer = pool.urlopen(
                    "POST",
                    path + (f"?{parts.query}" if parts.query else ""),
                    body=body,
                    headers=headers,
                    redirect=False,
                    retries=False,
                    preload_content=False,
                )
                said = answer.read(ANSWER_BYTES_MAX + 1)
                answer.release_conn()
        except (RefusedAddressError, OSError, urllib3.exceptions.HTTPError):
            return None
        if not 200 <= answer.status < 300:
            return None
        return _object(said)

    def _resolve(self, host: str, port: int) -> str:
        """The address to connect to, which is looked at after it was resolved."""
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(each[4][0]) for each in found]
        for address in addresses:
            if not (_is_public(address) or (self._allow_loopback and _is_loopback(address))):
                raise RefusedAddressError("webhook.url leads to a private network")
        if not addresses:
            raise RefusedAddressError("webhook.url leads nowhere")
        return addresses[0]


def _connection(scheme: str, address: str, port: int, host: str) -> urllib3.HTTPConnectionPool:
    timeout = Timeout(total=TIMEOUT_S)
    if scheme == "http":
        return urllib3.HTTPConnectionPool(address, port, timeout=timeout, maxsize=1)
    return urllib3.HTTPSConnectionPool(
        address,
        port,
        timeout=timeout,
        maxsize=1,
        server_hostname=host,
        assert_hostname=host,
        ssl_context=ssl.create_default_context(),
    )


def _object(said: bytes) -> dict[str, object]:
    try:
        answer = msgspec.json.decode(said[:ANSWER_BYTES_MAX])
    except (msgspec.DecodeError, ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_public(host: str) -> bool:
    """Whether it is no address of a private network; a name is looked at once it is resolved."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return True
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_global and not address.is_multicast


def _base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
