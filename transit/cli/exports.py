"""Exports as Parquet files: of `transit export --parquet` and `transit fleet export`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transit.cli.configuration import reachable
from transit.cli.opening import Session

if TYPE_CHECKING:
    from transit.fleet.planned import Planned

COLUMNS = ("export", "stores", "files", "records", "bytes", "added", "removed", "missing")


def print_export(
    context: Session,
    stores: Planned,
    url: str,
    *,
    streams: str = "",
    size: int | None = None,
    missing_ok: bool = False,
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
    )
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
        }
    )
