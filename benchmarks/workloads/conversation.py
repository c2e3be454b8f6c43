"""An agent's conversation that grows: what a call costs late in it, its bytes, and reading it."""

from __future__ import annotations

import os
import shutil
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Literal

import msgspec

import transit
from benchmarks.places import raw_file
from benchmarks.workload import Aim, Facts

STEPS = 200
_LAST = 20
_QUESTION, _ANSWER = 800, 1_200
MICROSECONDS, MILLISECONDS = 1e6, 1e3
By = Literal["model_call", "recorded"]
Kind = Literal["dicts", "dataclasses"]


@dataclass
class Message:
    """A message as a library of its own makes them."""

    role: str
    content: str


def _as_dict(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def turns(kind: Kind = "dicts") -> Iterator[tuple[list[object], object]]:
    """What each of the calls is given, all messages so far, and what it answers."""
    make = Message if kind == "dataclasses" else _as_dict
    messages: list[object] = [make("system", "s" * _ANSWER)]
    for number in range(STEPS):
        messages.append(make("user", f"{number} {'u' * _QUESTION}"))
        answer = make("assistant", f"{number} {'a' * _ANSWER}")
        yield list(messages), answer
        messages.append(answer)


def record(log: transit.Log, kind: Kind = "dicts") -> list[float]:
    """Record the conversation; seconds of each call."""
    # Loaded here: the other workloads must run with revisions that have no trace.
    from transit import trace

    taken = []
    with trace.task(log, "run") as task:
        for messages, answer in turns(kind):
            start = perf_counter()
            task.model_call(
                model="model-1", request={"messages": messages, "temperature": 0}, response=answer,
                usage={"input_tokens": 10, "output_tokens": 10},
            )  # fmt: skip
            taken.append(perf_counter() - start)
    return taken


class KnownConversation:
    """The last calls of a conversation of 400 messages, of which two are new to each."""

    facts = Facts(
        name="trace-call-known",
        work=f"task.model_call with about {2 * STEPS} messages of which all but two are known, "
        f'durability "os"; the median of the last {_LAST} calls',
        raw="msgspec.json.encode of the two that are new + os.write",
        unit="µs",
        better="less",
        aim=Aim("value", 150),
        records=STEPS,
        payload_bytes=_QUESTION + _ANSWER,
    )
    remark = ""

    def setup(self, folder: str, records: int) -> None:
        self._folder = folder

    def raw(self) -> float:
        taken = []
        with raw_file(self._folder) as fd:
            for messages, answer in turns():
                start = perf_counter()
                os.write(fd, msgspec.json.encode([messages[-1], answer]))
                taken.append(perf_counter() - start)
        return MICROSECONDS * statistics.median(taken[-_LAST:])

    def ours(self) -> float:
        path = os.path.join(self._folder, "store")
        with transit.open(path, durability="os") as log:
            taken = record(log)
        shutil.rmtree(path)
        self.remark = f"the first {_LAST}: {MICROSECONDS * statistics.median(taken[:_LAST]):.0f} µs"
        return MICROSECONDS * statistics.median(taken[-_LAST:])

    def close(self) -> None:
        pass


class TraceRead:
    """All events of such a run, with requests put together."""

    facts = Facts(
        name="trace-read-run",
        work=f"every event of a run of {STEPS} calls with growing conversations, not sealed",
        raw="msgspec.json.decode of the stored records",
        unit="ms",
        better="less",
        aim=Aim("value", 30),
        records=STEPS,
        payload_bytes=_QUESTION + _ANSWER,
    )
    remark = ""

    def setup(self, folder: str, records: int) -> None:
        self._log = transit.open(os.path.join(folder, "store"), durability="os")
        record(self._log)

    def raw(self) -> float:
        start = perf_counter()
        for record in self._log.stream("run"):
            msgspec.json.decode(record.payload)
        return MILLISECONDS * (perf_counter() - start)

    def ours(self) -> float:
        # Loaded here: see `record`.
        from transit import trace

        start = perf_counter()
        events = [each.event for each in trace.read(self._log, "run")]
        taken = perf_counter() - start
        *_, last, _ = events
        assert isinstance(last, trace.ModelCall)
        assert isinstance(last.request, dict)
        assert len(last.request["messages"]) == 2 * STEPS
        return MILLISECONDS * taken

    def close(self) -> None:
        self._log.close()


class ConversationBytes:
    """How many bytes a conversation takes, beside those of its distinct messages."""

    def __init__(self, by: By, kind: Kind) -> None:
        self._by: By = by
        self._kind: Kind = kind
        way = "task.model_call" if by == "model_call" else "a function with @trace.recorded"
        self.facts = Facts(
            name=f"trace-bytes-{by.replace('_', '-')}-{kind}",
            work=f"payloads of {STEPS} calls of {way}, each given the whole conversation as {kind}",
            raw="the distinct messages as JSON",
            unit="bytes",
            better="less",
            aim=Aim("ratio", 1.2),
            records=STEPS,
            payload_bytes=_QUESTION + _ANSWER,
            runs_max=1,
        )
        self.remark = ""

    def setup(self, folder: str, records: int) -> None:
        self._folder = folder

    def raw(self) -> float:
        messages, answer = list(turns(self._kind))[-1]
        return float(sum(len(msgspec.json.encode(each)) for each in [*messages, answer]))

    def ours(self) -> float:
        path = os.path.join(self._folder, "store")
        with transit.open(path, durability="os") as log:
            if self._by == "model_call":
                record(log, self._kind)
            else:
                _record_function(log, self._kind)
            taken = sum(len(each.payload) for each in log.stream("run"))
        shutil.rmtree(path)
        return float(taken)

    def close(self) -> None:
        pass


def _record_function(log: transit.Log, kind: Kind) -> None:
    # Loaded here: see `record`.
    from transit import trace

    answers = iter([answer for _, answer in turns(kind)])

    @trace.recorded("ask")
    def ask(messages: list[object]) -> object:
        return next(answers)

    with trace.task(log, "run"):
        for messages, _ in turns(kind):
            ask(messages)
