"""`transit reconcile`: the loops and schedules of a store, and a runner of them."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from transit.cli.configuration import reachable
from transit.cli.exports import iceberg_options, iceberg_table
from transit.cli.failures import CommandError
from transit.cli.opening import Session
from transit.cli.options import (
    COMPLETIONS_MAX,
    DURATION,
    HEADER,
    SIZE,
    STREAM,
    ParsedType,
    pairs,
    store_options,
)
from transit.cli.values import moment_text

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from transit.fleet import Iceberg
    from transit.views.loops.due import Rule
    from transit.views.loops.reconcile import Reconciler, ReconcilerStatus
    from transit.views.loops.scheduling import Schedule
    from transit.views.loops.ticks import TickRecord

COLUMNS = ("name", "due", "enabled", "next_due", "ticks", "last", "failures", "error")
TICK_COLUMNS = ("n", "result", "due", "started", "took_ms", "skipped", "actions", "error")
SCHEDULE_COLUMNS = ("name", "due", "stream", "enabled", "next_due", "last", "error")
_EVICT_EVERY_S = 60.0


class NameType(ParsedType):
    """A reconciler, which the shell completes from the store."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Those of the configured store whose names start as typed; none when it is not there."""
        # Imported here: only a shell that completes needs it.
        from click.shell_completion import CompletionItem

        # Imported here: only a shell that completes needs it.
        from transit.cli.flags import Flags

        # Imported here: `--help` needs no views.
        from transit.views.loops.reconcile import Reconcilers

        try:
            with Session(ctx.find_root().ensure_object(Flags)).open_read() as log:
                names = [each.name for each in Reconcilers(log).list()]
        except Exception:
            # Whatever is wrong, completion in a shell must not print it.
            return []
        found = (name for name in names if name.startswith(incomplete))
        return [CompletionItem(name) for name in found][:COMPLETIONS_MAX]


NAME = NameType("name", str)
_SCHEDULE = click.option("--schedule", is_flag=True, help="NAME is a schedule.")


@click.group()
def command() -> None:
    """Look at reconcilers and schedules, switch them, run them.

    A reconciler is a loop that looks at what is and does what is missing; its ticks are records of
    the store. A schedule appends a record when it is due. What is said here, runners hear.
    """


@command.command(name="list")
@store_options
def list_(context: Session) -> None:
    """List the reconcilers, with their last tick."""
    # Imported here: `--help` needs no views.
    from transit.views.loops.reconcile import Reconcilers

    with context.open_read() as log:
        context.output.rows("reconcilers", COLUMNS, map(_row, Reconcilers(log).list()))


@command.command()
@click.argument("name", type=NAME)
@click.option("-n", "--last", type=click.IntRange(1), default=10, help="So many, 10 if not given.")
@store_options
def ticks(context: Session, name: str, last: int) -> None:
    """Print the last ticks of NAME, oldest first."""
    # Imported here: `--help` needs no views.
    from transit.views.loops.reconcile import Reconcilers

    with context.open_read() as log:
        rows = map(_tick_row, Reconcilers(log).ticks(name, last))
        context.output.rows(f"ticks of {name}", TICK_COLUMNS, rows)


@command.command()
@click.argument("name", type=NAME)
@_SCHEDULE
@store_options
def enable(context: Session, name: str, schedule: bool) -> None:
    """Let NAME be due again, from its next due on."""
    _switch(context, name, "enable", schedule)


@command.command()
@click.argument("name", type=NAME)
@_SCHEDULE
@store_options
def disable(context: Session, name: str, schedule: bool) -> None:
    """Let NAME rest until it is enabled."""
    _switch(context, name, "disable", schedule)


@command.command()
@click.argument("name", type=NAME)
@store_options
def delete(context: Session, name: str) -> None:
    """Take NAME out, and what it keeps from tick to tick; its history stays."""
    _switch(context, name, "delete", False)


@command.command()
@click.argument("name", type=NAME)
@store_options
def tick(context: Session, name: str) -> None:
    """Ask the runner of NAME for a tick now."""
    # Imported here: `--help` needs no views.
    from transit.views.loops.reconcile import Reconcilers

    with context.open_write(create=False) as log:
        number = Reconcilers(log).ask(name)
    context.output.row({"name": name, "asked": number})


@command.command()
@click.argument("code", nargs=-1, metavar="[FILE.py|MODULE]…")
@click.option("--publish", type=DURATION, metavar="D", help="Publish so often.")
@click.option("--verify", type=DURATION, metavar="D", help="Check every byte so often.")
@click.option("--evict", type=SIZE, metavar="SIZE", help="Keep so much of what is published.")
@click.option("--snapshot", type=DURATION, metavar="D", help="Make the fleet's snapshot so often.")
@click.option("--export", metavar="URL", help="Export the fleet as Parquet files, every hour.")
@iceberg_options
@click.option("--select", type=HEADER, multiple=True, help="Only those with this label.")
@click.option("--once", is_flag=True, help="Do what is due, print the ticks, and end.")
@store_options
def run(  # noqa: PLR0913 - an option each
    context: Session,
    code: tuple[str, ...],
    *,
    publish: float | None,
    verify: float | None,
    evict: int | None,
    snapshot: float | None,
    export: str | None,
    catalog: str | None,
    table: str | None,
    select: tuple[tuple[str, str], ...],
    once: bool,
) -> None:
    """Run the reconcilers that FILE or MODULE define, and fire schedules, until interrupted.

    Where several may run, in mode shared or over a server, each tick is made once.
    """
    # Imported here: `--help` needs no views.
    from transit.views.loading import load
    from transit.views.loops import keeping  # nor this
    from transit.views.loops.running import runner  # nor this

    iceberg = iceberg_table(catalog, table)
    if iceberg is not None and export is None:
        raise click.UsageError("--iceberg goes with --export URL")
    given: list[Reconciler] = []
    for place in code:
        found = load(place)
        given += found.reconcilers
        if not found.reconcilers:
            raise CommandError(
                f"{place}: defines no reconciler",
                hint="decorate one with @views.reconciler(every=…)",
            )
    if publish is not None:
        given.append(keeping.publish(publish))
    if verify is not None:
        given.append(keeping.verify(verify))
    if evict is not None:
        given.append(keeping.evict(_EVICT_EVERY_S, bytes_max=evict))
    remote = publish is not None or evict is not None
    with (
        context.open_write(create=False, remote=remote) as log,
        _fleet_loops(context, snapshot, export, iceberg) as of_fleet,
        runner(log, [*given, *of_fleet], select=pairs(select)) as running,
    ):
        if once:
            context.output.rows("ticks", TICK_COLUMNS, map(_tick_row, running.run_due()))
            return
        before = signal.signal(signal.SIGTERM, lambda *_: running.stop())
        try:
            running.run()
        finally:
            signal.signal(signal.SIGTERM, before)


@command.command(name="schedules")
@store_options
def schedules_(context: Session) -> None:
    """List the schedules."""
    # Imported here: `--help` needs no views.
    from transit.views.loops.scheduling import schedules as found

    with context.open_read() as log:
        context.output.rows("schedules", SCHEDULE_COLUMNS, map(_schedule_row, found(log)))


@command.command()
@click.argument("name")
@click.argument("stream", type=STREAM)
@click.argument("payload")
@click.option("--at", metavar="TIME", help="Once: 2026-12-01T02:00Z.")
@click.option("--every", type=DURATION, metavar="D", help="Each 10s, 5m, 1d.")
@click.option("--cron", metavar="RULE", help="Minute, hour, day, month, day of week.")
@click.option("--zone", default="UTC", help="With --cron, such as Europe/Berlin; else UTC.")
@click.option(
    "--catch-up", type=click.Choice(("one", "all", "none")), default="one",
    help="What becomes of dues that passed while nothing ran.",
)  # fmt: skip
@store_options
def schedule(  # noqa: PLR0913 - as many things make one
    context: Session,
    name: str,
    stream: str,
    payload: str,
    *,
    at: str | None,
    every: float | None,
    cron: str | None,
    zone: str,
    catch_up: str,
) -> None:
    """Have PAYLOAD appended to STREAM when it is due, by whichever runner runs."""
    # Imported here: `--help` needs no views.
    from transit.views.loops.scheduling import schedule as make

    with context.open_write(create=False) as log:
        made = make(
            log, name, append=(log.stream(stream), payload.encode()), at=at, every=every,
            cron=cron, zone=zone, catch_up=catch_up,  # type: ignore[arg-type]
        )  # fmt: skip
    context.output.row(_schedule_row(made))


@command.command()
@click.argument("name")
@store_options
def unschedule(context: Session, name: str) -> None:
    """Take the schedule NAME out; its history stays."""
    # Imported here: `--help` needs no views.
    from transit.views.loops.scheduling import unschedule as take_out

    with context.open_write(create=False) as log:
        take_out(log, name)
    context.output.row({"name": name, "op": "deleted"})


@contextmanager
def _fleet_loops(
    context: Session, snapshot: float | None, export: str | None, iceberg: Iceberg | None
) -> Iterator[list[Reconciler]]:
    """The ready-made reconcilers of the configured fleet that were asked for."""
    if snapshot is None and export is None:
        yield []
        return
    # Imported here: few runners look after a fleet.
    from transit import fleet

    with context.open_fleet() as agents:
        made = [] if snapshot is None else [fleet.keep_snapshot(agents, snapshot)]
        if export is not None:
            target = reachable(export)
            options = context.storage_options(target)
            made.append(fleet.keep_export(agents, target, storage_options=options, iceberg=iceberg))
        yield made


def _switch(context: Session, name: str, op: str, schedule: bool) -> None:
    # Imported here: `--help` needs no views.
    from transit.views.loops.reconcile import Reconcilers

    # Imported here: `--help` needs no views.
    from transit.views.loops.scheduling import disable_schedule, enable_schedule

    with context.open_write(create=False) as log:
        if schedule:
            (enable_schedule if op == "enable" else disable_schedule)(log, name)
        else:
            getattr(Reconcilers(log), op)(name)
    context.output.row({"name": name, "op": f"{op}d"})


# Rows


def _row(status: ReconcilerStatus) -> Mapping[str, object]:
    last = status.last
    return {
        "name": status.name,
        "due": _rule_text(status.rule),
        "enabled": status.enabled,
        "next_due": _moment(status.next_due),
        "ticks": status.n,
        "last": None if last is None else last.result,
        "failures": 0 if last is None else last.failures,
        "error": status.error or ("" if last is None else last.error),
    }


def _tick_row(tick: TickRecord) -> Mapping[str, object]:
    return {
        "n": tick.n,
        "result": tick.result,
        "due": _moment(tick.due),
        "started": _moment(tick.started),
        "took_ms": (tick.ended - tick.started) / 1e6,
        "skipped": tick.skipped,
        "actions": _actions(tick),
        "error": tick.error,
        "lines": [f"{line.level}: {line.text}" for line in tick.lines],
    }


def _actions(tick: TickRecord) -> Sequence[Mapping[str, object]]:
    return [{"action": action.name, **action.fields} for action in tick.actions]


def _schedule_row(schedule: Schedule) -> Mapping[str, object]:
    last = schedule.last
    return {
        "name": schedule.name,
        "due": _rule_text(schedule.rule),
        "stream": schedule.stream,
        "enabled": schedule.enabled,
        "next_due": _moment(schedule.next_due),
        "last": None if last is None else last.op,
        "error": schedule.error or ("" if last is None else last.error),
    }


def _moment(moment: int | None) -> str | None:
    return None if moment is None else moment_text(moment)


def _rule_text(rule: Rule | None) -> str:
    # Imported here: `--help` needs no views.
    from transit.views.loops.due import SECOND, Cron, Every

    if rule is None:
        return ""
    if isinstance(rule, Every):
        return f"every {rule.period / SECOND:g} s"
    if isinstance(rule, Cron):
        return rule.text if rule.zone == "UTC" else f"{rule.text} {rule.zone}"
    return f"at {moment_text(rule.at)}"
