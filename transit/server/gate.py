"""What is looked at before a request is: its size, where it comes from, who sends it, how often.

Owns the refusals that need no store: 400, 401, 403, 414, 421, 429, 431, 503. A name that leads to
this machine, or a page of another origin in a browser on it, must not be enough to use the server:
so `Host` and `Origin` are looked at with or without tokens.

Sources: RFC 9110 (15.5.20: 421), RFC 6750 (bearer tokens), RFC 6585 (429, 431), RFC 6454 (origins).
"""

from __future__ import annotations

import ipaddress
import time
from itertools import chain
from typing import Final, Protocol

from transit import Log, NotFoundError
from transit.protocol.paths import RESERVED, STREAMS
from transit.server.access import EVERYTHING, NOTHING, Grant
from transit.server.asgi import Message, Request
from transit.server.page.session import is_page, token_of_cookie
from transit.server.refusals import NO_STORE, RefusedError
from transit.server.settings import ServerSettings
from transit.server.tokens import Known, Token, Tokens

OPEN: Final = frozenset({"/healthz", "/readyz"})
"""Paths that need no token: they say whether there is a server, and nothing else."""
LOOPBACK_HOSTS: Final = ("localhost", "127.0.0.1", "::1")

CONTROL: Final = STREAMS + RESERVED + "/"
"""What the protocol's control routes begin with."""
WITNESS: Final = "/witness/"
"""What the routes of a witness begin with."""
WORKER_ACTIONS: Final = ("callback", "ack", "release")
"""Routes on which a worker shows the token of its wake."""

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_SECRETS: Final = frozenset({"token", "access_token", "api_key", "authorization"})
_ASK: Final = (b"www-authenticate", b'Bearer realm="transit"')
_AGAIN: Final = (b"www-authenticate", b'Bearer realm="transit", error="invalid_token"')
_CLOSE: Final = (b"connection", b"close")


class Entered(Protocol):
    """A request that is being answered."""

    def cut(self) -> None:
        """End it: its token was taken back."""


class Bearer:
    """What one token's requests use now. is_over: it was taken back, or changed."""

    __slots__ = ("allowance", "at", "entered", "is_over", "token")

    def __init__(self, token: Token, allowance: float, at: float) -> None:
        self.token = token
        self.entered: set[Entered] = set()
        # Requests that it may make at once, as of `at`.
        self.allowance = allowance
        self.at = at
        self.is_over = False


class Gate:
    """The gate of one server. tokens: None where everybody may do everything."""

    def __init__(self, log: Log, settings: ServerSettings, tokens: str | None) -> None:
        self._log = log
        self._settings = settings
        self._tokens = None if tokens is None else Tokens(tokens, self._name_of)
        self._hosts = frozenset(each.lower() for each in settings.hosts)
        self._bearers: dict[bytes, Bearer] = {}
        self._changes = 0
        # The last Host that was in order: nearly all requests have the same.
        self._host: str | None = None
        self.count = 0

    def check_head(self, scope: Message) -> None:
        """`RefusedError` for a head that is too large."""
        settings, headers = self._settings, scope["headers"]
        count = len(headers)
        size = 4 * count + sum(map(len, chain.from_iterable(headers)))
        if size > settings.head_bytes_max or count > settings.headers_max:
            raise RefusedError(431, "the request has too many header fields", (_CLOSE, NO_STORE))
        path = scope.get("raw_path") or scope["path"].encode()
        if len(path) + len(scope.get("query_string", b"")) > settings.url_bytes_max:
            raise RefusedError(414, "the URL is too long", (_CLOSE, NO_STORE))

    def check_place(self, request: Request) -> None:
        """`RefusedError` for a request that was meant for another server, or sent by a page."""
        host = request.headers.get("host")
        if host is None or host != self._host:
            self._check_host(host)
        origin = request.headers.get("origin")
        if origin is None or request.method in _SAFE or self.allows_origin(origin):
            return
        if is_page(request.path):
            # It looks itself, and takes what came over TLS to a proxy in front of it.
            return
        if origin.lower() != f"{request.scope.get('scheme', 'http')}://{host}".lower():
            raise RefusedError(403, "pages of this origin may not use the server", (NO_STORE,))

    def _check_host(self, host: str | None) -> None:
        if not host or "," in host or "@" in host:
            raise RefusedError(400, "one Host is needed", (_CLOSE, NO_STORE))
        name = host_name(host)
        if self._hosts and name not in self._hosts and not _is_number(name):
            raise RefusedError(
                421, "this server has another name; name it at its start: --host NAME", (NO_STORE,)
            )
        self._host = host

    def allows_origin(self, origin: str) -> bool:
        """Whether pages of an origin may use the server."""
        return "*" in self._settings.cors or origin in self._settings.cors

    def admit(self, request: Request) -> Bearer | None:
        """Set what the sender of a request may do; `RefusedError` 401 for one who is not known.

        Returns its token, None where none is needed. Of the page's own paths a cookie may bring
        it; there who is not known may do nothing, and is shown a form.
        """
        tokens = self._tokens
        if tokens is None:
            request.grant = EVERYTHING
            return None
        known = request.head.known
        if known is None or not tokens.is_good(known):
            if request.path in OPEN or has_own_secret(request.path):
                return None
            known = self._known(tokens, request)
            if known is None:
                request.grant = NOTHING
                return None
        request.grant = known.grant
        return self._limited(known.token)

    def _known(self, tokens: Tokens, request: Request) -> Known | None:
        """The token that a request shows; None where it is the page's and needs none."""
        head = request.head
        if head.raw_query and not _SECRETS.isdisjoint(key.lower() for key in request.query):
            detail = "a token belongs in the Authorization header: what is in a URL gets into logs"
            raise RefusedError(401, detail, (_ASK, NO_STORE))
        given = request.headers.get("authorization")
        if given is None and is_page(request.path):
            return self._find(tokens, token_of_cookie(request))
        if given is None:
            raise RefusedError(401, "a token is needed: Authorization: Bearer …", (_ASK, NO_STORE))
        scheme, _, secret = given.partition(" ")
        head.known = self._find(tokens, secret.strip() if scheme.lower() == "bearer" else None)
        if head.known is None:
            raise RefusedError(401, "the token is unknown, or has expired", (_AGAIN, NO_STORE))
        return head.known

    def grant_of(self, secret: str) -> Grant | None:
        """What a token allows; None for one that is not known."""
        known = None if self._tokens is None else self._find(self._tokens, secret)
        return None if known is None else known.grant

    def _find(self, tokens: Tokens, secret: str | None) -> Known | None:
        known = None if secret is None else tokens.find(secret)
        if tokens.changes != self._changes:
            self._let_go(tokens)
        return known

    def enter(self, bearer: Bearer | None, entered: Entered) -> None:
        """A request is being answered from now on; `RefusedError` 503 for one too many."""
        if self.count >= self._settings.connections_max:
            raise RefusedError(503, "too many requests", ((b"retry-after", b"5"), NO_STORE))
        self.count += 1
        if bearer is not None:
            bearer.entered.add(entered)

    def leave(self, bearer: Bearer | None, entered: Entered) -> None:
        """The answer is at its end."""
        self.count -= 1
        if bearer is not None:
            bearer.entered.discard(entered)

    def _limited(self, token: Token) -> Bearer:
        """A token's bearer, with one request more; `RefusedError` 429 for one too many."""
        settings, now = self._settings, time.monotonic()
        rate = settings.rate_max if token.rate_max is None else token.rate_max
        most = settings.requests_max if token.requests_max is None else token.requests_max
        # What it may save up: one request at least, however slow the rate is.
        saved = rate if rate > 1.0 else 1.0
        bearer = self._bearers.get(token.digest)
        if bearer is None:
            bearer = self._bearers[token.digest] = Bearer(token, saved, now)
        if len(bearer.entered) >= most:
            detail = f"the token has {most} requests at once already"
            raise RefusedError(429, detail, ((b"retry-after", b"5"), NO_STORE))
        allowance = bearer.allowance + (now - bearer.at) * rate
        bearer.allowance = allowance = allowance if allowance < saved else saved
        bearer.at = now
        if allowance < 1.0:
            wait = b"%d" % max(1, round((1.0 - allowance) / rate))
            detail = f"the token may make {rate:g} requests a second"
            raise RefusedError(429, detail, ((b"retry-after", wait), NO_STORE))
        bearer.allowance = allowance - 1.0
        return bearer

    def _let_go(self, tokens: Tokens) -> None:
        """End the requests of tokens that are no more what they were: readers may wait for long."""
        self._changes = tokens.changes
        good = tokens.good()
        for digest, bearer in list(self._bearers.items()):
            if good.get(digest) != bearer.token:
                del self._bearers[digest]
                bearer.is_over = True
                for each in bearer.entered:
                    each.cut()

    def _name_of(self, uid: str) -> str | None:
        try:
            return self._log.stream(uid=uid).name
        except (NotFoundError, ValueError):
            return None


def has_own_secret(path: str) -> bool:
    """Whether a route asks for another secret than a token of the server's, or for none.

    A worker shows the token of its wake; keys by which signatures are checked are for everybody; a
    witness judges by the signature of the log.
    """
    if path.startswith(WITNESS):
        return True
    if not path.startswith(CONTROL):
        return False
    rest = path.removeprefix(CONTROL)
    return rest == "jwks.json" or rest.rpartition("/")[2] in WORKER_ACTIONS


def _is_number(name: str) -> bool:
    """Whether a host is an address: that is nobody's to lead elsewhere."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def host_name(host: str) -> str:
    """The name in a Host field, in lower case: without port and brackets, and a dot at its end."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].rstrip(".").lower()
