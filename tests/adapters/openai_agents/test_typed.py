"""Traces and sessions, read as typed events."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import transit
from transit import trace

agents = pytest.importorskip("agents")

from agents import set_trace_processors  # noqa: E402
from agents.testing import ScriptedModel, assistant_message, function_call  # noqa: E402
from agents.tracing import custom_span, generation_span  # noqa: E402
from agents.tracing import trace as agents_trace  # noqa: E402

from transit.adapters.openai_agents import TransitSession, TransitTracingProcessor  # noqa: E402


@agents.function_tool
def weather(city: str) -> str:
    """What the weather is like."""
    return f"sunny in {city}"


@agents.function_tool(failure_error_function=None)
def breaks() -> str:
    """A tool that fails."""
    raise ValueError("broken")


def recorded(path: Path) -> None:
    processor = TransitTracingProcessor.open(path)
    set_trace_processors([processor])
    try:
        with agents_trace("typed", trace_id="trace_1"):
            steps = [[function_call("weather", {"city": "Oslo"}, call_id="c1")],
                     [assistant_message("sunny")]]  # fmt: skip
            model = ScriptedModel(steps, emit_traces=True)
            agent = agents.Agent(name="a", model=model, tools=[weather])
            session: Any = TransitSession("s", processor.log)
            asyncio.run(agents.Runner.run(agent, "weather?", session=session))
            said = [{"role": "user", "content": "long " * 2000}]
            answer = [{"role": "assistant", "content": "short"}]
            usage = {"input_tokens": 7, "output_tokens": 3}
            with generation_span(input=said, output=answer, model="m", usage=usage):
                pass
            with generation_span(model="m") as span:
                span.set_error({"message": "no answer", "data": None})
            broken = ScriptedModel([[function_call("breaks", {}, call_id="c2")]])
            with pytest.raises(Exception, match="broken"):
                asyncio.run(
                    agents.Runner.run(agents.Agent(name="b", model=broken, tools=[breaks]), "x")
                )
            custom_span("hangs").start()
    finally:
        set_trace_processors([])
        processor.shutdown()


def test_a_trace_is_read_as_a_run(path: Path) -> None:
    recorded(path)
    with transit.open(path, mode="read") as log:
        (summary,) = (each for each in trace.runs(log) if each.task_id == "trace_1")
        assert summary.status == "completed"
        assert (summary.tokens_in, summary.tokens_out) == (7, 3)
        assert summary.totals.tokens["m"] == (7, 3)
        run = trace.read(log, "agents/trace/trace_1")
        events = [each.event for each in run]
        calls = [each for each in events if isinstance(each, trace.ModelCall)]
        long = next(each for each in calls if each.request_model == "m")
        assert long.request == {"messages": [{"role": "user", "content": "long " * 2000}]}
        assert long.response == {"role": "assistant", "content": "short"}
        failed = next(e for e in events if isinstance(e, trace.ModelResponse))
        assert failed.error is not None
        assert failed.error.message == "no answer"
        (asked,) = (
            e for e in events if isinstance(e, trace.ToolRequest) and e.tool_name == "weather"
        )
        results = [each for each in events if isinstance(each, trace.ToolResult)]
        assert [(r.tool_name, r.tool_status) for r in results] == [
            ("weather", "success"), ("breaks", "failure")
        ]  # fmt: skip
        assert results[0].tool_call_id == asked.tool_call_id
        assert results[0].result == "sunny in Oslo"
        # The span that hangs is seen.
        assert [each.name for each in _all(run.steps()) if each.last is None] == ["custom:hangs"]


def _all(steps: Any) -> list[Any]:
    return [each for step in steps for each in (step, *_all(step.steps))]


def test_a_session_is_read_as_messages_and_tools(path: Path) -> None:
    recorded(path)
    with transit.open(path, mode="read") as log:
        events = [each.event for each in trace.read(log, "agents/session/s")]
    assert [type(each).__name__ for each in events] == [
        "Message", "ToolRequest", "ToolResult", "Message"
    ]  # fmt: skip
    assert events[0].role == "user"  # type: ignore[union-attr]


WITHOUT = """
import sys
sys.modules["agents"] = None
import transit
from transit import trace
with transit.open(sys.argv[1], mode="read") as log:
    for name in ("agents/trace/trace_1", "agents/session/s"):
        assert not [e for e in trace.read(log, name) if isinstance(e.event, trace.Unknown)]
"""


def test_it_is_read_where_the_sdk_is_not_installed(path: Path) -> None:
    recorded(path)
    subprocess.run([sys.executable, "-c", WITHOUT, str(path)], check=True)
