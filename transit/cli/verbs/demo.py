"""`transit demo`: the whole way of an agent run, from recording it to proving it restored."""

from __future__ import annotations

import os
import tempfile

import click
import msgspec

import transit
from transit import AlreadyExistsError
from transit.cli.demonstration import Source, Step, steps
from transit.cli.drawing import draw
from transit.cli.failures import INTERNAL, CommandError
from transit.cli.graph import document
from transit.cli.madeup import MadeUp, Trajectories
from transit.cli.opening import Session
from transit.cli.options import store_options
from transit.cli.output import Output, cell
from transit.server.page.lanes import StreamFacts, facts_of


@click.command()
@click.option("--keep", metavar="DIR", help="Leave store and remote in DIR, which must be empty.")
@click.option(
    "--from",
    "files",
    multiple=True,
    metavar="FILE.traj",
    help="Record this SWE-agent trajectory; repeated, each is another attempt.",
)
@click.argument("more", nargs=-1, metavar="[FILE.traj…]")
@store_options
def command(
    context: Session, keep: str | None, files: tuple[str, ...], more: tuple[str, ...]
) -> None:
    """Record an agent run, publish it, lose the store, restore it, and prove that nothing is lost.

    In a temporary folder, with a folder as the remote; the configured store has no part in it. The
    run is made up, or those of --from. Ends with 1 when something is not proven.
    """
    if more and not files:
        raise click.UsageError("files come after --from")
    source: Source = Trajectories((*files, *more)) if files else MadeUp()
    if keep is not None:
        _run(context.output, _empty(keep), source)
        context.output.text(f"kept: transit --store {os.path.join(keep, 'store')} log --graph")
        return
    with tempfile.TemporaryDirectory(prefix="transit-demo-") as folder:
        _run(context.output, folder, source)


def _empty(folder: str) -> str:
    os.makedirs(folder, exist_ok=True)
    if os.listdir(folder):
        raise AlreadyExistsError(f"{folder}: is not empty")
    return folder


def _run(output: Output, folder: str, source: Source) -> None:
    failed = []
    for step in steps(folder, source):
        _tell(output, step)
        if not step.ok:
            failed.append(step.step)
    with transit.open(os.path.join(folder, "store"), mode="read") as log:
        facts = [facts_of(stream) for stream in log.streams()]
    _show(output, facts)
    if failed:
        raise CommandError(
            f"not proven: {', '.join(failed)}", kind="not_proven", exit_code=INTERNAL
        )
    _tell(output, Step("proven", True, {"steps_failed": 0}))


def _tell(output: Output, step: Step) -> None:
    if not output.tables:
        output.row({"step": step.step, "ok": step.ok, **step.facts})
        output.flush()
        return
    mark = output.style("ok", fg="green") if step.ok else output.style("FAILED", fg="red")
    facts = "  ".join(f"{name}={cell(value)}" for name, value in step.facts.items() if value != "")
    output.line(f"{output.style(f'{step.step:<11}', bold=True)}  {mark}  {facts}".rstrip())


def _show(output: Output, facts: list[StreamFacts]) -> None:
    if output.tables:
        output.line("")
        draw(output, facts)
        output.line("")
    else:
        graph = {"step": "lineage", "ok": True, **document(facts)}
        output.raw(msgspec.json.encode(graph) + b"\n")
