"""transit.trace: records of AI runs, as typed events on streams, branches and merges.

    from transit import trace

    with trace.task(log, "fix-1867", actor="agent", reason="initial-request") as task:
        with task.tool("bash", {"cmd": "ls"}) as call:
            call.result("setup.py")
        retry = task.retry(at=task.last, reason="timeout")

A task is a stream; a retry, a critique or an alternate plan is a branch of it; what they come to is
a merge. `read` gives typed events back, `replay` runs a program again on what was recorded.

events        the kinds of events, and their JSON
recording     tasks: what a program records; beginning: how they are begun; names: what streams say
run, writing  the way of an event to its stream; failures: what could not be recorded
values        any value as JSON; errors: exceptions; forms: arguments of calls, and their digests
models, tools calls of models and tools between request and outcome; ids: their ids
enterable     blocks for `with` and `async with`
calls         calls that a replay answers; boundary: how they are made, and how outcomes come back;
              functions: those whose calls are recorded
context       the current task, and the lanes of a program that runs in parts
redaction     what must not be recorded; manifests: what a run was made with
packed        events that refer to parts, written one at a time
parts         values written once and referred to by number; packing and unpacking them;
              remembered: objects that were encoded before
artifacts     payloads by digest
records       events out; steps: calls with their outcomes, and what is inside them
reading       a run, and how it came to be; beside: two runs, aligned
ends, sums    how a run stands; families: what runs come to with those begun in them
summaries     what became of many runs; tabulating: as tables; prices: what their tokens cost
views         events made of what adapters recorded in their stacks' own forms
noting        what is said of a run afterwards; finding: where something was said, or happened
merging       what several tasks come to; deleting: runs, with what only they refer to
replaying     a program run again on what was recorded; matching: which recorded call a call is;
              divergence: the first difference; pauses: the order of outcomes
trajectories  SWE-agent's files in and out
files         files of other tools in and out; page: a run as one HTML page
"""

from transit.trace.artifacts import read_artifact
from transit.trace.beginning import current, resume, task, traced
from transit.trace.calls import NotReplayableError, RecordedCallError, RecordedExitError
from transit.trace.context import carry
from transit.trace.deleting import delete
from transit.trace.divergence import ReplayDivergenceError
from transit.trace.events import (
    Artifact,
    CallChunk,
    CallRequest,
    CallResult,
    Checkpoint,
    ChildRun,
    Custom,
    ErrorInfo,
    Evaluation,
    Event,
    Manifest,
    Message,
    ModelCall,
    ModelChunk,
    ModelRequest,
    ModelResponse,
    Note,
    RunEnd,
    ToolRequest,
    ToolResult,
    Totals,
    Unknown,
)
from transit.trace.failures import TraceWarning, dropped
from transit.trace.files import Imported, export_file, import_file
from transit.trace.files.exhibits import CheckedExhibit, check_exhibit, exhibit
from transit.trace.finding import Found, find
from transit.trace.functions import recorded
from transit.trace.manifests import manifest
from transit.trace.merging import merge
from transit.trace.models import OpenModelCall
from transit.trace.noting import Score, annotate, notes
from transit.trace.page import write_page
from transit.trace.prices import Prices
from transit.trace.reading import Trace, read
from transit.trace.recording import Task
from transit.trace.records import EventRecord
from transit.trace.redaction import EMAIL, KEYS, TOKENS, Redaction, set_redaction
from transit.trace.replaying import Replay, replay
from transit.trace.steps import Step
from transit.trace.summaries import runs
from transit.trace.tabulating import Runs, RunSummary
from transit.trace.tools import ToolCall
from transit.trace.trajectories import export_trajectory, import_trajectories
from transit.trace.values import restored
from transit.trace.views import register_view

__all__ = [
    "EMAIL",
    "KEYS",
    "TOKENS",
    "Artifact",
    "CallChunk",
    "CallRequest",
    "CallResult",
    "CheckedExhibit",
    "Checkpoint",
    "ChildRun",
    "Custom",
    "ErrorInfo",
    "Evaluation",
    "Event",
    "EventRecord",
    "Found",
    "Imported",
    "Manifest",
    "Message",
    "ModelCall",
    "ModelChunk",
    "ModelRequest",
    "ModelResponse",
    "NotReplayableError",
    "Note",
    "OpenModelCall",
    "Prices",
    "RecordedCallError",
    "RecordedExitError",
    "Redaction",
    "Replay",
    "ReplayDivergenceError",
    "RunEnd",
    "RunSummary",
    "Runs",
    "Score",
    "Step",
    "Task",
    "ToolCall",
    "ToolRequest",
    "ToolResult",
    "Totals",
    "Trace",
    "TraceWarning",
    "Unknown",
    "annotate",
    "carry",
    "check_exhibit",
    "current",
    "delete",
    "dropped",
    "exhibit",
    "export_file",
    "export_trajectory",
    "find",
    "import_file",
    "import_trajectories",
    "manifest",
    "merge",
    "notes",
    "read",
    "read_artifact",
    "recorded",
    "register_view",
    "replay",
    "restored",
    "resume",
    "runs",
    "set_redaction",
    "task",
    "traced",
    "write_page",
]
