"""Errors as problem documents (RFC 9457), and back.

    {"type": "about:blank", "title": "Conflict", "status": 409, "detail": "…",
     "error": "ConflictError", "exit_code": 10, "request_id": "…", …}

`error` is the class of `transit.errors`, `exit_code` its code on a command line; what else such an
error carries has its own name there. So a client raises what the embedded engine would have raised.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import msgspec

import transit
from transit import TransitError

CONTENT_TYPE: Final = "application/problem+json"

_STATUS: Final[Mapping[str, int]] = {
    "InvalidInputError": 400,
    "NotFoundError": 404,
    "AlreadyExistsError": 409,
    "ConflictError": 409,
    "StreamFinishedError": 409,
    # A view stands before a record; other states can be had.
    "ReducerError": 409,
    "EventError": 409,
    "FencedError": 409,
    # A checkpoint of another history, or one that nobody vouches for.
    "ProofError": 409,
    "ReadOnlyError": 403,
    "RetentionGapError": 410,
    "ErasedError": 410,
    "RetainedError": 409,
    "DependentsError": 409,
    # The server has no key, and asking again does not help.
    "SealedError": 409,
    "KeyringError": 503,
    "StorageFullError": 507,
    "LockedError": 503,
    "ClosedError": 503,
    "OutcomeUnknownError": 503,
    "StoreUnavailableError": 503,
    "SyncFailedError": 503,
    "CorruptError": 500,
    "FormatError": 500,
    "TransitError": 500,
}


_NONE: Final[Mapping[str, type[TransitError]]] = {}


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A problem document."""

    title: str
    status: int
    detail: str
    error: str = ""
    exit_code: int = 1
    request_id: str = ""
    fields: Mapping[str, object] = {}

    def encode(self) -> bytes:
        """The document."""
        shown = {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "error": self.error,
            "exit_code": self.exit_code,
            "request_id": self.request_id,
        }
        for key, value in self.fields.items():
            shown.setdefault(key, _plain(value))
        return msgspec.json.encode({key: value for key, value in shown.items() if value != ""})


def problem_of(error: TransitError, request_id: str = "") -> Problem:
    """What to tell about an error of the engine's."""
    kind = type(error)
    status = next(_STATUS[each.__name__] for each in kind.__mro__ if each.__name__ in _STATUS)
    fields = {key: value for key, value in vars(error).items() if not key.startswith("_")}
    return Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=str(error) or kind.__name__,
        error=kind.__name__,
        exit_code=error.exit_code,
        request_id=request_id,
        fields=fields,
    )


def refusal(status: int, detail: str, request_id: str = "") -> Problem:
    """What to tell where no error of the engine's was met: a token, a limit, a method."""
    exit_code = {401: 6, 403: 6, 404: 3, 503: 12}.get(status, 2)
    title = HTTPStatus(status).phrase
    return Problem(
        title=title, status=status, detail=detail, exit_code=exit_code, request_id=request_id
    )


def error_of(
    document: bytes, others: Mapping[str, type[TransitError]] = _NONE
) -> TransitError | None:
    """The error that a document tells of; None when it names none of the engine's.

    others: errors that are not the engine's own, by name.
    """
    try:
        told = msgspec.json.decode(document, type=dict[str, object])
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    name, detail = told.get("error"), told.get("detail")
    if not isinstance(name, str):
        return None
    kind = getattr(transit, name, None) if name in transit.__all__ else others.get(name)
    if not (isinstance(kind, type) and issubclass(kind, TransitError)):
        return None
    error = kind.__new__(kind, str(detail))
    error.args = (str(detail),)
    known = {"type", "title", "status", "detail", "error", "exit_code", "request_id"}
    vars(error).update({key: _held(value) for key, value in told.items() if key not in known})
    return error


def _held(value: object) -> object:
    """A value as an error has it: where there are several they are a tuple."""
    return tuple(map(_held, value)) if isinstance(value, list) else value


def detail_of(document: bytes) -> str:
    """What a document says in words; empty for what is none."""
    try:
        told = msgspec.json.decode(document, type=dict[str, object])
    except (msgspec.DecodeError, ValueError, RecursionError):
        return ""
    detail = told.get("detail")
    return detail if isinstance(detail, str) else ""


def _plain(value: object) -> object:
    """A value as JSON holds it."""
    return msgspec.to_builtins(value, enc_hook=str, str_keys=True)
