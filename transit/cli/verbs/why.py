"""`transit why`: how a record got where it is."""

from __future__ import annotations

from collections.abc import Iterator

import click

from transit import Provenance, ProvenanceStep
from transit.cli.opening import Session
from transit.cli.options import POSITION, store_options
from transit.cli.output import Output, plain
from transit.cli.positions import position_of
from transit.cli.values import Place, moment_text

COLUMNS = ("stream", "offset", "kind", "how")


@click.command()
@click.argument("place", type=POSITION, metavar="STREAM@OFFSET")
@store_options
def command(context: Session, place: Place) -> None:
    """Explain how the record at STREAM@OFFSET got there.

    Where it was appended, the streams on its way, the file that holds it, and the commit that names
    it. An offset below 0 counts from the end.
    """
    if place.offset is None or place.stop is not None:
        raise click.UsageError("one record is wanted: STREAM@OFFSET")
    with context.open_read() as log:
        found = log.lineage.why(position_of(log, place))
    if context.output.tables:
        _explain(context.output, found)
    else:
        times = {"timestamp": _moment(found.timestamp), "written": _moment(found.written)}
        context.output.row({**plain(found), **times})


def _moment(time: int | None) -> str | None:
    return None if time is None else moment_text(time)


def _explain(output: Output, found: Provenance) -> None:
    file = f"{found.place.file} at byte {found.place.position}"
    if found.place.block is not None:
        file += f", block {found.place.block}"
    if not found.place.local:
        file += ", only in the remote"
    commit = found.commit
    published = {None: "no remote was asked", True: "yes", False: "not yet"}[found.published]
    output.document(
        "",
        {
            "record": f"{found.position.stream}@{found.position.offset}",
            "appended": f"{found.origin.stream}@{found.origin.offset}",
            "time": _moment(found.timestamp) or "out of reach",
            "written": _moment(found.written) or "out of reach",
            "file": file,
            "lsn": "-".join(str(number) for number in dict.fromkeys(found.place.lsn)),
            "commit": "not sealed yet" if commit is None else f"{commit.number} {commit.root}",
            "published": published,
        },
    )
    output.rows("", COLUMNS, _steps(found))


def _steps(found: Provenance) -> Iterator[tuple[object, ...]]:
    for step in found.path:
        here = (step.stream, step.offset) == found.origin
        yield step.stream, step.offset, step.kind, "appended here" if here else _how(step)


def _how(step: ProvenanceStep) -> str:
    if step.merge is None:
        return f"inherited, forked at {step.fork_offset}"
    parents = ", ".join(f"{name}@{offset}" for name, offset in step.merge.parents)
    return f"{step.merge.policy} version {step.merge.version} of {parents}"
