"""Exports of Slack: threads, subtypes, names, and nothing lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transit.chat.imports import detect, read, slack
from transit.chat.imports.items import Edited, Item, Member, Reacted, Removed, Said
from transit.errors import InvalidInputError, NotFoundError

from .exports import ANYTHING, bads, lost, pack, put, records_with, said, written

USERS = [
    {"id": "U1", "name": "ada", "real_name": "Ada L", "profile": {"display_name": "adal"}},
    {"id": "U2", "name": "bob", "profile": {"display_name": "", "real_name": "Bob B"}},
    {"id": "U3", "name": "eve", "profile": {}},
]
CHANNELS = [{"id": "C1", "name": "general", "members": ["U1"]}]


def message(ts: str, text: str = "hi", user: str = "U1", **more: object) -> dict[str, object]:
    return {"type": "message", "user": user, "text": text, "ts": ts, **more}


def export(*messages: object, **files: object) -> dict[str, object]:
    return {
        "channels.json": CHANNELS,
        "users.json": USERS,
        "general/2020-01-01.json": list(messages),
        **files,
    }


def items_of(folder: Path, *messages: object, **files: object) -> list[Item]:
    return written(slack.read(put(folder, export(*messages, **files))))


def test_an_export_gives_messages_with_ids_names_and_exact_times(tmp_path: Path) -> None:
    one, two, three, four = said(
        items_of(
            tmp_path,
            message("1577836800.000001", "hello <@U2>"),
            message("1577836800.000002", "b", "U2"),
            message("1577836800.000003", "c", "U3"),
            message("1577836800.000004", "d", "U9", user_profile={"display_name": "guest"}),
        )
    )
    assert one == Said(
        place=one.place,
        channel="general",
        id="slack:C1/1577836800.000001",
        author="U1",
        name="adal",
        text="hello <@U2>",
        time=1577836800_000001000,
        source={"type": "message"},
    )
    assert str(one.place) == "general/2020-01-01.json:1"
    assert [each.name for each in (two, three, four)] == ["Bob B", "eve", "guest"]


def test_a_zip_archive_and_one_with_a_folder_around_read_as_the_folder(tmp_path: Path) -> None:
    files = export(message("1.5"), message("2.5"))
    folder = [each.id for each in said(read(put(tmp_path / "x", files)))]
    assert [each.id for each in said(read(pack(tmp_path / "x.zip", files)))] == folder
    around = {f"My export/{name}": content for name, content in files.items()}
    around["__MACOSX/My export/._channels.json"] = b"\0\5"
    assert [each.id for each in said(read(pack(tmp_path / "y.zip", around)))] == folder
    assert len(folder) == 2


def test_replies_answer_their_root_and_roots_start_threads(tmp_path: Path) -> None:
    root, reply, plain = said(
        items_of(
            tmp_path,
            message("1.0", thread_ts="1.0", reply_count=1, replies=[{"user": "U2", "ts": "2.0"}]),
            message("2.0", user="U2", thread_ts="1.0", parent_user_id="U1"),
            message("3.0"),
        )
    )
    assert (root.starts, root.answers) == (True, None)
    assert (reply.starts, reply.answers) == (False, "slack:C1/1.0")
    assert (plain.starts, plain.answers) == (False, None)


def test_a_reply_whose_root_is_not_there_is_kept(tmp_path: Path) -> None:
    """chattocorp/chatto#483: the root was deleted before the export, or the export is damaged."""
    (reply,) = said(items_of(tmp_path, message("2.0", thread_ts="1.0")))
    assert reply.answers == "slack:C1/1.0"


def test_a_reply_that_was_sent_to_the_channel_too_is_a_reply(tmp_path: Path) -> None:
    """mattermost/mmetl#14, RocketChat/Rocket.Chat#12676: `thread_broadcast` was an unknown type."""
    root = {"type": "message", "user": "U1", "text": "hi", "thread_ts": "1.0", "ts": "1.0"}
    (reply,) = said(
        items_of(tmp_path, message("2.0", subtype="thread_broadcast", thread_ts="1.0", root=root))
    )
    assert (reply.answers, reply.system) == ("slack:C1/1.0", False)
    assert reply.source["root"] == root


def test_replies_that_only_their_root_names_are_answers(tmp_path: Path) -> None:
    """mattermost/mattermost#10203: what was a thread became plain messages."""
    _, reply, other = said(
        items_of(
            tmp_path,
            message("1.0", replies=[{"user": "U2", "ts": "2.0"}]),
            message("2.0", user="U2", parent_user_id="U1"),
            message("3.0"),
        )
    )
    assert (reply.answers, other.answers) == ("slack:C1/1.0", None)


def test_a_file_whose_replies_are_at_its_end_is_read_in_the_order_of_time(tmp_path: Path) -> None:
    """hfaran/slack-export-viewer#138: replies came after all messages of the page."""
    items = said(
        items_of(tmp_path, message("1.0"), message("3.0"), message("2.0", thread_ts="1.0"))
    )
    assert [each.time for each in items] == [10**9, 2 * 10**9, 3 * 10**9]
    assert [each.place.number for each in items] == [1, 3, 2]


def test_a_message_without_ts_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    """hfaran/slack-export-viewer#165, pR0Ps/slack-to-discord#28, zulip/zulip#39650: a lost `ts`
    or one bad time ended the import.
    """
    broken = {"type": "message", "text": "when?"}
    items = items_of(
        tmp_path, broken, message("soon"), message("9" * 40), "text", None, message("1.0")
    )
    assert [each.place.number for each in bads(items)] == [1, 2, 3, 4, 5]
    assert [each.text for each in said(items)] == ["hi"]
    assert '"when?"' in bads(items)[0].raw


def test_users_that_are_not_in_the_list_are_named_by_their_ids(tmp_path: Path) -> None:
    """hfaran/slack-export-viewer#125, zulip/zulip#23552: unknown users, also of reactions."""
    reaction = {"name": "+1", "users": ["U094J8VTL"], "count": 1}
    items = items_of(tmp_path, message("1.0", user="USLACKBOT", reactions=[reaction]))
    assert said(items)[0].name == "USLACKBOT"
    assert isinstance(items[1], Reacted)
    assert items[1].author == "U094J8VTL"


@pytest.mark.parametrize("channels", [None, [], b"", b"nul"])
def test_channels_without_a_list_are_named_by_their_folders(
    tmp_path: Path, channels: object
) -> None:
    """rusq/slackdump#110: `channels.json` held `null`, and no channel was seen."""
    items = items_of(tmp_path, message("1.0"), **{"channels.json": channels})
    assert [(each.channel, each.id) for each in said(items)] == [("general", "slack:general/1.0")]
    assert len(bads(items)) == (channels != [])


def test_direct_conversations_groups_and_meetings_of_many_are_read(tmp_path: Path) -> None:
    items = items_of(
        tmp_path,
        **{
            "dms.json": [{"id": "D1", "members": ["U1", "U2"]}],
            "groups.json": [{"id": "G1", "name": "secret"}],
            "mpims.json": [{"id": "G2", "name": "mpdm-ada--bob--eve-1"}],
            "integration_logs.json": [{"service_type": "x", "date": "1577836800"}],
            "D1/2020-01-01.json": [message("1.0")],
            "secret/2020-01-01.json": [message("2.0")],
            "mpdm-ada--bob--eve-1/2020-01-01.json": [message("3.0")],
        },
    )
    assert sorted(each.id for each in said(items)) == [
        "slack:D1/1.0",
        "slack:G1/2.0",
        "slack:G2/3.0",
    ]
    (direct,) = said(read(tmp_path, channel="D1"))
    assert direct.channel == "D1"
    (secret,) = said(read(tmp_path, channel="G1"))
    assert secret.channel == "secret"
    with pytest.raises(NotFoundError, match=r"'nowhere'.*secret"):
        list(read(tmp_path, channel="nowhere"))


def test_subtypes_are_what_they_say(tmp_path: Path) -> None:
    items = items_of(
        tmp_path,
        message("1.0", subtype="channel_join"),
        message("2.0", subtype="channel_leave"),
        message("3.0", subtype="channel_topic", topic="build"),
        message("4.0", subtype="me_message"),
        {"type": "message", "subtype": "bot_message", "text": "b", "ts": "5.0", "username": "ci"},
        message("6.0", "x", "USLACKBOT", subtype="tombstone", thread_ts="6.0", hidden=True),
        message(
            "7.0",
            subtype="message_changed",
            message={"user": "U2", "text": "new", "ts": "4.0", "edited": {"user": "U2"}},
            previous_message={"text": "old"},
        ),
        message("8.0", subtype="message_deleted", deleted_ts="4.0"),
        message("9.0", subtype="message_deleted"),
    )
    join, leave, topic, me, bot, stone, gone, changed, deleted, unknown = items
    assert [each.change for each in (join, leave) if isinstance(each, Member)] == ["joined", "left"]
    system = [each.system for each in (topic, me, bot, stone) if isinstance(each, Said)]
    assert system == [True, False, False, True]
    assert isinstance(bot, Said)
    assert (bot.author, bot.name) == ("ci", "ci")
    assert isinstance(gone, Removed)
    assert gone.message == "slack:C1/6.0"
    assert isinstance(changed, Edited)
    assert (changed.message, changed.author, changed.text) == ("slack:C1/4.0", "U2", "new")
    assert isinstance(deleted, Removed)
    assert deleted.message == "slack:C1/4.0"
    assert bads([unknown])


def test_an_edited_message_gives_an_edit_and_a_reaction_one_for_each_user(tmp_path: Path) -> None:
    one = message(
        "1.0",
        edited={"user": "U1", "ts": "2.5"},
        reactions=[{"name": "+1", "users": ["U2", "U3"], "count": 5}],
    )
    _, edit, *reactions = items_of(tmp_path, one)
    assert isinstance(edit, Edited)
    assert (edit.id, edit.time) == ("slack:C1/1.0/edited/2.5", 2_500_000_000)
    assert [each.id for each in reactions if isinstance(each, Reacted)] == [
        "slack:C1/1.0/+1/U2",
        "slack:C1/1.0/+1/U3",
    ]


def test_a_number_as_ts_loses_no_microsecond(tmp_path: Path) -> None:
    raw = b'[{"type":"message","text":"a","ts":1456427378.000002}]'
    (item,) = said(items_of(tmp_path, **{"general/2020-01-01.json": raw}))
    assert item.time == 1456427378_000002000
    assert item.id == "slack:C1/1456427378.000002"


def test_the_same_message_twice_is_one_and_another_with_its_ts_is_kept(tmp_path: Path) -> None:
    one, other = said(
        items_of(tmp_path, message("1.0"), message("1.0"), message("1.0", "not the same"))
    )
    assert (one.text, other.text) == ("hi", "not the same")
    assert other.id.startswith(one.id + "~")
    assert [each.id for each in said(slack.read(tmp_path))] == [one.id, other.id]


def test_nothing_of_a_message_is_lost(tmp_path: Path) -> None:
    whole = [
        message(
            f"{number}.000{number}",
            subtype=subtype,
            thread_ts="1.0001",
            client_msg_id="a-b",
            files=[{"id": "F1", "url_private": "https://x", "size": 7}],
            attachments=[{"fallback": "f", "fields": [{"title": "t", "short": True}]}],
            blocks=[{"type": "rich_text", "elements": [{"text": "deep"}]}],
            reactions=[{"name": "eyes", "users": ["U3"], "count": 9}],
            edited={"user": "U7", "ts": "77.5"},
            message={"text": "m", "ts": "5.5", "user": "U8"},
            previous_message={"text": "p", "ts": "6.5"},
            deleted_ts="6.5",
            inviter="U6",
            bot_profile={"name": "robot"},
        )
        for number, subtype in enumerate(
            ["bot_message", "channel_join", "channel_topic", "message_changed", "message_deleted",
             "thread_broadcast", "tombstone", "no such one", "file_share"],
            1,
        )
    ]  # fmt: skip
    items = items_of(tmp_path, *whole)
    for number, record in enumerate(whole, 1):
        assert lost(record, [each for each in items if each.place.number == number]) == []


def test_a_folder_of_other_files_is_no_export(tmp_path: Path) -> None:
    put(tmp_path, {"notes.json": [], "x.txt": b"hello"})
    with pytest.raises(InvalidInputError, match=r"channels\.json"):
        list(read(tmp_path, "slack"))
    assert detect(put(tmp_path / "e", export())) == "slack"


MEMBERS = (
    "type", "subtype", "ts", "user", "text", "thread_ts", "replies", "reactions", "edited",
    "message", "deleted_ts", "previous_message", "user_profile", "bot_profile", "comment",
)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(
    day=st.lists(records_with(*MEMBERS), max_size=5) | ANYTHING,
    lists=st.lists(records_with("id", "name", "profile"), max_size=3) | ANYTHING,
)
def test_any_json_in_the_places_of_an_export_is_read_or_told(
    tmp_path_factory: pytest.TempPathFactory, day: object, lists: object
) -> None:
    folder = tmp_path_factory.getbasetemp() / "any"
    put(folder, export(**{"general/2020-01-01.json": day}, **{"users.json": lists}))
    put(folder, {"channels.json": lists})
    items = written(slack.read(folder))
    if isinstance(day, list):
        told = {each.place.number for each in items if each.place.file.startswith("general/")}
        distinct = {repr(each) for each in day}
        assert len(told) >= len(distinct)


_TS = st.sampled_from(
    [f"15000000{second:02d}.00000{part}" for second in range(4) for part in range(2)]
    + ["1.0", "1500000001", "123456789012.1234", "9999999999.999999"]
) | st.sampled_from(["", 1500000001.000001, None])


@settings(max_examples=200, deadline=None)
@given(
    days=st.lists(
        st.lists(
            st.fixed_dictionaries(
                {"ts": _TS, "text": st.sampled_from("ab")},
                optional={
                    "user": st.sampled_from(["U1", "U9", "", 5]),
                    "thread_ts": _TS,
                    "replies": st.lists(st.fixed_dictionaries({"ts": _TS}), max_size=2),
                    "edited": st.fixed_dictionaries({"ts": _TS, "user": st.just("U2")}),
                    "subtype": st.sampled_from(["channel_join", "bot_message", "tombstone"]),
                    "user_profile": st.just({"display_name": "zed"}),
                },
            )
            | st.just(5),
            max_size=8,
        ),
        max_size=3,
    )
)
def test_plain_messages_are_read_as_all_others_are(
    tmp_path_factory: pytest.TempPathFactory, days: list[list[object]]
) -> None:
    folder = tmp_path_factory.mktemp("plain")
    files = {f"general/2020-01-0{at + 2}.json": day for at, day in enumerate(days)}
    put(folder, export(message("1.0"), **files))
    items = list(slack.read(folder))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slack, "_is_plain", lambda *_: False)
        assert list(slack.read(folder)) == items
        patch.setattr(slack, "_split", lambda _: None)
        assert list(slack.read(folder)) == items
