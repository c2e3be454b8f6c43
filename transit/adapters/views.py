"""Which adapters' records are read as typed events, and by what: loaded when one is first read."""

from __future__ import annotations

from transit.trace import register_view

register_view("langgraph", "transit.adapters.langgraph.typed:view")
