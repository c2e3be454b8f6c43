"""`transit inspect`: what one file of a store holds, the store around it not needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import click

import transit
from transit import FilePart, FileReport, NotFoundError
from transit.cli.failures import CORRUPT, hinted
from transit.cli.findings import COLUMNS
from transit.cli.opening import Session
from transit.cli.options import store_options
from transit.cli.output import Output, cell, plain
from transit.cli.records import text_of

PART_COLUMNS = ("place", "size", "kind", "fields")


@click.command()
@click.argument("file", type=click.Path())
@click.option("--records", is_flag=True, help="List each record of a WAL or a segment too.")
@store_options
def command(context: Session, file: str, records: bool) -> None:
    """Print what FILE holds: a WAL, segment, commit, index snapshot, FORMAT, HEAD, REMOTE or LOCK.

    What it is is told by its content. As JSON: a line for the file, for each part, and for each
    finding, told apart by "type". Ends with 7 when something is wrong.
    """
    with hinted(NotFoundError, "name one file of a store: files are in wal/, segments/, commits/"):
        report = transit.inspect_file(file, records=records)
    output = context.output
    if output.tables:
        facts = _facts(report)
        output.document("", {**facts, **report.fields})
        output.rows("", PART_COLUMNS, map(_cells, report.parts))
        if report.findings:
            output.text("")
            output.rows("findings", COLUMNS, report.findings)
    else:
        _print(output, report)
    if not report.ok:
        raise click.exceptions.Exit(CORRUPT)


def _facts(report: FileReport) -> dict[str, object]:
    return {
        "path": report.path,
        "kind": report.kind,
        "version": report.version,
        "store_id": report.store_id,
        "size": report.size,
        "digest": report.digest,
    }


def _print(output: Output, report: FileReport) -> None:
    output.row({"type": "file", **_facts(report), "fields": report.fields, "ok": report.ok})
    for part in report.parts:
        output.row({"type": "part", **plain(part), "fields": _fields(part)})
    for finding in report.findings:
        output.row({"type": "finding", **plain(finding)})


def _fields(part: FilePart) -> dict[str, object]:
    """The fields as JSON knows them; a payload as it is printed elsewhere, other bytes as hex."""
    fields: dict[str, object] = dict(part.fields)
    payload = fields.get("payload")
    if isinstance(payload, bytes):
        fields["payload"], fields["encoding"] = text_of(payload)
    return fields


def _cells(part: FilePart) -> tuple[object, ...]:
    return part.place, part.size, part.kind, " ".join(_pairs(_fields(part)))


def _pairs(fields: Mapping[str, object]) -> Iterator[str]:
    for name, value in fields.items():
        if value is not None:
            yield f"{name}={value.hex() if isinstance(value, bytes) else cell(value)}"
