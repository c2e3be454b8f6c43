"""Exports of DiscordChatExporter: replies, kinds of messages, overlaps, and nothing lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transit.chat.imports import detect, discord, documents, read
from transit.chat.imports.items import Edited, Item, Member, Reacted, Said
from transit.errors import InvalidInputError, NotFoundError

from .exports import ANYTHING, bads, lost, pack, put, records_with, said, written

ADA = {"id": "11", "name": "ada", "discriminator": "0000", "nickname": "Ada", "isBot": False}
BOB = {"id": "12", "name": "bob", "discriminator": "0000", "nickname": None, "isBot": True}


def message(
    number: int, text: str = "hi", kind: str = "Default", **more: object
) -> dict[str, object]:
    return {
        "id": str(1_000_000 + number),
        "type": kind,
        "timestamp": f"2020-07-04T15:49:{number:02}.02+00:00",
        "timestampEdited": None,
        "callEndedTimestamp": None,
        "isPinned": False,
        "content": text,
        "author": ADA,
        "attachments": [],
        "embeds": [],
        "stickers": [],
        "reactions": [],
        "mentions": [],
        **more,
    }


def export(*messages: object, name: str = "general", id: str = "77") -> dict[str, object]:
    return {
        "guild": {"id": "5", "name": "Guild", "iconUrl": "x"},
        "channel": {"id": id, "type": "GuildTextChat", "name": name, "topic": None},
        "dateRange": {"after": None, "before": None},
        "messages": list(messages),
        "messageCount": len(messages),
    }


def items_of(folder: Path, *messages: object) -> list[Item]:
    put(folder, {"general.json": export(*messages)})
    return written(discord.read(folder / "general.json"))


def test_a_message_has_its_ids_name_and_exact_time(tmp_path: Path) -> None:
    (one,) = said(items_of(tmp_path, message(1)))
    assert (one.id, one.channel) == ("discord:77/1000001", "general")
    assert (one.author, one.name, one.text) == ("11", "Ada", "hi")
    assert one.time == 1593877741_020000000
    assert not one.system
    assert one.source["author"] == ADA


def test_a_reply_answers_and_a_forward_and_a_pin_do_not(tmp_path: Path) -> None:
    reference = {"messageId": "1000001", "channelId": "77", "guildId": "5"}
    reply, gone, forward, pin, created = said(
        items_of(
            tmp_path,
            message(2, kind="Reply", reference=reference),
            message(3, kind="Reply", reference={"messageId": None, "channelId": "77"}),
            message(4, reference=reference, forwardedMessage={"content": "x"}),
            message(5, kind="ChannelPinnedMessage", reference=reference),
            message(6, kind="ThreadCreated", reference={"channelId": "78"}),
        )
    )
    assert reply.answers == "discord:77/1000001"
    assert [each.answers for each in (gone, forward, pin, created)] == [None] * 4
    assert [each.system for each in (reply, gone, forward, pin, created)] == [
        False, False, False, True, True,
    ]  # fmt: skip
    assert created.starts


def test_who_comes_and_goes_is_a_member(tmp_path: Path) -> None:
    joined, added, removed = items_of(
        tmp_path,
        message(1, kind="GuildMemberJoin"),
        message(2, kind="RecipientAdd", mentions=[BOB]),
        message(3, kind="RecipientRemove", mentions=[BOB]),
    )
    assert isinstance(joined, Member)
    assert (joined.author, joined.change) == ("11", "joined")
    assert isinstance(added, Member)
    assert (added.author, added.name, added.change) == ("12", "bob", "joined")
    assert isinstance(removed, Member)
    assert removed.change == "left"


def test_edits_and_reactions_with_users_are_items(tmp_path: Path) -> None:
    _, edit, one, two = items_of(
        tmp_path,
        message(
            1,
            timestampEdited="2020-07-04T15:50:00.1234567+00:00",
            reactions=[
                {"emoji": {"id": "", "name": "👍", "code": "thumbsup"}, "count": 1, "users": [ADA]},
                {"emoji": {"id": "99", "name": "blob"}, "count": 2, "users": [BOB]},
            ],
        ),
    )
    assert isinstance(edit, Edited)
    assert edit.time == 1593877800_123456700
    assert isinstance(one, Reacted)
    assert (one.id, one.reaction) == ("discord:77/1000001/👍/11", "👍")
    assert isinstance(two, Reacted)
    assert (two.id, two.reaction) == ("discord:77/1000001/99/12", "blob")


def test_reactions_of_exports_without_users_stay_as_counts(tmp_path: Path) -> None:
    """Tyrrrz/DiscordChatExporter#761: who reacted was not in the file."""
    counted = [{"emoji": {"id": "", "name": "x"}, "count": 3}]
    (one,) = items_of(tmp_path, message(1, reactions=counted))
    assert isinstance(one, Said)
    assert one.source["reactions"] == counted


def test_a_file_that_is_cut_gives_what_is_before_the_cut(tmp_path: Path) -> None:
    """Tyrrrz/DiscordChatExporter#413, #331: a full disk left half a file."""
    whole = json.dumps(export(message(1), message(2), message(3)), indent=2).encode()
    path = tmp_path / "general.json"
    path.write_bytes(whole[: whole.index(b'"1000003"')])
    *items, last = written(discord.read(path))
    assert [each.id for each in said(items)] == ["discord:77/1000001", "discord:77/1000002"]
    assert len(items) == 2
    (cut,) = bads([last])
    assert "ends" in cut.reason
    assert cut.place.number == 3


def test_a_later_export_that_overlaps_adds_what_is_new_and_keeps_what_changed(
    tmp_path: Path,
) -> None:
    """Tyrrrz/DiscordChatExporter#444, #295: exports of one channel, the later over the earlier."""
    put(
        tmp_path,
        {
            "a.json": export(message(1, "old"), message(2), message(3)),
            "b.json": export(
                message(1, "new", timestampEdited="2020-07-04T16:00:00+00:00"),
                message(2),
                message(3, isPinned=True),
                message(4),
            ),
        },
    )
    items = written(read(tmp_path))
    messages = [each for each in said(items) if not each.system]
    assert [each.id[-1] for each in messages] == ["1", "2", "3", "4"]
    (edit,) = [each for each in items if isinstance(each, Edited)]
    assert (edit.message, edit.text) == ("discord:77/1000001", "new")
    (other,) = [each for each in said(items) if each.system]
    assert (other.answers, other.source["isPinned"]) == ("discord:77/1000003", True)


def test_parts_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """Tyrrrz/DiscordChatExporter#427: a large channel is in several files."""
    names = ["g.json", *(f"g [part {number}].json" for number in range(2, 12))]
    put(tmp_path, {name: export(message(number)) for number, name in enumerate(names)})
    assert [each.place.file for each in said(read(tmp_path))] == names


def test_two_channels_with_one_name_stay_apart_and_one_can_be_chosen(tmp_path: Path) -> None:
    put(tmp_path, {"a.json": export(message(1)), "b.json": export(message(2), id="78")})
    assert [each.channel for each in said(read(tmp_path))] == ["general", "general (78)"]
    assert [each.id for each in said(read(tmp_path, channel="78"))] == ["discord:78/1000002"]
    with pytest.raises(NotFoundError, match="nowhere"):
        list(read(tmp_path, channel="nowhere"))


def test_a_time_that_is_none_is_that_of_the_id_or_the_message_is_bad(tmp_path: Path) -> None:
    snowflake = message(1, id="175928847299117063", timestamp="yesterday")
    items = items_of(tmp_path, snowflake, message(2, timestamp=None), "text", message(3))
    assert said(items)[0].time == 1462015105_796000000
    assert said(items)[0].source["timestamp"] == "yesterday"
    assert [each.place.number for each in bads(items)] == [2, 3]


def test_one_file_that_is_no_export_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    put(tmp_path, {"a.json": {"a": 1}, "b.json": b"{", "c.json": export(message(1)), "d.json": b""})
    items = written(read(tmp_path, "discord"))
    assert [each.place.file for each in bads(items)] == ["a.json", "b.json", "d.json"]
    assert len(said(items)) == 1
    for name in ("a.json", "b.json", "d.json"):
        with pytest.raises(InvalidInputError, match=name):
            list(read(tmp_path / name, "discord"))


def test_an_archive_and_a_large_file_read_as_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = [message(number, '"]}\\' * number + "é") for number in range(30)]
    first = items_of(tmp_path, *messages)
    archive = pack(tmp_path / "x.zip", {"general.json": export(*messages)})
    assert detect(archive) == "discord"
    assert list(read(archive)) == first
    monkeypatch.setattr(documents, "WHOLE_BYTES_MAX", 100)
    monkeypatch.setattr("transit.chat.imports.scanner.PIECE_BYTES", 7)
    assert list(discord.read(tmp_path / "general.json")) == first


def test_nothing_of_a_message_is_lost(tmp_path: Path) -> None:
    kinds = ["Default", "Reply", "GuildMemberJoin", "RecipientAdd", "ThreadCreated", "Call", "44"]
    whole = [
        message(
            number,
            kind=kind,
            timestampEdited="2021-01-01T00:00:00+02:00",
            callEndedTimestamp="2021-01-02T00:00:00+00:00",
            attachments=[{"id": "8", "url": "https://a", "fileSizeBytes": 12}],
            embeds=[{"title": "t", "fields": [{"name": "n", "isInline": True}], "color": "#1"}],
            stickers=[{"id": "9", "format": "Lottie"}],
            reactions=[{"emoji": {"id": "3", "isAnimated": True}, "count": 4, "users": [BOB]}],
            mentions=[BOB],
            reference={"messageId": "5", "channelId": "6", "guildId": "7"},
            inlineEmojis=[{"code": "smile"}],
        )
        for number, kind in enumerate(kinds, 1)
    ]
    items = items_of(tmp_path, *whole)
    for number, record in enumerate(whole, 1):
        assert lost(record, [each for each in items if each.place.number == number]) == []


MEMBERS = (
    "id", "type", "timestamp", "timestampEdited", "content", "author", "mentions", "reactions",
    "reference",
)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(
    messages=st.lists(records_with(*MEMBERS), max_size=5) | ANYTHING,
    head=records_with("guild", "channel"),
)
def test_any_json_in_the_places_of_an_export_is_read_or_told(
    tmp_path_factory: pytest.TempPathFactory, messages: object, head: object
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    whole: object = {**export(), "messages": messages}
    for content in (whole, head, messages):
        put(path.parent, {"any.json": content})
        try:
            items = written(discord.read(path))
        except InvalidInputError:
            continue
        assert isinstance(content, dict)
        if isinstance(messages, list) and content is whole:
            distinct = {json.dumps(each) for each in messages}
            assert len({each.place.number for each in items}) >= len(distinct)
