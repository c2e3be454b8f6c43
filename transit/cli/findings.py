"""How the report of a check is printed, and how the command ends after it."""

from __future__ import annotations

import click
import msgspec

from transit import Report
from transit.cli.failures import CORRUPT
from transit.cli.output import Output
from transit.cli.values import moment_text

COLUMNS = ("place", "expected", "found")
ERASED_COLUMNS = ("stream", "first", "last", "commit", "when", "by", "basis", "reason")


def tell(output: Output, place: str, report: Report) -> None:
    """Print `report` on what is at `place`; ends the command with 7 when something is wrong.

    As JSON it is one object with its findings and what was erased; otherwise each of these is a
    table of its own.
    """
    facts: dict[str, object] = {
        "place": place,
        "ok": report.ok,
        "level": report.level,
        "stage": report.stage,
        "head": report.head,
        "counts": report.counts,
    }
    erased = [
        {**msgspec.structs.asdict(each), "when": moment_text(each.when)} for each in report.erased
    ]
    if not output.tables:
        output.row({**facts, "findings": report.findings, "erased": erased})
    else:
        counts = " ".join(f"{name}={count}" for name, count in report.counts.items())
        output.document("", {**facts, "counts": counts})
        if erased:
            output.rows("erased", ERASED_COLUMNS, erased)
        if report.findings:
            output.rows("findings", COLUMNS, report.findings)
    if not report.ok:
        raise click.exceptions.Exit(CORRUPT)
