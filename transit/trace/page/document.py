"""The HTML of a page: the template with title, style, script and data in it.

Owns how these come together, and the policy that stands before them. What is shown is `data`; how
is `page.html`, `page.css` and the files in `script`, which come with the package.

The page asks for nothing and runs nothing but its own script: its Content-Security-Policy names the
digests of script and style, and whatever a run recorded is text to it.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from functools import cache
from html import escape
from pkgutil import get_data
from typing import Final

from transit.trace.beside import beside
from transit.trace.page.data import PageData
from transit.trace.page.heads import notes_of
from transit.trace.prices import Prices
from transit.trace.reading import Trace

# In this order they are one script.
SCRIPTS: Final = (
    "values.js", "text.js", "steps.js", "messages.js", "tree.js", "detail.js", "search.js",
    "head.js", "keys.js", "begin.js",
)  # fmt: skip
_MARK: Final = re.compile("%([A-Z]+)%")


def document(
    traces: Sequence[Trace],
    title: str | None,
    notes: Iterable[object],
    prices: Prices | None,
    most: int,
) -> bytes:
    """The page of a run, or of two beside each other. most: bytes that it should keep to."""
    said = " and ".join(trace.task_id for trace in traces) if title is None else title
    data = PageData(prices)
    steps = [trace.steps() for trace in traces]
    for trace, found in zip(traces, steps, strict=True):
        data.add(trace, found)
    rows = data.rows(beside(*steps)) if len(steps) == 2 else None
    noted, besides = notes_of(notes, traces[0].name), len(_filled(said, b""))
    return _filled(said, data.encode(said, noted, rows, most, besides))


def _filled(title: str, data: bytes) -> bytes:
    style, script = resource("page.css"), "\n".join(resource(f"script/{name}") for name in SCRIPTS)
    policy = (
        f"default-src 'none'; script-src 'sha256-{_digest(script)}'; "
        f"style-src 'sha256-{_digest(style)}'; img-src data:; base-uri 'none'; "
        "form-action 'none'; require-trusted-types-for 'script'"
    )
    texts = {
        "POLICY": policy.encode(), "TITLE": _readable(title).encode(), "STYLE": style.encode(),
        "SCRIPT": script.encode(), "DATA": data,
    }  # fmt: skip
    # Cut at its marks once: what is put in may hold the like of them.
    parts = _MARK.split(resource("page.html"))
    return b"".join(
        texts[part] if number % 2 else part.encode() for number, part in enumerate(parts)
    )


def _readable(text: str) -> str:
    """Text for HTML, with characters that are not seen as escapes."""
    return escape("".join(c if c.isprintable() else ascii(c)[1:-1] for c in text))


@cache
def resource(name: str) -> str:
    """A file that comes with the package."""
    found = get_data("transit.trace.page", name)
    assert found is not None, "it comes with the package"
    return found.decode()


def _digest(text: str) -> str:
    """As a Content-Security-Policy has it: SHA-256 in base64."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
