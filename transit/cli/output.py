"""What a command prints: tables for people at a terminal, JSON Lines for programs in a pipe.

Owns the decision which of the two, colour, and that nothing a record holds can steer a terminal:
control characters are shown as escapes. Progress goes to the standard error output.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Final

import click
import msgspec

from transit.cli.escapes import printable
from transit.cli.standard import unwritten

if TYPE_CHECKING:
    from rich.progress import TaskID

    from transit import Progress

# What `style` takes for a cell, from its text.
Styles = Mapping[str, Callable[[str], Mapping[str, object]]]
Row = Mapping[str, object] | msgspec.Struct | Sequence[object]
ROWS_AT_ONCE: Final = 500
_CELL_COLUMNS_MAX: Final = 48


class Output:
    """Standard output of one command. `terminal`: whether people read it; `tables`: see `rows`."""

    def __init__(self, format: str = "auto", color: bool | None = None) -> None:
        self.terminal = sys.stdout.isatty()
        self.tables = format == "table" or (format == "auto" and self.terminal)
        wanted = self.terminal and "NO_COLOR" not in os.environ
        self.color = wanted if color is None else color

    def row(self, row: Row) -> None:
        """One result: a JSON object, or a line for each of its fields."""
        if self.tables:
            self._fields("", plain(row))
        else:
            self._json(row)

    def rows(
        self,
        title: str,
        columns: Sequence[str],
        rows: Iterable[Row],
        styles: Styles | None = None,
    ) -> int:
        """Many results as they come, their count: JSON objects, or a table of `columns`.

        A row is a mapping or a struct, of which the table shows `columns`, or a sequence of as many
        values. styles: by column, how its cells look.
        """
        if self.tables:
            return self._table(title, columns, rows, styles or {})
        count = 0
        for row in rows:
            self._json(row, columns)
            count += 1
        return count

    def document(self, title: str, row: Row) -> None:
        """One thing with many facts: a JSON object, or a titled line for each field."""
        if self.tables:
            self._fields(title, plain(row))
        else:
            self._json(row)

    def raw(self, data: bytes) -> None:
        """Bytes, as they are."""
        try:
            sys.stdout.buffer.write(data)
        except OSError as error:
            raise unwritten(error) from None

    def text(self, text: str) -> None:
        """A line for people; nothing in a pipe, and nothing where JSON was asked for."""
        if self.terminal and self.tables:
            self.line(printable(text))

    def line(self, text: str) -> None:
        """A line that is output in itself, as a graph's is; the caller made it printable."""
        try:
            sys.stdout.write(f"{text}\n")
        except OSError as error:
            raise unwritten(error) from None

    def flush(self) -> None:
        """Let readers see what was printed."""
        try:
            sys.stdout.flush()
        except OSError as error:
            raise unwritten(error) from None

    def style(self, text: str, **style: object) -> str:
        """`text` in a colour, where colour is wanted; as `click.style`."""
        return click.style(text, **style) if self.color else text  # type: ignore[arg-type]

    @contextmanager
    def progress(self, label: str) -> Iterator[Callable[[Progress], None]]:
        """A callback that shows a transfer as a bar at a terminal, and nothing elsewhere."""
        if not (sys.stderr.isatty() and self.tables):
            yield lambda _: None
            return
        # Imported here: only a terminal needs it.
        from rich import console, progress

        screen = console.Console(stderr=True, no_color=not self.color)
        columns = (
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.DownloadColumn(),
        )
        tasks: dict[str, TaskID] = {}
        with progress.Progress(*columns, console=screen, transient=True) as bars:

            def report(at: Progress) -> None:
                if at.step not in tasks:
                    tasks[at.step] = bars.add_task(f"{label}: {at.step}", total=None)
                bars.update(tasks[at.step], completed=at.bytes, total=at.bytes_total or None)

            yield report

    def _json(self, row: Row, columns: Sequence[str] = ()) -> None:
        made = plain(row, columns)
        try:
            line = msgspec.json.encode(made)
        except UnicodeEncodeError:
            line = msgspec.json.encode(_sayable(made))
        self.raw(line + b"\n")

    def _fields(self, title: str, fields: Mapping[str, object]) -> None:
        if title:
            self.line(self.style(printable(title), bold=True))
        width = max(map(len, fields), default=0)
        for name, value in fields.items():
            label = self.style(f"{name:<{width}}", fg="cyan")
            self.line(f"{label}  {cell(value)}".rstrip())

    def _table(
        self, title: str, columns: Sequence[str], rows: Iterable[Row], styles: Styles
    ) -> int:
        """Part by part, each as wide as the one before or wider, so that rows come as they do."""
        count, widths = 0, [len(name) for name in columns]
        rest = iter(rows)
        if title:
            self.text(title)
        while True:
            part = [plain(row, columns) for row in islice(rest, ROWS_AT_ONCE)]
            cells = [[cell(row.get(name)) for name in columns] for row in part]
            for place in range(len(columns)):
                longest = max((columns_of(line[place]) for line in cells), default=0)
                widths[place] = max(widths[place], min(longest, _CELL_COLUMNS_MAX))
            if not count:
                self.line(self.style(_aligned(columns, widths), bold=True))
            for line in cells:
                if styles and self.color:
                    self.line(self._styled(columns, line, widths, styles))
                else:
                    self.line(_aligned(line, widths))
            count += len(part)
            if len(part) < ROWS_AT_ONCE:
                return count

    def _styled(
        self, columns: Sequence[str], cells: Sequence[str], widths: Sequence[int], styles: Styles
    ) -> str:
        shown = [
            self.style(text, **styles[name](text.rstrip())) if name in styles else text
            for name, text in zip(columns, _padded(cells, widths), strict=True)
        ]
        return "  ".join(shown).rstrip()


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(_padded(cells, widths)).rstrip()


def _padded(cells: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    return (
        text + " " * (width - columns_of(text)) for text, width in zip(cells, widths, strict=True)
    )


def columns_of(text: str) -> int:
    """How many columns of a terminal `text` takes."""
    if text.isascii():
        return len(text)
    # Imported here: only tables need it, and most have no wide characters.
    from rich.cells import cell_len

    return cell_len(text)


def plain(row: Row, columns: Sequence[str] = ()) -> dict[str, object]:
    """A row as a mapping of what JSON knows."""
    if isinstance(row, msgspec.Struct):
        return {name: _plain(getattr(row, name)) for name in row.__struct_fields__}
    if isinstance(row, Mapping):
        return {str(name): _plain(value) for name, value in row.items()}
    if hasattr(row, "_asdict"):
        return plain(row._asdict())
    return {name: _plain(value) for name, value in zip(columns, row, strict=True)}


def _plain(value: object) -> object:
    if value is None or isinstance(value, bool | int | float | str | msgspec.Raw):
        return value
    if isinstance(value, msgspec.Struct | Mapping) or hasattr(value, "_asdict"):
        return plain(value)  # type: ignore[arg-type]
    if isinstance(value, Iterable) and not isinstance(value, bytes | bytearray | memoryview):
        return [_plain(each) for each in value]
    return bytes(value).hex() if isinstance(value, bytes | bytearray | memoryview) else str(value)


def _sayable(value: object) -> object:
    """A value whose texts UTF-8 can say: half a character is shown as its escape."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {str(_sayable(name)): _sayable(each) for name, each in value.items()}
    return [_sayable(each) for each in value] if isinstance(value, list) else value


def cell(value: object) -> str:
    """A value as a person reads it, on one line."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, msgspec.Raw):
        return printable(bytes(value).decode("utf-8", "backslashreplace"))
    known = _plain(value)
    if isinstance(known, dict):
        return _mapping_cell(known)
    return ", ".join(map(cell, known)) if isinstance(known, list) else printable(str(known))


def _mapping_cell(mapping: Mapping[str, object]) -> str:
    if mapping.keys() == {"stream", "offset"}:
        return f"{cell(mapping['stream'])}@{mapping['offset']}"
    return ", ".join(f"{printable(key)}={cell(each)}" for key, each in mapping.items())
