"""Tools about channels: reading them in bounds, posting once, and within the grant."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from mcp.client import Client

import transit
from tests.chat.test_connected import AnswersLast, asked
from transit import Log, chat
from transit.server.access import APPEND, BRANCH, EVERYTHING, READ, Grant
from transit.server.mcp.arguments import ANSWER_BYTES

from .clients import ask, client_at, client_of, refused, run, served

IN = ("list_channels", "read_channel", "list_threads", "read_thread", "post", "reply")


def grant(*rights: str, prefix: str = "dev") -> Grant:
    return Grant("agent-7", ((prefix, frozenset(rights)),))


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with transit.open(tmp_path / "store", durability="os") as log:
        asked(chat.channel(log, "dev", purpose="how it is built"))
        chat.channel(log, "ops").post("kim", "the disk is full")
        log.create("plain")
        yield log


@pytest.fixture
def dev(log: Log) -> chat.Channel:
    return chat.channel(log, "dev")


def test_channels_are_listed_within_the_grant(log: Log) -> None:
    async def work() -> None:
        async with client_of(log) as client:
            found = await ask(client, "list_channels")
            assert [each["channel"] for each in found["channels"]] == ["ops", "dev"]
            assert found["channels"][0]["last"]["text"] == "the disk is full"
            assert found["channels"][1]["messages"] == 5
            first = await ask(client, "list_channels", limit=1)
            assert first["next"] == {"skip": 1}
            second = await ask(client, "list_channels", limit=1, **first["next"])
            assert [each["channel"] for each in second["channels"]] == ["dev"]
        async with client_of(log, grant(READ)) as client:
            found = await ask(client, "list_channels")
            assert (found["count"], found["channels"][0]["channel"]) == (1, "dev")
            for tool in ("read_channel", "list_threads"):
                assert "not allow" in await refused(client, tool, channel="ops")
            assert "not allow" in await refused(client, "read_thread", channel="ops", message=0)
            names = {tool.name for tool in (await client.list_tools()).tools}
            assert names & set(IN) == set(IN[:4])

    run(work())


def test_what_is_told_of_the_tools_takes_little_room_and_is_strict(log: Log) -> None:
    async def work() -> None:
        async with client_of(log) as client:
            listed = await client.list_tools()
            assert len(listed.model_dump_json(by_alias=True, exclude_none=True)) < 25 * 1024
            for tool in listed.tools:
                assert tool.input_schema["additionalProperties"] is False
                assert "$ref" not in json.dumps(tool.input_schema)
                assert "UNTRUSTED" in (tool.description or "")
        async with client_of(log, grant(READ, APPEND, prefix="plain")) as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            assert not names & set(IN)

    run(work())


def test_a_channel_is_read_as_it_is_shown(log: Log, dev: chat.Channel) -> None:
    dev.edit(1, "which python?", by="bob")
    dev.react(1, "+1", by="kim")
    dev.remove(2, by="kim", reason="spam")
    dev.override(4, parent=0, by="kim", reason="the same matter")
    dev.threads().of(0).reply("bob", "use 3.12")

    async def work() -> None:
        async with client_of(log) as client:
            found = await ask(client, "read_channel", channel="dev")
            first, second, third, _, fifth = found["messages"]
            assert (first["thread"], first["replies"]) == (0, 1)
            assert (second["text"], second["edits"], second["reactions"]) == (
                "which python?", 1, {"+1": 1},
            )  # fmt: skip
            assert second["why"] == {
                "how": "decided", "by": "answers-last", "answers": 0, "score": 0.9,
            }  # fmt: skip
            assert "text" not in third
            assert (third["removed"], third["removed_by"]) == (True, "kim")
            assert fifth["why"] == {
                "how": "said", "by": "kim", "answers": 0, "reason": "the same matter",
            }  # fmt: skip
            assert (found["count"], found["earlier"], found["next"]) == (5, None, None)
            last = await ask(client, "read_channel", channel="dev", limit=2)
            assert [each["offset"] for each in last["messages"]] == [3, 4]
            assert last["earlier"] == 1
            some = await ask(client, "read_channel", channel="dev", start=1, limit=2)
            assert [each["offset"] for each in some["messages"]] == [1, 2]
            assert some["next"] == {"start": 3}

    run(work())


def test_threads_are_listed_and_read(log: Log, dev: chat.Channel) -> None:
    thread = dev.threads().of(0)
    thread.summarise("it is the python", by="kim")
    thread.reply("bob", "use 3.12")
    thread.freeze(by="kim")
    thread.resolve(by="kim")

    async def work() -> None:
        async with client_of(log) as client:
            found = await ask(client, "list_threads", channel="dev")
            assert [each["thread"] for each in found["threads"]] == [3]
            found = await ask(client, "list_threads", channel="dev", state="resolved")
            (one,) = found["threads"]
            assert one["summary"] == {"text": "it is the python", "by": "kim", "stale": True}
            whole = await ask(client, "read_thread", channel="dev", message=2)
            assert [each["text"] for each in whole["said"]] == [
                "why does the wheel not build?", "say which python", "3.11", "use 3.12",
            ]  # fmt: skip
            assert (whole["thread"], whole["state"], whole["frozen"]) == (
                0, "resolved", ["dev/frozen/0"],
            )  # fmt: skip
            assert whole["said"][3]["stream"] == "dev/t/0"
            said, more = [], {}
            while True:
                page = await ask(client, "read_thread", channel="dev", message=2, limit=1, **more)
                said += page["said"]
                if page["next"] is None:
                    break
                more = page["next"]
            assert said == whole["said"]
            assert "no message" in await refused(client, "read_thread", channel="dev", message=99)
            assert "no channel" in await refused(client, "read_channel", channel="plain")
            assert "no stream" in await refused(client, "read_channel", channel="none")
            name = f"$chat/decisions/{dev.stream.uid}"
            assert "no stream" in await refused(client, "read_channel", channel=name)

    run(work())


def test_answers_about_long_talk_are_bounded(log: Log, dev: chat.Channel) -> None:
    for number in range(60):
        dev.post("ada", f"{number} " + "\u202e<b>" * 2_000)
    list(chat.threading(dev, classifier=AnswersLast()).run())

    async def follow(client: Client, tool: str, items: str, **given: object) -> list[object]:
        found: list[object] = []
        more: dict[str, object] = {}
        for _ in range(1_000):
            page = await ask(client, tool, channel="dev", limit=100, **{**given, **more})
            text = json.dumps(page, separators=(",", ":"), ensure_ascii=False)
            assert len(text.encode()) <= ANSWER_BYTES
            found += [each["offset"] for each in page[items]]
            if page["next"] is None:
                return found
            more = page["next"]
        raise AssertionError("the pages never end")

    async def work() -> None:
        async with client_of(log) as client:
            assert await follow(client, "read_channel", "messages", start=0) == list(range(65))
            found = await follow(client, "read_thread", "said", message=4)
            assert found == list(range(3, 65))

    run(work())


def test_an_agent_posts_under_its_name_and_once(log: Log, dev: chat.Channel) -> None:
    async def work() -> None:
        async with client_of(log, grant(READ, APPEND)) as client:
            first = await ask(client, "post", channel="dev", text="hello", id="m-1", answers=0)
            again = await ask(client, "post", channel="dev", text="hello", id="m-1", answers=0)
            assert first == again
            assert first["offset"] == 5
            message = dev.message(5)
            assert (message.author, message.answers, message.id) == ("agent-7", 0, "m-1")
            assert dev.stream[5].writer == "agent-7"
            said = await refused(client, "post", channel="dev", text="other", id="m-1")
            assert said.startswith("AlreadyExistsError")
            assert "no message" in await refused(
                client, "post", channel="dev", text="x", answers=99
            )
            assert "not allow" in await refused(client, "post", channel="ops", text="x")
            assert "no stream" in await refused(client, "post", channel="dev/none", text="x")
            assert "not allow" in await refused(client, "reply", channel="dev", message=0, text="x")
        assert len(dev.stream) == 6
        async with client_of(log, EVERYTHING) as client:
            found = await ask(client, "post", channel="dev", text="from nobody")
            assert dev.message(found["offset"]).author == "mcp"

    run(work())


def test_an_agent_replies_in_a_thread(log: Log, dev: chat.Channel) -> None:
    async def work() -> None:
        async with client_of(log, grant(READ, APPEND, BRANCH)) as client:
            first = await ask(client, "reply", channel="dev", message=2, text="use 3.12", id="r-1")
            again = await ask(client, "reply", channel="dev", message=0, text="use 3.12", id="r-1")
            assert first == again
            assert first["stream"] == "dev/t/0"
        async with client_of(log, grant(READ, APPEND)) as client:
            # The branch is there: to append is enough.
            await ask(client, "reply", channel="dev", message=1, text="yes")
            assert "not allow" in await refused(client, "reply", channel="dev", message=3, text="x")
        assert [each.text for each in dev.threads().of(0)][3:] == ["use 3.12", "yes"]
        assert log.stream("dev/t/0")[-1].writer == "agent-7"

    run(work())


def test_a_token_that_only_appends_reads_nothing_by_posting(log: Log) -> None:
    async def work() -> None:
        async with client_of(log, grant(APPEND)) as client:
            assert "not allow" in await refused(client, "post", channel="dev", text="x", id="m-1")

    run(work())


def test_an_argument_that_is_not_known_is_refused(log: Log) -> None:
    async def work() -> None:
        async with client_of(log) as client:
            for tool in IN:
                message = await refused(client, tool, bogus=1)
                assert "the arguments are: " in message
            for wrong in ({"id": ""}, {"text": ""}, {"answers": -1}, {"author": "ada"}):
                await refused(client, "post", **{"channel": "dev", "text": "x", **wrong})

    run(work())


def test_over_http_the_token_says_who_speaks(log: Log, dev: chat.Channel) -> None:
    async def work(url: str) -> None:
        async with client_at(url, "secret") as client:
            found = await ask(client, "post", channel="dev", text="hello", id="m-1")
            page = await ask(client, "read_channel", channel="dev", start=found["offset"])
            assert [each["author"] for each in page["messages"]] == ["agent-7"]

    with served(log, {"secret": grant(READ, APPEND)}) as url:
        run(work(url))
