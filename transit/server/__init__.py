"""A store on the network: the same engine over HTTP.

Owns the HTTP surface; records and their state are the engine's alone, and what the protocol must
remember beside them are records of layer `server`, in the frame of the data they belong to. Leaves
what goes over the wire to `transit.protocol`, runs to `transit.trace`.

    asgi       requests and answers over ASGI
    service    the store, and which thread does what on it
    routes     which function answers which path
    streams    the Durable Streams protocol: create, append, read, close, delete, fork
    reading    what a read answers: chunks, tags for caches
    states     what the protocol remembers of a stream: producers, sequence, last use
    lives      which stream a path names now: deleted, expired, kept for its forks
    tails      waiting readers of a stream, woken together
"""
