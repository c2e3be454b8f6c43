"""What the errors of file systems and S3 clients mean: the one place that reads them.

An error is judged by the HTTP status and the S3 code it carries, not by its class: the class
depends on the server and the client's version. What nothing is known about counts as passing, so
that a lost or damaged answer is never taken for a refusal.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final, NamedTuple

from transit.errors import (
    AlreadyExistsError,
    InvalidInputError,
    NotFoundError,
    RemoteUnavailableError,
    StorePermissionError,
    TransitError,
    UnsuitableRemoteError,
)


class Meaning(Enum):
    """What an error says about the request."""

    ABSENT = auto()  # no such object
    NO_BUCKET = auto()  # no such bucket
    TAKEN = auto()  # there is an object, and there should be none
    PAST_END = auto()  # the range begins after the last byte
    DENIED = auto()  # no credentials, wrong ones, or they do not suffice
    UNSUITABLE = auto()  # the store does not do this, now or later
    INVALID = auto()  # the client's options or the request make no sense
    DAMAGED = auto()  # the bytes that came are not those the checksum was made of
    PASSING = auto()  # anything else


class Answer(NamedTuple):
    """The meaning of an error and a text for it that holds no credentials."""

    meaning: Meaning
    text: str


_BY_CODE: Final = {
    "NoSuchKey": Meaning.ABSENT,
    "NoSuchBucket": Meaning.NO_BUCKET,
    "PreconditionFailed": Meaning.TAKEN,
    "InvalidRange": Meaning.PAST_END,
    "BadDigest": Meaning.DAMAGED,
    "InvalidDigest": Meaning.DAMAGED,
    "XAmzContentSHA256Mismatch": Meaning.DAMAGED,
    "ExpiredToken": Meaning.DENIED,
    "InvalidToken": Meaning.DENIED,
    "InvalidBucketName": Meaning.UNSUITABLE,
    "PermanentRedirect": Meaning.UNSUITABLE,
    "AuthorizationHeaderMalformed": Meaning.UNSUITABLE,
    "IllegalLocationConstraintException": Meaning.UNSUITABLE,
    "MethodNotAllowed": Meaning.UNSUITABLE,
    "MissingContentLength": Meaning.UNSUITABLE,
    "NotImplemented": Meaning.UNSUITABLE,
    "InvalidArgument": Meaning.INVALID,
    "InvalidRequest": Meaning.INVALID,
}
_BY_STATUS: Final = {
    301: Meaning.UNSUITABLE,
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
}
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
            return _of_response(response)
    for cause in (error, error.__cause__):
        meaning = _BY_NAME.get(type(cause).__name__)
        if meaning is not None:
            return Answer(meaning, type(cause).__name__)
    status = getattr(error, "status", None)
    if isinstance(status, int) and status in _BY_STATUS:
        return Answer(_BY_STATUS[status], f"status {status}")
    for kind, meaning in _BY_CLASS:
        if isinstance(error, kind):
            return Answer(meaning, type(error).__name__)
    # Not str(error): file systems put URLs and options there.
    return Answer(Meaning.PASSING, type(error).__name__)


def _of_response(response: dict[str, object]) -> Answer:
    """What botocore's form of a server's answer means: `Error.Code` is worth more than a status."""
    said, about = response.get("Error"), response.get("ResponseMetadata")
    code = said.get("Code") if isinstance(said, dict) else None
    status = about.get("HTTPStatusCode") if isinstance(about, dict) else None
    text = f"{code}, status {status}"
    if not isinstance(status, int):
        return Answer(Meaning.PASSING, text)
    # A code in an answer of the 5xx kind says why it passes, not that it is final; 501 is final.
    if status >= 500 and status != 501:
        return Answer(Meaning.PASSING, text)
    meaning = _BY_CODE.get(str(code)) or _BY_STATUS.get(status)
    return Answer(meaning or Meaning.PASSING, text)


def error_of(said: Answer, place: str) -> TransitError:
    """The error to raise for an answer that the request has no better use for."""
    match said.meaning:
        case Meaning.ABSENT:
            return NotFoundError(f"{place}: no such object ({said.text})")
        case Meaning.NO_BUCKET:
            return NotFoundError(f"{place}: no such bucket")
        case Meaning.TAKEN:
            return AlreadyExistsError(f"{place}: exists ({said.text})")
        case Meaning.DENIED:
            return StorePermissionError(f"{place}: not allowed ({said.text})")
        case Meaning.UNSUITABLE:
            return UnsuitableRemoteError(f"{place}: the store does not do this ({said.text})")
        case Meaning.INVALID:
            return InvalidInputError(f"{place}: the options cannot be used ({said.text})")
        case _:
            return RemoteUnavailableError(f"{place}: no answer that can be used ({said.text})")
