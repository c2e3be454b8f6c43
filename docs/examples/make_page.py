"""Records a small run of an agent, and writes its page: `run.html`, beside this file.

    python docs/examples/make_page.py

The agent mends a rounding fault: it looks around, a test fails, a child run looks for the cause, a
command does not end in time, and the second patch passes. Times and ids are made up, so that the
page is the same each time.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from uuid import UUID

import transit
from transit import trace
from transit.trace.writing import Options

HERE = Path(__file__).resolve().parent
BEGIN = 1_764_000_000_000_000_000
MS = 1_000_000
MODEL = "sample-large-2"
TASK = "`TimeDelta` serialises 345 ms as 344. Find out why, mend it, and add a test."
TRACEBACK = """\
Traceback (most recent call last):
  File "tests/test_fields.py", line 41, in test_milliseconds
    assert field.serialize(timedelta(milliseconds=345)) == 345
AssertionError: assert 344 == 345
"""
FIELDS = """\
     def serialize(self, value):
         base_unit = timedelta(**{self.precision: 1})
-        return int(value.total_seconds() / base_unit.total_seconds())
+        return round(value.total_seconds() / base_unit.total_seconds())
"""
PATCH = f"--- a/fields.py\n+++ b/fields.py\n@@ -12,4 +12,4 @@\n{FIELDS}"
SYSTEM = {
    "role": "system",
    "content": "You mend faults in a Python library.\nLook first; then change; then run the tests.",
}
TOOLS = [
    {
        "name": "bash",
        "description": "Runs a command in the working copy.",
        "parameters": {"type": "object", "properties": {"cmd": {"type": "string"}}},
    },
    {
        "name": "edit",
        "description": "Replaces text in a file.",
        "parameters": {"type": "object", "properties": {"path": {}, "old": {}, "new": {}}},
    },
]


class Recorder:
    """Records what happens at made-up times."""

    def __init__(self, log: transit.Log, name: str, now: int, **said: transit.Scalar) -> None:
        self.uid = str(UUID(bytes=name.encode()[:16].ljust(16, b"-"), version=4))
        metadata = {"task_id": name, "created_at": now, "trace_kind": "task", **said}
        stream = log.create(name, metadata, codec="json", uid=self.uid)
        self.task = trace.Task(log, stream, Options(strict=True))
        self.begun, self.now, self._calls = now, now, 0
        self.messages: list[dict[str, object]] = [SYSTEM]

    def _next(self, what: str) -> str:
        self._calls += 1
        return f"{what}-{self._calls}"

    def _went_by(self, ms: int) -> int:
        self.now += ms * MS
        return self.now

    def say(self, text: str) -> None:
        """The user says something."""
        self.messages.append({"role": "user", "content": text})
        self.task.message("user", text, timestamp=self._went_by(3))

    def ask(self, ms: int, answer: str, *calls: tuple[str, dict[str, object]]) -> None:
        """The model is asked, and answers after so many milliseconds."""
        model_id = self._next("model")
        request = {"messages": list(self.messages), "tools": TOOLS, "temperature": 0.2}
        sent = trace.ModelRequest(model_id=model_id, request_model=MODEL, request=request)
        self.task.record(sent, timestamp=self._went_by(4))
        message: dict[str, object] = {"role": "assistant", "content": answer}
        if calls:
            message["tool_calls"] = [
                {"id": f"{model_id}-{n}", "type": "function",
                 "function": {"name": name, "arguments": arguments}}
                for n, (name, arguments) in enumerate(calls)
            ]  # fmt: skip
        self.messages.append(message)
        tokens = 180 + sum(len(str(each)) // 4 for each in self.messages), 12 + len(answer) // 3
        response = trace.ModelResponse(
            model_id=model_id, model_status="success", request_model=MODEL,
            finish_reasons=("tool_calls" if calls else "stop",),
            input_tokens=tokens[0], output_tokens=tokens[1],
            response=message, duration_ns=ms * MS,
        )  # fmt: skip
        self.task.record(response, timestamp=self._went_by(ms))

    def refuse(self, ms: int) -> None:
        """The model is asked, and the service has no time for it."""
        model_id = self._next("model")
        request = {"messages": list(self.messages), "tools": TOOLS, "temperature": 0.2}
        sent = trace.ModelRequest(model_id=model_id, request_model=MODEL, request=request)
        self.task.record(sent, timestamp=self._went_by(4))
        error = trace.ErrorInfo(type="sample.OverloadedError", message="529: try again later")
        response = trace.ModelResponse(
            model_id=model_id, model_status="failure", request_model=MODEL, error=error,
            duration_ns=ms * MS,
        )  # fmt: skip
        self.task.record(response, timestamp=self._went_by(ms))

    def use(
        self, name: str, arguments: dict[str, object], ms: int, result: str,
        status: str = "success", error: trace.ErrorInfo | None = None,
    ) -> None:  # fmt: skip
        """A tool is called."""
        call_id = self._next("call")
        request = trace.ToolRequest(tool_call_id=call_id, tool_name=name, arguments=arguments)
        self.task.record(request, timestamp=self._went_by(2))
        self._outcome(call_id, name, ms, result, status, error)
        self.messages.append({"role": "tool", "tool_call_id": call_id, "content": result})

    def _outcome(
        self, call_id: str, name: str, ms: int, result: str, status: str,
        error: trace.ErrorInfo | None,
    ) -> None:  # fmt: skip
        outcome = trace.ToolResult(
            tool_call_id=call_id, tool_name=name, tool_status=status,  # type: ignore[arg-type]
            result=result, error=error, duration_ns=ms * MS,
        )  # fmt: skip
        self.task.record(outcome, timestamp=self._went_by(ms))

    def begin_child(self, log: transit.Log, name: str, purpose: str) -> Recorder:
        """A child run, begun inside a call of the tool `delegate`."""
        call_id = self._next("call")
        arguments = {"to": name, "question": purpose}
        request = trace.ToolRequest(tool_call_id=call_id, tool_name="delegate", arguments=arguments)
        self.task.record(request, timestamp=self._went_by(2))
        child = Recorder(
            log, name, self.now + MS, actor_id="researcher", reason=purpose,
            parent_run=self.task.name, parent_uid=self.uid,
            parent_offset=self.task.stream.next_offset,
        )  # fmt: skip
        child.call_id = call_id
        self.task.record(trace.ChildRun(run=name, uid=child.uid), timestamp=self._went_by(1))
        return child

    call_id = ""

    def take_up(self, child: Recorder, answer: str) -> None:
        """The child run has ended: its answer is what the tool gives."""
        taken, self.now = (child.now - self.now) // MS + 3, child.now
        self._outcome(child.call_id, "delegate", taken, answer, "success", None)
        self.messages.append({"role": "tool", "tool_call_id": child.call_id, "content": answer})

    def end(self) -> None:
        """The run is completed."""
        end = trace.RunEnd(status="completed", duration_ns=self.now - self.begun)
        self.task.record(end, timestamp=self._went_by(1))


def record(log: transit.Log) -> None:
    """The run `fix-rounding`, and the child run it begins."""
    run = Recorder(log, "fix-rounding", BEGIN, actor_id="agent", reason="initial request")
    made_with = {"program": "agent.py", "python": "3.13.1", "packages": {"transit": "0.1.0"}}
    run.task.record(trace.Manifest(data=made_with), timestamp=BEGIN)
    run.say(TASK)
    listing, tests = {"cmd": "ls"}, {"cmd": "pytest -q tests/test_fields.py"}
    run.ask(2140, "I look at what is there first.", ("bash", listing))
    run.use("bash", listing, 38, "fields.py\nsetup.cfg\ntests\n")
    run.ask(1890, "The tests come next.", ("bash", tests))
    failure = trace.ErrorInfo(type="CommandError", message="exit code 1", traceback=TRACEBACK)
    run.use("bash", tests, 4310, "1 failed, 57 passed in 3.92s", "failure", failure)
    run.refuse(950)
    run.ask(3020, "One test fails, by one millisecond. I ask for the cause.")
    look_up(log, run)
    edit = {"path": "fields.py", "old": "return int(", "new": "return round("}
    run.ask(2760, "Then rounding is right, and cutting was not.", ("edit", edit))
    run.use("edit", edit, 12, FIELDS)
    watch = {"cmd": "pytest -q --looponfail tests"}
    run.ask(1420, "I run all tests.", ("bash", watch))
    late = trace.ErrorInfo(type="TimeoutError", message="no end after 30 s")
    run.use("bash", watch, 30_000, "58 passed in 4.11s\nwaiting for changes …", "timeout", late)
    run.ask(1650, "That command waits for changes. Once is enough.", ("bash", tests))
    run.use("bash", tests, 4180, "58 passed in 3.87s")
    run.task.artifact(
        PATCH.encode(), kind="patch", content_type="text/x-diff", artifact_id="patch-1",
        timestamp=run._went_by(5),
    )  # fmt: skip
    run.task.evaluate("tests", decision="pass", score=1.0, reason="58 of 58", timestamp=run.now)
    run.task.checkpoint("final", status="success", reason="the tests pass", timestamp=run.now)
    run.ask(1980, "The field rounds now, and a test says so. All 58 tests pass.")
    run.end()


def look_up(log: transit.Log, run: Recorder) -> None:
    """A child run looks for the cause."""
    child = run.begin_child(log, "fix-rounding/why", "Why is 345 ms serialised as 344?")
    child.say("Why is 345 ms serialised as 344?")
    division = {"cmd": "python -c 'print(0.345 / 0.001)'"}
    child.ask(1530, "I try the division itself.", ("bash", division))
    child.use("bash", division, 61, "344.99999999999994\n")
    child.ask(2210, "The quotient is a little below 345, and `int` cuts it off: round it instead.")
    child.end()
    run.take_up(
        child, "The quotient is 344.99999999999994, and `int` cuts it off: round it instead."
    )


# Of a million tokens, in whatever currency.
PRICES = trace.Prices({MODEL: {"input": 3, "output": 15}})
NOTES = [
    {
        "name": "review", "label": "good", "score": 0.9, "author": "Kim",
        "comment": "Found the cause before it changed anything.",
        "timestamp": BEGIN + 86_400_000 * MS,
    },
    {"name": "remark", "at": 18, "author": "Kim", "comment": "`--looponfail` never ends."},
]  # fmt: skip


def main(target: Path) -> None:
    """Record the run in a store of its own, and write its page."""
    with tempfile.TemporaryDirectory() as folder, transit.open(Path(folder) / "runs") as log:
        record(log)
        trace.write_page(log, "fix-rounding", target, notes=NOTES, prices=PRICES)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "run.html")
