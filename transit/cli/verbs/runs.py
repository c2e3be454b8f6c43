"""`transit runs`: what became of recorded runs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

import click
import msgspec

from transit import Scalar
from transit.cli.opening import Session
from transit.cli.options import HEADER, STREAM, TIME, pairs, store_options
from transit.cli.values import SECOND_NS, moment_text
from transit.trace.noting import Score
from transit.trace.summaries import SORTS, STATUSES, runs
from transit.trace.tabulating import RunSummary

COLUMNS: Final = (
    "run", "status", "age", "duration", "events", "calls", "failures", "in", "out", "cost",
    "children", "scores",
)  # fmt: skip
_COLOURS: Final = {"completed": "green", "failed": "red", "cancelled": "yellow"}
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "m"))


@click.command()
@click.argument("prefix", default="", type=STREAM)
@click.option("--failed", is_flag=True, help="Those that failed or were cancelled.")
@click.option("--status", type=click.Choice(STATUSES), help="Those that stand so.")
@click.option("--tool", metavar="NAME", help="Those that called this tool.")
@click.option("--since", type=TIME, metavar="TIME", help="Those begun then or later; 2h: ago.")
@click.option("--until", type=TIME, metavar="TIME", help="Those begun before then.")
@click.option(
    "--where", "wanted", type=HEADER, multiple=True, metavar="KEY=VALUE",
    help="Those with this in their metadata.",
)  # fmt: skip
@click.option("--parent", type=STREAM, metavar="RUN", help="Those begun inside this run.")
@click.option("--sort", type=click.Choice(SORTS), default="created", help="The most first.")
@click.option("--limit", type=click.IntRange(min=1), help="The first N only.")
@store_options
def command(  # noqa: PLR0913 - as many things are asked for
    context: Session,
    *,
    prefix: str,
    failed: bool,
    status: str | None,
    tool: str | None,
    since: int | None,
    until: int | None,
    wanted: tuple[tuple[str, str], ...],
    parent: str | None,
    sort: str,
    limit: int | None,
) -> None:
    """List the runs whose names begin with PREFIX, the newest first.

    Events, failures, tokens and cost are with the runs begun inside. The cost is as the tables
    [prices."MODEL"] of transit.toml say, empty where they do not say enough. A cell is empty where
    something is not known.
    """
    where = pairs(wanted)
    with context.open_read() as log:
        found = runs(
            log,
            prefix,
            failed=True if failed else None,
            status=status,
            tool=tool,
            since=since,
            until=until,
            parent=parent,
            prices=context.configuration.prices,
            sort=sort,
        )
    chosen = [run for run in found if _has(run.metadata, where)][:limit]
    row = _cells if context.output.tables else _row
    count = context.output.rows(
        "", COLUMNS, map(row, chosen), {"status": lambda text: {"fg": _COLOURS.get(text, "cyan")}}
    )
    context.output.text(f"{count} runs")


def _has(metadata: Mapping[str, Scalar], wanted: Mapping[str, str]) -> bool:
    """Whether metadata are as typed: as text, or as JSON has numbers, true, false and null."""
    return all(
        key in metadata and text in (metadata[key], msgspec.json.encode(metadata[key]).decode())
        for key, text in wanted.items()
    )


def _row(run: RunSummary) -> dict[str, object]:
    """Everything there is, times as text."""
    row: dict[str, Any] = msgspec.to_builtins(run)
    row = {"run": row.pop("name"), **row}
    for key in ("created_at", "ended_at"):
        row[key] = None if row[key] is None else _moment(row[key])
    return row


def _moment(time_ns: int) -> str | None:
    try:
        return moment_text(time_ns)
    except OverflowError:
        # No such year.
        return None


def _cells(run: RunSummary) -> dict[str, object]:
    totals = run.totals
    age = None if run.created_at is None else (time.time_ns() - run.created_at) / SECOND_NS
    duration = None if run.duration_ns is None else run.duration_ns / SECOND_NS
    return {
        "run": run.name,
        "status": run.status,
        "age": _span(age),
        "duration": _span(duration),
        "events": totals.events,
        "calls": totals.model_calls + totals.tool_calls + totals.calls,
        "failures": run.failures,
        "in": run.tokens_in,
        "out": run.tokens_out,
        "cost": None if run.cost is None else f"{run.cost:.6g}",
        "children": len(run.children) or None,
        "scores": ", ".join(_score(score) for score in run.scores if score.at is None) or None,
    }


def _score(score: Score) -> str:
    value = score.label if score.score is None else score.score
    if isinstance(value, bool):
        said = str(value).lower()
    else:
        said = f"{value:.4g}" if isinstance(value, float) else str(value)
    return f"{score.name}={said}"


def _span(seconds: float | None) -> str | None:
    """A length of time as one number with a unit."""
    if seconds is None or seconds < 0:
        return None
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.1f}s" if seconds >= 1 else f"{1000 * seconds:.0f}ms"
