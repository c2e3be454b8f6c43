"""transit.trace: records of AI runs, as typed events on streams, branches and merges.

    from transit import trace

    with trace.task(log, "fix-1867", actor="agent", reason="initial-request") as task:
        with task.tool("bash", {"cmd": "ls"}) as call:
            call.result("setup.py")
        retry = task.retry(at=task.last, reason="timeout")

A task is a stream; a retry, a critique or an alternate plan is a branch of it; what they come to is
a merge. `read` gives typed events back, `replay` runs a program again on what was recorded.

events        the kinds of events, and their JSON
recording     tasks: what a program records
tools         a tool call: request and result with one id
calls         calls that a replay answers
context       the current task
ids           ids of calls
packed        events that refer to parts, written one at a time
parts         messages written once and referred to by number
artifacts     payloads by digest
reading       events out
merging       what several tasks come to
replaying     a program run again on what was recorded
trajectories  SWE-agent's files in and out
files         files of other tools in and out
"""

from transit.trace.artifacts import read_artifact
from transit.trace.calls import RecordedCallError, recorded
from transit.trace.events import (
    Artifact,
    CallRequest,
    CallResult,
    Checkpoint,
    ChildRun,
    Custom,
    ErrorInfo,
    Evaluation,
    Event,
    Message,
    ModelCall,
    RunEnd,
    ToolRequest,
    ToolResult,
    Unknown,
)
from transit.trace.files import Imported, export_file, import_file
from transit.trace.merging import merge
from transit.trace.reading import EventRecord, Trace, read
from transit.trace.recording import Task, current, resume, task
from transit.trace.replaying import Replay, ReplayDivergenceError, replay
from transit.trace.tools import ToolCall
from transit.trace.trajectories import export_trajectory, import_trajectories

__all__ = [
    "Artifact",
    "CallRequest",
    "CallResult",
    "Checkpoint",
    "ChildRun",
    "Custom",
    "ErrorInfo",
    "Evaluation",
    "Event",
    "EventRecord",
    "Imported",
    "Message",
    "ModelCall",
    "RecordedCallError",
    "Replay",
    "ReplayDivergenceError",
    "RunEnd",
    "Task",
    "ToolCall",
    "ToolRequest",
    "ToolResult",
    "Trace",
    "Unknown",
    "current",
    "export_file",
    "export_trajectory",
    "import_file",
    "import_trajectories",
    "merge",
    "read",
    "read_artifact",
    "recorded",
    "replay",
    "resume",
    "task",
]
