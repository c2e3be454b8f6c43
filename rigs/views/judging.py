"""What a store says of its ticks after runners were killed and stopped: doubles, losses, gaps."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import msgspec

import transit
from rigs.views.foreman import BODIES, EFFECTS, FIRED, FIRED_PERIOD_S, NAME, PERIOD_S, SETTINGS
from transit.views.loops.due import SECOND
from transit.views.loops.scheduling import ScheduleRecord
from transit.views.loops.ticks import TickRecord

PERIOD = round(PERIOD_S * SECOND)
FIRED_PERIOD = round(FIRED_PERIOD_S * SECOND)


class Judged(msgspec.Struct, frozen=True):
    """What is wrong, and that enough happened: ticks, runners that made one, bodies in vain."""

    wrong: list[str]
    ticks: int
    fired: int
    runners: int
    in_vain: int


def judge(folder: Path) -> Judged:
    """Look at a store whose runners have ended."""
    bodies = (folder / BODIES).read_bytes().splitlines() if (folder / BODIES).exists() else []
    with transit.open(folder / "store", mode="shared", settings=SETTINGS) as log:
        ticks = _ticks(log)
        wrong = [
            *(each.read_text() for each in folder.glob("failed-*")),
            *_wrong_ticks(log, ticks),
            *_wrong_dues(ticks),
            *_wrong_firing(log),
        ]
        report = log.verify()
        wrong += [f"{finding.place}: {finding.found}" for finding in report.findings]
        return Judged(
            wrong=wrong,
            ticks=len(ticks),
            fired=len(log.stream(FIRED)),
            runners=len({tick.runner for _, tick in ticks}),
            in_vain=len(bodies) - len(ticks),
        )


def _ticks(log: transit.Log) -> list[tuple[transit.Record, TickRecord]]:
    stream = log.stream(f"$views/ticks/{NAME}")
    decode = msgspec.json.Decoder(TickRecord).decode
    return [(record, decode(record.payload)) for record in stream]


def _wrong_ticks(log: transit.Log, ticks: list[tuple[transit.Record, TickRecord]]) -> Iterator[str]:
    effects = list(log.stream(EFFECTS))
    if len(effects) != len(ticks):
        yield f"{len(effects)} effects of {len(ticks)} ticks"
    for place, (record, tick) in enumerate(ticks):
        if tick.n != place or tick.result != "ok":
            yield f"tick {place} says {tick.n}, {tick.result}: {tick.error}"
        if tick.kv.get("n", place + 1) != place + 1:
            yield f"tick {place} counted {tick.kv}"
        if place < len(effects):
            effect = effects[place]
            if effect.payload != b"%d" % (place + 1):
                yield f"effect {place} is {effect.payload!r}"
            if effect.written != record.written:
                yield f"effect {place} is in another frame than its tick"


def _wrong_dues(ticks: list[tuple[transit.Record, TickRecord]]) -> Iterator[str]:
    dues = [tick.due or 0 for _, tick in ticks]
    for place, (before, due) in enumerate(itertools.pairwise(dues), 1):
        if due - before != PERIOD:
            yield f"tick {place} is due {(due - before) / PERIOD:.3f} intervals later"


def _wrong_firing(log: transit.Log) -> Iterator[str]:
    stream, count = log.stream(f"$views/schedules/{NAME}"), len(log.stream(FIRED))
    decode = msgspec.json.Decoder(ScheduleRecord).decode
    dues = [said.due or 0 for said in map(decode, (r.payload for r in stream)) if said.due]
    if len(dues) != count:
        yield f"{count} records of {len(dues)} dues"
    for before, due in itertools.pairwise(dues):
        if due - before != FIRED_PERIOD:
            yield f"fired for {due}, {(due - before) / FIRED_PERIOD:.3f} intervals later"
