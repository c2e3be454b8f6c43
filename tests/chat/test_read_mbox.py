"""Mailboxes: where mails begin, threads, times, texts, and nothing lost."""

from __future__ import annotations

import base64
import json
from email.message import EmailMessage
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transit.chat.imports import detect, mails, mbox, read
from transit.chat.imports.items import Item, Said

from .exports import bads, said, written


def mail(
    id: str | None = "1@x",
    body: str = "hello",
    envelope: str = "From ada@x Thu Jan  1 00:00:07 2004",
    **headers: str,
) -> bytes:
    given = {"From": "Ada L <ada@x>", "Date": "Mon, 15 Nov 2004 03:12:07 +0200", "Subject": "build"}
    if id:
        given["Message-ID"] = f"<{id}>"
    given.update({name.replace("_", "-"): value for name, value in headers.items()})
    lines = [envelope, *(f"{name}: {value}" for name, value in given.items() if value), "", body]
    return "\n".join(lines).encode() + b"\n\n"


def items_of(folder: Path, *mails: bytes) -> list[Item]:
    path = folder / "list.mbox"
    path.write_bytes(b"".join(mails))
    return written(mbox.read(path))


def test_a_mail_has_its_id_author_subject_time_and_text(tmp_path: Path) -> None:
    (one,) = said(items_of(tmp_path, mail()))
    assert (one.id, one.channel) == ("mbox:1@x", "list")
    assert (one.author, one.name, one.text) == ("ada@x", "Ada L", "hello\n")
    assert one.time == 1100481127 * 10**9
    assert one.starts
    assert one.source["subject"] == "build"


def test_threads_come_from_references_and_not_from_subjects(tmp_path: Path) -> None:
    """apache/ponymail#427, djcb/mu#1014: the same subject is not the same thread, and another
    subject is not another one.
    """
    one, other, changed, later = said(
        items_of(
            tmp_path,
            mail("1@x"),
            mail("2@x", References="<0@elsewhere>"),
            mail("3@x", Subject="now something else", In_Reply_To="<1@x>", References="<1@x>"),
            mail("4@x", References="<1@x> <3@x>\n <lost@x>", In_Reply_To="<lost@x>"),
        )
    )
    assert (one.answers, one.starts) == (None, True)
    assert (other.answers, other.starts) == ("mbox:0@elsewhere", False)
    assert changed.answers == "mbox:1@x"
    assert later.answers == "mbox:3@x"


def test_a_mail_before_what_it_answers_answers_it_too(tmp_path: Path) -> None:
    """suitenumerique/messages#151: threads must not depend on the order of an import."""
    answer, _ = said(
        items_of(tmp_path, mail("2@x", References="<1@x>", In_Reply_To="<gone@x>"), mail("1@x"))
    )
    assert answer.answers == "mbox:1@x"


def test_a_mail_without_an_id_has_one_of_its_bytes(tmp_path: Path) -> None:
    """google/mail-importer#5: such a mail ended the import."""
    first, second = said(items_of(tmp_path, mail(None), mail(None, "other")))
    again = said(items_of(tmp_path, mail("9@x"), mail(None)))[1]
    assert first.id == again.id
    assert first.id != second.id
    assert first.id.startswith("mbox:#")


def test_an_id_without_brackets_is_an_id(tmp_path: Path) -> None:
    one, answer = said(
        items_of(tmp_path, mail(None, Message_ID="1@x"), mail("2@x", References="<0@y> <1@x>"))
    )
    assert one.id == "mbox:1@x"
    assert answer.answers == one.id


def test_lines_that_end_in_two_characters_part_mails_too(tmp_path: Path) -> None:
    both = (mail() + mail("2@x")).replace(b"\n", b"\r\n")
    assert [each.text for each in said(items_of(tmp_path, both))] == ["hello\r\n"] * 2


def test_a_copy_is_passed_over_and_another_mail_with_its_id_is_kept(tmp_path: Path) -> None:
    """apache/ponymail#373: a mail to several lists has one Message-ID, and its other copies were
    lost.
    """
    one, other = said(items_of(tmp_path, mail(), mail(), mail(To="other@list")))
    assert one.id == "mbox:1@x"
    assert other.id.startswith("mbox:1@x~")


@pytest.mark.parametrize(
    "line",
    [
        "From here on all is well",
        "From my side:",
        "From the log at 12:15",
        "From: not a header line",
    ],
)
def test_a_line_of_text_that_begins_with_from_parts_no_mails(tmp_path: Path, line: str) -> None:
    """thunderbird/import-export-tools-ng#329, #145: such a mail became two, one without headers."""
    one, two = said(items_of(tmp_path, mail(body=f"a\n\n{line}\nb"), mail("2@x")))
    assert one.text == f"a\n\n{line}\nb\n"
    assert two.id == "mbox:2@x"


@pytest.mark.parametrize(
    "envelope", ["From - Wed Nov 01 11:33:16 2023", "From - ", "From ", "From x@y"]
)
def test_parting_lines_of_other_programs_are_known(tmp_path: Path, envelope: str) -> None:
    """thunderbird/import-export-tools-ng#215: sender and date are missing in that line."""
    assert (
        len(said(items_of(tmp_path, mail(envelope=envelope), mail("2@x", envelope=envelope)))) == 2
    )


def test_a_time_comes_from_date_received_the_parting_line_or_the_mail_before(
    tmp_path: Path,
) -> None:
    """thunderbird/import-export-tools-ng#370: with Received alone, it was the day of the import."""
    items = said(
        items_of(
            tmp_path,
            mail("1@x", Date="", Received="by x; Thu, 28 Oct 2004 17:00:38 -0400"),
            mail("2@x", Date="on a day", Received="nothing"),
            mail("3@x", Date="", envelope="From - "),
            mail("4@x", Date="Mon, 99 Xxx 99999 99:99:99 +9999"),
        )
    )
    assert [each.time // 10**9 for each in items] == [
        1098997238,
        1072915207,
        1072915207,
        1072915207,
    ]


def test_parts_encoded_words_and_broken_charsets_are_read(tmp_path: Path) -> None:
    message = EmailMessage()
    message["From"] = "Jörg Müller <j@x>"
    message["Subject"] = "Grüße aus Köln " * 5
    message["Message-ID"] = "<m@x>"
    message["Date"] = "Mon, 15 Nov 2004 03:12:07 +0000"
    message.set_content("schön\n")
    message.add_alternative("<p>sch&ouml;n</p>\n", subtype="html")
    message.add_attachment(b"\0\1", maintype="application", subtype="x", filename="a.bin")
    broken = (
        b"From x@y\nMessage-ID: <b@x>\nFrom: J\xf6rg <j@x>\n"
        b"Subject: =?no-such?q?a=FC?= =?utf-8?b?!?=\n"
        b"Content-Type: text/plain; charset=no-such\n\ngr\xfc\xdfe\n\n"
    )
    one, two = said(items_of(tmp_path, b"From j@x\n" + bytes(message) + b"\n", broken))
    assert (one.name, one.text) == ("Jörg Müller", "schön\n")
    assert one.source["subject"] == ("Grüße aus Köln " * 5).strip()
    assert "<p>sch&ouml;n</p>" in json.dumps(one.source["parts"])
    assert base64.b64encode(b"\0\1").decode() in json.dumps(one.source["parts"])
    assert (two.name, two.text) == ("Jörg", "grüße\n")


def test_a_mail_of_html_alone_keeps_it_as_text_beside(tmp_path: Path) -> None:
    (one,) = said(items_of(tmp_path, mail(body="<b>hi</b>", Content_Type="text/html")))
    assert one.text == ""
    assert "<b>hi</b>" in json.dumps(one.source["parts"])


def test_nothing_of_a_mail_is_lost(tmp_path: Path) -> None:
    body = (
        "pre\n--b\nX-Part: first\nContent-Type: text/plain\n\nthe text\n"
        "--b\nContent-Type: text/plain\n\na footer\n"
        "--b\nContent-Type: message/rfc822\n\nSubject: inner\n\ninner text\n--b--\nafter all"
    )
    headers = {
        "X_Odd": "odd value",
        "Received": "by x; never",
        "References": "<0@x> <1@x>",
        "Content_Type": 'multipart/mixed; boundary="b"',
    }
    (one,) = items_of(tmp_path, mail(body=body, envelope="From q@z 12:15", **headers))
    there = msgspec.json.encode(one).decode()
    for words in (
        "the text", "a footer", "inner text", "inner", "first", "pre", "after all", "odd value",
        "never",
        "<0@x> <1@x>", "From q@z 12:15", "build", "Mon, 15 Nov 2004 03:12:07 +0200",
    ):  # fmt: skip
        assert words in there, words


def test_a_mail_that_is_too_large_is_told_and_the_next_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mails, "MAIL_BYTES_MAX", 400)
    items = items_of(tmp_path, mail(body="x\n" * 500), mail("2@x"))
    assert [each.place.number for each in bads(items)] == [1]
    assert [each.id for each in said(items)] == ["mbox:2@x"]


def test_an_empty_mailbox_has_no_mails_and_a_mail_without_parting_line_is_one(
    tmp_path: Path,
) -> None:
    assert items_of(tmp_path, b"") == []
    (one,) = items_of(tmp_path, mail().partition(b"\n")[2])
    assert isinstance(one, Said)
    assert one.id == "mbox:1@x"
    (one,) = items_of(tmp_path, b"\n\r\n" + mail())
    assert (one.place.number, one.time) == (1, 1100481127 * 10**9)  # type: ignore[union-attr]
    items_of(tmp_path, mail())
    assert detect(tmp_path / "list.mbox") == "mbox"
    assert said(read(tmp_path / "list.mbox", channel="dev"))[0].channel == "dev"


LINES = [
    b"From a@b Mon 00:00:01 2004", b"From - ", b"Subject: =?utf-8?b?4pyT?=", b"Message-ID: <1@x>",
    b"Content-Type: multipart/mixed; boundary=b", b"--b", b"--b--", b"", b"Date: ", b">From x",
    b"Content-Type: text/plain; charset*=x''\xff", b"Content-Transfer-Encoding: base64", b"=A",
    b"Content-Disposition: attachment; filename*0*=a", b"From: <", b"Content-Type: message/rfc822",
    b"References: <a> <b>", b"In-Reply-To: <\xe9>", b"Date: Mon, 15 Nov 2004 03:12:07 +9999999999",
    b"Content-Transfer-Encoding: uuencode", b"begin 666 x",
    b"Content-Type: text/plain; charset=idna",
]  # fmt: skip
PIECES = st.sampled_from([line + b"\n" for line in LINES])


@settings(deadline=None, max_examples=300)
@given(data=st.lists(PIECES | st.binary(max_size=12), max_size=25).map(b"".join))
def test_any_bytes_are_mails_or_told(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.mbox"
    path.write_bytes(data)
    items = written(mbox.read(path))
    assert bool(items) == bool(data.removeprefix(b"\xef\xbb\xbf").strip())
