"""What the errors of file systems and S3 clients mean: the one place that reads them.

An error is judged by the HTTP status and the S3 code it carries, not by its class: the class
depends on the server and the client's version. An unknown error counts as temporary, so that a lost
or damaged answer is never taken for a refusal. `transit.store.causes` knows the errors
that come without an answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum, auto
from typing import Final, NamedTuple

from transit.errors import (
    AlreadyExistsError,
    InvalidInputError,
    NotFoundError,
    RemoteSetupError,
    RemoteUnavailableError,
    StorePermissionError,
    TransitError,
    UnsuitableRemoteError,
)
from transit.store.causes import cause_of, chain, scrubbed


class Meaning(Enum):
    """What an error says about the request."""

    ABSENT = auto()  # no such object
    NO_BUCKET = auto()  # no such bucket
    TAKEN = auto()  # there is an object, and there should be none
    PAST_END = auto()  # the range begins after the last byte
    HIDDEN = auto()  # not allowed; or absent, which a client that may not list is not told
    DENIED = auto()  # no credentials, wrong ones, or they do not suffice
    UNSUITABLE = auto()  # the store does not do this, now or later
    SETUP = auto()  # the way to the store, or a clock, is not set up right: waiting does not help
    INVALID = auto()  # the client's options or the request make no sense
    DAMAGED = auto()  # the bytes that came are not those the checksum was made of
    PASSING = auto()  # anything else


class Answer(NamedTuple):
    """The meaning of an error and a text for it that holds no credentials; hint: what to do."""

    meaning: Meaning
    text: str
    hint: str = ""


_BY_CODE: Final = {
    "NoSuchKey": Meaning.ABSENT,
    "NoSuchBucket": Meaning.NO_BUCKET,
    "PreconditionFailed": Meaning.TAKEN,
    "InvalidRange": Meaning.PAST_END,
    "BadDigest": Meaning.DAMAGED,
    "InvalidDigest": Meaning.DAMAGED,
    "XAmzContentSHA256Mismatch": Meaning.DAMAGED,
    "AccessDenied": Meaning.HIDDEN,
    "403": Meaning.HIDDEN,
    "ExpiredToken": Meaning.DENIED,
    "InvalidToken": Meaning.DENIED,
    "InvalidBucketName": Meaning.UNSUITABLE,
    "PermanentRedirect": Meaning.SETUP,
    "AuthorizationHeaderMalformed": Meaning.SETUP,
    "IllegalLocationConstraintException": Meaning.SETUP,
    "RequestTimeTooSkewed": Meaning.SETUP,
    "MethodNotAllowed": Meaning.UNSUITABLE,
    "MissingContentLength": Meaning.UNSUITABLE,
    "NotImplemented": Meaning.UNSUITABLE,
    "InvalidArgument": Meaning.INVALID,
    "InvalidRequest": Meaning.INVALID,
}
_BY_STATUS: Final = {
    301: Meaning.SETUP,
    401: Meaning.DENIED,
    403: Meaning.DENIED,
    404: Meaning.ABSENT,
    405: Meaning.UNSUITABLE,
    412: Meaning.TAKEN,
    416: Meaning.PAST_END,
    501: Meaning.UNSUITABLE,
}
# Classes of botocore that carry no answer of a server: the request was never sent.
_BY_NAME: Final = {
    "NoCredentialsError": Meaning.DENIED,
    "PartialCredentialsError": Meaning.DENIED,
    "CredentialRetrievalError": Meaning.DENIED,
    "TokenRetrievalError": Meaning.DENIED,
    "SSOTokenLoadError": Meaning.DENIED,
    "UnauthorizedSSOTokenError": Meaning.DENIED,
    "ParamValidationError": Meaning.INVALID,
    "ProfileNotFound": Meaning.INVALID,
    "EndpointResolutionError": Meaning.INVALID,
    "InvalidEndpointConfigurationError": Meaning.INVALID,
}
# Those whose own text names a profile or an endpoint, and no secret.
_SAY: Final = ("ProfileNotFound", "EndpointResolutionError", "NoCredentialsError")
_CREDENTIALS: Final = (
    "give credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or the option"
    " anon=True for a public bucket"
)
_HINTS: Final = {
    "NoCredentialsError": _CREDENTIALS,
    "PartialCredentialsError": _CREDENTIALS,
    "ProfileNotFound": "look at AWS_PROFILE, the option profile, and ~/.aws/config",
    "ExpiredToken": "get a new session token",
    "InvalidObjectState": "the bucket moved the object to an archive: restore it from there first",
    "InvalidAccessKeyId": "the server does not know this access key: is it another server's?",
    "SignatureDoesNotMatch": "the secret does not belong to the access key",
    "RequestTimeTooSkewed": "set this machine's clock",
}
# By the request that was refused: the right it needs, as policies name it.
_RIGHTS: Final = {
    "GetObject": "s3:GetObject",
    "HeadObject": "s3:GetObject",
    "PutObject": "s3:PutObject",
    "DeleteObject": "s3:DeleteObject",
    "ListObjectsV2": "s3:ListBucket",
}
_REGION: Final = re.compile(r"[a-z0-9-]{1,40}", re.ASCII)
# For file systems that raise Python's own errors: fsspec's the last, for what they do not offer.
_BY_CLASS: Final = (
    (FileNotFoundError, Meaning.ABSENT),
    (FileExistsError, Meaning.TAKEN),
    (PermissionError, Meaning.DENIED),
    (NotImplementedError, Meaning.UNSUITABLE),
)


def answer(error: BaseException) -> Answer:
    """What `error` means."""
    for cause in (error, error.__cause__):
        response = getattr(cause, "response", None)
        if isinstance(response, dict):
            found = _of_response(response)
            right = _RIGHTS.get(str(getattr(cause, "operation_name", "")))
            if found.meaning is Meaning.HIDDEN and right is not None:
                return found._replace(hint=f"this needs the right {right}")
            return found
    for cause in chain(error):
        name = type(cause).__name__
        if name in _BY_NAME:
            text = f"{name}: {scrubbed(str(cause))}" if name in _SAY else name
            return Answer(_BY_NAME[name], text, _HINTS.get(name, ""))
    status = getattr(error, "status", None)
    if isinstance(status, int) and status in _BY_STATUS:
        return Answer(_BY_STATUS[status], f"status {status}")
    for kind, meaning in _BY_CLASS:
        if isinstance(error, kind):
            return Answer(meaning, type(error).__name__)
    # Not str(error): file systems put URLs and options there.
    why = cause_of(error)
    return Answer(Meaning.SETUP if why.final else Meaning.PASSING, why.text, why.hint)


def _of_response(response: Mapping[str, object]) -> Answer:
    """What botocore's form of a server's answer means: `Error.Code` is worth more than a status."""
    said, about = _part(response, "Error"), _part(response, "ResponseMetadata")
    code, status = said.get("Code"), about.get("HTTPStatusCode")
    text = f"{code}, status {status}"
    if not isinstance(status, int):
        return Answer(Meaning.PASSING, text)
    # The code in a 5xx answer says why it is temporary, not that it is final; only 501 is final.
    if status >= 500 and status != 501:
        return Answer(Meaning.PASSING, text)
    meaning = _BY_CODE.get(str(code)) or _BY_STATUS.get(status) or Meaning.PASSING
    if meaning is Meaning.SETUP and code != "RequestTimeTooSkewed":
        return Answer(meaning, text, _region_hint(said, _part(about, "HTTPHeaders")))
    if code == "RequestTimeTooSkewed":
        date = _part(about, "HTTPHeaders").get("date")
        text += f"; the server's clock says {date}" if isinstance(date, str) else ""
    return Answer(meaning, text, _HINTS.get(str(code), ""))


def _part(answer: Mapping[str, object], name: str) -> Mapping[str, object]:
    found = answer.get(name)
    return found if isinstance(found, dict) else {}


def _region_hint(said: Mapping[str, object], headers: Mapping[str, object]) -> str:
    """What to do about an answer that says that the bucket is somewhere else."""
    region = str(said.get("Region") or headers.get("x-amz-bucket-region") or "")
    if not _REGION.fullmatch(region):
        return "give the bucket's region: AWS_DEFAULT_REGION, or client_kwargs={'region_name': …}"
    return (
        f"the bucket is in region {region}: set AWS_DEFAULT_REGION={region}, or give the option"
        f" client_kwargs={{'region_name': '{region}'}}"
    )


def error_of(said: Answer, place: str) -> TransitError:
    """The error to raise for an answer that the request has no better use for."""
    error = _error_of(said, place)
    return type(error)(f"{error}; {said.hint}") if said.hint else error


def _error_of(said: Answer, place: str) -> TransitError:
    if said.meaning is Meaning.NO_BUCKET:
        return NotFoundError(
            f"{place}: no such bucket; make it first, or look at endpoint_url: it may be another"
            " server's"
        )
    kind, text = _ERRORS.get(said.meaning, (RemoteUnavailableError, "no answer that can be used"))
    return kind(f"{place}: {text} ({said.text})")


_ERRORS: Final[Mapping[Meaning, tuple[type[TransitError], str]]] = {
    Meaning.ABSENT: (NotFoundError, "no such object"),
    Meaning.TAKEN: (AlreadyExistsError, "exists"),
    Meaning.HIDDEN: (StorePermissionError, "not allowed"),
    Meaning.DENIED: (StorePermissionError, "not allowed"),
    Meaning.UNSUITABLE: (UnsuitableRemoteError, "the store does not do this"),
    Meaning.SETUP: (RemoteSetupError, "cannot be reached so"),
    Meaning.INVALID: (InvalidInputError, "the options cannot be used"),
}
