"""What lies between a client and its server, and loses answers: a proxy for tests.

It passes bytes on. Told to, it takes a request to the server, waits for the answer, and closes the
client's connection without it: the moment in which nobody knows whether something was written.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from typing import Final

_STEP_S: Final = 0.05


class Between:
    """A proxy of the server at `port`; `url` is where it answers.

    lose: how many answers to POSTs are lost from now on. seen: requests by their method.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.lose = 0
        self.seen: list[str] = []
        self._is_closed = False
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """Take no more connections, and end those there are."""
        self._is_closed = True
        self._listening.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while not self._is_closed:
            with contextlib.suppress(OSError):
                if not select.select([self._listening], [], [], _STEP_S)[0]:
                    continue
                client, _ = self._listening.accept()
                thread = threading.Thread(target=self._pass, args=(client,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pass(self, client: socket.socket) -> None:
        server = socket.create_connection(("127.0.0.1", self._port))
        loses = False
        with client, server, contextlib.suppress(OSError):
            while not self._is_closed:
                for ready in select.select([client, server], [], [], _STEP_S)[0]:
                    data = ready.recv(1 << 16)
                    if not data:
                        return
                    if ready is client:
                        method = data.split(b" ", 1)[0]
                        if method in (b"GET", b"POST"):
                            self.seen.append(method.decode())
                            loses = method == b"POST" and self.lose > 0
                        server.sendall(data)
                    elif loses:
                        self.lose -= 1
                        return
                    else:
                        client.sendall(data)
