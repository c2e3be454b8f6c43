"""Settings of a server: waits, sizes, limits. They belong to the process that serves."""

from __future__ import annotations

import msgspec

from transit import InvalidInputError

MIB = 1024 * 1024


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a store is served; checked when made (`InvalidInputError`).

    long_poll_s: how long a long poll waits for more, seconds.
    sse_s: after how long a stream of events is ended, so that readers meet at caches, seconds.
    ping_s: how often an idle stream of events says that it is there, seconds.
    stall_s: how long a reader may take nothing before it is cut, seconds.
    body_s: how long a body may take to come, seconds.
    head_s: how long the head of a request may take to come, and a TLS handshake, seconds.
    idle_s: how long a connection is kept between requests, seconds.
    linger_s: how long a client that is cut short may take to hear why, seconds.
    end_s: how long requests in progress may take when the server ends, seconds.
    body_bytes_max: largest body of a request, bytes.
    head_bytes_max: largest head of a request, bytes.
    headers_max: header fields of a request.
    url_bytes_max: longest path and query of a request, bytes.
    connections_max: connections at once, and requests.
    requests_max: requests of one token at once, readers that wait among them.
    rate_max: requests of one token a second.
    backlog: connections that wait to be accepted.
    chunk_bytes: about how much one read answers, bytes; a larger record comes whole.
    answers_bytes_max: answers kept in memory to be sent again, bytes.
    readers_max: readers that wait at once.
    producers_max: producers remembered of one stream.
    frame_producers_max: about how many producers of frames are remembered of the whole store; of
    more, those are forgotten that were idle longest.
    reading_threads: threads for reads that may have to fetch.
    hosts: names that the server answers to in `Host`, beside numbers; none: to all.
    cors: origins of pages that may use the server from a browser; "*" for all.
    public: whether answers may be kept by caches that many people share.
    subscriptions: whether the protocol's subscriptions are served.
    base_url: scheme, host and port by which workers reach the server, for the URLs in their wakes.
    telemetry: whether the numbers are given to the meter provider of OpenTelemetry.
    otlp_prefix: what the names of runs that exporters of OpenTelemetry send begin with.
    unpacked_bytes_max: largest body once it is unpacked, bytes.
    webhook_loopback: whether a webhook may be a plain HTTP address of this machine.
    view_s: how long one answer from a view may take, seconds; what was folded until then is kept.
    view_threads: threads that fold.
    sql: whether queries in SQL are answered.
    sql_s: how long one query may take, seconds.
    sql_rows_max, sql_bytes_max: largest result of a query, rows and bytes.
    sql_memory_bytes_max: memory of the engine for one query, bytes.
    sql_queries_max: queries that run at once; each has a process of its own.
    sql_waiting_max: queries at once, with those that wait for their turn.
    proofs_max: proofs and exhibits that are made at once; each has a thread.
    proofs_waiting_max: proofs at once, with those that wait for their turn.
    proof_bytes_max: largest proof or exhibit that is made, about, bytes.
    witness_rate_max: checkpoints that one address sends to the witness, a second.
    """

    long_poll_s: float = 30.0
    sse_s: float = 60.0
    ping_s: float = 15.0
    stall_s: float = 30.0
    body_s: float = 30.0
    head_s: float = 10.0
    idle_s: float = 75.0
    linger_s: float = 2.0
    end_s: float = 8.0
    body_bytes_max: int = 16 * MIB
    head_bytes_max: int = 64 * 1024
    headers_max: int = 256
    url_bytes_max: int = 16 * 1024
    connections_max: int = 10_000
    requests_max: int = 100
    rate_max: float = 5_000.0
    backlog: int = 1024
    chunk_bytes: int = MIB
    answers_bytes_max: int = 32 * MIB
    readers_max: int = 10_000
    producers_max: int = 10_000
    frame_producers_max: int = 10_000
    reading_threads: int = 4
    hosts: tuple[str, ...] = ()
    cors: tuple[str, ...] = ()
    public: bool = False
    subscriptions: bool = False
    base_url: str = ""
    webhook_loopback: bool = False
    telemetry: bool = False
    otlp_prefix: str = "otel/"
    unpacked_bytes_max: int = 32 * MIB
    view_s: float = 10.0
    view_threads: int = 2
    sql: bool = True
    sql_s: float = 10.0
    sql_rows_max: int = 100_000
    sql_bytes_max: int = 16 * MIB
    sql_memory_bytes_max: int = 256 * MIB
    sql_queries_max: int = 2
    sql_waiting_max: int = 32
    proofs_max: int = 2
    proofs_waiting_max: int = 32
    proof_bytes_max: int = 64 * MIB
    witness_rate_max: float = 50.0

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, bool | tuple | str):
                continue
            if not value > 0:
                raise InvalidInputError(f"{name} must be more than 0, not {value!r}")
