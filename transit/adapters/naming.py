"""Names: how the ids of other stacks become names and metadata of streams.

An id is kept readable where it can be. What a name cannot hold, and the slash that separates ids,
is written `%XX`, as in a URL. An id that would make the name too long, is empty, or has something
that must not be recorded, is `~` and 32 hex digits of its BLAKE3. The id itself, as far as it may
be recorded, is in the stream's metadata.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from blake3 import blake3

from transit import Log, NotFoundError, Scalar, Stream
from transit.trace import Redaction

# Of 512 bytes; the rest is for what stands before and after.
_ID_BYTES_MAX: Final = 120
_QUOTED: Final = re.compile(
    r"[/%\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
    r"|^[\s~]|\s$"
)
# Of 64 KiB of metadata.
_ID_CHARS_MAX: Final = 8192
_METADATA_CHARS_MAX: Final = 512
_MEMBERS_MAX: Final = 32


def quoted(text: str, redact: Redaction | None = None) -> str:
    """An id as one part of a stream's name: without a slash, at most 120 bytes."""
    shown = _QUOTED.sub(_escape, text)
    kept = text if redact is None else redact.text(text)[0]
    if not text or kept != text or len(shown.encode("utf-8", "surrogatepass")) > _ID_BYTES_MAX:
        return hashed(text)
    return shown


def hashed(text: str) -> str:
    """An id as one part of a stream's name that does not tell it."""
    return "~" + blake3(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def find(log: Log, prefix: str, text: str) -> Stream:
    """The stream of an id, whether its name tells the id or not; `NotFoundError`."""
    try:
        return log.stream(prefix + quoted(text))
    except NotFoundError:
        return log.stream(prefix + hashed(text))


def _escape(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "surrogatepass"))


def described(
    adapter: str,
    package: str,
    ids: Mapping[str, object],
    redact: Redaction | None = None,
    more: Mapping[str, object] | None = None,
) -> dict[str, Scalar]:
    """The metadata of an adapter's stream: what wrote it, its ids, and the scalars of `more`.

    ids: the first one is what the run is called.

    Of `more`, texts are cut at 512 characters and 32 members are taken: all is in the records.
    """
    said: dict[str, Scalar] = {
        "adapter": adapter,
        "adapter_format": 1,
        "library": package,
        "library_version": library_version(package),
    }
    for key, value in ids.items():
        _say(said, key, value, redact, _ID_CHARS_MAX)
    # What readers of runs look for.
    said |= {"task_id": said[next(iter(ids))], "created_at": time.time_ns()}
    for key, value in list((more or {}).items())[:_MEMBERS_MAX]:
        _say(said, key, value, redact, _METADATA_CHARS_MAX)
    return said


def _say(
    said: dict[str, Scalar], key: str, value: object, redact: Redaction | None, limit: int
) -> None:
    name = key if redact is None else redact.text(key)[0]
    if name in said:
        return
    if redact is not None and value is not None and redact.hides(key):
        said[name] = redact.replacement
    elif isinstance(value, bool | float) or value is None:
        said[name] = value
    elif isinstance(value, int):
        said[name] = value if -(2**63) <= value < 2**63 else str(value)[:limit]
    elif isinstance(value, str):
        text = value if redact is None else redact.text(value)[0]
        said[name] = plain_text(text)[:limit]


def plain_text(text: str) -> str:
    """A text without halves of characters, which UTF-8 has not."""
    return text.encode("utf-8", "replace").decode()


def header(value: object, redact: Redaction | None = None) -> str:
    """A value as that of a header: at most 1,024 characters."""
    text = value if isinstance(value, str) else "" if value is None else str(value)
    if redact is not None:
        text = redact.text(text)[0]
    return plain_text(text[:1024])


def library_version(package: str) -> str:
    """The version of a package that is installed, looked for once; "" for one that is not."""
    found = _versions.get(package)
    if found is None:
        try:
            found = version(package)
        except PackageNotFoundError:
            found = ""
        _versions[package] = found
    return found


_versions: Final[dict[str, str]] = {}
