"""Record several attempts of an agent at one task as one history, and prove that nothing is lost.

    python examples/record_agent_runs.py [--store DIR] [--runs FILE.traj … | --made-up]
                                         [--remote URL [--endpoint URL]]

The first attempt is a root stream: the task statement, then for each step its action, its
observation and its details (all else it holds: thought, response, …), then the outcome.
Each later attempt is a branch of the earlier attempt with which it shares the most first steps,
byte for byte in action and observation; so there are branches of branches. It is forked at the
last shared step, or at the first attempt's task statement where no step is shared. Where the
statement or the details of a shared step differ, its own are recorded right after the fork: of
two records with the same kind and step the later one counts. A merge selects the last attempt
that was submitted.

Then the store is sealed, closed and opened again, and each record is compared with the source
files. A store that holds the task already is only proven.

Last, all of it is published to the remote, by default a folder; a store that --store did not name
is deleted; it is restored from the remote alone at another place, audited, and proven once more. A
lazy restore then reads one retry with a few ranged requests. Exit status 1: something is not
proven.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import transit

RUNS_DIR = Path(__file__).resolve().parents[2] / "shared" / "data" / "agent-trajectories"

Step = dict[str, object]
Entry = tuple[bytes, dict[str, str]]  # the payload and the headers of a record
Source = dict[tuple[str, str], bytes]  # what a file says, by kind and step


@dataclass(frozen=True)
class Attempt:
    """An agent run as its file has it, and the name of its stream."""

    stream: str
    path: Path
    statement: str
    steps: list[Step]
    info: Step


def load(paths: list[Path]) -> list[Attempt]:
    task = paths[0].name.split(".")[0]
    attempts = []
    for number, path in enumerate(paths, start=1):
        run = json.loads(path.read_bytes())
        asked = [m for m in run["history"] if m["role"] == "user" and not m.get("is_demo")]
        statement, steps, info = asked[0]["content"], run["trajectory"], run["info"]
        attempts.append(Attempt(f"{task}/attempt-{number}", path, statement, steps, info))
        for step in range(len(steps) + 1):
            list(entries(attempts[-1], step))  # what cannot be recorded fails here
    return attempts


def selected(attempts: list[Attempt]) -> Attempt | None:
    done = [attempt for attempt in attempts if attempt.info.get("exit_status") == "submitted"]
    return done[-1] if done and len(attempts) > 1 else None


def final(attempts: list[Attempt]) -> str:
    return attempts[0].stream.replace("/attempt-1", "/final")


# Recording


def record(log: transit.Log, attempts: list[Attempt]) -> None:
    ends: dict[str, list[int]] = {}  # by stream: the offsets where the statement and each step end
    for place, attempt in enumerate(attempts):
        if place == 0:
            stream = log.create(attempt.stream, {"source": attempt.path.name})
            ends[attempt.stream] = []
        else:
            stream = fork(log, attempt, attempts[:place], ends)
        for number in range(len(ends[attempt.stream]), len(attempt.steps) + 1):
            payloads, headers = zip(*entries(attempt, number), strict=True)
            receipt = stream.append_many(payloads, headers=headers)  # a whole step or nothing
            ends[attempt.stream].append(receipt.last)
        stream.append(as_json(attempt.info), headers={"kind": "outcome", "attempt": attempt.stream})
        log.sync()  # from here on the attempt survives a power cut
    if (chosen := selected(attempts)) is not None:
        streams = [log.stream(attempt.stream) for attempt in attempts]
        select = {"selected": chosen.stream}
        metadata = {"reason": "the last attempt that was submitted"}
        log.merge(final(attempts), streams, policy="select", params=select, metadata=metadata)


def fork(
    log: transit.Log, attempt: Attempt, earlier: list[Attempt], ends: dict[str, list[int]]
) -> transit.Stream:
    parent = max(earlier, key=lambda other: shared_steps(other, attempt))  # the first of equals
    shared = shared_steps(parent, attempt)
    ends[attempt.stream] = ends[parent.stream][: shared + 1]
    with log.batch() as batch:  # the branch, and what differs in what it inherits, or nothing
        branch = batch.branch(
            log.stream(parent.stream),
            attempt.stream,
            at=ends[attempt.stream][-1],
            metadata={"source": attempt.path.name, "shared_steps": shared},
        )
        for number in range(shared + 1):
            pairs = zip(entries(parent, number), entries(attempt, number), strict=True)
            for (inherited, _), (payload, headers) in pairs:
                if payload != inherited:
                    batch.append(branch, payload, headers=headers)
    return branch.stream


def shared_steps(one: Attempt, other: Attempt) -> int:
    pairs = zip(one.steps, other.steps, strict=False)
    same = (a["action"] == b["action"] and a["observation"] == b["observation"] for a, b in pairs)
    return sum(takewhile(bool, same))


def entries(attempt: Attempt, number: int) -> Iterator[Entry]:
    """The records of a step, counted from 1; that of the task statement for 0."""
    headers = {"attempt": attempt.stream}
    if number == 0:
        yield as_bytes(attempt.statement), {"kind": "task", **headers}
        return
    headers["step"] = str(number)
    details = dict(attempt.steps[number - 1])
    for kind in ("action", "observation"):
        yield as_bytes(details.pop(kind)), {"kind": kind, **headers}
    yield as_json(details), {"kind": "details", **headers}


def as_bytes(text: object) -> bytes:
    if not isinstance(text, str):
        raise TypeError(f"not a text: {text!r}")
    return text.encode("utf-8", "surrogatepass")  # JSON allows half a surrogate pair


def as_json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


# Proving: what is wrong, one line each


def prove(log: transit.Log, attempts: list[Attempt]) -> Iterator[str]:
    for finding in log.verify().findings:
        yield f"{finding.place}: expected {finding.expected}, found {finding.found}"
    sources = {attempt.stream: source_of(attempt.path) for attempt in attempts}
    for attempt in attempts:
        stream = log.stream(attempt.stream)
        yield from prove_bytes(stream, sources, attempt.stream)
        yield from prove_origins(log, stream, stream.parents)
    if (chosen := selected(attempts)) is not None:
        merged = log.stream(final(attempts))
        yield from prove_bytes(merged, sources, chosen.stream)
        parents = [parent for parent in merged.parents if parent.stream == chosen.stream]
        yield from prove_origins(log, merged, parents)


def source_of(path: Path) -> Source:
    """What a file says, in order; read anew, and with no code of the recording."""
    run = json.loads(path.read_text(encoding="utf-8"))
    asked = [m for m in run["history"] if m["role"] == "user" and not m.get("is_demo")]
    source = {("task", ""): asked[0]["content"].encode("utf-8", "surrogatepass")}
    for number, step in enumerate(run["trajectory"], start=1):
        for kind in ("action", "observation"):
            source[kind, str(number)] = step.pop(kind).encode("utf-8", "surrogatepass")
        source["details", str(number)] = json.dumps(step, sort_keys=True).encode()
    source["outcome", ""] = json.dumps(run["info"], sort_keys=True).encode()
    return source


def prove_bytes(stream: transit.Stream, sources: dict[str, Source], whole: str) -> Iterator[str]:
    """Each record is what the file of its attempt says; together they are the file of `whole`."""
    latest: Source = {}
    for each in stream:
        place = each.headers["kind"], each.headers.get("step", "")
        if each.payload != sources[each.headers["attempt"]].get(place):
            yield f"{stream.name}@{each.offset}: not the bytes of {each.headers['attempt']}"
        latest[place] = each.payload
    if list(latest.items()) != list(sources[whole].items()):
        yield f"{stream.name}: does not give back all of {whole}, in order"


def prove_origins(
    log: transit.Log, stream: transit.Stream, parents: Sequence[transit.Position]
) -> Iterator[str]:
    """Up to its parent's head or fork, a stream has the parent's very records; then its own."""
    inherited = 0
    for parent in parents:
        inherited = parent.offset + 1
        if list(stream.read(0, inherited)) != list(log.stream(parent.stream).read(0, inherited)):
            yield f"{stream.name}: does not have the records of {parent.stream}"
    for each in stream:
        own = each.origin == (stream.name, each.offset)
        if own == (each.offset < inherited) or each.origin.stream != each.headers["attempt"]:
            yield f"{stream.name}@{each.offset}: wrong origin {each.origin}"


# What the user sees


def show(log: transit.Log, attempts: list[Attempt]) -> None:
    root = log.stream(attempts[0].stream)
    print("\n".join([f"{root.name}: {len(root)} records", *tree(log, root)]))
    streams = list(log.streams(root.name.removesuffix("attempt-1")))
    for merged in streams:
        if merged.kind == "merge":
            chosen = merged[-1].headers["attempt"]
            print(
                f"{merged.name}: {len(merged)} records, those of {chosen}, "
                f"{merged.metadata['reason']}"
            )
    files = [path for path in Path(log.path).rglob("*") if path.is_file()]
    # The lock file holds its holder's process id: no part of the store's data.
    disk = sum(path.stat().st_size for path in files if not path.name.startswith("LOCK"))
    payloads = sum(len(r.payload) for s in streams for r in s if r.origin.stream == s.name)
    source = sum(attempt.path.stat().st_size for attempt in attempts)
    print(
        f"bytes: {source:,} in the source files (chat history included), "
        f"{payloads:,} recorded of them, {disk:,} on disk"
    )
    print(f"proven: {sum(map(len, streams))} records read through {len(streams)} streams")


def tree(log: transit.Log, stream: transit.Stream, indent: str = "") -> Iterator[str]:
    children = [child for child in log.lineage.children(stream) if child.kind == "branch"]
    for child in children:
        last = child == children[-1]
        yield (
            f"{indent}{'└── ' if last else '├── '}{child.name}: {len(child)} records, forked at "
            f"offset {child.fork_offset} after {child.metadata['shared_steps']} shared steps"
        )
        yield from tree(log, child, indent + ("    " if last else "│   "))


def run(store: Path, attempts: list[Attempt]) -> list[str]:
    with transit.open(store, durability="os") as log:
        if attempts[0].stream not in log:
            record(log, attempts)
        log.seal()
    with transit.open(store, mode="read") as log:
        wrong = list(prove(log, attempts))
        if not wrong:
            show(log, attempts)
    return wrong


# Only the remote is left


def publish(store: Path, remote: transit.ObjectStore) -> None:
    with transit.open(store, remote=remote, durability="os") as log:
        published = log.publish()
    print(
        f"published: {published.commits} commits, {published.bytes:,} bytes, "
        f"{published.requests} requests to {remote.url}"
    )


def prove_remote(remote: transit.ObjectStore, attempts: list[Attempt]) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as scratch:
        restored = transit.restore(remote, Path(scratch, "restored"))
        with transit.open(restored.path, mode="read") as log:
            yield from prove(log, attempts)
        print(
            f"restored: {restored.records} records in {restored.segments} segments, "
            f"{restored.bytes:,} bytes, each record proven again; root {restored.root[:16]}…"
        )
        report = transit.audit(remote)
        for finding in report.findings:
            yield f"{finding.place}: expected {finding.expected}, found {finding.found}"
        checked = ", ".join(f"{report.counts[k]} {k}" for k in ("commits", "segments", "records"))
        print(f"audited, level {report.level}: {checked}, {len(report.findings)} findings")
        yield from read_lazily(Path(scratch, "lazy"), remote, attempts)


def read_lazily(
    folder: Path, remote: transit.ObjectStore, attempts: list[Attempt]
) -> Iterator[str]:
    """Read one retry, and nothing else, from a store whose segments stay in the remote."""
    restored = transit.restore(remote, folder, lazy=True)
    name = attempts[-1].stream
    sources = {attempt.stream: source_of(attempt.path) for attempt in attempts}
    with transit.open(folder, remote=remote, mode="read") as log:
        requests, received = remote.traffic.requests, remote.traffic.bytes_in
        yield from prove_bytes(log.stream(name), sources, name)
        requests, received = (
            remote.traffic.requests - requests, remote.traffic.bytes_in - received,
        )  # fmt: skip
        held = log.status().segment_bytes
        print(
            f"lazily: {len(log.stream(name))} records of {name} in {requests} ranged requests, "
            f"{received:,} of {held:,} bytes; {restored.segments_remote} segments stay away"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description="Record agent runs and prove every byte.")
    parser.add_argument("--store", type=Path, metavar="DIR", help="none: a temporary folder")
    parser.add_argument("--runs", type=Path, nargs="+", metavar="FILE", help="attempts, in order")
    parser.add_argument("--remote", metavar="URL", help="where to publish; none: a folder")
    parser.add_argument("--endpoint", metavar="URL", help="of the S3 server, if it is not Amazon's")
    parser.add_argument("--made-up", action="store_true", help="make runs, the same every time")
    options = parser.parse_args()
    real = [] if options.made_up else sorted(RUNS_DIR.glob("marshmallow-1867.attempt-*.traj"))
    with tempfile.TemporaryDirectory() as scratch:
        try:
            attempts = load(options.runs or real or made_up_runs(Path(scratch)))
        except (OSError, LookupError, TypeError, ValueError) as error:
            parser.error(f"not a trajectory file: {error!r}")
        try:
            remote = transit.open_store(
                options.remote or Path(scratch, "remote"),
                {"endpoint_url": options.endpoint} if options.endpoint else None,
            )
            store = options.store or Path(scratch, "store")
            wrong = run(store, attempts)
            if not wrong:
                publish(store, remote)
                if options.store is None:
                    shutil.rmtree(store)
                wrong = list(prove_remote(remote, attempts))
            remote.close()
        except transit.TransitError as error:
            wrong = [f"{type(error).__name__}: {error}"]
    for line in wrong:
        print(f"NOT PROVEN: {line}", file=sys.stderr)
    return 1 if wrong else 0


# Made-up runs, for where there are no real ones

SHARED = [(0, 0), (0, 4), (1, 7), (0, 2), (0, 0)]  # by attempt: whose first steps, and how many
EXITS = ["exit_cost", "exit_context", "submitted", "submitted", "exit_cost"]
COMMANDS = [
    ("Let's see what is there.", "ls -F src", "clock.py\nduration.py\nformat.py"),
    ("The rounding must be here.", "open src/duration.py", "[File: src/duration.py]"),
    ("Round before the cast.", "edit 31:31\n    return int(round(ticks))", "File updated."),
    ("Do the tests pass now?", "python -m pytest -q tests/test_duration.py", "FAILED"),
]


def made_up_runs(folder: Path) -> list[Path]:
    chance = random.Random(1867)
    runs: list[list[Step]] = []
    paths = []
    for (parent, shared), status in zip(SHARED, EXITS, strict=True):
        begun = runs[parent][:shared] if shared else []
        steps = [{**step, "execution_time": chance.random()} for step in begun]
        steps += [made_up_step(chance) for _ in range(chance.randint(6, 12))]
        runs.append(steps)
        asked = f"345 milliseconds become 344. You have {10 + len(runs) // 4} steps."
        history = [
            {"role": "system", "content": "You program."},
            {"role": "user", "content": asked},
        ]
        info = {"exit_status": status, "submission": "diff" if status == "submitted" else None}
        paths.append(folder / f"rounding.attempt-{len(runs)}.traj")
        document = {"trajectory": steps, "history": history, "info": info}
        paths[-1].write_text(json.dumps(document), encoding="utf-8")
    return paths


def made_up_step(chance: random.Random) -> Step:
    thought, action, said = chance.choice(COMMANDS)
    lines = [f"{n}: ticks = {chance.random()}" for n in range(chance.randint(1, 60))]
    response = f"{thought}\n```\n{action}\n```"
    step: Step = {"thought": thought, "response": response, "execution_time": chance.random()}
    return {**step, "action": action, "observation": "\n".join([said, *lines])}


if __name__ == "__main__":
    sys.exit(main())
