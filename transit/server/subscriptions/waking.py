"""What becomes of subscriptions: linking streams, waking, claiming, acknowledging, leases.

Owns all subscriptions of one store, in the event loop. Each change is one record, written on the
condition that nobody wrote another meanwhile, and takes effect when it is written.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from transit import Log, NotFoundError, Stream, TransitError, Watch
from transit.protocol import offsets
from transit.server.service import Service
from transit.server.states import LAYER
from transit.server.subscriptions.globs import matches
from transit.server.subscriptions.records import (
    ENCODER,
    EXPLICIT,
    GLOB,
    WHOLE,
    Asked,
    Change,
    Subscription,
    Wake,
    digest_of,
)
from transit.server.subscriptions.webhooks import Webhooks

LOGGER: Final = logging.getLogger("transit.server")
Work = Callable[[Subscription], object]
MILLISECOND: Final = 1_000_000
PREFIX: Final = "subscriptions/"
RETRY_FIRST_S: Final = 1.0
RETRY_MAX_S: Final = 60.0


class SubscriptionError(Exception):
    """A request on a subscription that is refused: a status, a code of the protocol, why."""

    def __init__(self, status: int, code: str, message: str, **fields: object) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.fields = fields


class Waking:
    """The subscriptions of one store; for one event loop."""

    def __init__(self, service: Service, webhooks: Webhooks) -> None:
        self._service = service
        self._log: Log = service.log
        self._layer = service.log.layer(LAYER)
        self._webhooks = webhooks
        self._all: dict[str, Subscription] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._watch: Watch | None = None
        self._base_url = ""
        self._is_ended = False

    # Life

    def start(self) -> None:
        """Take up the subscriptions that the store has; in the event loop."""
        for stream in self._layer.streams(PREFIX):
            found = Subscription(self._layer.local_name(stream).removeprefix(PREFIX), stream)
            found.load()
            self._all[found.id] = found
        if self._all:
            self._listen()
            for each in list(self._all.values()):
                self._link_matching(each, place=-1)
                self._resume(each)

    def end(self) -> None:
        """Wake nobody any more."""
        self._is_ended = True
        if self._watch is not None:
            self._watch.close()
        for timer in self._timers.values():
            timer.cancel()
        for task in self._tasks:
            task.cancel()

    def _listen(self) -> None:
        if self._watch is not None:
            return
        loop = asyncio.get_running_loop()

        def tell(streams: tuple[Stream, ...]) -> None:
            names = [(each.name, each.hidden) for each in streams]
            loop.call_soon_threadsafe(self._changed, names)

        self._watch = self._log.watch(tell)

    def _resume(self, one: Subscription) -> None:
        """Go on where an earlier process stopped: a lease, a retry, or work to wake for."""
        if one.wake is None:
            self._wake_if_pending(one)
        elif one.asked.type == "webhook":
            self._deliver_later(one, max(0.0, (one.next_attempt - time.time_ns()) / 1e9))
        elif one.holder:
            self._end_lease_later(one)

    # Asking for one

    def create(self, id: str, asked: Asked, writer: str) -> tuple[Subscription, bool]:
        """The subscription, made now or as it was made before; and whether it was made now."""
        known = self._all.get(id)
        if known is not None:
            if known.asked != asked:
                raise SubscriptionError(
                    409, "SUBSCRIPTION_ALREADY_EXISTS", "the subscription is configured otherwise"
                )
            return known, False
        links = {path: (self._tail(path), EXPLICIT) for path in asked.streams}
        for name in self._matching(asked):
            place, kinds = links.get(name, (self._tail(name), 0))
            links[name] = place, kinds | GLOB
        change = Change(asked=asked, created=time.time_ns(), writer=writer, links=links)
        name = PREFIX + id
        with self._log.batch(durability="os", writer=writer) as batch:
            made = batch.create(name, {}, layer=LAYER)
            batch.append(made, ENCODER.encode(change))
        one = self._all[id] = Subscription(id, made.stream)
        one.apply(change)
        self._listen()
        return one, True

    def get(self, id: str) -> Subscription:
        """The subscription of that id; `SubscriptionError` when there is none."""
        one = self._all.get(id)
        if one is None:
            raise SubscriptionError(404, "SUBSCRIPTION_NOT_FOUND", "there is no such subscription")
        return one

    def delete(self, id: str) -> None:
        """End a subscription: what its workers say from here on is refused."""
        one = self._all.pop(id, None)
        if one is not None:
            self._stop_timer(one)
            self._log.hide(one.stream, reason="deleted", durability="os")

    def add(self, one: Subscription, paths: Iterable[str]) -> None:
        """Link streams by name, at their ends."""
        links = {}
        for path in paths:
            place, kinds = one.links.get(path, (self._tail(path), 0))
            if not kinds & EXPLICIT:
                links[path] = place, kinds | EXPLICIT
        if links:
            self._write(one, Change(links=links))

    def remove(self, one: Subscription, path: str) -> None:
        """Take back a link by name; one by the pattern stays."""
        place, kinds = one.links.get(path, (0, 0))
        if kinds & EXPLICIT:
            self._write(one, Change(links={path: (place, kinds & ~EXPLICIT)}))

    # Waking

    def _changed(self, names: list[tuple[str, bool]]) -> None:
        """Streams have more records, or are not there any more."""
        if self._is_ended:
            return
        for one in list(self._all.values()):
            links: dict[str, tuple[int, int]] = {}
            is_touched = False
            for name, is_hidden in names:
                place, kinds = one.links.get(name, (-1, 0))
                if is_hidden:
                    if kinds:
                        links[name] = 0, 0
                elif kinds:
                    is_touched = True
                elif one.asked.pattern and matches(one.asked.pattern, name):
                    links[name] = place, GLOB
                    is_touched = True
            self._do(one, partial(self._take_up, links, is_touched))

    def _take_up(
        self, links: dict[str, tuple[int, int]], is_touched: bool, one: Subscription
    ) -> None:
        if links:
            self._write(one, Change(links=links))
        if is_touched and one.wake is None:
            self._wake_if_pending(one)

    def _link_matching(self, one: Subscription, place: int) -> None:
        links = {name: (place, GLOB) for name in self._matching(one.asked) if name not in one.links}
        if links:
            self._write(one, Change(links=links))

    def _matching(self, asked: Asked) -> list[str]:
        if not asked.pattern:
            return []
        names = (stream.name for stream in self._log.streams())
        return [name for name in names if matches(asked.pattern, name)]

    def _tail(self, path: str) -> int:
        try:
            return len(self._log.stream(path))
        except NotFoundError:
            return 0

    def pending(self, one: Subscription) -> list[str]:
        """The linked streams that have more than was processed."""
        return [path for path, (place, _) in one.links.items() if self._tail(path) > max(place, 0)]

    def _wake_if_pending(self, one: Subscription) -> bool:
        """Make a new wake where there is work; whether there was."""
        pending = self.pending(one)
        if not pending or self._is_ended:
            return False
        tails = {path: self._tail(path) for path in pending}
        wake = Wake(one.generation + 1, f"w_{secrets.token_hex(12)}", tails)
        change = Change(wake=wake, attempts=0, next_attempt=0)
        if one.asked.type == "webhook":
            self._write(one, change)
            self._deliver_later(one, 0)
        else:
            event = {
                "type": "wake",
                "subscription_id": one.id,
                "stream": pending[0],
                "generation": wake.generation,
                "ts": time.time_ns() // MILLISECOND,
            }
            self._write(one, change, event)
        return True

    # Workers

    def claim(self, one: Subscription, worker: str) -> str:
        """Give the work to `worker`; the token that it must show from here on."""
        if one.asked.type != "pull-wake":
            raise SubscriptionError(400, "INVALID_REQUEST", "the subscription is no pull-wake")
        if one.holder:
            raise SubscriptionError(
                409, "ALREADY_CLAIMED", "another worker has it",
                current_holder=one.holder, generation=one.generation,
            )  # fmt: skip
        if one.wake is None and not self._wake_if_pending(one):
            raise SubscriptionError(409, "NO_PENDING_WORK", "there is nothing to do")
        token = secrets.token_urlsafe(32)
        change = Change(holder=worker, token=digest_of(token), lease_until=self._lease(one))
        self._write(one, change)
        self._end_lease_later(one)
        return token

    def acknowledge(
        self,
        one: Subscription,
        token: str,
        wake_id: str,
        generation: int,
        acks: Iterable[tuple[str, str]],
        done: bool,
    ) -> bool:
        """Take up how far a worker is, and its lease anew or its end; whether more is waiting."""
        self._check(one, token, wake_id, generation)
        links = {path: self._acked(one, path, offset) for path, offset in acks}
        if done:
            return self._end(one, links)
        self._write(one, Change(links=links, lease_until=self._lease(one)))
        self._end_lease_later(one)
        return False

    def release(self, one: Subscription, token: str, wake_id: str, generation: int) -> None:
        """Take the work back from a worker that gives it up."""
        self._check(one, token, wake_id, generation)
        self._end(one, {})

    def _end(self, one: Subscription, links: dict[str, tuple[int, int]]) -> bool:
        """End a wake, with how far its worker is; whether there is more to do.

        What comes after that is not for its worker to be told of.
        """
        self._write(one, Change(links=links, ended=True))
        self._stop_timer(one)
        is_pending = bool(self.pending(one))
        self._do(one, self._wake_if_pending)
        return is_pending

    def _check(self, one: Subscription, token: str, wake_id: str, generation: int) -> None:
        wake = one.wake
        is_known = bool(one.token) and hmac.compare_digest(one.token, digest_of(token))
        if wake is None or (wake.id, wake.generation) != (wake_id, generation):
            raise SubscriptionError(409, "FENCED", "this wake is over")
        if not is_known:
            raise SubscriptionError(401, "TOKEN_INVALID", "the token is not that of this wake")

    def _acked(self, one: Subscription, path: str, token: str) -> tuple[int, int]:
        place, kinds = one.links.get(path, (0, 0))
        if not kinds:
            raise SubscriptionError(409, "INVALID_OFFSET", f"{path!r} is not linked")
        offset = offsets.decode_offset(token)
        if not max(place, 0) <= offset <= self._tail(path):
            raise SubscriptionError(
                409, "INVALID_OFFSET", f"{path!r}: the offset goes back, or is past the end"
            )
        return offset, kinds

    # Leases

    def _lease(self, one: Subscription) -> int:
        return time.time_ns() + one.asked.lease_ms * MILLISECOND

    def _end_lease_later(self, one: Subscription) -> None:
        left = max(0.0, (one.lease_until - time.time_ns()) / 1e9)
        self._set_timer(one, left, self._end_lease)

    def _end_lease(self, one: Subscription) -> None:
        self._write(one, Change(ended=True))
        self._wake_if_pending(one)

    def _set_timer(self, one: Subscription, after_s: float, work: Work) -> None:
        self._stop_timer(one)
        loop = asyncio.get_running_loop()
        self._timers[one.id] = loop.call_later(after_s, self._do, one, work)

    def _do(self, one: Subscription, work: Work) -> None:
        """Do what nobody asked for; again later where the store cannot be written now."""
        try:
            work(one)
        except TransitError as error:
            LOGGER.warning("a subscription could not go on: %s", type(error).__name__)
            if not self._is_ended:
                self._set_timer(one, RETRY_FIRST_S, self._go_on)

    def _go_on(self, one: Subscription) -> None:
        """Do what is due of a subscription, after it could not be written for a while."""
        if one.id not in self._all:
            return
        self._link_matching(one, place=-1)
        if one.wake is not None and one.lease_until and one.lease_until <= time.time_ns():
            self._end_lease(one)
        else:
            self._resume(one)

    def _stop_timer(self, one: Subscription) -> None:
        timer = self._timers.pop(one.id, None)
        if timer is not None:
            timer.cancel()

    # Webhooks

    def _deliver_later(self, one: Subscription, after_s: float) -> None:
        self._set_timer(one, after_s, self._deliver)

    def _deliver(self, one: Subscription) -> None:
        task = asyncio.get_running_loop().create_task(self._deliver_or_later(one))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver_or_later(self, one: Subscription) -> None:
        try:
            await self._deliver_now(one)
        except TransitError as error:
            LOGGER.warning("a webhook could not be noted: %s", type(error).__name__)
            if not self._is_ended:
                self._set_timer(one, RETRY_FIRST_S, self._go_on)

    async def _deliver_now(self, one: Subscription) -> None:
        """Send a wake, with a token of its own; again later where it is not taken."""
        wake = one.wake
        if wake is None or self._is_ended or one.id not in self._all:
            return
        token = secrets.token_urlsafe(32)
        self._write(one, Change(token=digest_of(token), lease_until=self._lease(one)))
        self._end_lease_later(one)
        answer = await self._webhooks.send(one.asked.url, self.notification(one, wake, token))
        if one.wake is not wake or self._is_ended or one.id not in self._all:
            return
        if answer is None:
            self._retry(one)
            return
        if one.attempts:
            self._write(one, Change(attempts=0, next_attempt=0))
        if answer.get("done") is True:
            links = {}
            for path, tail in wake.tails.items():
                place, kinds = one.links.get(path, (0, 0))
                if kinds:
                    links[path] = max(place, tail), kinds
            self._end(one, links)

    def _retry(self, one: Subscription) -> None:
        attempts = one.attempts + 1
        delay = min(RETRY_FIRST_S * 2 ** min(attempts - 1, 10), RETRY_MAX_S)
        delay *= 0.8 + 0.4 * secrets.randbelow(1000) / 1000
        due = time.time_ns() + int(delay * 1e9)
        # No worker has the wake: the lease begins with the next attempt.
        self._write(one, Change(attempts=attempts, next_attempt=due, token="", lease_until=0))
        self._deliver_later(one, delay)

    # What is told

    def notification(self, one: Subscription, wake: Wake, token: str) -> dict[str, object]:
        """The body of the request that wakes a webhook."""
        base = f"{self._webhooks.base_url}/v1/stream/__ds/subscriptions/"
        return {
            "subscription_id": one.id,
            "wake_id": wake.id,
            "generation": wake.generation,
            "streams": self.streams_of(one),
            "callback_url": f"{base}{one.id}/callback",
            "callback_token": token,
        }

    def streams_of(self, one: Subscription) -> list[dict[str, object]]:
        """The linked streams: path, kind of link, place, end, and whether there is work."""
        shown: list[dict[str, object]] = []
        for path, (place, kinds) in one.links.items():
            tail = self._tail(path)
            shown.append(
                {
                    "path": path,
                    "link_type": "explicit" if kinds & EXPLICIT else "glob",
                    "acked_offset": "-1" if place < 0 else offsets.encode_offset(place),
                    "tail_offset": offsets.encode_offset(tail),
                    "has_pending": tail > max(place, 0),
                }
            )
        return shown

    def _write(
        self, one: Subscription, change: Change, event: dict[str, object] | None = None
    ) -> None:
        """Write what changed, with a wake event where there is one, and take it up."""
        record = change
        if one.next_record % WHOLE == WHOLE - 1:
            after = Subscription(one.id, one.stream)
            after.apply(one.whole())
            after.apply(change)
            record = after.whole()
        with self._log.batch(durability="os") as batch:
            batch.append(one.stream, ENCODER.encode(record), expect=one.next_record)
            if event is not None and (target := self._wake_stream(one)) is not None:
                batch.append(target, ENCODER.encode(event))
        one.apply(record)

    def _wake_stream(self, one: Subscription) -> Stream | None:
        """Where wake events go; None where there is no such stream, or it takes no more."""
        try:
            target = self._log.stream(one.asked.wake_stream)
        except NotFoundError:
            return None
        return None if target.finished else target
