"""`export_file`: a run written as a file of another tool's format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Final

from transit import InvalidInputError, Log, Stream
from transit.trace.events import check_choice, encode_json
from transit.trace.files import to_atif, to_inspect, to_messages, to_parquet, to_spans
from transit.trace.files.whole import written_whole
from transit.trace.reading import Trace, read

_Write = Callable[[Log, Trace, IO[bytes]], None]


def _write_otlp(log: Log, trace: Trace, file: IO[bytes]) -> None:
    file.write(encode_json(to_spans.document(log, trace, "genai")) + b"\n")


def _write_openinference(log: Log, trace: Trace, file: IO[bytes]) -> None:
    file.write(encode_json(to_spans.document(log, trace, "openinference")) + b"\n")


def _write_atif(log: Log, trace: Trace, file: IO[bytes]) -> None:
    file.write(encode_json(to_atif.document(log, trace)) + b"\n")


def _write_messages(log: Log, trace: Trace, file: IO[bytes]) -> None:
    file.write(encode_json(to_messages.document(trace)) + b"\n")


EXPORTS: Final[Mapping[str, _Write]] = {
    "otlp": _write_otlp,
    "openinference": _write_openinference,
    "atif": _write_atif,
    "messages": _write_messages,
    "inspect": to_inspect.write,
    "parquet": to_parquet.write,
}
_BY_ENDING: Final = {".eval": "inspect", ".parquet": "parquet"}


def export_file(
    log: Log, run: str | Stream, path: str | Path, *, format: str | None = None
) -> Path:
    """Write a run to a file of another tool's format; where it was written.

    format: "otlp", "openinference" (both OTLP as JSON), "atif", "messages", "inspect" or "parquet";
    None: by the ending, `.eval` or `.parquet`. A file that is there is replaced, at once: it is
    written beside first. Child runs come along where the format has a place for them.

    Raises `NotFoundError` when there is no such run, `InvalidInputError` for an unknown format or
    when pyarrow is missing, `OSError` when the file cannot be written.
    """
    if not isinstance(path, str | Path):
        raise InvalidInputError(f"path must be text or a Path, not {type(path).__name__}")
    target = Path(path)
    form = _BY_ENDING.get(target.suffix) if format is None else format
    if form is None:
        raise InvalidInputError(f"{target.name}: say the format: {', '.join(EXPORTS)}")
    check_choice(form, tuple(EXPORTS), "format")
    trace = read(log, run)
    with written_whole(target) as file:
        EXPORTS[form](log, trace, file)
    return target


def write_export(log: Log, run: str | Stream, file: IO[bytes], format: str) -> None:
    """The same into an open file."""
    check_choice(format, tuple(EXPORTS), "format")
    EXPORTS[format](log, read(log, run), file)
