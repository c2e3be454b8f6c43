"""Lanes: how frames reach a server exactly once.

Each lane is a producer of its own: a random id, epoch 0, and a number that counts its frames. Those
of one lane go one after the other, so the server knows a frame that it is sent again, and answers
it as the first time. A call takes a free lane; calls of several threads take several. Of a lane
that was not used for a long time the server may know nothing: then it goes on under another id.

When an answer is lost the same frame goes again, for as long as the call has time. After that, if
the server may have taken it, nobody knows: `OutcomeUnknownError`, and the lane is not used again.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from transit import (
    ClosedError,
    InvalidInputError,
    OutcomeUnknownError,
    RemoteUnavailableError,
    StoreUnavailableError,
    TransitError,
)
from transit.client.link import Link, LostError, Patience, Reply, pause_of
from transit.protocol.calls import MSGPACK, FrameAnswer, FrameRequest, decode, encode

FRAMES: Final = "/v1/frames"
EXPECTED: Final = "producer-expected-seq"
LANES_MAX: Final = 16
"""Frames on their way at once."""


class Lane:
    """One producer, and the number of its next frame."""

    __slots__ = ("_id", "_seq")

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Go on as another producer."""
        self._id = secrets.token_hex(16)
        self._seq = 0

    @property
    def headers(self) -> dict[str, str]:
        """What names the next frame."""
        return {"producer-id": self._id, "producer-epoch": "0", "producer-seq": str(self._seq)}

    @property
    def is_new(self) -> bool:
        """Whether no frame of it was taken yet."""
        return self._seq == 0

    def step(self) -> None:
        """The frame was taken: the next one has the next number."""
        self._seq += 1


class Lanes:
    """All lanes of one connection. body_bytes_max: the largest frame that the server takes."""

    def __init__(self, link: Link, body_bytes_max: int) -> None:
        self._link = link
        self._body_bytes_max = body_bytes_max
        self._free: list[Lane] = []
        self._room = threading.Semaphore(LANES_MAX)

    def send(self, request: FrameRequest) -> FrameAnswer:
        """The answer to a frame that was written, once."""
        # Looked at first: what interrupts a call of its thread must not wait for it.
        self._link.check_free()
        body = encode(request, MSGPACK)
        if len(body) > self._body_bytes_max:
            raise InvalidInputError(
                f"a frame of {len(body)} bytes; the server takes {self._body_bytes_max}"
            )
        with self._lane() as lane:
            reply = self._exchange(lane, body)
            while reply is None:
                lane.renew()
                reply = self._exchange(lane, body)
            lane.step()
        return decode(reply.body, MSGPACK, FrameAnswer)

    @contextmanager
    def _lane(self) -> Iterator[Lane]:
        with self._room:
            # The one that was used last: few are used where few threads write.
            lane = self._free.pop() if self._free else Lane()
            try:
                yield lane
            except OutcomeUnknownError:
                raise
            except BaseException as error:
                if isinstance(error, TransitError):
                    self._free.append(lane)
                raise
            self._free.append(lane)

    def _exchange(self, lane: Lane, body: bytes) -> Reply | None:
        """What the server answered; None where it has forgotten the lane, and took nothing."""
        link, headers, patience = self._link, lane.headers, Patience(self._link.timeout_s)
        is_in_doubt = False
        while True:
            try:
                reply = link.once("POST", FRAMES, body, headers, patience.left_s)
            except LostError as lost:
                is_in_doubt |= lost.was_sent
                if not patience.pause():
                    raise self._ended(link.unavailable(str(lost)), is_in_doubt) from lost
                continue
            if reply.status < 400:
                return reply
            if EXPECTED in reply.headers and not is_in_doubt and not lane.is_new:
                return None
            error = link.refused(reply)
            if type(error) is RemoteUnavailableError and patience.pause(pause_of(reply)):
                continue
            try:
                raise self._ended(error, is_in_doubt)
            finally:
                # It holds this frame, and with it what was sent.
                del error

    def _ended(self, error: TransitError, is_in_doubt: bool) -> TransitError:
        """`error`, or that nobody knows: where it does not say that nothing was written."""
        if is_in_doubt and isinstance(error, StoreUnavailableError | ClosedError):
            return OutcomeUnknownError(
                f"{error}; what was sent may or may not be written: read the streams to find out"
            )
        return error
