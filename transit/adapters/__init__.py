"""Adapters: other stacks record into a store through the doors that they have themselves.

Each is a module that is imported by name; its stack comes with an extra of the same name. Owns how
an adapter comes to its store (`opening`). Payloads stay in the stack's own form; typed events are
made of them when they are read.

    opening       the store: one that is given, a folder, a bucket, a server, the environment's
    langgraph     checkpoints and long-term memory of LangGraph
    views         whose records are read as typed events, and by what
    otel          OpenTelemetry: spans, log records, completions; on to a collector
    litellm       LiteLLM; clients: those of OpenAI and Anthropic; instrumenting: one line for them
    calling       calls of models that a library tells of; answers: streams of theirs put together;
                  aside: work for a store that a server has
"""
