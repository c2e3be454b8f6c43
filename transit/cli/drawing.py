"""The lineage graph on standard output, in the characters and colours that it can show."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Sequence

from transit.cli.graph import ASCII, UNICODE, describe, rows, shown
from transit.cli.output import Output
from transit.server.page.lanes import StreamFacts


def draw(output: Output, facts: Sequence[StreamFacts]) -> None:
    """Print the drawing of `facts`, which are in order of creation."""
    glyphs = UNICODE if _takes_unicode() else ASCII
    for lanes, stream in rows(facts, glyphs):
        if stream is None:
            output.line(lanes)
            continue
        name = output.style(shown(stream.name, glyphs.plain), bold=True)
        output.line(f"{lanes} {name}  {describe(stream, glyphs)}")


def _takes_unicode() -> bool:
    return codecs.lookup(sys.stdout.encoding or "ascii").name == "utf-8"
