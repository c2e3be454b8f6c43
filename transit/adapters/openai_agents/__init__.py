"""The OpenAI Agents SDK: traces and sessions of its agents in a store.

    from agents import Runner, add_trace_processor
    from transit.adapters.openai_agents import TransitSession, TransitTracingProcessor

    add_trace_processor(TransitTracingProcessor.open("runs"))
    session = TransitSession("conversation-1", "runs")
    await Runner.run(agent, "hello", session=session)

tracing   what happens: traces and spans, whole, as they begin and end
session   what was said: conversations that runs continue; history: their records
shared    folders that several sessions of a process use at once
"""

from transit.adapters.openai_agents.session import TransitSession
from transit.adapters.openai_agents.tracing import TransitTracingProcessor
from transit.adapters.removing import Removed

__all__ = ["Removed", "TransitSession", "TransitTracingProcessor"]
