"""`write_page`: a run as one HTML file that needs nothing else.

Owns the file: the template with style, script and data in it, and that it is written whole or not
at all. What is shown is `data`; how is `page.html`, `page.css` and the files in `script`, which
come with the package.

The page asks for nothing and runs nothing but its own script: its Content-Security-Policy names the
digests of script and style, and whatever a run recorded is text to it.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
from collections.abc import Iterable
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import IO, Final

from transit import InvalidInputError, Log, Stream
from transit.trace.beside import beside as beside_rows
from transit.trace.page.data import PageData
from transit.trace.page.heads import notes_of
from transit.trace.reading import Trace, read

SCRIPTS: Final = (
    "values.js", "text.js", "steps.js", "messages.js", "tree.js", "detail.js", "search.js",
    "head.js", "keys.js",
)  # fmt: skip
_MARK: Final = re.compile("%([A-Z]+)%")


def write_page(
    log: Log,
    run: str | Stream,
    file: str | Path | IO[bytes],
    *,
    beside: str | Stream | None = None,
    notes: Iterable[object] = (),
    title: str | None = None,
) -> None:
    """Write a run, with its child runs, as an HTML page that is complete in itself.

    file: where to, or a binary file. A file that is there is replaced, at once: it is written
    beside first. beside: a run to show next to it, aligned by what the steps say. notes: objects or
    mappings with any of name, score, label, comment, author, timestamp (UTC nanoseconds) and at (an
    offset, "stream@offset" or a position). title: None: the name of the task.

    Texts and values above 64 KiB are cut, with their size and BLAKE3 digest. Raises `NotFoundError`
    when there is no such run, `InvalidInputError` for what is no path or file, `OSError` when the
    file cannot be written.
    """
    is_file = hasattr(file, "write") and not isinstance(file, io.TextIOBase)
    if not isinstance(file, str | Path) and not is_file:
        raise InvalidInputError(f"file must be a path or a binary file, not {file!r}")
    if title is not None and not isinstance(title, str):
        raise InvalidInputError(f"title must be text, not {title!r}")
    traces = [read(log, each) for each in (run, beside) if each is not None]
    said = " and ".join(trace.task_id for trace in traces) if title is None else title
    page = _page(said, _data(traces, said, notes))
    if isinstance(file, str | Path):
        _write_whole(Path(file), page)
    else:
        file.write(page)


def _data(traces: list[Trace], title: str, notes: Iterable[object]) -> bytes:
    data = PageData()
    steps = [trace.steps() for trace in traces]
    for trace, found in zip(traces, steps, strict=True):
        data.add(trace, found)
    rows = data.rows(beside_rows(*steps)) if len(steps) == 2 else None
    return data.encode(title, notes_of(notes, traces[0].name), rows)


def _page(title: str, data: bytes) -> bytes:
    style, script = resource("page.css"), "\n".join(resource(f"script/{name}") for name in SCRIPTS)
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest(script)}'; "
        f"style-src 'sha256-{digest(style)}'; img-src data:; base-uri 'none'; "
        "form-action 'none'; require-trusted-types-for 'script'"
    )
    texts = {
        "POLICY": policy.encode(), "TITLE": readable(title).encode(), "STYLE": style.encode(),
        "SCRIPT": script.encode(), "DATA": data,
    }  # fmt: skip
    # Cut at its marks once: what is put in may hold the like of them.
    parts = _MARK.split(resource("page.html"))
    return b"".join(
        texts[part] if number % 2 else part.encode() for number, part in enumerate(parts)
    )


def readable(text: str) -> str:
    """Text for HTML, with characters that are not seen as escapes."""
    return escape("".join(c if c.isprintable() else ascii(c)[1:-1] for c in text))


@cache
def resource(name: str) -> str:
    """A file that comes with the package."""
    return (files(__name__) / name).read_text(encoding="utf-8")


def digest(text: str) -> str:
    """As a Content-Security-Policy has it: SHA-256 in base64."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.temporary")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
