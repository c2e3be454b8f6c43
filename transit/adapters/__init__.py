"""Adapters: other stacks record into a store through the doors that they have themselves.

Each is a module that is imported by name; its stack comes with an extra of the same name. Owns how
an adapter comes to its store (`opening`). Payloads stay in the stack's own form; typed events are
made of them when they are read.

    opening       the store: one that is given, a folder, a bucket, a server, the environment's
    langgraph     checkpoints and long-term memory of LangGraph
    removing      what is to go: deleted, or hidden where a server does not let a client delete
    views         whose records are read as typed events, and by what
    otel          OpenTelemetry: spans, log records, completions; on to a collector
    litellm       LiteLLM; clients: those of OpenAI and Anthropic; instrumenting: one line for them
    calling       calls of models that a library tells of; answers: streams of theirs put together;
                  aside: work for a store that a server has
    naming        names and metadata of streams, from the ids of other stacks
    encoding      payloads: values in the stack's own form, redacted, large ones apart
    packed        payloads that repeat what earlier ones said, written once
    waiting       calls of a store for programs that run in an event loop
    evaluations   what the adapter of Inspect AI recorded, read without it; `.eval` files of it

openai_agents, claude, pydantic_ai, inspect_ai: see there; typed: their records as typed events.
docs/guide/adapters.md lists what each records, and by which line.
"""
