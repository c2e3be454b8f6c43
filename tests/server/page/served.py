"""A store served by a real server in a thread, and a browser's tab that looks at it."""

from __future__ import annotations

import http.client
import json
import re
import threading
import time
from typing import Any
from urllib.parse import urlencode, urlsplit

import uvicorn

import transit
from tests.trace.pages import Browser
from transit.server.app import App
from transit.server.settings import ServerSettings
from transit.trace import Prices
from transit.views.loading import Declared

# Only ends a test that hangs.
PATIENCE_MS = 90_000


class Site:
    """A store on a port of loopback. prefix: the path that a proxy serves it below."""

    def __init__(
        self,
        log: transit.Log,
        *,
        tokens: str | None = None,
        prices: Prices | None = None,
        prefix: str = "",
        declared: Declared | None = None,
        **settings: Any,
    ) -> None:
        self.app = App(log, ServerSettings(**settings), tokens, prices, declared)
        self._prefix = prefix
        config = uvicorn.Config(
            self._proxied, host="127.0.0.1", port=0, log_level="error", access_log=False,
            timeout_keep_alive=75, interface="asgi3",
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        begun = threading.Event()
        while not self._server.started:
            assert self._thread.is_alive()
            begun.wait(0.01)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.host = f"127.0.0.1:{port}"
        self.url = f"http://{self.host}{prefix}/"

    async def _proxied(self, scope: Any, receive: Any, send: Any) -> None:
        """What a proxy does that serves the site below a path: nothing else reaches the site."""
        if self._prefix and scope["type"] == "http":
            assert scope["path"].startswith(f"{self._prefix}/"), scope["path"]
            raw = scope["raw_path"].removeprefix(self._prefix.encode())
            scope = {**scope, "path": scope["path"].removeprefix(self._prefix), "raw_path": raw}
        await self.app(scope, receive, send)

    def close(self) -> None:
        """End the server; all of its connections end too."""
        self._server.should_exit = True
        self._thread.join()

    def ask(
        self, method: str, path: str, form: dict[str, str] | None = None, **headers: str
    ) -> tuple[int, dict[str, str], str]:
        """Status, header fields and body of an answer; no cookies are kept."""
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.netloc, timeout=90)
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        body = None
        if form is not None:
            body = urlencode(form)
            fields.setdefault("content-type", "application/x-www-form-urlencoded")
        connection.request(method, parts.path + path, body, fields)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, {key.lower(): value for key, value in answer.getheaders()}, text


class Tab:
    """A tab. asked: the addresses it asked for; complaints: of the console."""

    def __init__(self, browser: Browser, site: Site, how: dict[str, Any]) -> None:
        how.setdefault("color_scheme", "light")
        self.context = browser.context(how)
        self.tab = self.context.pages[0]
        self.tab.set_default_timeout(PATIENCE_MS)
        self._site = site
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.tab.on("console", lambda said: self.complaints.append(f"{said.type}: {said.text}"))
        self.tab.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.tab.on("dialog", self._dialog)
        self.context.on("request", lambda request: self.asked.append(request.url))

    def _dialog(self, dialog: Any) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def go(self, address: str) -> None:
        """Go to an address of the site."""
        self.tab.goto(self._site.url + address)

    def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            self.tab.keyboard.press(key)

    def type(self, text: str) -> None:
        """Type text where the focus is."""
        self.tab.keyboard.type(text)

    def run(self, script: str) -> Any:
        """The value of a script in the page."""
        return self.tab.evaluate(script)

    def wait(self, script: str) -> None:
        """Wait until an expression holds."""
        # Asked again from here: the page's policy lets it evaluate nothing by itself.
        ends = time.monotonic() + PATIENCE_MS / 1000
        while not self._holds(script):
            assert time.monotonic() < ends, f"{script}\n{self.text()[:2000]}\n{self.complaints}"
            self.tab.wait_for_timeout(20)

    def _holds(self, script: str) -> bool:
        # Loaded here: tests that need no browser need no playwright.
        from playwright.sync_api import Error

        try:
            return bool(self.run(script))
        except Error as error:
            # The page is being left for another.
            if "navigation" in str(error):
                return False
            raise

    def wait_for(self, text: str, where: str = "body") -> None:
        """Wait until a text is to be seen; "5 runs" is not seen in "105 runs"."""
        sought = ("" if text[0] in "+-" else r"(?<![\w,.])") + re.escape(text)
        self.wait(
            f"new RegExp({json.dumps(sought)})"
            f".test(document.querySelector({json.dumps(where)})?.innerText ?? '')"
        )

    def text(self, where: str = "body") -> str:
        """The text to be seen in an element."""
        return str(self.tab.locator(where).first.inner_text())

    @property
    def row(self) -> str:
        """The row of the tree that is meant."""
        self.settle()
        return str(self.run(
            "document.getElementById(document.getElementById('tree')"
            ".getAttribute('aria-activedescendant')).innerText"
        )).replace("\n", " ")  # fmt: skip

    @property
    def rows(self) -> list[str]:
        """All that the rows of the tree say, from the top."""
        self.settle()
        return list(self.run(
            "[...document.querySelectorAll('.row')].sort((a, b) => parseFloat(a.style.top) -"
            " parseFloat(b.style.top)).map(row => row.getAttribute('aria-level') + ' ' +"
            " row.innerText.replaceAll('\\n', ' '))"
        ))  # fmt: skip

    def settle(self) -> None:
        """Wait until what was asked for is drawn."""
        self.run("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")

    def live(self) -> None:
        """Wait until the page is told what comes."""
        self.wait("document.getElementById('live')?.classList.contains('on')")

    def close(self) -> None:
        """Leave; nothing was complained of, and no other server was asked."""
        self.context.close()
        assert self.complaints == [], self.complaints
        origin = "http://" + self._site.host
        assert [each for each in self.asked if not each.startswith(origin + "/")] == []
