"""Evaluations of Inspect AI as its adapter recorded them, read without Inspect AI.

    inspect/<eval id>                  the evaluation: `task_start`, `task_end`, what models used
    inspect/<eval id>/<sample uuid>    a sample: `init`, `event`, ..., `sample`
    inspect/<eval id>/<sample uuid>/attempt-<n>  a further attempt, which descends from the first
    inspect-run/<run id>               a run: the beginning and the end of several evaluations

The value of a record is what Inspect AI itself serializes. Owns how events of a sample are told:
of two with one uuid the last counts, and they are in the order of the sample. And how a log file,
`.eval`, is made of them, of an evaluation that ended and of one that was killed.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from transit import InvalidInputError, Log, NotFoundError, Stream
from transit.adapters.naming import find
from transit.adapters.opening import open_store
from transit.adapters.packed import values_of

PREFIX: Final = "inspect/"
RUN_PREFIX: Final = "inspect-run/"
KIND: Final = "kind"
# A zip without times of its own: the same evaluation gives the same bytes.
_TIME: Final = (1980, 1, 1, 0, 0, 0)
_OF_SUMMARY: Final = (
    "id", "epoch", "input", "target", "choices", "scores", "model_usage", "started_at",
    "completed_at", "total_time", "working_time", "uuid",
)  # fmt: skip
_KILLED: Final = "CancelledError()"
_KILLED_TRACE: Final = "CancelledError: the evaluation was killed; recovered from transit\n"


def evaluations(log: Log) -> Iterator[Stream]:
    """The streams of evaluations, in the order in which they began."""
    return (stream for stream in log.streams(PREFIX) if "sample_uuid" not in stream.metadata)


def sample_streams(log: Log, evaluation: Stream) -> list[Stream]:
    """The streams of the samples of an evaluation; of several attempts the last."""
    found: dict[str, Stream] = {}
    for stream in log.streams(f"{evaluation.name}/"):
        uuid = stream.metadata.get("sample_uuid")
        if isinstance(uuid, str):
            found[uuid] = stream
    return list(found.values())


def sample_events(log: Log, stream: Stream) -> list[Any]:
    """The events of a sample, in order, as Inspect AI serializes them."""
    events: list[Any] = []
    order: list[Any] = []
    for record, value in values_of(log, stream):
        if record.headers.get(KIND) == "event":
            events.append(value)
        elif record.headers.get(KIND) == "sample":
            order = value["order"]
    return _events(events, order)


def all_events(where: Log | str | os.PathLike[str]) -> Iterator[tuple[str, Any]]:
    """The uuid of its sample, and an event, of all samples. where: an open store, or its place."""
    if not isinstance(where, Log):
        with open_store(where, mode="read") as log:
            yield from all_events(log)
        return
    for evaluation in evaluations(where):
        for stream in sample_streams(where, evaluation):
            for event in sample_events(where, stream):
                yield str(stream.metadata["sample_uuid"]), event


def write_eval(
    where: Log | str | os.PathLike[str],
    file: str | os.PathLike[str],
    eval_id: str | None = None,
) -> None:
    """Write the log file of an evaluation, as Inspect AI reads it.

    where: an open store, a folder, or a bucket. file: where to, a name that ends with `.eval`; it
    must not be there. eval_id: which; None: the only one. One that did not end is `cancelled`, and
    so are its samples that did not. `NotFoundError` where there is none, `InvalidInputError` where
    there are several.
    """
    if not isinstance(where, Log):
        with open_store(where, mode="read") as log:
            write_eval(log, file, eval_id)
        return
    evaluation = _evaluation(where, eval_id)
    header = _header(where, evaluation)
    path = Path(file)
    # Whole or not there, whatever happens meanwhile.
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        _write_file(where, evaluation, header, part)
        os.link(part, path)
    finally:
        part.unlink(missing_ok=True)


def _write_file(log: Log, evaluation: Stream, header: dict[str, Any], file: Path) -> None:
    summaries = []
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as opened:
        start = {key: header[key] for key in ("version", "eval", "plan")}
        _member(opened, "_journal/start.json", start)
        for stream in sample_streams(log, evaluation):
            # A sample at a time is in memory.
            sample = _sample(log, stream)
            if sample is not None:
                _member(opened, f"samples/{sample['id']}_epoch_{sample['epoch']}.json", sample)
                summaries.append(_summary(sample))
        _member(opened, "summaries.json", summaries)
        _member(opened, "header.json", header)


def _evaluation(log: Log, eval_id: str | None) -> Stream:
    if eval_id is not None:
        return find(log, PREFIX, eval_id)
    found = list(evaluations(log))
    if not found:
        raise NotFoundError("no evaluation was recorded")
    if len(found) > 1:
        ids = ", ".join(str(each.metadata.get("eval_id")) for each in found)
        raise InvalidInputError(f"{len(found)} evaluations: say which of {ids}")
    return found[0]


def _member(opened: zipfile.ZipFile, name: str, value: object) -> None:
    info = zipfile.ZipInfo(name, _TIME)
    info.compress_type = zipfile.ZIP_DEFLATED
    opened.writestr(info, json.dumps(value))


def _header(log: Log, evaluation: Stream) -> dict[str, Any]:
    header: dict[str, Any] = {"version": 2, "status": "cancelled", "eval": {}, "plan": {}}
    for record, value in values_of(log, evaluation):
        if record.headers.get(KIND) == "task_start":
            header |= {"eval": value["spec"], "plan": value["plan"]}
        elif record.headers.get(KIND) == "task_end":
            header |= value["log"]
    if not header["eval"]:
        raise NotFoundError(f"{evaluation.name}: how it began is not recorded")
    return header


def _sample(log: Log, stream: Stream) -> dict[str, Any] | None:
    """A sample as it ended, or as far as it came; None where it did not begin."""
    begun: dict[str, Any] = {}
    ended: dict[str, Any] = {}
    events = []
    for record, value in values_of(log, stream):
        match record.headers.get(KIND):
            case "event":
                events.append(value)
            case "init" | "start" | "attempt_start":
                begun = value["summary"]
            case "sample":
                ended = value
    whole = _events(events, ended.get("order", ()))
    if ended:
        return {**ended["sample"], "events": whole}
    if not begun:
        return None
    # Older versions of Inspect AI give it late.
    return {"uuid": stream.metadata["sample_uuid"], **_unfinished(begun, whole)}


def _unfinished(summary: dict[str, Any], events: list[Any]) -> dict[str, Any]:
    given: dict[str, Any] = next((e["sample"] for e in events if e["event"] == "sample_init"), {})
    calls = [event for event in events if event["event"] == "model"]
    messages: list[Any] = []
    output: dict[str, Any] = {"model": "", "choices": []}
    if calls:
        output = calls[-1].get("output") or output
        messages = [*calls[-1]["input"], *(c["message"] for c in output.get("choices", [])[:1])]
    scores = {
        event["scorer"]: event["score"]
        for event in events
        if event["event"] == "score" and not event.get("intermediate") and event.get("scorer")
    }
    known = {key: summary[key] for key in _OF_SUMMARY if summary.get(key) is not None}
    said = {k: given[k] for k in ("input", "target", "choices", "metadata") if given.get(k)}
    trouble = {"message": _KILLED, "traceback": _KILLED_TRACE, "traceback_ansi": _KILLED_TRACE}
    return {
        **known, **said, "messages": messages, "output": output, "scores": scores or None,
        "events": events, "store": {}, "attachments": {}, "error": trouble,
    }  # fmt: skip


def _events(events: list[Any], order: Sequence[Any]) -> list[Any]:
    """Each event once, in the order of the sample where it has ended."""
    found: dict[object, Any] = {}
    for number, event in enumerate(events):
        # An event is told again when more is known of it.
        found[event.get("uuid") or number] = event
    first = [found.pop(uuid) for uuid in dict.fromkeys(order) if uuid in found]
    return [*first, *found.values()]


def _summary(sample: dict[str, Any]) -> dict[str, Any]:
    said = {key: sample[key] for key in _OF_SUMMARY if sample.get(key) is not None}
    error = sample.get("error")
    return {**said, "completed": True, **({"error": error["message"]} if error else {})}
