"""`transit append`: records from arguments, files or a pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BufferedIOBase
from typing import Final, TypedDict, Unpack

import click

from transit import AlreadyExistsError, Log, Settings, Stream
from transit.cli.configuration import DURABILITIES
from transit.cli.failures import INTERNAL, USAGE, CommandError
from transit.cli.lines import Line, read_lines, read_whole
from transit.cli.opening import Session
from transit.cli.options import HEADER, STREAM, pairs, store_options
from transit.cli.standard import STDIN, standard_input

RECORDS_AT_ONCE: Final = 10_000
BYTES_AT_ONCE: Final = 1024 * 1024


class _Given(TypedDict):
    files: tuple[str, ...]
    form: str
    headers: tuple[tuple[str, str], ...]
    errors: str
    expect: int | None
    durability: str | None
    create: bool


@click.command()
@click.argument("stream", type=STREAM)
@click.argument("data", metavar="[DATA…|-]", nargs=-1)
@click.option("--file", "files", metavar="PATH", multiple=True, help="Read this file; - is stdin.")
@click.option(
    "--input", "form", type=click.Choice(["jsonl", "lines", "whole"]), default="jsonl",
    help="What files and stdin hold: a JSON value a line, any line, or one record.",
)  # fmt: skip
@click.option("--header", "headers", multiple=True, type=HEADER, help="A header of each record.")
@click.option(
    "--errors", type=click.Choice(["stop", "skip"]), default="stop",
    help="At a line that cannot be a record: stop, or go on and exit with 1 at the end.",
)  # fmt: skip
@click.option("--expect", type=click.IntRange(min=0), help="The next offset that must hold.")
@click.option(
    "--durability", type=click.Choice(DURABILITIES),
    help="What to wait for; else as configured.",
)  # fmt: skip
@click.option("--create", is_flag=True, help="Make the stream, and the store, if there is none.")
@store_options
def command(context: Session, stream: str, data: tuple[str, ...], **given: Unpack[_Given]) -> None:
    """Append a record for each DATA, byte for byte, then the records of files.

    With - or with nothing but a pipe, records are read from the standard input. Lines are kept
    byte for byte, without the newline. What has arrived is appended at once.
    """
    arguments, files = _sources(data, given["files"])
    headers = pairs(given["headers"])
    waits = given["durability"] in ("tiered", "replicated")
    with context.open_write(create=given["create"], remote=waits) as log:
        target = _stream(log, stream, given["create"])
        appender = _Appender(target, headers, given["expect"], given["durability"], log.settings)
        try:
            appender.append([os.fsencode(each) for each in arguments])
            for path in files:
                with _opened(path) as source:
                    _append_from(appender, path, source, given["form"], given["errors"] == "skip")
        finally:
            # What was appended is told even when the rest failed.
            if appender.count or appender.skipped:
                context.output.row(appender.row())
    if appender.skipped:
        raise CommandError(
            f"lines skipped: {appender.skipped}; the first: {appender.first_skipped}",
            kind="partly_failed",
            exit_code=INTERNAL,
            fields={"appended": appender.count, "skipped": appender.skipped},
        )


def _sources(data: tuple[str, ...], files: tuple[str, ...]) -> tuple[tuple[str, ...], list[str]]:
    """Which DATA are records, and which files to read."""
    if STDIN in data and len(data) > 1:
        raise click.UsageError("- stands alone: it means the standard input")
    if data == (STDIN,):
        return (), [*files, STDIN]
    if data or files:
        return data, list(files)
    if sys.stdin is None or sys.stdin.isatty():
        raise click.UsageError("nothing to append: give DATA, --file or a pipe")
    return (), [STDIN]


def _stream(log: Log, name: str, create: bool) -> Stream:
    if create and name not in log:
        try:
            return log.create(name)
        except AlreadyExistsError:
            # Another process was faster, in mode "shared".
            return log.stream(name)
    return log.stream(name)


@contextmanager
def _opened(path: str) -> Iterator[BufferedIOBase]:
    if path == STDIN:
        yield standard_input()
        return
    with open(path, "rb") as file:
        yield file


class _Appender:
    """Appends to one stream and counts; with `expect` each frame goes on where the last ended."""

    def __init__(
        self,
        stream: Stream,
        headers: dict[str, str],
        expect: int | None,
        durability: str | None,
        settings: Settings,
    ) -> None:
        self.settings = settings
        self._stream = stream
        self._headers = headers
        self._expect = expect
        self._durability = durability
        self._first: int | None = None
        self._last: int | None = None
        self._reached: str | None = None
        self.count = 0
        self.skipped = 0
        self.first_skipped = ""

    def append(self, payloads: Sequence[bytes]) -> None:
        """All of them, in atomic frames of a bounded size."""
        # A small frame_bytes_max leaves room for what surrounds the payloads.
        bytes_max = min(BYTES_AT_ONCE, self.settings.frame_bytes_max // 4)
        for part in _parts(payloads, bytes_max):
            receipt = self._stream.append_many(
                part, headers=self._headers, expect=self._expect, durability=self._durability
            )
            if self._first is None:
                self._first = receipt.first
            if self._expect is not None:
                self._expect = receipt.last + 1
            self._last, self._reached = receipt.last, receipt.durability
            self.count += receipt.count

    def skip(self, problem: str) -> None:
        """One line less."""
        self.skipped += 1
        self.first_skipped = self.first_skipped or problem

    def row(self) -> dict[str, object]:
        """What was appended."""
        return {
            "stream": self._stream.name,
            "first": self._first,
            "last": self._last,
            "count": self.count,
            "durability": self._reached,
            **({"skipped": self.skipped} if self.skipped else {}),
        }


def _append_from(
    appender: _Appender, path: str, source: BufferedIOBase, form: str, skip: bool
) -> None:
    settings = appender.settings
    place = "standard input" if path == STDIN else path
    if form == "whole":
        payload = read_whole(source, settings.record_bytes_max)
        if payload is None:
            raise CommandError(f"{place}: more than {settings.record_bytes_max} bytes")
        appender.append([payload])
        return
    for lines in read_lines(source, settings.record_bytes_max, form == "jsonl"):
        _append_lines(appender, place, lines, skip)


def _append_lines(appender: _Appender, place: str, lines: list[Line], skip: bool) -> None:
    good: list[bytes] = []
    for line in lines:
        if not line.problem:
            good.append(line.data)
            continue
        problem = f"{place}, line {line.number}: {line.problem}"
        if not skip:
            appender.append(good)
            raise CommandError(
                f"{problem}; {appender.count} records were appended before it",
                exit_code=USAGE,
                hint="--errors skip goes on; --input lines takes any bytes",
                fields={"line": line.number, "appended": appender.count},
            )
        appender.skip(problem)
    appender.append(good)


def _parts(payloads: Sequence[bytes], bytes_max: int) -> Iterator[list[bytes]]:
    """Runs of payloads of a bounded count and size; one that is larger comes alone."""
    part: list[bytes] = []
    size = 0
    for payload in payloads:
        if part and (len(part) == RECORDS_AT_ONCE or size + len(payload) > bytes_max):
            yield part
            part, size = [], 0
        part.append(payload)
        size += len(payload)
    if part:
        yield part
