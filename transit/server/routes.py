"""Which function answers which path, beside the streams of the protocol.

A path is a template of segments: `/v1/status`, or with a name at its end, which may hold slashes:
`/v1/records/{name}`. The names of streams are checked where they are used.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from transit.server.asgi import Handler, Request
from transit.server.refusals import RefusedError

NAME = "{name}"


class Route(NamedTuple):
    """One method of one path; handlers find what `{name}` stands for in `request.name`."""

    method: str
    path: str
    handler: Handler


class Routes:
    """All routes of a server."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._whole: defaultdict[str, dict[str, Handler]] = defaultdict(dict)
        self._named: defaultdict[str, dict[str, Handler]] = defaultdict(dict)
        for route in routes:
            table = self._named if route.path.endswith(NAME) else self._whole
            table[route.path.removesuffix(NAME)][route.method] = route.handler
        # The longest first: `/v1/runs/events/` comes before `/v1/runs/`.
        self._prefixes = sorted(self._named, key=len, reverse=True)

    def find(self, request: Request) -> Handler:
        """The function that answers a request; `RefusedError` 404 or 405 where there is none."""
        request.template = request.path
        methods = self._whole.get(request.path)
        if methods is None:
            prefix = next((each for each in self._prefixes if request.path.startswith(each)), None)
            if prefix is None or request.path == prefix:
                request.template = ""
                raise RefusedError(404, "there is nothing here")
            request.name = request.path.removeprefix(prefix)
            request.template = prefix + NAME
            methods = self._named[prefix]
        method = "GET" if request.method == "HEAD" and "HEAD" not in methods else request.method
        handler = methods.get(method)
        if handler is None:
            allowed = ", ".join(sorted({*methods, "OPTIONS"})).encode()
            raise RefusedError(405, f"method {request.method}", ((b"allow", allowed),))
        return handler
