"""`transit cursors`: which readers keep their places, and how far behind they are."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping

import click

from transit import CursorStatus
from transit.cli.opening import Session
from transit.cli.options import STREAM, store_options

COLUMNS = ("cursor", "stream", "position", "lag", "state", "encoding")


@click.command()
@click.argument("stream", default="", type=STREAM)
@click.option("--prefix", default="", metavar="PREFIX", help="Those whose names begin with it.")
@store_options
def command(context: Session, stream: str, prefix: str) -> None:
    """List the cursors on STREAM, or on all streams, in order of creation.

    `lag` is how many records of the stream a cursor has before it. Cursors on streams of layers are
    listed with their stream.
    """
    with context.open_read() as log:
        found = log.stream(stream).cursors(prefix) if stream else log.cursors(prefix)
        rows = (_row(cursor.status()) for cursor in found)
        count = context.output.rows("", COLUMNS, rows)
    context.output.text(f"{count} cursors")


def _row(status: CursorStatus) -> Mapping[str, object]:
    state, encoding = _text(status.state)
    return {
        "cursor": status.name,
        "stream": status.stream,
        "position": status.position,
        "lag": status.lag,
        "state": state,
        "encoding": encoding,
    }


def _text(state: bytes | None) -> tuple[str | None, str | None]:
    """The state and how it is written, as payloads are: as text where it is UTF-8."""
    if state is None:
        return None, None
    try:
        return state.decode(), "utf-8"
    except UnicodeDecodeError:
        return b64encode(state).decode(), "base64"
