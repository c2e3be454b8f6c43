"""Values and errors go to other processes and are copied; what is open refuses, and says why.

The tests walk the public names, so that a new one is covered, or fails here until it is.
"""

from __future__ import annotations

import copy
import inspect
import multiprocessing
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

import transit
from transit import trace
from transit.engine.enveloping import EnvelopeProof
from transit.errors import UnpicklableError
from transit.opened import Opened
from transit.trace.events import ErrorInfo

PUBLIC = {
    f"{home.__name__}.{name}": getattr(home, name)
    for home in (transit, trace)
    for name in home.__all__
}
CLASSES = {name: kind for name, kind in PUBLIC.items() if inspect.isclass(kind)}
ERRORS = {name: kind for name, kind in CLASSES.items() if issubclass(kind, BaseException)}
# What holds something open, or is only told apart by type checkers.
OPEN = {
    "transit.Cache", "transit.Cursor", "transit.Layer", "transit.Lineage", "transit.Log",
    "transit.Sealed", "transit.SealedSegment", "transit.StagedStream", "transit.Standby",
    "transit.Stream",
    "transit.Watch", "transit.WriteBatch",
    # What a policy is given while it works.
    "transit.PolicyInput", "transit.PolicyPart",
    # Files of somebody's, which may be a folder; a secret; what reaches somebody.
    "transit.Checked", "transit.CheckedEnvelope", "transit.CheckedProof",
    "transit.trace.CheckedExhibit", "transit.SigningKey", "transit.Witness", "transit.Key",
    "transit.Keyring",
    "transit.trace.OpenModelCall", "transit.trace.Redaction", "transit.trace.Replay",
    "transit.trace.Task", "transit.trace.ToolCall", "transit.trace.Trace",
}  # fmt: skip
PROTOCOLS = {"transit.ObjectStore"}

WAYS: dict[str, Callable[[Any], Any]] = {
    **{
        f"pickle {protocol}": lambda value, protocol=protocol: pickle.loads(
            pickle.dumps(value, protocol)
        )
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
    },
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


def shown(value: Any) -> object:
    """All that a value shows, in what compares."""
    if isinstance(value, BaseException):
        return type(value), str(value), value.args, vars(value)
    if isinstance(value, transit.Batch):
        return value.source, list(value.records()), value.origins
    if isinstance(value, transit.Traffic):
        return repr(value)
    if isinstance(value, trace.Runs | transit.Proof | transit.EnvelopeProof):
        return list(value) if isinstance(value, trace.Runs) else dict(value)
    if isinstance(value, trace.Prices):
        return value.cost(trace.Totals(events=1, tokens={"m-1": (3, 5)}))
    if isinstance(value, transit.FileReport):
        return value.path, value.kind, value.digest, value.fields, value.findings
    return value


def problems(value: object) -> Iterator[str]:
    """The ways by which `value` does not come out as it went in."""
    for way, passed in WAYS.items():
        try:
            found = passed(value)
        except Exception as error:
            yield f"{way}: {type(error).__name__}: {error}"
            continue
        if shown(found) != shown(value):
            yield f"{way}: {shown(found)!r} instead of {shown(value)!r}"


def made(kind: type[BaseException]) -> BaseException:
    """An error of this class, each of whose fields has a value of its own."""
    given: dict[str, Any] = {}
    texts = iter("abcdefgh")
    for name, parameter in inspect.signature(kind.__init__).parameters.items():
        annotation = str(parameter.annotation)
        if name == "self" or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if "tuple" in annotation:
            given[name] = (("s", 3, 5),)
        elif "ErrorInfo" in annotation:
            given[name] = ErrorInfo(type="module.Kind", message="text")
        else:
            given[name] = 7 if "int" in annotation else next(texts)
    error = kind(**given) if given else kind("what happened")
    error.add_note("a note")
    return error


def history(path: Path) -> Iterator[object]:
    """What the public calls give, of one small store with a remote."""
    with transit.open(path / "store", remote=path / "remote") as log:
        stream = log.create("a", metadata={"k": 1})
        yield stream.append(b"1", headers={"kind": "x"})
        yield stream.append_many([b"22", b"3", b"444"], headers=[{"a": "b"}, None, {"a": "b"}])
        retry = stream.branch("b", at=1)
        retry.append(b"y")
        yield log.plan([stream, retry], policy="interleave")
        merged = log.merge("m", [stream, retry], policy="interleave")
        yield merged.merge_plan
        yield from stream.read()
        yield from merged.batches()
        yield from stream.batches(1, 3)
        yield merged.parents
        yield merged.parents[0]
        seen: list[transit.Progress] = []
        yield log.publish(seen.append)
        yield seen[-1]
        yield from merged.batches()
        yield from stream.batches(1, 3)
        yield log.status()
        yield log.settings
        yield log.verify()
        yield log.evict(bytes_max=0)
        yield log.sealed().head
        yield from (block for segment in log.segments() for block in segment.blocks())
        graph, why = log.lineage.graph(), log.lineage.why(transit.Position("m", 4))
        yield from (graph, graph.nodes[0], graph.edges[0])
        yield from (why, why.place, why.commit, *why.path)
        yield from (step.merge for step in why.path if step.merge is not None)
        difference = log.lineage.diff(stream, retry)
        yield from (difference, *difference.left, *log.lineage.spans(merged))
        with trace.task(log, "run", metadata={"k": 1}):
            pass
        yield trace.runs(log)
        yield trace.Prices({"m-*": {"input": 1, "output": 2.5}})
    yield from evidence(path)
    yield from facts(path)


def evidence(path: Path) -> Iterator[object]:
    """What is signed and proved of the store that `history` made, which is not changed by it."""
    with transit.open(path / "evidence") as log:
        key = transit.SigningKey.generate(f"example.com/values/{log.store_id}")
        log.create("a").append(b"1")
        signed = log.checkpoint(key)
        yield from (signed, signed.checkpoint, key.verifying)
        policy = transit.Policy.of([key.verifying])
        yield from (policy, policy.check(signed.note, now=0.0))
        proof = log.prove("a", 0)
        yield from (proof, proof.shown)
        envelope = transit.Envelope(**dict.fromkeys(transit.Envelope.__struct_fields__, "x"))
        yield EnvelopeProof(envelope, proof, [proof])


def facts(path: Path) -> Iterator[object]:
    """What is told about the files that `history` left."""
    yield transit.audit(path / "remote")
    yield transit.restore(path / "remote", path / "again")
    (segment,) = (path / "remote" / "segments").iterdir()
    damaged = path / "damaged.seg"
    damaged.write_bytes(segment.read_bytes()[:-1] + b"\0")
    for file in (segment, damaged):
        report = transit.inspect_file(file)
        yield report
        yield from report.parts
        yield from report.findings
    store = transit.open_store(path / "remote")
    store.get("FORMAT", 1000)
    yield store.traffic


def structs(kinds: dict[str, type]) -> Iterator[object]:
    """A value of each class that is only fields, with something in every field."""
    for kind in kinds.values():
        if issubclass(kind, msgspec.Struct) and kind is not transit.Settings:
            yield kind(**{name: [name, 1] for name in kind.__struct_fields__})


# What every value must pass: a bug in any of it is found by one of these.


@pytest.mark.parametrize("name", sorted(ERRORS))
def test_an_error_keeps_all_its_fields(name: str) -> None:
    assert list(problems(made(ERRORS[name]))) == []


@pytest.mark.parametrize("kind", [PermissionError, transit.StorePermissionError])
def test_an_error_that_is_of_the_system_too_keeps_its_number(kind: type[Exception]) -> None:
    assert list(problems(kind(13, "not allowed"))) == []


def test_an_error_of_a_class_of_the_users_keeps_all_its_fields() -> None:
    error = OwnError("s", reason="because")
    assert list(problems(error)) == []
    assert pickle.loads(pickle.dumps(error)).reason == "because"


class OwnError(transit.ConflictError):
    """As a user may derive one."""

    def __init__(self, stream: str, *, reason: str) -> None:
        super().__init__(f"{stream}: {reason}", stream=stream)
        self.reason = reason


def test_every_public_value_keeps_all_its_fields(path: Path) -> None:
    met = set()
    for value in history(path):
        met.add(type(value))
        assert list(problems(value)) == []
    missing = {name: kind for name, kind in CLASSES.items() if kind not in met}
    for value in structs(missing):
        met.add(type(value))
        assert list(problems(value)) == []
    left = {name for name, kind in CLASSES.items() if kind not in met}
    assert left == OPEN | PROTOCOLS | set(ERRORS), "a public class that no test here knows"


def test_a_copied_record_has_headers_that_nobody_can_change(path: Path) -> None:
    with transit.open(path) as log:
        log.create("s").append_many([b"1", b"2"], headers=[{"a": "b"}, None])
        for record in log.stream("s"):
            found = pickle.loads(pickle.dumps(record))
            assert found.origin == record.origin
            with pytest.raises(TypeError):
                found.headers["a"] = "c"


def test_a_pickled_batch_is_of_its_own_records_alone(path: Path) -> None:
    with transit.open(path) as log:
        stream = log.create("s")
        stream.append_many([b"%06d" % n * 100 for n in range(1000)])
        (batch,) = stream.batches(500, 502)
        assert len(pickle.dumps(batch)) < 3000
        found = pickle.loads(pickle.dumps(batch))
        assert found.payloads == [b"000500" * 100, b"000501" * 100]
        assert found.to_arrow().equals(batch.to_arrow())


def test_what_is_open_refuses_and_says_what_to_send(path: Path) -> None:
    with transit.open(path / "store", remote=path / "remote") as log:
        stream = log.create("s")
        batch = log.batch()
        with batch:
            staged = batch.create("t")
        store = transit.open_store(path / "remote")
        memory = transit.open_store("memory://values/store")
        task = trace.task(log, "run", actor="a")
        for thing in (
            log, stream, stream.cursor("c"), batch, staged, log.lineage, log.layer("l"), store,
            memory,
        ):  # fmt: skip
            assert refusals(thing) == []
        for thing in (trace.read(log, "s"), task):
            with pytest.raises(UnpicklableError):
                pickle.dumps(thing)


@pytest.mark.parametrize("way", WAYS)
def test_a_key_that_signs_is_not_copied(way: str) -> None:
    with pytest.raises(UnpicklableError, match="secret"):
        WAYS[way](transit.SigningKey.generate("example.com/log"))


def refusals(thing: object) -> list[str]:
    """The ways by which what is open does not refuse as it should."""
    found = []
    for way, passed in WAYS.items():
        try:
            passed(thing)
        except UnpicklableError as error:
            if not isinstance(error, TypeError) or "open it there" not in str(error):
                found.append(f"{way}: does not say what to do: {error}")
        except Exception as error:
            found.append(f"{way}: {type(error).__name__}: {error}")
        else:
            found.append(f"{way}: no error")
    return found


def test_a_copied_report_of_a_file_reads_it_again_or_says_why_not(path: Path) -> None:
    with transit.open(path) as log:
        log.create("s").append(b"x")
        log.seal()
    (segment,) = (path / "segments").iterdir()
    report = transit.inspect_file(segment, records=True)
    found = pickle.loads(pickle.dumps(report))
    assert list(found.parts) == list(report.parts)
    assert found.ok
    segment.chmod(0o600)
    segment.write_bytes(segment.read_bytes() + b"1")
    with pytest.raises(transit.InvalidInputError, match="inspect it again"):
        list(found.parts)
    segment.unlink()
    with pytest.raises(transit.NotFoundError):
        list(found.parts)
    assert found.digest == report.digest


def read_all(path: str) -> int:
    """The work of another process."""
    with transit.open(path, mode="read") as log:
        return sum(len(record.payload) for record in log.stream("s"))


def test_a_worker_that_meets_damage_tells_and_its_pool_goes_on(path: Path) -> None:
    with transit.open(path, settings=transit.Settings(compression="none")) as log:
        log.create("s").append(b"x" * 5000)
        log.seal()
    (segment,) = (path / "segments").iterdir()
    segment.chmod(0o600)
    segment.write_bytes(segment.read_bytes().replace(b"x" * 10, b"y" * 10))
    context = multiprocessing.get_context("fork")
    with context.Pool(1) as pool:
        with pytest.raises(transit.CorruptError) as met:
            pool.map_async(read_all, [str(path)]).get(60)
        assert met.value.place.startswith(str(path / "segments"))
        assert met.value.found
        assert met.value.expected
        assert pool.apply_async(len, ["abc"]).get(60) == 3
    with ProcessPoolExecutor(1, context) as executor, pytest.raises(transit.CorruptError):
        executor.submit(read_all, str(path)).result(60)


# The same checks, with a bug put in.


PLANTS: dict[str, tuple[type, str, Callable[[Any], object]]] = {
    "an error is made again by its class": (
        transit.TransitError, "__reduce__", lambda self: (type(self), self.args)
    ),
    "an error loses its fields": (
        transit.TransitError,
        "__reduce__",
        lambda self: (transit.errors._make_again, (type(self), *self.args)),
    ),
    "a record takes its headers along as they are": (
        transit.Record, "__reduce__", msgspec.Struct.__reduce__
    ),
    "a batch takes all records of its chunk along": (
        transit.Batch,
        "__reduce__",
        lambda self: (
            transit.replay._batch_again,
            (self._chunk.data[: self._chunk.end], self.offsets.start, self.source),
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_bug_is_found(path: Path, monkeypatch: pytest.MonkeyPatch, plant: str) -> None:
    values = [*history(path), *map(made, ERRORS.values())]
    kind, name, planted = PLANTS[plant]
    monkeypatch.setattr(kind, name, planted)
    assert any(list(problems(value)) for value in values)


def test_a_handle_that_copies_itself_is_found(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Opened, "__reduce__", lambda self: (str, ("a copy",)))
    with transit.open(path) as log:
        assert refusals(log)
