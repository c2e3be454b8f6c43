"""Claims: which runner runs a reconciler, so that its body does not run in two processes at once.

Owns the stream `$views/claims/<name>`, one record each time a runner takes, renews or gives up the
claim. A claim is a courtesy. What keeps ticks from happening twice is the offset that each tick is
appended at; a claim that was judged wrongly, by whatever clock, costs a body that ran in vain.

Another runner's claim has ended when it says so, when its time has come by our clock, or when it
has not changed for as long as it was made for, by our clock: so neither a fast nor a slow clock of
another machine stops a reconciler. Nothing here is of use elsewhere: the streams are marked as
derived, and a rebase and an export leave them out.
"""

from __future__ import annotations

import threading

import msgspec

from transit import AlreadyExistsError, ConflictError, Log, NotFoundError, Stream
from transit.views.loops.naming import LAYER


class Claim(msgspec.Struct, frozen=True, omit_defaults=True):
    """That a runner has a reconciler until `until`; 0: no more. Times in nanoseconds.

    length: how long it was made for. epoch, n, next_due: how far its runner was: ticks that wrote
    nothing are in no other place.
    """

    runner: str
    until: int
    length: int
    epoch: int = 0
    n: int = 0
    next_due: int | None = None


class Claims:
    """The claims of one reconciler, as one runner sees them. Safe for threads.

    is_alone: no other process can write to this store, so nothing is claimed.
    """

    def __init__(self, log: Log, name: str, runner: str, length: int, *, is_alone: bool) -> None:
        self._log = log
        self._name = f"claims/{name}"
        self._runner = runner
        self._length = length
        self._is_alone = is_alone
        self._stream: Stream | None = None
        # How many claims were seen, the last of them, and when it was seen first.
        self._count = 0
        self._last: Claim | None = None
        self._seen = 0
        self._other: Claim | None = None
        self._lock = threading.Lock()

    @property
    def length(self) -> int:
        """How long a claim is made for, ns."""
        return self._length

    @property
    def other(self) -> Claim | None:
        """The last claim that was another runner's."""
        return self._other

    @property
    def is_held(self) -> bool:
        """Whether the last claim that was seen is this runner's."""
        return self._last is not None and self._last.runner == self._runner

    @property
    def is_ours(self) -> bool:
        """Whether nobody else could make a tick since this runner last looked."""
        return self._is_alone or self.is_held

    def stream(self) -> Stream:
        """The stream of claims, made where there is none."""
        if self._stream is None:
            layer = self._log.layer(LAYER)
            try:
                self._stream = layer.stream(self._name)
            except NotFoundError:
                try:
                    self._stream = layer.create(self._name, derived=True)
                except AlreadyExistsError:
                    self._stream = layer.stream(self._name)
        return self._stream

    def look(self, now: int) -> Claim | None:
        """The last claim, read again where there is another."""
        if self._stream is None:
            try:
                self._stream = self._log.layer(LAYER).stream(self._name)
            except NotFoundError:
                return None
        count = self._stream.next_offset
        if count != self._count:
            self._last = _decoded(self._stream[count - 1].payload)
            self._count, self._seen = count, now
            if not self.is_held:
                self._other = self._last
        return self._last

    def hold(self, now: int, so_far: tuple[int, int, int | None]) -> bool:
        """Whether this runner has the claim now; it is taken or renewed where that can be.

        so_far: epoch, n and next due of the reconciler.
        """
        if self._is_alone:
            return True
        with self._lock:
            return self._hold(now, so_far)

    def _hold(self, now: int, so_far: tuple[int, int, int | None]) -> bool:
        last = self.look(now)
        if last is not None and self.is_held and last.until:
            if last.until - now > self._length // 2 and last.until - now <= self._length:
                return True
        elif last is not None and self.ends(now) > now:
            return False
        return self._append(now, Claim(self._runner, now + self._length, self._length, *so_far))

    def ends(self, now: int) -> int:
        """When the claim of another runner ends; `now` or earlier when there is none."""
        last = self._last
        if self._is_alone or last is None or self.is_held:
            return now
        return min(last.until, self._seen + last.length)

    def give_up(self, now: int, so_far: tuple[int, int, int | None]) -> None:
        """Let others take over at once, and say how far this runner was."""
        if self._is_alone or self.is_held:
            with self._lock:
                if self._is_alone:
                    # Another runner of this process may have said how far it was.
                    self.look(now)
                self._append(now, Claim(self._runner, 0, 0, *so_far))

    def _append(self, now: int, claim: Claim) -> bool:
        data = msgspec.json.encode(claim)
        try:
            made = self.stream().append(data, expect=self._count, durability="os")
        except ConflictError:
            self.look(now)
            return False
        self._count, self._last, self._seen = made.offset + 1, claim, now
        return True


def _decoded(payload: bytes) -> Claim | None:
    try:
        return msgspec.json.decode(payload, type=Claim)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        # What cannot be read claims nothing.
        return None
