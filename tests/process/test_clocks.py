"""The wall clock jumps back and forth, between appends and within them.

The engine's time never goes back where the clock does so by less than a minute; more is recorded,
and holds nothing there (`transit.log.clock`). Timestamps that users give bind no other. Nothing
that waits looks at the wall clock. The clock is replaced in the module `time` of a real
process, before transit is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., str]

JUMPING = """
import random, sys, time
DAY = 86_400 * 10**9
real, shift = time.time_ns, [0]
time.time_ns = lambda: real() + shift[0]
time.time = lambda: time.time_ns() / 1e9
import transit
path, seed = sys.argv[1], int(sys.argv[2])
choices = random.Random(seed)
"""

APPEND = (
    JUMPING
    + """
def jumping():
    # Each look at the clock finds it somewhere else.
    return real() + choices.choice([-JUMP, 0, JUMP])
time.time_ns = jumping
import transit.log.clock, transit.log.writer
transit.log.writer.time_ns = transit.log.clock.time_ns = jumping
with transit.open(path, durability="os") as log:
    s = log.create("s")
    for n in range(60):
        if n % 3 == 0:
            s.append(b"one")
        elif n % 3 == 1:
            s.append_many([b"many"] * 3)
        else:
            with log.batch() as batch:
                batch.append(s, b"batch")
                batch.append(s, b"batch", timestamp=None)
        if n % 20 == 10:
            s.append(b"memory", durability="memory")
            log.seal()
    child = s.branch("child")
    child.append(b"after the fork")
    merged = log.merge("merged", [s, child], policy="interleave")
    merged.append(b"after the merge")
with transit.open(path) as log:
    back = 0
    for stream in log.streams():
        own = [record for record in stream if record.origin.stream == stream.name]
        for times in [r.timestamp for r in own], [r.written for r in own]:
            back = max(back, sum(a > b for a, b in zip(times, times[1:])))
    assert back <= log.status().clock_steps
    assert log.verify().ok
    print(len(log.stream("s")), len(log.stream("merged")), log.status().clock_steps, back)
"""
)


@pytest.mark.parametrize("seed", range(2))
def test_times_go_back_only_where_the_store_says_that_the_clock_was_set_back(
    run: Run, path: Path, seed: int
) -> None:
    script = APPEND.replace("JUMP", "DAY")
    streams, merged, steps, back = map(int, run(script, path, seed).split())
    assert streams == 20 + 60 + 40 + 3
    assert merged == streams + 2
    assert 0 < back <= steps


def test_times_never_go_back_when_the_clock_jumps_by_less_than_a_minute(
    run: Run, path: Path
) -> None:
    script = APPEND.replace("JUMP", "29 * 10**9")
    assert run(script, path, 0).split()[2:] == ["0", "0"]


BACK = (
    JUMPING
    + """
import transit.log.clock, transit.log.writer
transit.log.writer.time_ns = transit.log.clock.time_ns = lambda: time.time_ns()
MINUTE = 60 * 10**9
with transit.open(path, durability="os") as log:
    s, other = log.create("s"), log.create("other")
    before = s.append(b"before").timestamp
    shift[0] = -MINUTE // 2
    held = s.append(b"half a minute earlier").timestamp
    assert other.append(b"of another stream").timestamp == held >= before
    assert log.status().clock_steps == 0 and log.status().clock_ahead_s > 20
    shift[0] = -DAY
    assert log.status().clock_ahead_s > 80_000
    stepped = s.append(b"a day earlier").timestamp
    assert stepped < before - DAY // 2
    assert other.append(b"x").timestamp >= stepped
    assert log.status().clock_steps == 1 and log.status().clock_ahead_s == 0
with transit.open(path, durability="os") as log:
    assert log.stream("s").append(b"after reopening").timestamp >= stepped
    shift[0] = -2 * DAY
    again = log.stream("s").append(b"another day", durability="memory").timestamp
    assert again < stepped - DAY // 2
    log.seal()
    shift[0] = -3 * DAY
with transit.open(path, durability="os") as log:
    # The clock stepped while the store was closed and all was sealed.
    assert log.stream("s").append(b"opened").timestamp < again - DAY // 2
    assert log.status().clock_steps == 3
    assert [r.written == r.timestamp for r in log.stream("other")] == [True] * 2
    assert log.verify().ok
print("done")
"""
)


def test_a_clock_set_back_is_held_for_a_minute_and_recorded_beyond(run: Run, path: Path) -> None:
    assert run(BACK, path, 0) == "done\n"


FUTURE = (
    JUMPING
    + """
with transit.open(path, durability="os", remote=path + "-remote") as log:
    s = log.create("s")
    s.append(b"from a client", timestamp=real() + 1000 * DAY)
    assert s.append(b"by the engine").timestamp <= real()
    assert s.append_many([b"a", b"b"]).timestamp <= real()
    assert s.append(b"accepted", durability="memory").timestamp <= real()
    child = s.branch("child", at=0)
    assert child.append(b"of a branch").timestamp <= real()
    merged = log.merge("merged", [s, child], policy="append")
    assert merged.append(b"of a merge").timestamp <= real()
    with log.batch() as batch:
        batch.append(s, b"ahead", timestamp=real() + DAY)
        batch.append(s, b"now")
    assert batch.receipts[1].timestamp <= real()
    assert s[0].written <= real() < s[0].timestamp
    log.publish()
    time.sleep(0.01)
    assert log.evict(older_than=0.001).segments == 1
    assert log.status().clock_ahead_s == 0 and log.verify().ok
print("done")
"""
)


def test_a_clients_time_ahead_binds_no_time_of_the_engine_and_no_eviction(
    run: Run, path: Path
) -> None:
    assert run(FUTURE, path, 0) == "done\n"


INTERLEAVE = (
    JUMPING
    + """
import transit.log.clock, transit.log.writer
transit.log.writer.time_ns = transit.log.clock.time_ns = lambda: time.time_ns()
with transit.open(path, durability="os") as log:
    root = log.create("root")
    root.append(b"root")
    one, two = root.branch("one"), root.branch("two")
    for n in range(20):
        shift[0] = choices.choice([-DAY, 0, DAY])
        choices.choice([one, two]).append(b"%d" % n)
    merged = log.merge("merged", [one, two], policy="interleave")
    for stream in (one, two):
        own = [record.payload for record in stream]
        assert [p for p in (r.payload for r in merged) if p in own] == own
    assert sorted(r.payload for r in merged) == sorted({r.payload for s in (one, two) for r in s})
    assert log.verify().ok
    print(len(merged))
"""
)


def test_interleave_keeps_each_parents_order_when_the_clock_jumped_between_its_records(
    run: Run, path: Path
) -> None:
    assert run(INTERLEAVE, path, 1).split() == ["21"]


WAIT = (
    JUMPING
    + """
import subprocess, threading
settings = transit.Settings(open_timeout_s=0.3, lock_timeout_s=0.3, flush_interval_ms=5,
                            seal_interval_s=0.02, publish_interval_s=0.02,
                            refresh_interval_s=0.01)
stop = threading.Event()

def jump():
    while not stop.is_set():
        shift[0] = choices.choice([-DAY, 0, DAY, 10 * DAY])
        time.sleep(0.0005)

threading.Thread(target=jump, daemon=True).start()
if len(sys.argv) > 3:
    # Another process, which waits for the lock that the first one holds. It has all loaded before.
    transit.open(path + "-own", settings=settings).close()
    for mode in ("exclusive", "shared") * 3:
        began = time.monotonic()
        try:
            transit.open(path, mode=mode, settings=settings)
            raise AssertionError("two writers")
        except transit.LockedError:
            assert time.monotonic() - began >= 0.3, "a lock was given up early"
    sys.exit()
with transit.open(path, durability="os", remote=path + "-remote", settings=settings) as log:
    s = log.create("s")
    began = time.monotonic()
    assert list(s.tail(start=0, timeout=0.3)) == []
    assert time.monotonic() - began >= 0.3, "a tail ended early"
    subprocess.run([sys.executable, "-c", SCRIPT, path, "3", "waits"], check=True, timeout=60)
    s.submit(b"submitted", durability="local").result(60)
    # Sealed and published by age, though the wall clock says it is a day ago.
    deadline = time.monotonic() + 60
    while log.status().published == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert log.status().published > 0
    with transit.open("file://" + path + "-remote", mode="read", settings=settings) as reader:
        tail = reader.stream("s").tail(start=0, timeout=30)
        assert next(tail).payload == b"submitted"
        s.append(b"second", durability="tiered")
        assert next(tail).payload == b"second"
stop.set()
print("done")
"""
)


@pytest.mark.slow
def test_what_waits_neither_ends_early_nor_hangs_while_the_wall_clock_jumps(
    run: Run, path: Path
) -> None:
    assert run(f"SCRIPT = {WAIT!r}\n" + WAIT, path, 2) == "done\n"


EVICT = (
    JUMPING
    + """
with transit.open(path, durability="os", remote=path + "-remote") as log:
    s = log.create("s")
    s.append(b"x")
    log.publish()
    shift[0] = -DAY
    # From a day before it was written, nothing is old.
    assert log.evict(older_than=3600).segments == 0
    shift[0] = DAY
    assert log.evict(older_than=3600).segments == 1
    assert s[0].payload == b"x"
print("done")
"""
)


def test_eviction_by_age_goes_by_the_wall_clock_and_drops_nothing_from_the_future(
    run: Run, path: Path
) -> None:
    assert run(EVICT, path, 3) == "done\n"


TRACE = (
    JUMPING
    + """
from transit import trace
import transit.log.clock, transit.log.writer
transit.log.writer.time_ns = transit.log.clock.time_ns = lambda: time.time_ns()
log = transit.open(path)
with trace.task(log, "task", actor="a", reason="r") as task:
    for n in range(10):
        shift[0] = choices.choice([-DAY, 0, DAY])
        task.message("user", f"message {n}")
        with task.tool("edit", {"n": n}) as call:
            shift[0] = choices.choice([-DAY, 0, DAY])
            call.result(n)
times = [record.timestamp for record in trace.read(log, "task")]
assert sum(a > b for a, b in zip(times, times[1:])) <= log.status().clock_steps
assert [r.event.result for r in trace.read(log, "task") if hasattr(r.event, "result")]
log.close()
print(len(times))
"""
)


def test_a_trace_is_recorded_in_order_however_the_clock_jumps(run: Run, path: Path) -> None:
    assert int(run(TRACE, path, 4)) >= 30
