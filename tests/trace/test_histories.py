"""Random histories of messages, model calls, branches and merges, against plain lists.

The model keeps every request whole, as each stream should give it back.
"""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import transit
from transit import trace

NAMES = st.integers(0, 7)
MESSAGE = st.builds(
    lambda role, text, n: {"role": role, "content": text * n},
    st.sampled_from(["user", "assistant"]),
    st.sampled_from(["a", "b", "c", "é\ud800"]),
    st.integers(1, 40),
)
POLICIES = st.sampled_from(["append", "interleave", "select", "base"])


class Histories(RuleBasedStateMachine):
    """`plain[name]` is what stream `name` holds, in order, each as (origin, value)."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.log = transit.open(Path(self.folder.name, "store"), durability="os")
        self.tasks = [trace.task(self.log, "t")]
        self.plain: dict[str, list[Any]] = {"t": []}
        self.said: dict[str, list[Any]] = {"t": []}

    def teardown(self) -> None:
        if hasattr(self, "log"):
            self.log.close()
            self.folder.cleanup()

    def one(self, number: int) -> trace.Task:
        return self.tasks[number % len(self.tasks)]

    def recorded(self, task: trace.Task, offset: int, value: Any) -> None:
        own = self.plain[task.name]
        assert offset == len(own)
        own.append(((task.name, offset), copy.deepcopy(value)))

    @rule(number=NAMES, message=MESSAGE)
    def message(self, number: int, message: dict[str, str]) -> None:
        task = self.one(number)
        self.said[task.name].append(message)
        self.recorded(task, task.message(**message), message)

    @rule(number=NAMES, new=st.lists(MESSAGE, max_size=3), answer=MESSAGE, last=st.integers(0, 9))
    def model_call(self, number: int, new: list[Any], answer: dict[str, str], last: int) -> None:
        task = self.one(number)
        said = self.said[task.name]
        said += new
        # Most agents repeat it all; some forget.
        messages = list(said) if last else said[-3:]
        request = {"messages": messages, "tools": [{"name": "bash", "what": "w" * 30}], "n": 1}
        response = {"choices": [{"message": answer}]} if last % 2 else answer
        offset = task.model_call(model="m", request=request, response=response)
        self.recorded(task, offset, (request, response))
        said.append(answer)

    @rule(number=NAMES, text=st.text(max_size=60))
    def custom(self, number: int, text: str) -> None:
        task = self.one(number)
        self.recorded(task, task.custom("c", {"t": text}), {"t": text})

    @rule(number=NAMES)
    def tool(self, number: int) -> None:
        task = self.one(number)
        self.recorded(task, task.tool("bash").offset, None)

    @rule(number=NAMES)
    def another_handle(self, number: int) -> None:
        task = self.one(number)
        again = trace.resume(self.log, task.name)
        self.recorded(task, again.last or 0, None)
        self.tasks[number % len(self.tasks)] = again

    @precondition(lambda self: len(self.tasks) < 8)
    @rule(number=NAMES, at=st.integers(0, 30), kind=st.integers(0, 2))
    def branch(self, number: int, at: int, kind: int) -> None:
        task = self.one(number)
        own = self.plain[task.name]
        make = (task.retry, task.critique, task.alternate)[kind]
        branch = make(at if at < len(own) else None)
        self.plain[branch.name] = own[: at + 1]
        self.said[branch.name] = list(self.said[task.name])
        self.tasks.append(branch)

    @precondition(lambda self: 1 < len(self.tasks) < 8)
    @rule(numbers=st.lists(NAMES, min_size=2, max_size=3, unique=True), policy=POLICIES)
    def merge(self, numbers: list[int], policy: str) -> None:
        tasks = list({task.name: task for task in map(self.one, numbers)}.values())
        selected = tasks[-1] if policy == "select" else None
        try:
            merged = trace.merge(self.log, tasks, policy=policy, selected=selected)
        except transit.InvalidInputError:
            assert len(tasks) < 2
            return
        values = {origin: value for own in self.plain.values() for origin, value in own}
        # Which records a policy takes is tested elsewhere; what they say is tested here.
        origins = [tuple(record.origin) for record in merged.stream]
        self.plain[merged.name] = [(origin, values[origin]) for origin in origins]
        self.said[merged.name] = [said for task in tasks for said in self.said[task.name]]
        self.tasks.append(merged)

    @rule()
    def seal(self) -> None:
        self.log.seal()

    @invariant()
    def every_stream_gives_back_what_was_recorded(self) -> None:
        if not hasattr(self, "log"):
            return
        for name, own in self.plain.items():
            found = []
            for record in trace.read(self.log, name):
                event = record.event
                value: Any = None
                if isinstance(event, trace.Message):
                    value = event.message
                elif isinstance(event, trace.ModelCall):
                    value = (event.request, event.response)
                elif isinstance(event, trace.Custom):
                    value = event.data
                found.append((tuple(record.origin), value))
            assert found == own


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
