"""Mailboxes in the format mbox: one file with mails one after the other.

Owns which lines part mails, and what a mail becomes. A line that begins with `From ` parts mails
only if it comes after an empty line, has a time, an address or nothing after it, and a header
follows: other lines of that kind are text. `>From ` is left as it is, for who wrote it is not
known.

- Ids are `mbox:<message id>`; a mail without Message-ID has `mbox:#<digest>` of its bytes. A copy
  of a mail is passed over; another mail under the same Message-ID is kept, as `mbox:<message
  id>~<digest>`.
- A mail answers what In-Reply-To names if that mail is in the file, else the last of References
  that is, else what In-Reply-To or the last of References names. Subjects play no part. A mail with
  neither header starts a thread.
- Its time is that of Date, of the latest Received, of the line that parts it, or of the mail before
  it: the first of them that is a time.
- Its text is its first part of text/plain that is no attachment. `source` has all headers as they
  are, the subject decoded, and the other parts, HTML as text, others as they are encoded.

The file is read twice, the first time for the ids. One mail is in memory at a time, of at most
`MAIL_BYTES_MAX`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.header import decode_header
from email.message import Message
from email.parser import BytesParser
from email.policy import compat32
from email.utils import getaddresses, parsedate_tz
from pathlib import Path
from typing import BinaryIO, NamedTuple

from transit.chat.imports.documents import escaped
from transit.chat.imports.faults import bad, label, told
from transit.chat.imports.items import Item, Place, Said
from transit.chat.imports.mails import Mail, mails
from transit.chat.imports.repeats import Repeats, digest
from transit.chat.imports.times import SECOND, believed, seconds_of

_ID = re.compile(r"<\s*([^<>\s]{1,998})\s*>")
_REFERENCES_MAX = 1_000
# What the parser of the standard library raises for mails that are no mails.
_OF_PARSER = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    OverflowError,
    RecursionError,
)


def read(path: str | Path, *, channel: str | None = None) -> Iterator[Item]:
    """The mails of the mailbox at `path`, in the order of the file."""
    path = Path(path)
    name = label(path.name)
    with told(path), path.open("rb") as file:
        ids = _ids(file)
        file.seek(0)
        reader = _Reader(channel or name.removesuffix(".mbox"), ids)
        for mail in mails(file):
            item = reader.item(Place(name, mail.number), mail)
            if item is not None:
                yield item


def _ids(file: BinaryIO) -> set[bytes]:
    """The digests of all Message-IDs of the file."""
    ids = set()
    for mail in mails(file):
        end = re.search(rb"\r?\n\r?\n", mail.raw)
        found = re.search(
            rb"^message-id:\s*<?\s*([^<>\s]+)",
            mail.raw[: end.end() if end else None],
            re.I | re.M,
        )
        if found:
            ids.add(digest(found[1]))
    return ids


class _Reader:
    """What is known of a mailbox up to a mail."""

    def __init__(self, channel: str, ids: set[bytes]) -> None:
        self._channel = channel
        self._ids = ids
        self._repeats = Repeats()
        self._time = 0

    def item(self, place: Place, mail: Mail) -> Item | None:
        if mail.fault:
            return bad(place, mail.fault, mail.raw)
        try:
            message = BytesParser(policy=compat32).parsebytes(mail.raw)
            return self._said(place, mail, message)
        except _OF_PARSER as error:
            return bad(place, f"the mail cannot be read: {error!r}", mail.raw)

    def _said(self, place: Place, mail: Mail, message: Message) -> Said | None:
        headers = _Headers(message)
        # Some programs leave the brackets out.
        found = re.match(r"<?\s*([^<>\s]+)", headers.first("message-id"))
        name = found[1] if found else "#" + digest(mail.raw).hex()
        again = self._repeats.note(name, mail.raw)
        if again is None:
            return None
        self._time = _time(headers, mail.envelope) or self._time
        author, called = headers.sender()
        body, parts = _body(message)
        source: dict[str, object] = {"headers": headers.all}
        if mail.envelope:
            source["envelope"] = mail.envelope
        if subject := headers.decoded("subject"):
            source["subject"] = subject
        return Said(
            place=place,
            channel=self._channel,
            id=f"mbox:{name}{again}",
            author=author,
            name=called or author,
            text=body,
            time=self._time,
            answers=self._answered(headers),
            starts=not headers.first("in-reply-to") and not headers.first("references"),
            source=source | ({"parts": parts} if parts else {}),
        )

    def _answered(self, headers: _Headers) -> str | None:
        direct = headers.ids("in-reply-to")[:1]
        older = headers.ids("references")[::-1]
        wanted = [*direct, *older]
        for name in wanted:
            if digest(name.encode()) in self._ids:
                return f"mbox:{name}"
        return f"mbox:{wanted[0]}" if wanted else None


class _Headers:
    """The headers of a mail, as text: bytes that are no ASCII are UTF-8, or else Latin-1."""

    def __init__(self, message: Message) -> None:
        self.all = [[str(name), _plain(value)] for name, value in message.raw_items()]

    def first(self, name: str) -> str:
        """What the first header with this name says, without the folds of its lines."""
        for found, value in self.all:
            if found.lower() == name:
                return re.sub(r"\s*[\r\n]+\s*", " ", value).strip()
        return ""

    def ids(self, name: str) -> list[str]:
        """The ids in a header."""
        return _ID.findall(self.first(name))[-_REFERENCES_MAX:]

    def decoded(self, name: str) -> str:
        """A header with its encoded words decoded."""
        return _decoded(self.first(name))

    def sender(self) -> tuple[str, str]:
        """The address and the name of who wrote the mail."""
        for header in ("from", "sender", "reply-to"):
            value = self.first(header)
            for called, address in getaddresses([value]) if value else ():
                if address:
                    return address, _decoded(called)
        return self.first("from"), ""


def _time(headers: _Headers, envelope: str) -> int | None:
    received = headers.first("received").rpartition(";")[2]
    # After `From `, the address, and then the time.
    parting = envelope.removeprefix("From ").lstrip().partition(" ")[2]
    for text in (headers.first("date"), received, parting):
        time = _of_date(text)
        if time is not None:
            return time
    return None


def _of_date(text: str) -> int | None:
    found = parsedate_tz(text) if text else None
    if found is None:
        return None
    year, month, day, hour, minute, second = found[:6]
    clock = hour * 3600 + minute * 60 + second
    seconds = seconds_of(year, month, day, clock)
    if seconds is None or not 0 <= clock <= 86_400:
        return None
    return believed((seconds - (found[9] or 0)) * SECOND)


def _body(message: Message) -> tuple[str, list[dict[str, object]]]:
    """The text of a mail, and all parts that are not it."""
    body: str | None = None
    parts: list[dict[str, object]] = []
    for part in message.walk():
        if part.is_multipart():
            for kind in ("preamble", "epilogue"):
                if said := getattr(part, kind):
                    parts.append({kind: _plain(said)})
            if part is not message:
                parts.append({"headers": _Headers(part).all})
            continue
        content = _Content.of(part)
        is_body = body is None and part.get_content_type() == "text/plain" and not _attached(part)
        if is_body:
            body = content.text
        about: dict[str, object] = {}
        if part is not message:
            about["headers"] = _Headers(part).all
        if not is_body:
            about["text" if content.exact else "encoded"] = (
                content.text if content.exact else content.raw
            )
        elif not content.exact:
            about["encoded"] = content.raw
        if about and (not is_body or part is not message or not content.exact):
            parts.append(about)
    return body or "", parts


def _attached(part: Message) -> bool:
    return part.get_content_disposition() == "attachment" or bool(part.get_filename())


class _Content(NamedTuple):
    """What a part says; `raw` as it is in the mail, `exact` if its text says all of it."""

    text: str
    raw: str
    exact: bool

    @classmethod
    def of(cls, part: Message) -> _Content:
        payload = part.get_payload()
        raw = _plain(payload if isinstance(payload, str) else "")
        if part.get_content_maintype() not in ("text", "message"):
            return cls("", raw, False)
        data = part.get_payload(decode=True)
        if not isinstance(data, bytes):
            return cls(raw, raw, True)
        for charset in (part.get_content_charset() or "utf-8", "utf-8", "cp1252", "latin-1"):
            try:
                text = escaped(data.decode(charset))
            # LookupError: no charset has this name; UnicodeError: the bytes are of another.
            except (LookupError, ValueError):
                continue
            return cls(text, raw, not part.defects)
        raise AssertionError("latin-1 has every byte")


def _plain(value: object) -> str:
    """Text of the parser, whose surrogates are bytes that are no ASCII."""
    text = str(value)
    if text.isascii():
        return text
    data = text.encode("utf-8", "surrogateescape")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _decoded(text: str) -> str:
    if "=?" not in text:
        return text
    pieces = []
    try:
        for piece, charset in decode_header(text):
            pieces.append(piece if isinstance(piece, str) else _of_charset(piece, charset))
    # HeaderParseError, a ValueError or not by version: base64 that is none.
    except Exception:
        return text
    return escaped("".join(pieces))


def _of_charset(data: bytes, charset: str | None) -> str:
    for name in (charset or "utf-8", "utf-8"):
        try:
            return data.decode(name)
        except (LookupError, ValueError):
            continue
    return data.decode("latin-1")
