"""Which function answers which path, beside the streams of the protocol.

A path is a template of segments: `/v1/status`, or with a name at its end, which may hold slashes:
`/v1/records/{name}`. The names of streams are checked where they are used. Other words in braces
stand for one segment each: `/v1/views/{view}/tables/{table}`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Final, NamedTuple

from transit.server.asgi import Handler, Request
from transit.server.refusals import RefusedError

NAME = "{name}"
PART: Final = re.compile(r"\{(?!name\})([a-z]+)\}")


class Route(NamedTuple):
    """One method of one path.

    Handlers find what `{name}` stands for in `request.name`, and other words in `request.parts`.
    """

    method: str
    path: str
    handler: Handler


class Routes:
    """All routes of a server."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._whole: defaultdict[str, dict[str, Handler]] = defaultdict(dict)
        self._named: defaultdict[str, dict[str, Handler]] = defaultdict(dict)
        self._parted: defaultdict[str, dict[str, Handler]] = defaultdict(dict)
        for route in routes:
            if PART.search(route.path):
                self._parted[route.path][route.method] = route.handler
                continue
            table = self._named if route.path.endswith(NAME) else self._whole
            table[route.path.removesuffix(NAME)][route.method] = route.handler
        # The longest first: `/v1/runs/events/` comes before `/v1/runs/`.
        self._prefixes = sorted(self._named, key=len, reverse=True)
        # By what they begin with: most paths begin with none of these.
        self._patterns: defaultdict[str, list[tuple[re.Pattern[str], str]]] = defaultdict(list)
        for path in self._parted:
            parts = (re.escape(part) for part in PART.split(path)[::2])
            pattern = "([^/]+)".join(parts)
            self._patterns[path.partition("{")[0]].append((re.compile(pattern), path))

    def find(self, request: Request) -> Handler:
        """The function that answers a request; `RefusedError` 404 or 405 where there is none."""
        request.template = request.path
        methods = self._whole.get(request.path) or self._in_parts(request)
        if methods is None:
            prefix = next((each for each in self._prefixes if request.path.startswith(each)), None)
            if prefix is None or request.path == prefix:
                request.template = ""
                raise RefusedError(404, "there is nothing here")
            request.name = request.path.removeprefix(prefix)
            request.template = prefix + NAME
            methods = self._named[prefix]
        return self._chosen(request, methods)

    def _in_parts(self, request: Request) -> dict[str, Handler] | None:
        for begin, patterns in self._patterns.items():
            if not request.path.startswith(begin):
                continue
            for pattern, path in patterns:
                found = pattern.fullmatch(request.path)
                if found is not None:
                    request.parts = dict(zip(PART.findall(path), found.groups(), strict=True))
                    request.template = path
                    return self._parted[path]
        return None

    def _chosen(self, request: Request, methods: dict[str, Handler]) -> Handler:
        method = "GET" if request.method == "HEAD" and "HEAD" not in methods else request.method
        handler = methods.get(method)
        if handler is None:
            allowed = ", ".join(sorted({*methods, "OPTIONS"})).encode()
            raise RefusedError(405, f"method {request.method}", ((b"allow", allowed),))
        return handler
