"""pydantic-ai: its conversations in a store.

    from pydantic_ai.conversation import Conversation
    from transit.adapters.pydantic_ai import TransitConversationStore

    store = TransitConversationStore.open("runs")
    conversation = await store.load("c") or Conversation(conversation_id="c")
    await store.save(await agent.run("hello", conversation=conversation))

store         the five primitives of pydantic-ai's ConversationStore
conversation  the records of one conversation; forms: messages and records as JSON
"""

from transit.adapters.pydantic_ai.store import TransitConversationStore
from transit.adapters.removing import Removed

__all__ = ["Removed", "TransitConversationStore"]
