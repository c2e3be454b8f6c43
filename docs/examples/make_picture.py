"""Draws what `transit show` prints of the run of `make_page.py`: `show.svg`, beside this file.

    python docs/examples/make_picture.py

The picture is text in one monospaced font, on the background of a dark terminal.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import transit
from transit import trace
from transit.cli.output import Output
from transit.cli.runs_shown import show_run

HERE = Path(__file__).resolve().parent
COLUMNS = 100
LINES = 34
SIZE, WIDTH, HEIGHT, MARGIN = 13, 7.8, 19, 16
COLORS = {
    "31": "#ff8a80", "32": "#8bd49c", "33": "#e5c07b", "34": "#82aaff", "35": "#d7a3f0",
    "36": "#7fd1d8",
}  # fmt: skip
TEXT, FAINT, GROUND = "#d8dee6", "#8a949f", "#14181d"
STYLE = re.compile(r"\x1b\[([0-9;]*)m")


def made() -> Any:
    """The module that records the run."""
    spec = importlib.util.spec_from_file_location("make_page", HERE / "make_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shown() -> list[str]:
    """What the command prints, with its colours."""
    run = made()
    os.environ["COLUMNS"] = str(COLUMNS)  # what it takes the width from
    with tempfile.TemporaryDirectory() as folder, transit.open(Path(folder) / "runs") as log:
        run.record(log)
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            found = trace.read(log, "fix-rounding")
            show_run(Output("table", True), found, run.PRICES, full=False, children=True)
    return printed.getvalue().splitlines()


def spans(line: str) -> Iterator[str]:
    """A line as spans of one look each."""
    color, bold = TEXT, False
    place = 0
    for match in [*STYLE.finditer(line), None]:
        text = line[place : None if match is None else match.start()]
        if text:
            weight = ' font-weight="bold"' if bold else ""
            # Else an image has one space in place of several.
            kept = escape(text, quote=False).replace(" ", "\u00a0")
            yield f'<tspan fill="{color}"{weight}>{kept}</tspan>'
        if match is None:
            return
        place = match.end()
        for code in match[1].split(";"):
            if code in ("", "0"):
                color, bold = TEXT, False
            elif code == "1":
                bold = True
            elif code == "2":
                color = FAINT
            else:
                color = COLORS.get(code, color)


def picture(lines: list[str]) -> str:
    """The lines as an SVG image."""
    width, height = COLUMNS * WIDTH + 2 * MARGIN, len(lines) * HEIGHT + 2 * MARGIN
    rows = "\n".join(
        f'<text x="{MARGIN}" y="{MARGIN + HEIGHT * (n + 0.75):g}">{"".join(spans(line))}</text>'
        for n, line in enumerate(lines)
    )
    fonts = "ui-monospace, Menlo, Consolas, monospace"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" font-family="{fonts}" font-size="{SIZE}">\n'
        f'<rect width="100%" height="100%" rx="6" fill="{GROUND}"/>\n{rows}\n</svg>\n'
    )


def main(target: Path) -> None:
    """Record the run, and draw it."""
    lines = ["\x1b[2m$\x1b[0m transit show fix-rounding", *shown()]
    if len(lines) > LINES:
        lines = [*lines[:LINES], "\x1b[2m…\x1b[0m"]
    target.write_text(picture(lines), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "show.svg")
