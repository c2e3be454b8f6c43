"""Ready-made reconcilers: publish, sign, verify, evict, retain.

Each does what a person would type, and is a noop where that would change nothing. A tick that did
something is a record of the store itself: so that publishing does not go on for ever about its own
records, "something new" means records other than ticks and claims.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, Literal, NamedTuple, TypedDict, Unpack

import transit
from transit import CorruptError, InvalidInputError, Log, NotFoundError, Piece, Stream
from transit.views.loops.due import SECOND
from transit.views.loops.naming import TRIES, Labels, Notes, find, names_in, notes_of
from transit.views.loops.reconcile import TIMEOUT_S_MAX, Reconciler, reconciler
from transit.views.loops.ticks import Tick

LOOKED_MAX: Final = 1_000
HIDDEN_MAX: Final = 100
SAMPLE_MAX: Final = 10_000
_TOLD_MAX: Final = 20

Signer = Callable[[Log], Mapping[str, object] | None]
Keys = transit.SigningKey | Sequence[transit.SigningKey]


class Options(TypedDict, total=False):
    """What all of them take: see `reconciler`."""

    name: str
    cron: str
    zone: str
    timeout: float
    labels: Labels


class _Chosen(NamedTuple):
    stream: Stream
    age_s: float


def publish(every: float | None = 60.0, **options: Unpack[Options]) -> Reconciler:
    """Publish when there is something new. The store needs its remote; over a connection, admin."""

    def publish(tick: Tick) -> None:
        there = _records(tick.log)
        if tick.kv.get("records") == there:
            tick.noop()
            return
        done = tick.log.publish()
        tick.kv["records"] = there
        tick.emit("publish", commits=done.commits, bytes=done.bytes, head=done.head)

    return _made(publish, every, options)


def sign(sign: Signer | Keys, every: float | None = 60.0, **options: Unpack[Options]) -> Reconciler:
    """Have the history signed when commits with something new were added.

    sign: the key or keys of `Log.checkpoint`; or a function, called with the store: what it returns
    is kept in the tick, None is a noop. It may be called again for the same commits after a crash.
    """
    signer = sign if callable(sign) else _checkpoints(sign)

    def body(tick: Tick) -> None:
        there, head = _records(tick.log), tick.log.status().head
        if not head or tick.kv.get("head") == head or tick.kv.get("records") == there:
            tick.noop()
            return
        tick.check()
        signed = signer(tick.log)
        if signed is None:
            tick.noop()
            return
        tick.kv.update(head=head, records=there)
        tick.emit("sign", head=head, **signed)

    return _made(body, every, {"name": "sign", **options})


def _checkpoints(keys: Keys) -> Signer:
    given = [keys] if isinstance(keys, transit.SigningKey) else list(keys)
    if not given or not all(isinstance(key, transit.SigningKey) for key in given):
        raise InvalidInputError("sign is done by a SigningKey, by several, or by a function")

    def sign(log: Log) -> Mapping[str, object]:
        made = log.checkpoint(given).checkpoint
        return {"size": made.size, "tree": made.root.hex()}

    return sign


def verify(
    every: float | None = 86_400.0, *, sample: int | None = None, **options: Unpack[Options]
) -> Reconciler:
    """Check the store's bytes: all of them, or those of `sample` pieces drawn at random.

    A sample reads sealed records, from the folder or the remote, and holds each block to its
    digest; it needs the extra `arrow`. What is wrong makes the tick fail, and is in its lines; the
    next due looks again.
    """
    if sample is not None and (type(sample) is not int or not 1 <= sample <= SAMPLE_MAX):
        raise InvalidInputError(f"sample must be 1 to {SAMPLE_MAX} pieces, not {sample!r}")

    def verify(tick: Tick) -> None:
        if sample is None:
            _verify_all(tick)
        else:
            _verify_some(tick, sample)

    return _made(verify, every, options, retries=0)


def evict(
    every: float | None = 300.0,
    *,
    bytes_max: int | None = None,
    older_than: float | None = None,
    **options: Unpack[Options],
) -> Reconciler:
    """Drop local segments that are published; as `Log.evict`, which needs the remote."""
    if bytes_max is None and older_than is None:
        raise InvalidInputError("give bytes_max=, older_than=, or both")

    def evict(tick: Tick) -> None:
        done = tick.log.evict(bytes_max=bytes_max, older_than=older_than)
        if done.segments:
            tick.emit("evict", segments=done.segments, bytes=done.bytes)
        else:
            tick.noop()

    return _made(evict, every, options)


def retain(
    older_than: float | None = None,
    every: float | None = 3_600.0,
    *,
    prefix: str = "",
    which: Literal["finished", "all"] = "finished",
    **options: Unpack[Options],
) -> Reconciler:
    """Let go what the limits of streams let go (`Log.retain`); or hide what is old.

    older_than: hide the user's streams whose last record was written longer ago, seconds; None:
    trim and delete by the limits that streams were given with `Stream.retain`.
    which: only those that were finished, or all. prefix: of their names. Hidden streams stay as
    they are, are out of listings, and come back with `Log.show`. A tick looks at 1,000 streams and
    hides 100; the next goes on from there. Streams without a record stay.
    """
    if which not in ("finished", "all"):
        raise InvalidInputError(f'which must be "finished" or "all", not {which!r}')
    if older_than is None:
        if prefix or which != "finished":
            raise InvalidInputError("prefix and which choose what is hidden: give older_than too")
        return _made(_let_go, every, {"name": "retain", **options})

    def retain(tick: Tick) -> None:
        after = _after(tick)
        looked = list(islice(tick.log.streams(prefix, after=after), LOOKED_MAX))
        hidden = 0
        last = looked[-1] if len(looked) == LOOKED_MAX else None
        for chosen in _old(looked, older_than, which):
            if hidden == HIDDEN_MAX:
                last = chosen.stream
                break
            reason = f"retain: {chosen.age_s:.0f} s old"
            tick.batch.hide(chosen.stream, expect=len(chosen.stream), reason=reason)
            hidden += 1
        if last is not None:
            tick.kv["after"] = last.uid
        elif after is not None:
            del tick.kv["after"]
        if hidden:
            tick.emit("hide", streams=hidden)
        elif last is None and after is None:
            tick.noop()

    return _made(retain, every, options)


def _let_go(tick: Tick) -> None:
    tick.check()
    due = tick.log.retain()
    gone = [each for each in due if not each.refused]
    for each in [each for each in due if each.refused][:_TOLD_MAX]:
        tick.info(f"{each.stream}: {each.refused}")
    if gone:
        tick.emit("retain", streams=len(gone), records=sum(each.records for each in gone))
    else:
        tick.noop()


def _made(
    body: Callable[[Tick], object],
    every: float | None,
    options: Options,
    *,
    retries: int | None = None,
) -> Reconciler:
    """A reconciler that may take as long as one may."""
    given: Options = {"timeout": TIMEOUT_S_MAX, **options}
    return reconciler(every=None if "cron" in given else every, retries=retries, **given)(body)


def _records(log: Log) -> int:
    """How many records there are, without those that runners write about themselves."""
    names = set(Notes(notes_of(log)).names("ticks"))
    found = [find(log, f"{kind}/{name}") for kind in ("ticks", "claims") for name in sorted(names)]
    own = [stream for stream in found if stream is not None]
    count = _count(own)
    for _ in range(TRIES):
        records, before, count = log.status().records, count, _count(own)
        if count == before:
            break
    # Where others write all the time, it counts as something new.
    return records - count


def records_without_ticks(log: Log) -> int:
    """How many records a store has that is open for reading, without ticks and claims."""
    own = [each for kind in ("ticks", "claims") for _, each in names_in(log, kind)]
    return log.status().records - _count(own)


def _count(streams: list[Stream]) -> int:
    return sum(stream.next_offset for stream in streams)


def _verify_all(tick: Tick) -> None:
    report = tick.log.verify()
    for finding in report.findings[:_TOLD_MAX]:
        tick.error(f"{finding.place}: {finding.found}")
    if report.findings:
        first = report.findings[0]
        raise CorruptError(first.place, expected="a store without findings", found=first.found)
    tick.emit("verify", level=report.level)


def _verify_some(tick: Tick, sample: int) -> None:
    # The same pieces when the same tick is tried again.
    chosen = _drawn(tick.log.pieces(), sample, random.Random(tick.key))
    if not chosen:
        tick.noop()
        return
    read = 0
    for piece in chosen:
        try:
            read += transit.read_piece(
                piece, columns=["payload"], keyring=tick.log.keyring
            ).num_rows
        except CorruptError as error:
            tick.error(str(error))
            raise
    tick.emit("verify", pieces=len(chosen), records=read)


def _drawn(pieces: Iterator[Piece], count: int, draw: random.Random) -> list[Piece]:
    """So many of them, each as likely as any other."""
    chosen: list[Piece] = []
    for number, piece in enumerate(pieces):
        place = number if number < count else draw.randrange(number + 1)
        if place == len(chosen):
            chosen.append(piece)
        elif place < count:
            chosen[place] = piece
    return chosen


def _after(tick: Tick) -> Stream | None:
    """Where the tick before left off."""
    uid = tick.kv.get("after")
    if not isinstance(uid, str):
        return None
    try:
        return tick.log.stream(uid=uid)
    except NotFoundError:
        # A rebase gave it another.
        return None


def _old(streams: list[Stream], older_than: float, which: str) -> Iterator[_Chosen]:
    now = time.time_ns()
    for stream in streams:
        if not len(stream) or (which == "finished" and not stream.finished):
            continue
        age_s = (now - stream[-1].written) / SECOND
        if age_s > older_than:
            yield _Chosen(stream, age_s)
