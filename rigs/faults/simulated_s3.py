"""An S3 server in memory, for the real `transit.store.s3`, whose requests fail as they are told.

Owns the server's side of `S3Store`'s requests (RFC 9110 conditions, ranges, Content-MD5) and the
faults: what networks, gateways and servers do to one request. A bucket watches what must be true of
it at every moment: no commit is ever replaced, and none is there before what it names.
"""

from __future__ import annotations

import base64
import hashlib
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import aiohttp
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    SSLError,
)
from s3fs.errors import translate_boto_error

from rigs.faults.virtual_time import Hang
from transit.errors import TransitError
from transit.format.commit import decode_commit
from transit.format.names import COMMIT_DIR
from transit.tier.remote import segment_key

_COMMITS: Final = f"{COMMIT_DIR}/"
_PAGE: Final = 1000
# How many requests come in before one that was held up arrives.
LATE_BY: Final = 3
_OPERATIONS: Final = {
    "get_object": "get", "head_object": "size", "put_object": "put", "delete_object": "delete",
    "list_objects_v2": "list",
}  # fmt: skip
_RIGHTS: Final = {
    "get_object": "s3:GetObject", "head_object": "s3:GetObject", "put_object": "s3:PutObject",
    "delete_object": "s3:DeleteObject", "list_objects_v2": "s3:ListBucket",
}  # fmt: skip
# Fault -> the status and code it is answered with; the request is not carried out.
REFUSALS: Final = {
    "error_500": (500, "InternalError"),
    "slow_down_503": (503, "SlowDown"),
    "too_many_429": (429, "TooManyRequests"),
    "timeout_400": (400, "RequestTimeout"),
    "conflict_409": (409, "ConditionalRequestConflict"),
    "denied_403": (403, "AccessDenied"),
    "absent_404": (404, "NoSuchKey"),
    "no_bucket_404": (404, "NoSuchBucket"),
    "exists_412": (412, "PreconditionFailed"),
    "skewed_403": (403, "RequestTimeTooSkewed"),
}


class Request(NamedTuple):
    """One request: its number from 0, what it asks, and for which key."""

    number: int
    operation: str
    key: str

    @property
    def kind(self) -> str:
        """The operation and the class of the key: "put segments", "create commits", "get HEAD"."""
        return f"{self.operation} {self.key.partition('/')[0] or 'all'}"


Allows = Callable[[str, str], bool]
"""Whether a right, by its name in policies, is given for a key; of listing, for a prefix."""
Rule = Callable[[Request], "str | None"]


class Bucket:
    """The objects, and what became of them. Safe for threads.

    checks_md5: whether a damaged upload is refused. conditions: "kept", "ignored" (every creator
    wins), "refused_501", "refused_400", "exists" (nothing is ever created).
    `broken` lists what must never be true; `objects` may be copied at any time.
    """

    def __init__(self, *, checks_md5: bool = True, conditions: str = "kept") -> None:
        self.objects: dict[str, bytes] = {}
        self.broken: list[str] = []
        self.checks_md5 = checks_md5
        self.conditions = conditions
        self._late: list[tuple[int, Callable[[], object]]] = []
        self._count = 0
        self._lock = threading.RLock()

    def holds(self, payload: bytes) -> bool:
        """Whether the newest commit names a segment with these bytes in it."""
        with self._lock:
            newest = max((key for key in self.objects if key.startswith(_COMMITS)), default="")
            if not newest:
                return False
            refs = decode_commit(self.objects[newest], newest).segments
            return any(payload in self.objects.get(segment_key(ref.digest), b"") for ref in refs)

    def arrive(self, operation: str, key: str) -> Request:
        """Count a request; those held up arrive before it when it is their time."""
        with self._lock:
            number = self._count
            self._count += 1
            due = [held for held in self._late if held[0] <= number]
            self._late = [held for held in self._late if held[0] > number]
            for _, perform in due:
                _ignoring(perform)
        return Request(number, operation, key)

    def hold(self, request: Request, perform: Callable[[], object]) -> None:
        """Carry a request out later, whatever its sender believes."""
        with self._lock:
            self._late.append((request.number + LATE_BY, perform))

    def answer(self, arguments: dict[str, Any], method: str) -> dict[str, Any]:
        """Carry out one request; `ClientError` for a refusal."""
        with self._lock:
            if method == "get_object":
                return self._get(arguments["Key"], arguments.get("Range"))
            if method == "head_object":
                return {**_OK, "ContentLength": len(self._found(arguments["Key"], "404"))}
            if method == "put_object":
                return self._put(arguments)
            if method == "delete_object":
                self.objects.pop(arguments["Key"], None)
                return dict(_OK)
            return self._list(arguments)

    def _found(self, key: str, code: str = "NoSuchKey") -> bytes:
        if key not in self.objects:
            raise refusal(404, code)
        return self.objects[key]

    def _get(self, key: str, wanted: str | None) -> dict[str, Any]:
        data = self._found(key)
        if wanted is None:
            return {**_OK, "ContentLength": len(data), "Body": Body(data)}
        first, last = (int(end) for end in wanted.removeprefix("bytes=").split("-"))
        if first >= len(data):
            raise refusal(416, "InvalidRange")
        part = data[first : last + 1]
        return {
            "ResponseMetadata": {"HTTPStatusCode": 206},
            "ContentRange": f"bytes {first}-{first + len(part) - 1}/{len(data)}",
            "ContentLength": len(part),
            "Body": Body(part),
        }

    def _put(self, arguments: dict[str, Any]) -> dict[str, Any]:
        key, data = arguments["Key"], bytes(arguments["Body"])
        if self.checks_md5 and _md5(data) != arguments["ContentMD5"]:
            raise refusal(400, "BadDigest")
        if "IfNoneMatch" in arguments and self.conditions != "ignored":
            match self.conditions:
                case "refused_501":
                    raise refusal(501, "NotImplemented")
                case "refused_400":
                    raise refusal(400, "InvalidArgument")
            if key in self.objects or self.conditions == "exists":
                raise refusal(412, "PreconditionFailed")
        self._watch(key, data)
        self.objects[key] = data
        return {**_OK, "ETag": f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'}

    def _list(self, arguments: dict[str, Any]) -> dict[str, Any]:
        after = arguments.get("ContinuationToken", "")
        keys = sorted(k for k in self.objects if k.startswith(arguments["Prefix"]) and k > after)
        size = arguments.get("MaxKeys", _PAGE)
        page = {"Contents": [{"Key": k, "Size": len(self.objects[k])} for k in keys[:size]]}
        if len(keys) <= size:
            return {**_OK, **page, "IsTruncated": False}
        return {**_OK, **page, "IsTruncated": True, "NextContinuationToken": keys[size - 1]}

    def _watch(self, key: str, data: bytes) -> None:
        """Note what no publisher may do."""
        if not key.startswith(_COMMITS):
            return
        if self.objects.get(key, data) != data:
            self.broken.append(f"{key} was replaced")
        try:
            commit = decode_commit(data, key)
        except TransitError:
            # Damaged on its way in: the sender must find out.
            return
        for ref in commit.segments:
            if segment_key(ref.digest) not in self.objects:
                self.broken.append(f"{key} was created before its segment {ref.digest}")


_OK: Final[dict[str, Any]] = {"ResponseMetadata": {"HTTPStatusCode": 200}}


def refusal(status: int, code: str, operation: str = "Simulated") -> ClientError:
    """botocore's error for an answer of the server."""
    said = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(said, operation)


class Body:
    """The body of an answer; `breaks_off`: the connection ends before its last byte."""

    def __init__(self, data: bytes, breaks_off: bool = False) -> None:
        self.data = data
        self._position = 0
        self._breaks_off = breaks_off

    async def read(self, size: int) -> bytes:
        """As aiohttp's."""
        piece = self.data[self._position : self._position + size]
        self._position += len(piece)
        if not piece and self._breaks_off:
            raise aiohttp.ClientPayloadError("Response payload is not completed")
        return piece

    def close(self) -> None:
        """As aiohttp's."""


class SimulatedS3:
    """What `S3Store` needs of an `s3fs.S3FileSystem`, over a `Bucket`.

    rule: which fault to do to a request, by name; None: none. allows: the client's rights; None:
    all. `seen` lists all requests.
    """

    retries = 1
    loop = None
    # As one that was given a session: none is made.
    session = object()
    _s3creator = None

    def __init__(
        self, bucket: Bucket, rule: Rule | None = None, allows: Allows | None = None
    ) -> None:
        self.bucket = bucket
        self.rule = rule
        self.allows = allows
        self.seen: list[Request] = []

    async def set_session(self) -> None:
        """As s3fs."""

    def close_session(self, _loop: object, _creator: object) -> None:
        """As s3fs."""

    async def _call_s3(self, method: str, **arguments: Any) -> dict[str, Any]:
        """One request, as s3fs sends it and as it raises what comes back."""
        arguments.pop("Bucket")
        operation = _OPERATIONS[method]
        if operation == "get" and "Range" in arguments:
            operation = "range"
        if operation == "put" and "IfNoneMatch" in arguments:
            operation = "create"
        key = arguments.get("Key", arguments.get("Prefix", ""))
        request = self.bucket.arrive(operation, key)
        self.seen.append(request)
        fault = self.rule(request) if self.rule is not None else None
        exchange = Exchange(self.bucket, request, method, arguments)
        try:
            if self.allows is not None:
                self._check_rights(self.allows, method, key)
            return exchange.run(fault)
        except (ClientError, EndpointConnectionError) as error:
            translated = translate_boto_error(error)
            raise translated from translated.__cause__

    def _check_rights(self, allows: Allows, method: str, key: str) -> None:
        """Refuse as S3 does: a client that may not list is told 403 of an absent object."""
        operation = "".join(part.capitalize() for part in method.split("_"))
        allowed = allows(_RIGHTS[method], key)
        hidden = method in ("get_object", "head_object") and key not in self.bucket.objects
        # A condition on the prefix is not met by a request that names none.
        if not allowed or (hidden and not allows(_RIGHTS["list_objects_v2"], "")):
            code = "403" if method == "head_object" else "AccessDenied"
            raise refusal(403, code, operation)


class Exchange:
    """One request and its answer, and everything that can happen to the two."""

    def __init__(
        self, bucket: Bucket, request: Request, method: str, arguments: dict[str, Any]
    ) -> None:
        self._bucket = bucket
        self._request = request
        self._method = method
        self._arguments = arguments

    def perform(self) -> dict[str, Any]:
        """Have it carried out."""
        return self._bucket.answer(self._arguments, self._method)

    def run(self, fault: str | None) -> dict[str, Any]:
        """The answer, or what the client sees instead."""
        if fault is None:
            return self.perform()
        if fault in REFUSALS:
            raise refusal(*REFUSALS[fault])
        happens: Callable[[], dict[str, Any]] = getattr(self, f"_{fault}")
        return happens()

    def _refused(self) -> dict[str, Any]:
        raise EndpointConnectionError(endpoint_url="http://simulated")

    def _untrusted(self) -> dict[str, Any]:
        raise _tls("CERTIFICATE_VERIFY_FAILED", ssl.SSLCertVerificationError)

    def _handshake_torn(self) -> dict[str, Any]:
        raise _tls("UNEXPECTED_EOF_WHILE_READING", ssl.SSLEOFError)

    def _reset_before(self) -> dict[str, Any]:
        raise ConnectionResetError

    def _answer_lost(self) -> dict[str, Any]:
        _ignoring(self.perform)
        raise aiohttp.ServerDisconnectedError

    def _error_500_after(self) -> dict[str, Any]:
        _ignoring(self.perform)
        raise refusal(500, "InternalError")

    def _hang(self) -> dict[str, Any]:
        raise Hang

    def _stall(self) -> dict[str, Any]:
        _ignoring(self.perform)
        raise Hang

    def _late(self) -> dict[str, Any]:
        self._bucket.hold(self._request, self.perform)
        raise ConnectionResetError

    def _duplicate(self) -> dict[str, Any]:
        _ignoring(self.perform)
        return self.perform()

    def _duplicate_late(self) -> dict[str, Any]:
        self._bucket.hold(self._request, self.perform)
        return self.perform()

    def _wrong_etag(self) -> dict[str, Any]:
        return {**self.perform(), "ETag": '"0123456789abcdef0123456789abcdef"'}

    def _truncated(self) -> dict[str, Any]:
        answer = self.perform()
        data = answer["Body"].data
        return {**answer, "Body": Body(data[: len(data) // 2], breaks_off=True)}

    def _shortened(self) -> dict[str, Any]:
        """An answer with half of the bytes that states their size as if it were right."""
        answer = self.perform()
        half = answer["Body"].data[: len(answer["Body"].data) // 2]
        return {**answer, "Body": Body(half), "ContentLength": len(half)}

    def _flipped(self) -> dict[str, Any]:
        answer = self.perform()
        if "Body" not in answer:
            return {**answer, "ContentLength": answer["ContentLength"] + 1}
        return {**answer, "Body": Body(flipped(answer["Body"].data))}

    def _flipped_upload(self) -> dict[str, Any]:
        self._arguments = {**self._arguments, "Body": flipped(self._arguments["Body"])}
        return self.perform()


def _tls(reason: str, kind: type[ssl.SSLError]) -> SSLError:
    """botocore's error for a handshake that failed."""
    cause = kind(1, f"[SSL: {reason}]")
    cause.reason = reason
    return SSLError(endpoint_url="https://simulated", error=cause)


def flipped(data: bytes) -> bytes:
    """`data` with one bit in its middle changed."""
    changed = bytearray(data)
    if changed:
        changed[len(changed) // 2] ^= 1
    return bytes(changed)


def _ignoring(perform: Callable[[], object]) -> None:
    """Carry out a request whose answer gets lost."""
    try:
        perform()
    except ClientError:
        return


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def faults_of(operation: str) -> Iterator[str]:
    """Every fault that can happen to a request of this kind."""
    yield from ("refused", "reset_before", "answer_lost", "error_500_after", "hang", "stall")
    yield from ("error_500", "slow_down_503", "too_many_429", "timeout_400")
    yield from ("denied_403", "no_bucket_404", "wrong_etag")
    yield from ("untrusted", "handshake_torn", "skewed_403")
    if operation in ("get", "range", "size"):
        yield from ("absent_404", "flipped")
    if operation in ("get", "range"):
        yield from ("truncated", "shortened")
    if operation in ("put", "create", "delete"):
        yield from ("late", "duplicate", "duplicate_late")
    if operation in ("put", "create"):
        yield from ("flipped_upload", "kept_damaged")
    if operation == "create":
        yield from ("conflict_409", "exists_412")
