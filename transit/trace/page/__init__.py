"""`write_page`: a run as one HTML file that needs nothing else.

Owns the file: that it is written whole or not at all.

document      the HTML, with style and script
data          the runs and their steps as JSON; heads: facts about a run
values        each distinct value; bounds: how much of each
growing       what is new of a run, for a page of a server that is open
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Final

from transit import InvalidInputError, Log, Stream
from transit.trace.files.whole import written_whole
from transit.trace.prices import Prices, check_prices
from transit.trace.reading import Trace, read

# Chromium shows a page of this size within seconds: see docs/guide/page.md.
PAGE_BYTES_MAX: Final = 64 * 1024 * 1024


def write_page(
    log: Log,
    run: str | Stream | Trace,
    file: str | Path | IO[bytes],
    *,
    beside: str | Stream | Trace | None = None,
    notes: Iterable[object] | None = None,
    prices: Prices | None = None,
    title: str | None = None,
    page_bytes_max: int = PAGE_BYTES_MAX,
) -> None:
    """Write a run, with its child runs, as an HTML page that is complete in itself.

    file: where to, or a binary file. A file that is there is replaced, at once: it is written
    beside first. beside: a run to show next to it, aligned by what the steps say. notes: objects or
    mappings with any of name, score, label, comment, author, metadata, timestamp (UTC nanoseconds)
    and at (an offset, "stream@offset" or a position); None: those that `annotate` wrote on the run.
    prices: of tokens; without them it cost what all of its calls say, if they do. title: None: the
    name of the task.

    page_bytes_max: where it would be larger, values are cut from the largest down until it is not,
    and the page says so; what it shows without values always stays, as large as that may be.
    Texts and values above 64 KiB are cut always, with their size and BLAKE3 digest.

    Raises `NotFoundError` when there is no such run, `InvalidInputError` for what is no path, file
    or size, `OSError` when the file cannot be written.
    """
    is_file = hasattr(file, "write") and not isinstance(file, io.TextIOBase)
    if not isinstance(file, str | Path) and not is_file:
        raise InvalidInputError(f"file must be a path or a binary file, not {file!r}")
    if title is not None and not isinstance(title, str):
        raise InvalidInputError(f"title must be text, not {title!r}")
    if type(page_bytes_max) is not int or page_bytes_max <= 0:
        raise InvalidInputError(f"page_bytes_max must be a count of bytes, not {page_bytes_max!r}")
    # Loaded here: a program that only records needs none of it.
    from transit.trace.page.document import document

    runs = [run] if beside is None else [run, beside]
    traces = [each if isinstance(each, Trace) else read(log, each) for each in runs]
    found = traces[0].notes if notes is None else notes
    page = document(traces, title, found, check_prices(prices), page_bytes_max)
    if isinstance(file, str | Path):
        with written_whole(Path(file)) as target:
            target.write(page)
    else:
        file.write(page)
