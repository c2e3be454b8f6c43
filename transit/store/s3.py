"""Objects in a bucket of an S3 server, by way of s3fs.

Owns the requests: each is one HTTP request, sent once. s3fs makes the session, signs and sends; its
caches, its splitting of objects and its repetitions are not used, because each of them gives or
hides answers that a log cannot be built on (a listing from before, a condition that holds for the
last part only, another request's outcome).

To a client that may get objects but not list them, S3 says "not allowed" (403) of an absent object
(Amazon S3 API Reference, GetObject). A listing is then asked whether the object is there. Where
that is not allowed either, such an answer counts as absent for as long as an object that was read
before can still be read. A history ends there as it does at "absent": a reader cannot tell this
from a server that hides what there is.

`put` and `create` carry the MD5 of their bytes (RFC 1864), so that a server that keeps to the
standard refuses damaged ones. Digests made by transit decide about what comes back.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import threading
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from transit.errors import (
    ClosedError,
    ForkedError,
    InvalidInputError,
    RemoteUnavailableError,
    StorePermissionError,
    TransitError,
    UnsuitableRemoteError,
)
from transit.opened import Opened
from transit.store.answers import Meaning, answer, error_of
from transit.store.loops import let_go, wait_for
from transit.store.objects import (
    Traffic,
    check_key,
    check_prefix,
    check_range,
    persist,
    too_large,
)
from transit.store.sessions import connect
from transit.store.versions import NO_END, VERSIONS_MAX, Version

# One PUT holds no more (Amazon S3 User Guide, "Uploading and copying objects").
PUT_BYTES_MAX: Final = 5 * 1024**3
_READ_SIZE: Final = 1024 * 1024
_CONNECT_TIMEOUT_S: Final = 3.0
_READ_TIMEOUT_S: Final = 20.0
_TRIES_IN_DEADLINE: Final = 3
# The status of an answer that is a part of an object (RFC 9110, 15.3.7).
_PARTIAL: Final = 206
_CONTENT_RANGE: Final = re.compile(r"bytes (?P<first>\d+)-\d+/(?P<whole>\d+)", re.ASCII)
_REFUSED: Final = object()
_DAMAGE_KEY: Final = "probes/damage"


def s3_options(options: Mapping[str, object], timeout_s: float) -> dict[str, object]:
    """Options for s3fs: what a log needs, and over it what the user gave."""
    config: dict[str, object] = {
        # Older servers refuse the checksums that newer clients add to every request.
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
        # The caller decides how often a request is repeated.
        "retries": {"mode": "standard", "total_max_attempts": 1},
        # A server that hangs must leave time to ask again.
        "connect_timeout": min(_CONNECT_TIMEOUT_S, timeout_s / _TRIES_IN_DEADLINE),
        "read_timeout": min(_READ_TIMEOUT_S, timeout_s / _TRIES_IN_DEADLINE),
        "max_pool_connections": 64,
    }
    given = options.get("config_kwargs")
    if isinstance(given, Mapping):
        config.update(given)
    defaults: dict[str, object] = {
        "skip_instance_cache": True,
        "use_listings_cache": False,
        "default_fill_cache": False,
        "default_cache_type": "none",
    }
    return {**defaults, **options, "config_kwargs": config}


class S3Store(Opened):
    """An `ObjectStore` in a bucket, below a prefix; `filesystem` is an `s3fs.S3FileSystem`."""

    def __init__(self, filesystem: Any, bucket: str, prefix: str, timeout_s: float) -> None:
        self._filesystem = filesystem
        self._bucket = bucket
        self._prefix = prefix
        self._timeout_s = timeout_s
        self._pid = os.getpid()
        self._closed = False
        self._refuses_damage: bool | None = None
        self._probe = threading.RLock()
        # A key that could be read, and whether listing was refused: see `_is_absent`.
        self._readable: str | None = None
        self._may_list = True
        self.traffic = Traffic()
        # One look at each request's answer: repetitions below would hide it.
        filesystem.retries = 1
        connect(filesystem, self.url)

    @property
    def url(self) -> str:
        """`s3://bucket/prefix`."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    @property
    def endpoint_url(self) -> str:
        """The address that requests go to, as the options or the environment say."""
        return str(self._filesystem._s3.meta.endpoint_url)

    @property
    def region(self) -> str:
        """The region that requests are signed for."""
        return str(self._filesystem._s3.meta.region_name or "")

    @property
    def server(self) -> str:
        """The server that is asked: host and port; one for all of Amazon's, which share buckets."""
        from urllib.parse import urlsplit  # Only a store in a bucket needs it.

        found = urlsplit(self.endpoint_url)
        is_amazons = (found.hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn"))
        return "amazonaws.com" if is_amazons else found.netloc.lower()

    @property
    def refuses_damage(self) -> bool:
        """See `ObjectStore.refuses_damage`; found out once, by a PUT with a wrong MD5."""
        with self._probe:
            if self._refuses_damage is None:
                self._refuses_damage = self._probe_damage()
            return self._refuses_damage

    def __repr__(self) -> str:
        return f"S3Store({self.url!r})"

    def get(self, key: str, bytes_max: int) -> bytes | None:
        """See `ObjectStore.get`."""
        path = self._path(key)

        async def whole() -> bytes:
            response = await self._call("get_object", Key=path)
            size = response["ContentLength"]
            if size > bytes_max:
                # What was sent already is dropped together with the connection.
                response["Body"].close()
                raise too_large(self._place(key), bytes_max, size)
            return await self._read(response["Body"], size, key)

        def attempt(left_s: float) -> bytes | None:
            self.traffic.sent("get")
            data: bytes | None = self._look(whole(), key, left_s, {Meaning.ABSENT: None})
            return data

        return persist(attempt, self._timeout_s)

    def get_range(self, key: str, position: int, size: int) -> bytes:
        """See `ObjectStore.get_range`."""
        check_range(position, size)
        path = self._path(key)

        async def part() -> bytes:
            wanted = f"bytes={position}-{position + size - 1}"
            response = await self._call("get_object", Key=path, Range=wanted)
            try:
                expected = range_size(response, position, size, self._place(key))
            except TransitError:
                response["Body"].close()
                raise
            return await self._read(response["Body"], expected, key)

        def attempt(left_s: float) -> bytes:
            self.traffic.sent("get")
            data: bytes = self._look(part(), key, left_s, {Meaning.PAST_END: b""})
            return data

        return persist(attempt, self._timeout_s)

    def size(self, key: str) -> int | None:
        """See `ObjectStore.size`; without its bucket an object is just absent."""
        path = self._path(key)

        def attempt(left_s: float) -> int | None:
            self.traffic.sent("size")
            call = self._call("head_object", Key=path)
            response = self._look(call, key, left_s, {Meaning.ABSENT: None})
            return None if response is None else int(response["ContentLength"])

        return persist(attempt, self._timeout_s)

    def put(self, key: str, data: bytes) -> None:
        """See `ObjectStore.put`."""
        upload = self._upload(key, data)

        def attempt(left_s: float) -> None:
            self.traffic.sent("put", len(data))
            self._ask(self._call("put_object", **upload), key, left_s)

        persist(attempt, self._timeout_s)

    def create(self, key: str, data: bytes) -> None:
        """See `ObjectStore.create`."""
        upload = self._upload(key, data)
        self.traffic.sent("create", len(data))
        self._ask(self._call("put_object", **upload, IfNoneMatch="*"), key, self._timeout_s)

    def delete(self, key: str) -> None:
        """See `ObjectStore.delete`."""
        path = self._path(key)

        def attempt(left_s: float) -> None:
            self.traffic.sent("delete")
            call = self._call("delete_object", Key=path)
            self._ask(call, key, left_s, {Meaning.ABSENT: None})

        persist(attempt, self._timeout_s)

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """See `ObjectStore.list`; holds one page of at most 1,000 objects at a time."""
        self._check_usable()
        return self._pages(check_prefix(prefix))

    def bucket_facts(self) -> dict[str, str]:
        """What the bucket says of itself, in words: "versioning", "object lock", "time".

        With a default lock also "object lock mode" and "object lock days". "time" is the Date of
        its answer. What it does not tell, or not with these rights, is left out; nothing raises.
        """
        self._check_usable()
        facts: dict[str, str] = {}
        with contextlib.suppress(TransitError):
            said = self._ask(self._call("get_bucket_versioning"), "", self._timeout_s)
            facts["versioning"] = str(said.get("Status", "never enabled")).lower()
            date = said["ResponseMetadata"]["HTTPHeaders"].get("date")
            facts |= {} if date is None else {"time": str(date)}
        with contextlib.suppress(TransitError):
            # A bucket that never had it has no configuration: absent.
            call = self._call("get_object_lock_configuration")
            said = self._ask(call, "", self._timeout_s, {Meaning.ABSENT: {}})
            lock = said.get("ObjectLockConfiguration", {})
            facts["object lock"] = str(lock.get("ObjectLockEnabled", "not enabled")).lower()
            rule = lock.get("Rule", {}).get("DefaultRetention", {})
            if "Mode" in rule:
                facts["object lock mode"] = str(rule["Mode"]).lower()
                days = rule.get("Days") or 365 * rule.get("Years", 0)
                facts["object lock days"] = str(days)
        return facts

    def versions(self, key: str) -> Sequence[Version]:
        """All versions and delete markers of one key, the newest first."""
        path = self._path(key)
        found: tuple[Version, ...] = ()
        after: dict[str, object] = {}

        def attempt(left_s: float) -> dict[str, Any]:
            self.traffic.sent("list")
            call = self._call("list_object_versions", Prefix=path, **after)
            page: dict[str, Any] = self._ask(call, key, left_s, {Meaning.ABSENT: {}})
            return page

        while True:
            page = persist(attempt, self._timeout_s)
            for kind, is_marker in (("Versions", False), ("DeleteMarkers", True)):
                found += tuple(
                    Version(each["VersionId"], bool(each.get("IsLatest")), is_marker)
                    for each in page.get(kind, [])
                    if each["Key"] == path
                )
            if not page.get("IsTruncated") or len(found) >= VERSIONS_MAX:
                return sorted(found, key=lambda version: not version.is_latest)
            after = {
                "KeyMarker": page["NextKeyMarker"],
                "VersionIdMarker": page.get("NextVersionIdMarker", ""),
            }

    def delete_version(self, key: str, version: str, *, bypass_governance: bool) -> None:
        """Remove one version for good; `StorePermissionError` where it is locked, or not allowed.

        bypass_governance: also where it is locked in governance mode, with the right to do so.
        """
        path = self._path(key)
        more = {"BypassGovernanceRetention": True} if bypass_governance else {}

        def attempt(left_s: float) -> None:
            self.traffic.sent("delete")
            call = self._call("delete_object", Key=path, VersionId=version, **more)
            self._ask(call, key, left_s, {Meaning.ABSENT: None})

        persist(attempt, self._timeout_s)

    def locked_until(self, key: str, version: str) -> int | None:
        """Until when a version is locked, UTC nanoseconds; None where it is not, -1 without end."""
        call = self._call("head_object", Key=self._path(key), VersionId=version)
        with contextlib.suppress(TransitError):
            said = self._ask(call, key, self._timeout_s)
            if said.get("ObjectLockLegalHoldStatus") == "ON":
                return NO_END
            until = said.get("ObjectLockRetainUntilDate")
            return None if until is None else int(until.timestamp()) * 10**9
        return None

    def close(self) -> None:
        """See `ObjectStore.close`."""
        if self._closed:
            return
        self._closed = True
        if self._pid == os.getpid():
            self._filesystem.close_session(self._filesystem.loop, self._filesystem._s3creator)

    async def _call(self, method: str, **arguments: object) -> Any:
        """One S3 request; this coroutine is what s3fs's public `call_s3` runs and waits for."""
        return await self._filesystem._call_s3(method, Bucket=self._bucket, **arguments)

    def _ask(
        self,
        request: Coroutine[object, object, Any],
        key: str,
        left_s: float,
        useful: Mapping[Meaning, object] = MappingProxyType({}),
    ) -> Any:
        """The request's result, or `useful`'s where the refusal means that; transit's errors."""
        try:
            return wait_for(self._filesystem.loop, request, left_s)
        except TransitError:
            raise
        except Exception as error:
            said = answer(error)
            let_go(error)
            if said.meaning in useful:
                return useful[said.meaning]
            no_bucket = said.meaning is Meaning.NO_BUCKET
            place = f"s3://{self._bucket}" if no_bucket else self._place(key)
            raise error_of(said, place) from error

    def _look(
        self,
        request: Coroutine[object, object, Any],
        key: str,
        left_s: float,
        useful: Mapping[Meaning, object],
    ) -> Any:
        """As `_ask`, for a request that reads: absent is told from not allowed."""
        deadline = time.monotonic() + left_s
        try:
            found = self._ask(request, key, left_s, useful)
        except StorePermissionError as error:
            said = answer(error.__cause__ or error)
            if said.meaning is not Meaning.HIDDEN:
                raise
            if self._is_absent(key, deadline):
                if Meaning.ABSENT in useful:
                    return useful[Meaning.ABSENT]
                said = said._replace(meaning=Meaning.ABSENT)
            elif not self._may_list and self._readable is None:
                hint = f"{said.hint}; without s3:ListBucket S3 does not tell whether it is there"
                said = said._replace(hint=hint.removeprefix("; "))
            raise error_of(said, self._place(key)) from error.__cause__
        self._readable = key
        return found

    def _is_absent(self, key: str, deadline: float) -> bool:
        """Whether an object that may not be read is not there, as far as the server tells."""
        path, useful = self._full(key), {Meaning.HIDDEN: _REFUSED}
        if self._may_list:
            self.traffic.sent("list")
            call = self._call("list_objects_v2", Prefix=path, MaxKeys=1)
            page = self._ask(call, key, deadline - time.monotonic(), useful)
            if page is not _REFUSED:
                return all(found["Key"] != path for found in page.get("Contents", []))
            self._may_list = False
        if self._readable is None:
            return False
        # Rights may have been taken away meanwhile: then everything looks absent.
        self.traffic.sent("get")
        call = self._first_byte(self._readable)
        left_s, useful = deadline - time.monotonic(), {**useful, Meaning.PAST_END: b""}
        return self._ask(call, self._readable, left_s, useful) is not _REFUSED

    async def _first_byte(self, key: str) -> None:
        response = await self._call("get_object", Key=self._full(key), Range="bytes=0-0")
        response["Body"].close()

    async def _read(self, body: Any, size: int, key: str) -> bytes:
        """The body's bytes; fewer or more than `size` are an answer that broke on the way."""
        pieces, found = [], 0
        try:
            while piece := await body.read(min(_READ_SIZE, size + 1 - found)):
                pieces.append(piece)
                found += len(piece)
                if found > size:
                    break
        finally:
            body.close()
        if found != size:
            raise RemoteUnavailableError(f"{self._place(key)}: {found} bytes came, not {size}")
        self.traffic.received(found)
        return b"".join(pieces)

    def _pages(self, prefix: str) -> Iterator[tuple[str, int]]:
        token: str | None = None

        def attempt(left_s: float) -> dict[str, Any]:
            self._check_usable()
            self.traffic.sent("list")
            after = {} if token is None else {"ContinuationToken": token}
            call = self._call("list_objects_v2", Prefix=self._full(prefix), **after)
            page: dict[str, Any] = self._ask(call, prefix, left_s)
            if page.get("IsTruncated") and page.get("NextContinuationToken") in (None, token):
                raise RemoteUnavailableError(f"{self._place(prefix)}: its list breaks off")
            return page

        while True:
            page = persist(attempt, self._timeout_s)
            for found in page.get("Contents", []):
                yield found["Key"].removeprefix(self._full("")), found["Size"]
            if not page.get("IsTruncated"):
                return
            token = page["NextContinuationToken"]

    def _probe_damage(self) -> bool:
        # One object for all attaches, which a server that keeps to the standard never makes.
        key = _DAMAGE_KEY
        upload = {**self._upload(key, b"probe"), "ContentMD5": _md5(b"other bytes")}

        def attempt(left_s: float) -> bool:
            self.traffic.sent("put", len(b"probe"))
            call = self._call("put_object", **upload)
            return self._ask(call, key, left_s, {Meaning.DAMAGED: _REFUSED}) is _REFUSED

        return persist(attempt, self._timeout_s)

    def _upload(self, key: str, data: bytes) -> dict[str, object]:
        """The arguments of a PUT, checked."""
        path = self._path(key)
        if len(data) > PUT_BYTES_MAX:
            raise InvalidInputError(f"{self._place(key)}: more than {PUT_BYTES_MAX} bytes")
        return {"Key": path, "Body": data, "ContentMD5": _md5(data)}

    def _check_usable(self) -> None:
        if self._closed:
            raise ClosedError(f"{self.url}: closed")
        if self._pid != os.getpid():
            raise ForkedError(f"{self.url}: opened in another process")

    def _full(self, key: str) -> str:
        return f"{self._prefix}/{key}" if self._prefix else key

    def _path(self, key: str) -> str:
        """The key in the bucket, where the store may be used at all."""
        self._check_usable()
        return self._full(check_key(key))

    def _place(self, key: str) -> str:
        return f"{self.url}/{key}"


def _md5(data: bytes) -> str:
    """The Content-MD5 of `data`: against accidents on the way, so its weakness does not matter."""
    # Loaded here: opening OpenSSL takes longer than all of this package.
    import hashlib

    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def range_size(response: Mapping[str, Any], position: int, size: int, place: str) -> int:
    """How many bytes the answer to a ranged GET must have."""
    status = response["ResponseMetadata"]["HTTPStatusCode"]
    if status != _PARTIAL:
        if position or response["ContentLength"] > size:
            raise UnsuitableRemoteError(f"{place}: the store does not give ranges")
        return int(response["ContentLength"])
    found = _CONTENT_RANGE.fullmatch(response.get("ContentRange", ""))
    if found is None or int(found["first"]) != position:
        raise RemoteUnavailableError(f"{place}: the server sent another range than requested")
    expected = min(size, int(found["whole"]) - position)
    if response["ContentLength"] != expected:
        raise RemoteUnavailableError(f"{place}: the server sent a range of another size")
    return expected
