"""Which adapters' records are read as typed events, and by what: loaded when one is first read."""

from __future__ import annotations

from transit.trace import register_view

register_view("langgraph", "transit.adapters.langgraph.typed:view")
register_view("otel", "transit.adapters.otel.typed:view")
register_view("openai-agents", "transit.adapters.typed.openai_agents:view")
register_view("claude", "transit.adapters.typed.claude:view")
register_view("claude-hooks", "transit.adapters.typed.claude:view_of_hooks")
register_view("pydantic-ai", "transit.adapters.typed.pydantic_ai:view")
register_view("inspect", "transit.adapters.typed.inspect_ai:view")
register_view("inspect-run", "transit.adapters.typed.inspect_ai:view_of_run")
