"""`transit merge`: a stream from the heads of others, by a declared policy."""

from __future__ import annotations

from typing import TypedDict, Unpack

import click

from transit import Log, MergePlan, Position, Stream
from transit.cli.opening import Session
from transit.cli.options import HEADER, POSITION, STREAM, pairs, store_options
from transit.cli.positions import position_of
from transit.cli.values import Place

Pairs = tuple[tuple[str, str], ...]


class _Given(TypedDict):
    policy: str
    params: Pairs
    base: Place | None
    metadata: Pairs
    merge_id: str | None
    dry_run: bool


@click.command()
@click.argument("new", type=STREAM)
@click.argument("places", metavar="STREAM[@OFFSET]…", nargs=-1, required=True, type=POSITION)
@click.option(
    "--policy", required=True,
    help="fast-forward, select, append, interleave or base.",
)  # fmt: skip
@click.option("--param", "params", multiple=True, type=HEADER, help="What the policy takes.")
@click.option("--base", type=POSITION, help="The merge base; else the nearest common ancestor.")
@click.option("--meta", "metadata", multiple=True, type=HEADER, help="Metadata, kept as text.")
@click.option("--merge-id", help="The same id again finds the stream it made.")
@click.option("--dry-run", is_flag=True, help="Show the plan and make nothing.")
@store_options
def command(context: Session, new: str, places: tuple[Place, ...], **given: Unpack[_Given]) -> None:
    """Make stream NEW from the heads of two or more streams, or from them at an OFFSET.

    The parents stay as they are. `--policy select` takes `--param selected=STREAM`.
    """
    base, dry_run = given["base"], given["dry_run"]
    if any(place.stop is not None for place in (*places, *([base] if base else []))):
        raise click.UsageError("a merge takes streams and offsets, not ranges")
    policy, params, metadata = given["policy"], pairs(given["params"]), pairs(given["metadata"])
    opened = context.open_read() if dry_run else context.open_write(create=False)
    with opened as log:
        parents = [_parent(log, place) for place in places]
        at = None if base is None else position_of(log, base)
        if dry_run:
            plan = log.plan(parents, policy=policy, base=at, params=params)
        else:
            made = log.merge(
                new, parents, policy=policy, base=at, params=params, metadata=metadata,
                merge_id=given["merge_id"],
            )  # fmt: skip
            recorded = made.merge_plan
            assert recorded is not None
            plan = recorded
        context.output.document("", _shown(new, plan, dry_run))


def _parent(log: Log, place: Place) -> Stream | Position:
    return log.stream(place.stream) if place.offset is None else position_of(log, place)


def _shown(new: str, plan: MergePlan, dry_run: bool) -> dict[str, object]:
    return {
        "stream": new,
        "kind": "merge",
        "dry_run": dry_run,
        "policy": plan.policy,
        "version": plan.version,
        "params": plan.params,
        "base": plan.base,
        "records": plan.count,
        "spans": [{"origin": origin, "count": count} for origin, count in plan.spans],
    }
