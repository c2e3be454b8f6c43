"""Typed events made of what adapters recorded; none of the stacks need be installed.

A record is one event (`transit.trace.views`): what an event cannot say is a `Custom` one, whole.

pieces         what the views have in common
openai_agents, claude, pydantic_ai, inspect_ai: one module for each adapter
"""
