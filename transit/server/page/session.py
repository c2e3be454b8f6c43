"""Who looks at the page: a token in a cookie, put there by a form.

Owns the cookie, and which paths it means anything to: those of the page alone, so that no page of
another origin can use it anywhere. It is HttpOnly (no script reads it) and SameSite=Strict (no
other site's links or forms bring it along), and Secure where the page itself came over TLS. What
changes something is taken only from the page's own origin. Tokens, and what they allow, are of
`access`.

Sources: RFC 6265bis (cookies), W3C Fetch Metadata (Sec-Fetch-Site), RFC 6454 (Origin).
"""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import urlsplit

from transit.server.asgi import Request
from transit.server.refusals import Header, RefusedError

COOKIE: Final = "transit-token"
ASSETS: Final = "/assets/"
LIVE: Final = "/live"
"""Where a page is told what comes later."""
PATHS: Final = frozenset(
    ("/", "/streams", "/graph", "/search", "/run", "/stream", "/beside", LIVE, "/notes",
     "/login", "/logout", "/views", "/view", "/sql", "/loop", "/proof", "/exhibit",
     "/channels", "/channel", "/threads", "/thread")
)  # fmt: skip
# Visible characters that a cookie may hold as they are (RFC 6265, cookie-octet).
_TOKEN: Final = frozenset(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '",;\\')
TOKEN_MAX: Final = 1024


def is_page(path: str) -> bool:
    """Whether a path is one of the page's own."""
    return path in PATHS or path.startswith(ASSETS)


def token_of_cookie(request: Request) -> str | None:
    """The token that a request for a page brings in its cookie; None for any other request."""
    if not is_page(request.path):
        return None
    cookies = SimpleCookie()
    try:
        cookies.load(request.headers.get("cookie", ""))
    except CookieError:
        return None
    found = cookies.get(COOKIE)
    return found.value if found is not None and is_token(found.value) else None


def is_token(text: str) -> bool:
    """Whether a text may be a token in a cookie."""
    return 0 < len(text) <= TOKEN_MAX and _TOKEN.issuperset(text)


def cookie_of(request: Request, token: str) -> Header:
    """The field that puts a token into the browser, or with "" takes it away.

    No Path is said: that of the form is the page's, under whatever prefix a proxy serves it.
    """
    parts = [f"{COOKIE}={token}", "HttpOnly", "SameSite=Strict"]
    if not token:
        parts.append("Max-Age=0")
    if is_tls(request):
        parts.append("Secure")
    return b"set-cookie", "; ".join(parts).encode()


def is_tls(request: Request) -> bool:
    """Whether the browser came over TLS, to this server or to a proxy in front of it."""
    origin = request.headers.get("origin", "")
    return request.scope.get("scheme") == "https" or origin.startswith("https://")


def check_origin(request: Request) -> None:
    """`RefusedError` (403) unless a page of this server sends this request."""
    site = request.headers.get("sec-fetch-site")
    if site is not None and site != "same-origin":
        raise RefusedError(403, "a page of another origin may not do that")
    origin = request.headers.get("origin")
    if origin is None:
        if site is None:
            raise RefusedError(403, "neither Origin nor Sec-Fetch-Site says who asks for it")
        return
    # A proxy may end TLS: the scheme is the browser's, the host is what it was asked for.
    if urlsplit(origin).netloc != request.headers.get("host", ""):
        raise RefusedError(403, "a page of another origin may not do that")
