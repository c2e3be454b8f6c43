"""Pages in a real browser: opened, and watched for what they ask for and complain of."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run",
]  # fmt: skip


def missing() -> str:
    """What is not here that a browser needs; "" where all is."""
    if shutil.which("chromium") is None:
        return "chromium is not installed"
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "playwright is not installed"
    return ""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser; skips the test where there is none, and fails it in CI."""
    reason = missing()
    if reason and "CI" in os.environ:
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    # Not a dependency of the package: only these tests need it.
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=ARGUMENTS
        )
        yield Browser(browser)
        browser.close()


_VISIT_ALL = """async () => {
    let text = document.body.textContent;
    const later = () => new Promise((done) => setTimeout(done));
    // Not drawn each time: that takes longest by far.
    detail.hidden = true;
    for (const node of nodes) {
        select(node.n);
        for (let n = 0; n < 3; n += 1) {
            const shut = document.querySelectorAll("details:not([open]), .more");
            if (!shut.length) break;
            shut.forEach((each) => (each.localName === "details" ? (each.open = 1) : each.click()));
            await later();
        }
        if (text.length < 2e6) text += detail.textContent;
    }
    detail.hidden = false;
    const active =
        "img, iframe, object, embed, script, base, form, link:not([rel=icon]), [onerror]";
    const elements = [...document.querySelectorAll(active)].map((each) => each.localName);
    return { steps: nodes.length, text, elements };
}"""


class Browser:
    """A browser with one tab for most pages; those with wishes get one of their own."""

    def __init__(self, browser: Any) -> None:
        self._browser = browser
        self._shared = self._made({})

    def context(self, how: dict[str, Any]) -> Any:
        """A context with one tab."""
        return self._made(how) if how else self._shared

    def _made(self, how: dict[str, Any]) -> Any:
        size = {"width": 1280, "height": 800} | how.pop("size", {})
        made = self._browser.new_context(viewport=size, **how)
        made.new_page()
        return made


class Opened:
    """A page in a tab. asked: what it asked for; complaints: of the console."""

    def __init__(self, browser: Browser, file: Path, **how: Any) -> None:
        self.context = browser.context(how)
        self.tab = self.context.pages[0]
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self._listening = {
            "console": lambda said: self.complaints.append(f"{said.type}: {said.text}"),
            "pageerror": lambda error: self.complaints.append(f"error: {error}"),
            "dialog": self._dialog,
        }
        for what, listener in self._listening.items():
            self.tab.on(what, listener)
        self.context.route("**/*", self._route)
        self.address = file.as_uri()
        self.tab.goto(self.address)

    def _dialog(self, dialog: Any) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _route(self, route: Any) -> None:
        self.asked.append(route.request.url)
        route.continue_()

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

    def visit_all(self) -> dict[str, Any]:
        """Look at every step with all that folds unfolded, twice for what was inside.

        Gives the count of steps, the text seen, and the elements that could run something or ask
        for it.
        """
        found = self.run(_VISIT_ALL)
        assert isinstance(found, dict)
        return found

    @property
    def row(self) -> str:
        """The text of the row that is meant, as assistive technology finds it."""
        self.settle()
        return str(self.run(
            "document.getElementById(document.getElementById('tree')"
            ".getAttribute('aria-activedescendant')).innerText"
        )).replace("\n", " ")  # fmt: skip

    @property
    def detail(self) -> str:
        """The text in the detail."""
        self.settle()
        return str(self.tab.locator("#detail").inner_text())

    @property
    def rows(self) -> list[str]:
        """The names in the rows that are there, from the top."""
        self.settle()
        return list(self.run(
            "[...document.querySelectorAll('.row')].sort((a, b) => parseFloat(a.style.top) -"
            " parseFloat(b.style.top)).map(row => row.querySelector('.name').textContent)"
        ))  # fmt: skip

    @property
    def count(self) -> str:
        """What is said of a search."""
        return str(self.tab.locator("#count").inner_text())

    def settle(self) -> None:
        """Wait until what was asked for is drawn."""
        self.run("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")

    def close(self) -> None:
        """Leave the page; nothing was complained of, and nothing asked for but the file."""
        self.settle()
        for what, listener in self._listening.items():
            self.tab.remove_listener(what, listener)
        self.context.unroute("**/*")
        assert self.complaints == []
        assert self.asked == [self.address]
