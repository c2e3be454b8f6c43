"""The clients of a soak, each in a process of its own: they append, submit, fork and follow.

Owns what each does and what it says of it, in a file of its own, a line at a time: a client that is
killed has said every line whole that counts. A line is JSON, see `Line`. What a record holds
follows from who sent it and its number, so that the judge knows every byte of it.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import re
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import msgspec

import transit
from transit import Durability, Receipt

T = TypeVar("T")
TEXTS: Final = ("a", "c")
JSONS: Final = ("b",)
STREAMS: Final = (*TEXTS, *JSONS)
WAIT_S: Final = 60.0
_LATER: Final = frozenset((408, 425, 429, 502, 503, 504))
_BURST: Final = 40
_DURABILITIES: Final[tuple[Durability, ...]] = ("os", "local")
_PARSED: Final = re.compile(rb'"([a-z]\d+\.\d+):(\d+):(\d+):x*"')


class Job(NamedTuple):
    """One life of a client.

    name: its role and number. life: which of its lives; both are in all that it appends. start: of
    a follower, the offset where it begins.
    """

    role: str
    name: str
    life: int
    port: int
    folder: str
    seed: int
    streams: tuple[str, ...]
    start: int = 0
    timeout_s: float = WAIT_S

    @property
    def id(self) -> str:
        """What its records begin with."""
        return f"{self.name}.{self.life}"


class Line(msgspec.Struct, omit_defaults=True, frozen=True):
    """What a client says.

    what: "held" (the record `number` is at `offset` of `stream`; -1: somewhere), "unknown" or
    "refused" (`number` may be there, is not there), "saw" (the records from `offset` to `stop` of
    `stream`, by the digest of their event), "forked" (`stream` is a fork of `source` at `offset`),
    "gone" (`stream` was deleted), "wrong" (`text`).
    """

    what: str
    stream: str = ""
    offset: int = -1
    number: int = -1
    stop: int = -1
    source: str = ""
    text: str = ""


class Parsed(NamedTuple):
    """What a record says of itself: who sent it, its number, in how many streams it is."""

    life: str
    number: int
    copies: int


def payload(life: str, number: int, copies: int = 1) -> bytes:
    """A record's bytes: a text of JSON, of some length."""
    size = blake2b(b"%s:%d" % (life.encode(), number), digest_size=2).digest()
    length = size[0] if size[1] else size[0] * 64
    return b'"%s:%d:%d:%s"' % (life.encode(), number, copies, b"x" * length)


def parse(data: bytes) -> Parsed | None:
    """What a record says, where every byte of it is right."""
    found = _PARSED.fullmatch(data)
    if found is None:
        return None
    parsed = Parsed(found[1].decode(), int(found[2]), int(found[3]))
    return parsed if payload(*parsed) == data else None


def event_of(stream: str, payloads: list[bytes]) -> bytes:
    """The data of the event that holds these records."""
    return b"".join(payloads) if stream in TEXTS else b"[" + b",\n".join(payloads) + b"]"


def digest(data: bytes) -> str:
    """A short digest of an event."""
    return blake2b(data, digest_size=12).hexdigest()


def stop_file(folder: Path) -> Path:
    """Where it stands that clients are to end."""
    return folder / "stop"


class StoppedError(Exception):
    """The client was told to end, and has no answer to what it asked."""


class Client:
    """What all roles have: the server, a place to say things, whether to stop."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.lot = random.Random(f"{job.seed} {job.id}")
        self._stop = str(stop_file(Path(job.folder)))
        self._said = os.open(
            Path(job.folder) / f"{job.id}.said", os.O_WRONLY | os.O_CREAT | os.O_APPEND
        )
        self._connection: http.client.HTTPConnection | None = None

    def say(self, *lines: Line) -> None:
        """Write lines, whole, at once."""
        os.write(self._said, b"".join(msgspec.json.encode(line) + b"\n" for line in lines))

    @property
    def is_over(self) -> bool:
        """Whether to end."""
        return os.path.exists(self._stop)

    def connect(self) -> http.client.HTTPConnection:
        """The connection that is kept, or a new one."""
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self.job.port, timeout=30)
        return self._connection

    def drop(self) -> None:
        """Let the connection go."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def ask(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """The answer, however often it takes; `StoppedError` when there is none in the end."""
        while True:
            try:
                connection = self.connect()
                connection.request(method, path, body or None, dict(headers))
                answer = connection.getresponse()
                data = answer.read()
                if answer.status not in _LATER:
                    return answer.status, answer.headers, data
            except (OSError, http.client.HTTPException):
                self.drop()
            if self.is_over:
                raise StoppedError
            time.sleep(self.lot.uniform(0.005, 0.05))

    def wrong(self, text: str) -> None:
        """Say what is not as it should be."""
        self.say(Line("wrong", text=text))


def append(client: Client) -> None:
    """A producer of the protocol: one record after the other, each until it is answered."""
    job, lot = client.job, client.lot
    (stream,) = job.streams
    kind = "text/plain" if stream in TEXTS else "application/json"
    # Its earlier lives had earlier epochs: what of theirs is still on its way is refused.
    fields = {"content-type": kind, "producer-id": job.name, "producer-epoch": str(job.life)}
    number = 0
    while not client.is_over:
        wanted = {"producer-seq": str(number), "prefer": f"durability={lot.choice(_DURABILITIES)}"}
        status, headers, said = client.ask(
            "POST", f"/v1/stream/{stream}", payload(job.id, number), {**fields, **wanted}
        )
        if status not in (200, 204):
            client.wrong(f"{job.id}:{number} to {stream}: {status} {said[:300]!r}")
            return
        # 204: it was there before, and the answer does not say where.
        offset = int(headers["stream-next-offset"]) - 1 if status == 200 else -1
        client.say(Line("held", stream, offset, number))
        number += 1
        time.sleep(lot.uniform(0, 0.02))


def submit(client: Client) -> None:
    """A connected program: bursts of `submit`, and batches of a record in each of its streams."""
    job, lot = client.job, client.lot
    url = f"http://127.0.0.1:{job.port}"
    with _patiently(client, partial(transit.connect, url, timeout_s=job.timeout_s)) as log:
        streams = [_patiently(client, partial(log.stream, name)) for name in job.streams]
        number = 0
        while not client.is_over:
            number = _burst(client, streams, number)
            client.say(*_outcome(number, "", partial(_in_all, job.id, number, log, streams)))
            number += 1
            time.sleep(lot.uniform(0, 0.1))


def _burst(client: Client, streams: list[transit.Stream], number: int) -> int:
    """Submit some records, and say what became of each; the number of the next."""
    lot, durability = client.lot, client.lot.choice(_DURABILITIES)
    burst: list[tuple[int, str, Future[Receipt]]] = []
    for at in range(number, number + lot.randint(1, _BURST)):
        stream = lot.choice(streams)
        future = stream.submit(payload(client.job.id, at), durability=durability)
        burst.append((at, stream.name, future))
    for at, name, future in burst:
        client.say(*_outcome(at, name, partial(_receipt, future)))
    return number + len(burst)


def _receipt(future: Future[Receipt]) -> list[Receipt]:
    return [future.result(WAIT_S * 2)]


def _patiently(client: Client, work: Callable[[], T]) -> T:
    while True:
        try:
            return work()
        except transit.RemoteUnavailableError:
            if client.is_over:
                raise StoppedError from None
            time.sleep(0.05)


def _in_all(
    life: str, number: int, log: transit.Log, streams: list[transit.Stream]
) -> list[Receipt]:
    with log.batch() as batch:
        for stream in streams:
            batch.append(stream, payload(life, number, len(streams)))
    return batch.receipts


def _outcome(number: int, stream: str, work: Callable[[], list[Receipt]]) -> list[Line]:
    try:
        return [Line("held", each.stream, each.offset, number) for each in work()]
    except transit.OutcomeUnknownError:
        return [Line("unknown", stream, number=number)]
    except transit.RemoteUnavailableError:
        return [Line("refused", stream, number=number)]


def fork(client: Client) -> None:
    """Forks a stream somewhere, appends to the fork, reads it, deletes some of them."""
    job, lot = client.job, client.lot
    for count in range(1 << 40):
        if client.is_over:
            return
        _fork(client, lot.choice(job.streams), f"{job.id}.{count}", count)
        time.sleep(lot.uniform(0.2, 0.8))


def _fork(client: Client, source: str, name: str, number: int) -> None:
    place, lot = f"/v1/stream/{name}", client.lot
    kind = {"content-type": "text/plain" if source in TEXTS else "application/json"}
    _, headers, _ = client.ask("HEAD", f"/v1/stream/{source}", b"", {})
    at = lot.randint(0, int(headers["stream-next-offset"]))
    given = {"stream-forked-from": f"/v1/stream/{source}", "stream-fork-offset": f"{at:020}"}
    own = payload(client.job.id, number)
    producer = {"producer-id": client.job.id, "producer-epoch": "0", "producer-seq": "0"}
    status, _, said = client.ask("PUT", place, b"", {**kind, **given})
    if status not in (200, 201):
        client.wrong(f"fork {name} of {source} at {at}: {status} {said[:300]!r}")
        return
    client.say(Line("forked", name, at, source=source))
    status, _, said = client.ask("POST", place, own, {**kind, **producer})
    if status not in (200, 204):
        client.wrong(f"append to fork {name}: {status} {said[:300]!r}")
        return
    client.say(Line("held", name, at, number))
    status, _, body = client.ask("GET", f"{place}?offset={max(0, at - 3):020}", b"", {})
    if status != 200 or not body.rstrip(b"]").endswith(own):
        client.wrong(f"fork {name} does not end with its record: {status} {body[-300:]!r}")
    if lot.random() < 0.5:
        # 404: what was asked before had been done, and was not answered.
        status, _, said = client.ask("DELETE", place, b"", {})
        if status in (204, 404):
            client.say(Line("gone", name))
        else:
            client.wrong(f"delete {name}: {status} {said[:300]!r}")


def follow(client: Client) -> None:
    """A reader of a stream's events, who goes on where it was; it is killed in the end."""
    (stream,) = client.job.streams
    position = client.job.start
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = client.connect()
            connection.request("GET", f"/v1/stream/{stream}?offset={position:020}&live=sse")
            answer = connection.getresponse()
            if answer.status == 200:
                for stop, data in _events(answer):
                    if data is not None:
                        client.say(Line("saw", stream, position, stop=stop, text=digest(data)))
                    elif stop != position:
                        client.wrong(f"{stream}: told to go on at {stop}, being at {position}")
                    position = stop
            elif answer.status not in _LATER:
                client.wrong(f"{stream} from {position}: {answer.status} {answer.read(300)!r}")
                return
        client.drop()
        time.sleep(client.lot.uniform(0.005, 0.05))


def _events(answer: http.client.HTTPResponse) -> Iterator[tuple[int, bytes | None]]:
    """Where each run of records ends, and its data; None for no records."""
    left, data = b"", None
    while part := answer.read1(1 << 16):
        *whole, left = (left + part).split(b"\n\n")
        for event in whole:
            lines = event.split(b"\n")
            text = b"\n".join(each[5:] for each in lines if each.startswith(b"data:"))
            if lines[0] == b"event: data":
                data = text
            elif lines[0] == b"event: control":
                yield int(msgspec.json.decode(text)["streamNextOffset"]), data
                data = None


ROLES: Final[Mapping[str, Callable[[Client], None]]] = {
    "append": append,
    "submit": submit,
    "fork": fork,
    "follow": follow,
}


def live(job: Job) -> None:
    """One life, in a process of its own; what ends it early is kept in a file."""
    client = Client(job)
    try:
        with contextlib.suppress(StoppedError):
            ROLES[job.role](client)
    except BaseException:
        (Path(job.folder) / f"{job.id}.failed").write_text(traceback.format_exc())
        raise
