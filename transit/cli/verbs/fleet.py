"""`transit fleet`: many stores below one prefix."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
import msgspec

from transit import TransitError
from transit.cli.configuration import reachable
from transit.cli.exports import iceberg_options, iceberg_table, print_export
from transit.cli.failures import CORRUPT, CommandError
from transit.cli.opening import Session
from transit.cli.options import SIZE, TIME, store_options
from transit.cli.values import moment_text

if TYPE_CHECKING:
    from transit.fleet import Fleet, Member
    from transit.fleet.planning import By

MEMBER_COLUMNS = ("store", "name", "host", "labels", "made", "retired")
STATUS_COLUMNS = ("store", "name", "commits", "streams", "records", "segment_bytes", "error")
FOUND_COLUMNS = ("store", "name", "uid", "records", "error")
AUDIT_COLUMNS = ("store", "name", "ok", "findings", "head", "error")
FINDING_COLUMNS = ("store", "place", "expected", "found")
CUT_COLUMNS = ("store", "commits", "root", "missing")
PART_COLUMNS = ("store", "start", "stop", "records", "bytes", "root", "missing")
PREFIX = click.argument("prefix", metavar="PREFIX")
retired_option = click.option("--retired", is_flag=True, help="Retired stores, too.")


@click.group()
def command() -> None:
    """Look at many stores below one PREFIX, each written by one machine.

    PREFIX is a folder, or the address of a bucket. Stores join it from the programs that record,
    by `fleet.create(PREFIX).record(FOLDER)`; or by one setting, of the command and of adapters:
    TRANSIT_FLEET, or fleet = "PREFIX" in transit.toml.
    """


@command.command()
@PREFIX
@store_options
def create(context: Session, prefix: str) -> None:
    """Make a fleet at PREFIX, if there is none."""
    # Imported here, as below: `--help` needs no fleet.
    from transit import fleet

    with fleet.create(reachable(prefix), storage_options=context.storage_options(prefix)) as made:
        context.output.row({"fleet": made.url})


@command.command()
@PREFIX
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="That have this label.")
@retired_option
@store_options
def members(context: Session, prefix: str, labels: tuple[str, ...], retired: bool) -> None:
    """List the stores, what they are called and where they were made."""
    wanted = {}
    for each in labels:
        key, given, value = each.partition("=")
        if not given:
            raise click.UsageError(f"{each!r}: a label is KEY=VALUE")
        wanted[key] = value
    with _opened(context, prefix) as found:
        rows = map(_member_row, found.members(labels=wanted, retired=retired))
        context.output.rows("members", MEMBER_COLUMNS, rows)


@command.command()
@PREFIX
@retired_option
@store_options
def status(context: Session, prefix: str, retired: bool) -> None:
    """Print what each store has published."""
    with _opened(context, prefix) as found:
        rows = [
            {
                **_named(each.member),
                "commits": each.commits,
                "streams": each.streams,
                "records": each.records,
                "segment_bytes": each.segment_bytes,
                "error": _told(each.error),
            }
            for each in found.status(retired=retired)
        ]
        context.output.rows("stores", STATUS_COLUMNS, rows)


@command.command()
@PREFIX
@click.argument("stream")
@store_options
def find(context: Session, prefix: str, stream: str) -> None:
    """List the stores that have STREAM, retired ones too."""
    with _opened(context, prefix) as found:
        rows = [
            {
                **_named(each.member),
                "uid": each.uid,
                "records": each.records,
                "error": _told(each.error),
            }
            for each in found.find(stream)
        ]
        context.output.rows(f"stores with {stream}", FOUND_COLUMNS, rows)


@command.command()
@PREFIX
@click.option("--level", default="bodies", help="roots, bodies (default), or sample:SHARE.")
@store_options
def audit(context: Session, prefix: str, level: str) -> None:
    """Audit every store, retired ones too; one that fails hides no other.

    Ends with 7 when something is wrong with one of them.
    """
    with _opened(context, prefix) as found:
        report = found.audit(level)
    rows: list[dict[str, object]] = [
        {
            **_named(each.member),
            "ok": each.ok,
            "findings": len(each.report.findings) if each.report else None,
            "head": each.report.head if each.report else "",
            "error": _told(each.error),
        }
        for each in report.stores
    ]
    rows += [
        {"store": each.store, "name": "", "ok": False, "error": _told(each.error)}
        for each in report.unreadable
    ]
    context.output.rows("audits", AUDIT_COLUMNS, rows)
    findings = [
        {
            "store": each.member.store,
            "place": finding.place,
            "expected": finding.expected,
            "found": finding.found,
        }
        for each in report.stores
        if each.report is not None
        for finding in each.report.findings
    ]
    if findings:
        context.output.rows("findings", FINDING_COLUMNS, findings)
    if not report.ok:
        raise click.exceptions.Exit(CORRUPT)


@command.command()
@PREFIX
@store_options
def cut(context: Session, prefix: str) -> None:
    """Print which root each store has now: the one consistent thing to say of all."""
    with _opened(context, prefix) as found:
        taken = found.cut()
    rows: list[dict[str, object]] = [
        {"store": store, "commits": head.commits, "root": head.root, "missing": None}
        for store, head in sorted(taken.stores.items())
    ]
    rows += [{"store": store, "missing": why} for store, why in sorted(taken.missing.items())]
    context.output.rows("cut", CUT_COLUMNS, rows)


@command.command()
@PREFIX
@click.argument("store")
@click.option("--by", default="", help="Who says so.")
@click.option("--reason", default="", help="Why.")
@store_options
def retire(context: Session, prefix: str, store: str, by: str, reason: str) -> None:
    """Say that nobody writes STORE, an id or a name, any more."""
    with _opened(context, prefix) as found:
        context.output.row(_member_row(found.retire(store, by=by, reason=reason)))


@command.command()
@PREFIX
@store_options
def snapshot(context: Session, prefix: str) -> None:
    """Write down what all stores have published, so that plans need not ask each of them."""
    with _opened(context, prefix) as found:
        made = found.snapshot()
    context.output.row(
        {
            "snapshot": made.number,
            "stores": len(made.tables),
            "records": sum(sum(map(sum, (s.records for s in t.segments))) for t in made.tables),
            "missing": dict(made.missing),
        }
    )


@command.command()
@PREFIX
@click.option("--n", type=click.IntRange(min=1), help="Into about so many parts.")
@click.option("--size", type=SIZE, metavar="BYTES", help="Of about so many bytes; else 64MiB.")
@click.option("--streams", default="", metavar="PREFIX", help="Of streams whose names begin so.")
@click.option("--since", type=TIME, help="Records written at this time or later.")
@click.option("--until", type=TIME, help="Records written before this time.")
@click.option(
    "--by", type=click.Choice(["blocks", "stream"]), default="blocks",
    help="Each record where it was appended, or whole streams with what they inherit.",
)  # fmt: skip
@click.option("--from-snapshot", is_flag=True, help="As of the newest snapshot, asking no store.")
@click.option("--missing-ok", is_flag=True, help="Leave out stores that cannot be read.")
@store_options
def plan(  # noqa: PLR0913, PLR0917 - an option each
    context: Session,
    prefix: str,
    n: int | None,
    size: int | None,
    streams: str,
    since: int | None,
    until: int | None,
    by: By,
    from_snapshot: bool,
    missing_ok: bool,
) -> None:
    """Print the parts that all records are cut into, for programs that read them side by side."""
    with _opened(context, prefix) as found:
        at = found.newest_snapshot() if from_snapshot else None
        if from_snapshot and at is None:
            raise CommandError(
                f"{prefix} has no snapshot", hint=f"`transit fleet snapshot {prefix}` makes one"
            )
        made = found.plan(
            n=n, bytes_per_part=size, streams=streams, since=since, until=until, by=by, at=at,
            missing_ok=missing_ok,
        )  # fmt: skip
    rows: list[dict[str, object]] = [
        {
            "store": part.store,
            "start": list(part.start),
            "stop": list(part.stop),
            "records": part.records,
            "bytes": part.bytes,
            "root": part.head.root,
            "part": None if context.output.tables else msgspec.to_builtins(part),
        }
        for part in made
    ]
    rows += [{"store": store, "missing": why} for store, why in sorted(made.cut.missing.items())]
    context.output.rows("parts", PART_COLUMNS, rows)


@command.command()
@PREFIX
@click.argument("url")
@click.option("--streams", default="", metavar="PREFIX", help="Of streams whose names begin so.")
@click.option(
    "--size", type=SIZE, metavar="BYTES", help="Of a file's records, as stored; else 128MiB."
)
@click.option("--missing-ok", is_flag=True, help="Leave out stores that cannot be read.")
@iceberg_options
@store_options
def export(
    context: Session,
    prefix: str,
    url: str,
    streams: str,
    size: int | None,
    missing_ok: bool,
    catalog: str | None,
    table: str | None,
) -> None:
    """Write what was published since the last export to URL as Parquet files there.

    What was deleted or hidden since goes from the files. One process at a time exports to a place.
    With --iceberg a table of a catalog has the same files afterwards, by one commit.
    """
    iceberg = iceberg_table(catalog, table)
    with _opened(context, prefix) as found:
        print_export(
            context, found, url, streams=streams, size=size, missing_ok=missing_ok, iceberg=iceberg
        )


@contextmanager
def _opened(context: Session, prefix: str) -> Iterator[Fleet]:
    from transit import fleet  # Imported here: `--help` needs no fleet.

    with fleet.open(
        reachable(prefix),
        storage_options=context.storage_options(prefix),
        settings=context.configuration.settings,
        keyring=context.keyring,
    ) as found:
        yield found


def _named(member: Member) -> dict[str, object]:
    return {"store": member.store, "name": member.name}


def _member_row(member: Member) -> dict[str, object]:
    retired = member.retired
    return {
        **_named(member),
        "host": member.host,
        "labels": dict(member.labels),
        "made": moment_text(member.made),
        "retired": None if retired is None else moment_text(retired.at),
    }


def _told(error: TransitError | None) -> str | None:
    return None if error is None else str(error)
