"""Exports as Parquet files: of `transit export --parquet` and `transit fleet export`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from transit.cli.configuration import reachable
from transit.cli.opening import Session
from transit.cli.options import Decorated

if TYPE_CHECKING:
    from transit.fleet import Iceberg
    from transit.fleet.planned import Planned

COLUMNS = ("export", "stores", "files", "records", "bytes", "added", "removed", "missing")


def iceberg_options(verb: Decorated) -> Decorated:
    """The options of a verb that exports: which Iceberg table has the files."""
    verb = click.option(
        "--iceberg-table", "table", metavar="NAMESPACE.TABLE",
        help="Which table of that catalog; else transit.records.",
    )(verb)  # fmt: skip
    return click.option(
        "--iceberg", "catalog", metavar="CATALOG",
        help="Register the files in an Iceberg table too. A catalog's name, as pyiceberg knows it"
        " (~/.pyiceberg.yaml, PYICEBERG_CATALOG__NAME__URI), or its URI: sqlite:////path/catalog.db,"
        " postgresql://…, https://….",
    )(verb)  # fmt: skip


def iceberg_table(catalog: str | None, table: str | None) -> Iceberg | None:
    """What the options say; None where no table is meant."""
    if catalog is None:
        if table is not None:
            raise click.UsageError("--iceberg-table goes with --iceberg CATALOG")
        return None
    # Loaded here: few commands export.
    from transit.fleet import Iceberg

    return Iceberg(catalog) if table is None else Iceberg(catalog, table)


def print_export(
    context: Session,
    stores: Planned,
    url: str,
    *,
    streams: str = "",
    size: int | None = None,
    missing_ok: bool = False,
    iceberg: Iceberg | None = None,
) -> None:
    """Export, and print what was done."""
    # Loaded here: few commands export.
    from transit.fleet.planned import FILE_BYTES

    target = reachable(url)
    done = stores.export(
        target,
        storage_options=context.storage_options(target),
        streams=streams,
        bytes_per_file=size or FILE_BYTES,
        missing_ok=missing_ok,
        iceberg=iceberg,
    )
    table = done.registered
    files = [file for file in done.export.files if file.key]
    context.output.row(
        {
            "export": done.export.number,
            "stores": len(done.export.stores),
            "files": len(files),
            "records": sum(file.records for file in files),
            "bytes": sum(file.bytes for file in files),
            "added": len(done.added),
            "removed": len(done.removed),
            "missing": dict(done.missing),
            **({} if table is None else {"table": table.table, "snapshot": table.snapshot}),
        }
    )
