"""The Claude Agent SDK: its sessions in a store, and what its hooks tell.

    from claude_agent_sdk import ClaudeAgentOptions
    from transit.adapters.claude import TransitHooks, TransitSessionStore

    store = TransitSessionStore.open("runs")
    options = ClaudeAgentOptions(session_store=store, hooks=TransitHooks(store.log).matchers())

store         sessions: what the SDK mirrors, and continues from; transcript: the records of one
hooks         the ten events of hooks, as they happen
"""

from transit.adapters.claude.hooks import TransitHooks
from transit.adapters.claude.store import TransitSessionStore
from transit.adapters.removing import Removed

__all__ = ["Removed", "TransitHooks", "TransitSessionStore"]
