"""A store for agents: tools and resources of the Model Context Protocol.

Owns what an agent may ask, and how much of an answer it gets; the tools are written once, over a
`Service` and a `Grant`, and served on standard input and output or over HTTP. Leaves the protocol
itself to package `mcp`, which takes long to load: only `serving`, `standard` and a request for
`/mcp` load it. Invariants: every answer is bounded; what was appended by others is in values only,
never in names or descriptions of ours; a tool that the grant does not allow is not listed.

    arguments    what each tool takes, strictly
    calling      who calls: names of streams to streams, within the grant
    pages        answers, bounded in items and bytes
    records      a record, and an event of a run, as an item of an answer
    runs         tools: list_runs, search
    reading      tools: read, wait
    lineage      tools: why, diff, graph, verify
    evidence     tools: prove, retention; proofs and exhibits by address
    writing      tools: append, fork_here, merge
    channels     tools: list_channels, read_channel, list_threads, read_thread, post, reply
    views        tools: list_views, read_table, sql, list_reconcilers, tell_reconciler
    tools        all of them, and what is told of them
    resources    streams and records by address
    serving      the protocol's server for one caller
    mounted      /mcp over HTTP; exchange: one request of it
    standard     standard input and output
"""
