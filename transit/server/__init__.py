"""A store on the network: the same engine over HTTP.

Owns the HTTP surface; records and their state are the engine's alone, and what the protocol must
remember beside them are records of layer `server`, in the frame of the data they belong to. Leaves
what goes over the wire to `transit.protocol`, runs to `transit.trace`.

    app            the application: checks, then the handler, then the answer
    run            sockets, TLS and signals around it; listening and certificate: where, and as whom
    connections    how a connection is treated: deadlines, readers that take nothing, and which
                   requests are answered at once; lingering: how it is closed; repeats: heads that
                   come again; confirmed: how much of an answer has arrived; stalling: readers
                   that stand still
    asgi           requests and answers over ASGI
    soon           waiting for what is most often there already
    exchange       one request from its beginning to its end, and what is told of it after that
    journal        a line of JSON for each request that was answered
    gate           what is looked at before a request is: sizes, hosts, origins, rates
    access         rights, by prefix of names
    tokens         who is whom: a file of digests, read again when it changes
    refusals       what a request is refused with, without asking the engine
    settings       waits, sizes, limits
    service        the store, and which thread does what on it
    routes         which function answers which path
    asking         what a request asks for beside the protocol: how durable, at which offset
    streams        the Durable Streams protocol: which request does what; deleting, reading
    creating       its PUT; forks: where one parts from its source
    appending      its POST: producers, sequences, closing
    reading        what a read answers: chunks, tags for caches
    live           a stream as events
    states         what the protocol remembers of a stream: producers, sequence, last use
    lives          which stream a path names now: deleted, expired, kept for its forks
    tails          waiting readers of a stream, woken together
    counts         what a server counts of its own
    numbers        the names of all numbers, of the store and the server
    metrics        the numbers for Prometheus
    telemetry      the numbers for OpenTelemetry
    health         whether a server is there and ready
    subscriptions  durable places in many streams that wake workers
    channels       channels that are looked at, folded once for all; talk: what is told of them
    page           the page at `/`
    api            what the embedded engine can do, beside the protocol
    views          views, SQL, subscriptions and reconcilers
    mcp            tools and resources for agents, by the Model Context Protocol
    witness        cosignatures under the checkpoints of other logs; allowances: how often an
                   address may ask it
    proving        proofs and exhibits, within grants and bounds
    otlp           the routes that exporters of OpenTelemetry send to; receiving and otlp_wire: what
                   is done with it, and what goes over the wire
"""
