"""What a server promised, after crashes, kills and requests that are made up; and the model of the
engine, asked over a connection.

serving    a server in a thread of this process, on a port of its own
between    a proxy that loses answers
machine    the model's machines against a connected store
frames     rounds of a server that is killed while producers send frames
soak       a server and all kinds of clients for a long time: arena, clients, judging, planted
"""
