"""A server in front of another one that does as it likes about conditions."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ANSWERS = {"refuses_501": (501, "NotImplemented"), "refuses_400": (400, "InvalidArgument"),
           "always_exists": (412, "PreconditionFailed")}  # fmt: skip
CONDUCTS = ("ignores", *ANSWERS, "says_yes_and_does_nothing")


@contextlib.contextmanager
def in_front_of(port: int, conduct: str) -> Iterator[str]:
    """The endpoint of a server that forwards to `port` of this machine, but conditional PUTs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            headers = {k: v for k, v in self.headers.items() if k.lower() != "expect"}
            if headers.pop("If-None-Match", None) and conduct != "ignores":
                status, code = ANSWERS.get(conduct, (200, ""))
                text = f"<Error><Code>{code}</Code></Error>" if code else ""
                self._answer(status, [("Content-Type", "application/xml")], text.encode())
                return
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request(self.command, self.path, body or None, headers)
            answer = connection.getresponse()
            kept = [(k, v) for k, v in answer.getheaders() if k.lower() not in OWN]
            size = answer.getheader("Content-Length", "0")
            self._answer(answer.status, kept, answer.read(), size)
            connection.close()

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _handle

        def _answer(
            self, status: int, headers: list[tuple[str, str]], body: bytes, size: str = ""
        ) -> None:
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", size if self.command == "HEAD" else str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


OWN = ("content-length", "transfer-encoding", "connection", "date", "server")
