"""One request to a collector, and what came of it."""

from __future__ import annotations

import email.utils
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Final, NamedTuple

_BODY_MAX: Final = 64 * 1024


class Answer(NamedTuple):
    """What came back. status: 0 where nothing did. said: its body, or why there is none.

    retry_after: seconds, as it asked; 0.0 where it did not.
    """

    status: int
    said: bytes
    retry_after: float = 0.0


def post(url: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> Answer:
    """Send a body; raises nothing."""
    request = urllib.request.Request(url, data=body, headers=dict(headers), method="POST")
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            return Answer(answer.status, answer.read(_BODY_MAX))
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, _read(error), _seconds(error.headers.get("retry-after")))
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Answer(0, repr(error).encode())


def _read(error: urllib.error.HTTPError) -> bytes:
    try:
        return error.read(_BODY_MAX)
    except (OSError, http.client.HTTPException):
        return b""


def _seconds(given: str | None) -> float:
    """What a header Retry-After asks for: seconds, or a date."""
    if not given:
        return 0.0
    try:
        return max(0.0, float(given))
    except ValueError:
        pass
    try:
        at = email.utils.parsedate_to_datetime(given)
    except (TypeError, ValueError):
        return 0.0
    return max(0.0, at.timestamp() - time.time())
