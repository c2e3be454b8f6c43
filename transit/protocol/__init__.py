"""What goes over the network, as values: pure, shared by server and client.

Owns the words of the Durable Streams protocol and of the routes beside it: names in paths, offset
tokens, header fields, messages, events, records as lines of JSON, errors as problem documents.
Opens nothing, and knows no server.

    paths      the path of a URL <-> the name of a stream
    offsets    tokens <-> offsets
    fields     header fields: time to live, producers, forks
    messages   a body <-> the records it stands for
    events     records -> server-sent events
    lines      records <-> lines of JSON
    calls      what is asked of the routes beside the protocol, and what they answer
    views      what is asked of views, SQL and subscriptions, and what is answered
    changes    what a watch of many streams asks for, and what its events say
    evidence   what is asked of checkpoints, proofs and exhibits
    keeping    what is asked of retention and removal, and what is answered
    folders    a folder of files <-> a zip or a tar
    problems   errors <-> problem documents (RFC 9457)
"""
