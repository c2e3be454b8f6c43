"""`import_file`: a file of another tool, recognised and stored as runs.

Owns which formats there are and which of them a file is. Reading a format is a module of its own,
storing runs is `writing`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from transit import InvalidInputError, Log
from transit.trace.events import check_choice, check_texts
from transit.trace.files import (
    atif,
    claude_code,
    codex,
    inspect_logs,
    messages,
    mini_swe_agent,
    openhands,
    otlp,
    swe_agent,
)
from transit.trace.files.runs import ImportedRun
from transit.trace.files.source import Source, Tally
from transit.trace.files.writing import RunWriter


class Format(NamedTuple):
    """How a file is known to be of a format, and what runs are in one that is."""

    detect: Callable[[Source], bool]
    runs: Callable[[Source], Iterator[ImportedRun]]


# In the order they are tried: the first ones are certain of theirs, the last takes any messages.
FORMATS: Final[Mapping[str, Format]] = {
    inspect_logs.NAME: Format(inspect_logs.detect, inspect_logs.runs),
    atif.NAME: Format(atif.detect, atif.runs),
    mini_swe_agent.NAME: Format(mini_swe_agent.detect, mini_swe_agent.runs),
    swe_agent.NAME: Format(swe_agent.detect, swe_agent.runs),
    otlp.NAME: Format(otlp.detect, otlp.runs),
    codex.NAME: Format(codex.detect, codex.runs),
    claude_code.NAME: Format(claude_code.detect, claude_code.runs),
    openhands.NAME: Format(openhands.detect, openhands.runs),
    messages.NAME: Format(messages.detect, messages.runs),
}


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What came of importing a file.

    runs: names of the streams that hold it, parents first. added: events and notes written now.
    there: those that were there already. records: how many lines, messages, steps, spans or events
    the file has. raw: those of them that no type of event says anything of, kept as `Custom`.
    skipped: those left out because they are bad; problems: the places of the first hundred.
    """

    path: str
    format: str
    runs: tuple[str, ...]
    added: int
    there: int
    records: int
    raw: int
    skipped: int
    problems: tuple[str, ...] = ()


def import_file(
    log: Log,
    path: str | Path,
    *,
    format: str | None = None,
    prefix: str = "",
    skip_bad: bool = False,
    durability: str = "os",
) -> Imported:
    """Store the runs in a file that another tool wrote; a second time nothing is added.

    format: one of `FORMATS`; None: it is found out. prefix: put before every stream's name, which
    begins with the file's. skip_bad: leave out what cannot be used, and count it; else it is
    refused. durability: what each write waits for.

    The events of a file that has grown are appended. Raises `InvalidInputError` with the place of
    what is bad, or when no format is recognised; `AlreadyExistsError` when a stream of that name
    holds something else; `OSError` when the file cannot be read. Then nothing was written.
    """
    check_texts(prefix=prefix)
    if not isinstance(path, str | Path):
        raise InvalidInputError(f"path must be text or a Path, not {type(path).__name__}")
    tally = Tally(skip_bad)
    source = Source(path, tally)
    name = detect_format(source) if format is None else format
    check_choice(name, tuple(FORMATS), "format")
    if name == claude_code.NAME:
        source = claude_code.session_of(source)
    with RunWriter(log, source, name, prefix) as writer:
        writer.stage(FORMATS[name].runs(source))
        written = writer.write(durability)
    return Imported(
        path=str(path),
        format=name,
        runs=written.streams,
        added=written.added,
        there=written.there,
        records=tally.records,
        raw=tally.raw,
        skipped=tally.skipped,
        problems=tuple(tally.problems),
    )


def detect_format(source: Source) -> str:
    """The format a file is of; `InvalidInputError` when it is none."""
    for name, each in FORMATS.items():
        if each.detect(source):
            return name
    if not source.is_zip and not source.is_lines:
        # Says what is wrong with it, where it is no JSON at all.
        _ = source.document
    raise InvalidInputError(f"{source.name}: no known format; say which: {', '.join(FORMATS)}")
