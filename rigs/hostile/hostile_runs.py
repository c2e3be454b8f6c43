"""What is done to a hostile bucket, in a process of its own: see `rigs.apart`.

Each function makes the bucket of a case and returns the step that is measured. Errors of transit's
are what a hostile bucket should cause: the steps return their names, and let any other error out.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import transit

from . import hostile_chain, hostile_lineage, hostile_redacted, hostile_segments
from .hostile import CASES, Shelf

STREAMS_READ = 40
RECORDS_READ = 500
# Each costs what it costs: it is enough to see that a few of them are typed.
ERRORS_MAX = 4
FILLED_BY = (hostile_chain, hostile_segments, hostile_lineage, hostile_redacted)


def audit(name: str) -> Callable[[], dict[str, object]]:
    """An audit of everything; what it found, and what it wrote."""
    store = CASES[name][1]().shelf

    def run() -> dict[str, object]:
        report = transit.audit(store)
        places = [found.place for found in report.findings]
        return {
            "ok": report.ok,
            "places": places[:1000],
            "writes": store.writes,
            "traceback": "Traceback" in str(report),
        }

    return run


def audit_less(name: str) -> Callable[[], list[str]]:
    """The audits that leave some of it out."""
    store = CASES[name][1]().shelf

    def run() -> list[str]:
        return [
            error
            for level in ("roots", "sample:0.5")
            for error in errors_of(lambda level=level: transit.audit(store, level, seed=1))  # type: ignore[misc]
        ]

    return run


def restore(name: str) -> Callable[[], list[str]]:
    """Restores, whole, of one stream, and lazy; what was restored is read."""
    store = CASES[name][1]().shelf

    def run() -> list[str]:
        with tempfile.TemporaryDirectory(prefix="transit-hostile-") as folder:
            root = Path(folder)
            errors = errors_of(lambda: transit.restore(store, root / "whole"))
            errors += errors_of(lambda: read_all(root / "whole", None))
            errors += errors_of(lambda: transit.restore(store, root / "one", streams=["one"]))
            errors += errors_of(lambda: transit.restore(store, root / "lazy", lazy=True))
            return errors + errors_of(lambda: read_all(root / "lazy", store))

    return run


def read(name: str) -> Callable[[], list[str]]:
    """A reader that has only the bucket's address."""
    objects = CASES[name][1]().objects
    folder = tempfile.TemporaryDirectory(prefix="transit-hostile-")
    root = Path(folder.name)
    for key, data in objects.items():
        # Some keys are none that a file could have.
        with contextlib.suppress(OSError, ValueError):
            path = root / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    objects.clear()

    def run() -> list[str]:
        with folder:
            return errors_of(lambda: read_all(f"file://{root}", None))

    return run


def read_all(place: object, remote: Shelf | None) -> list[str]:
    """Read the beginning of streams, by every way to read; the names of errors."""
    errors: list[str] = []
    with transit.open(place, mode="read", remote=remote) as log:  # type: ignore[arg-type]
        streams: list[transit.Stream] = []
        errors += errors_of(lambda: streams.extend(islice(log.streams(), STREAMS_READ)))
        errors += errors_of(lambda: streams.append(log.stream("one")))
        for way in (way for stream in streams for way in ways(log, stream)):
            if len(errors) >= ERRORS_MAX:
                break
            errors += errors_of(way)
        if len(streams) > 1:
            errors += errors_of(lambda: log.lineage.merge_base(streams[0], streams[-1]))
        errors += errors_of(log.refresh)
    return errors


def ways(log: transit.Log, stream: transit.Stream) -> Iterator[Callable[[], object]]:
    """Everything a reader may ask of a stream."""
    yield lambda: list(islice(stream.read(), RECORDS_READ))
    yield lambda: [len(batch.payloads) for batch in islice(stream.batches(), 3)]
    yield lambda: stream[stream.next_offset - 1].headers
    yield lambda: (stream.metadata, stream.parents, stream.merge_plan, repr(stream))
    yield lambda: log.lineage.children(stream)
    yield lambda: stream.cursor("reader").position


def errors_of(call: Callable[[], object]) -> list[str]:
    """The name of the error of transit's that `call` ended with, or what it returned of them."""
    try:
        found = call()
    except transit.TransitError as error:
        return [type(error).__name__]
    return found if isinstance(found, list) and all(isinstance(e, str) for e in found) else []
