"""TransitConversationStore: conversations of real agents, saved, branched, forked and deleted."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

import transit
from tests.adapters.conftest import EncryptedPlace, Guarded, rest_of
from transit import InvalidInputError, trace

pytest.importorskip("pydantic_ai.conversation_store")

from pydantic_ai import Agent, DeferredToolRequests
from pydantic_ai.conversation import Conversation
from pydantic_ai.conversation_store import (
    ConversationConflict,
    ConversationEntry,
    ConversationRecord,
)
from pydantic_ai.messages import (
    BinaryContent,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models.function import FunctionModel

from transit.adapters.pydantic_ai import Removed, TransitConversationStore
from transit.server.run import serving
from transit.server.tokens import new_token

CANARY = "canary-51c0"


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def agent() -> Any:
    def answer(messages: Any, info: Any) -> ModelResponse:
        return ModelResponse(parts=[TextPart(f"answer {len(messages)}")])

    return Agent(FunctionModel(answer))


async def turn(store: TransitConversationStore, conversation: str, prompt: str) -> Any:
    given = await store.load(conversation) or Conversation(conversation_id=conversation)
    await store.save(await agent().run(prompt, conversation=given))
    return await store.load(conversation)


def told(conversation: Any) -> list[str]:
    return [part.content for each in conversation.messages for part in each.parts]


def request(text: str) -> Any:
    return ModelRequest(parts=[UserPromptPart(content=text)])


def test_each_message_is_stored_once(log: transit.Log) -> None:
    async def work() -> None:
        store = TransitConversationStore(log)
        for n in range(5):
            found = await turn(store, "c", f"say {n}")
        assert told(found)[-2:] == ["say 4", "answer 9"]
        stream = log.stream("pydantic-ai/c")
        kinds = [each.headers["kind"] for each in stream]
        assert kinds.count("entry") == 10
        assert kinds.count("record") == 5
        again = TransitConversationStore(log)
        entries = await again.load_entries("c")
        assert entries is not None
        assert [each.parent_id for each in entries] == [None, *(e.id for e in entries[:-1])]
        assert told(await again.load("c", limit=3)) == told(found)[-3:]
        assert (await again.read_entry(entries[3].id)) == entries[3]
        assert await TransitConversationStore(log).read_entry(entries[3].id) == entries[3]
        with pytest.raises(KeyError):
            await again.read_entry("none")
        (record,) = await again.list_conversations()
        assert record.usage == found.usage
        assert record.usage.requests == 5

    run(work())


def test_a_branch_that_was_left_can_be_gone_back_to(log: transit.Log) -> None:
    async def work() -> None:
        store = TransitConversationStore(log)
        await turn(store, "c", "one")
        found = await turn(store, "c", "two")
        back = await store.branch("c", at=2, expected_revision=found.revision)
        await store.save(await agent().run("instead", conversation=back))
        again = TransitConversationStore(log)
        now = await again.load("c")
        assert now is not None
        assert told(now) == ["one", "answer 1", "instead", "answer 3"]
        record = await again.read_record("c")
        assert record is not None
        first = await again.branch(
            "c", from_entry=record.branches[0], expected_revision=str(now.revision)
        )
        assert told(first) == told(found)

    run(work())


def test_a_fork_is_a_branch_of_the_stream(log: transit.Log) -> None:
    async def work() -> None:
        store = TransitConversationStore(log)
        for words in ("one", "two", "three"):
            await turn(store, "c", words)
        fork = await store.fork("c", at=4, new_conversation_id="f")
        await store.save(await agent().run("aside", conversation=fork))
        stream = log.stream("pydantic-ai/f")
        assert stream.parents[0].stream == "pydantic-ai/c"
        own = [each.headers["kind"] for each in stream.read(stream.own_start)]
        assert own == ["record", "entry", "entry", "record"]
        again = TransitConversationStore(log)
        assert told(await again.load("f")) == [
            "one", "answer 1", "two", "answer 3", "aside", "answer 5"
        ]  # fmt: skip
        assert len(told(await again.load("c"))) == 6
        empty = await again.fork("c", at=0, new_conversation_id="e")
        assert empty.messages == []
        assert log.stream("pydantic-ai/e").fork_offset is None
        of_fork = await again.fork("f", new_conversation_id="g")
        assert told(of_fork)[-1] == "answer 5"
        with pytest.raises(ConversationConflict):
            await again.fork("c", new_conversation_id="f")
        assert {each.conversation_id for each in await again.list_conversations()} == {
            "c", "f", "e", "g"
        }  # fmt: skip

    run(work())


def test_a_save_over_another_revision_leaves_nothing(log: transit.Log) -> None:
    async def work() -> None:
        store, other = TransitConversationStore(log), TransitConversationStore(log)
        await turn(store, "c", "one")
        first, second = await store.load("c"), await other.load("c")
        await store.save(await agent().run("from one", conversation=first))
        count = len(log.stream("pydantic-ai/c"))
        with pytest.raises(ConversationConflict):
            await other.save(await agent().run("from two", conversation=second))
        assert len(log.stream("pydantic-ai/c")) == count
        with pytest.raises(ConversationConflict):
            await other.save(Conversation(conversation_id="c", messages=[request("new")]))
        lost = ConversationRecord(conversation_id="new", head_id="none")
        with pytest.raises(ConversationConflict):
            await store.write_record(lost, expected_revision=None)
        with pytest.raises(ConversationConflict):
            await store.delete_record("c", expected_revision="another")
        assert [s.name for s in log.streams()] == ["pydantic-ai/c"]

    run(work())


def test_savers_at_the_same_time_are_one_after_the_other(log: transit.Log) -> None:
    async def work() -> None:
        store, other = TransitConversationStore(log), TransitConversationStore(log)
        await turn(store, "c", "first")

        async def one(mine: TransitConversationStore, n: int) -> int:
            lost = 0
            while True:
                try:
                    await turn(mine, "c", f"by {n}")
                    return lost
                except ConversationConflict:
                    lost += 1

        await asyncio.gather(*(one((store, other)[n % 2], n) for n in range(8)))
        found = told(await store.load("c"))
        assert sorted(found[2::2]) == [f"by {n}" for n in range(8)]
        assert len(found) == 18

    run(work())


def test_scopes_keep_conversations_apart(log: transit.Log) -> None:
    async def work() -> None:
        store = TransitConversationStore(log)
        for n, scope in enumerate(("a", "b", "a", None)):
            given = Conversation(conversation_id=f"c{n}", messages=[request(str(n))])
            await store.save(given, scope=scope)
        mine = await store.list_conversations(scope="a")
        assert [each.conversation_id for each in mine] == ["c2", "c0"]
        assert len(await store.list_conversations(limit=2)) == 2
        assert await store.load("c1", scope="a") is None
        await store.delete("c1", scope="a")
        assert await store.load("c1", scope="b") is not None

    run(work())


def test_messages_come_back_as_they_were(log: transit.Log) -> None:
    async def work() -> None:
        store = TransitConversationStore(log)
        image = BinaryContent(data=b"\xff\xfe" * 900_000, media_type="application/x-thing")
        given: list[Any] = [
            request("é 🙂 \u0000"),
            ModelResponse(parts=[TextPart("")], metadata={"a": {"b": [1, 2.5, None]}}),
            ModelRequest(parts=[UserPromptPart(content=["look", image])]),
        ]
        await store.save(Conversation(conversation_id="c", messages=given))
        for each in (store, TransitConversationStore(log)):
            found = await each.load("c")
            assert found is not None
            assert found.messages[:2] == given[:2]
            assert found.messages[2].parts[0].content[1].data == image.data
        assert max(len(each.payload) for each in log.stream("pydantic-ai/c")) < 100_000
        found.messages.append(request("more"))
        await store.save(found)
        assert len((await TransitConversationStore(log).load_entries("c")) or ()) == 4

    run(work())


def test_deleting_keeps_what_forks_need_and_says_so(path: Path) -> None:
    async def work(log: transit.Log) -> None:
        store = TransitConversationStore(log)
        await turn(store, "alone", "one")
        assert await store.remove("alone", reason="asked for", basis="gdpr-17") == (
            ("pydantic-ai/alone",), ()
        )  # fmt: skip
        assert await store.remove("alone", reason="again") == ((), ())
        assert await store.load("alone") is None
        await turn(store, "c", "one")
        await store.fork("c", new_conversation_id="f")
        await store.fork("f", new_conversation_id="g")
        assert await store.remove("c", reason="asked for") == ((), ("pydantic-ai/c",))
        assert await store.remove("f", reason="asked for") == ((), ("pydantic-ai/f",))
        assert await store.load("c") is None
        assert told(await TransitConversationStore(log).load("g")) == ["one", "answer 1"]
        assert [each.conversation_id for each in await store.list_conversations()] == ["g"]
        # A new life of the id has nothing of the old one.
        assert told(await turn(store, "c", "again")) == ["again", "answer 1"]
        removed = await store.remove("g", reason="asked for")
        assert removed == (("pydantic-ai/g", "pydantic-ai/f", "pydantic-ai/c"), ())
        assert told(await store.load("c")) == ["again", "answer 1"]
        assert list(log.erase().streams).count("pydantic-ai/c") == 1

    with transit.open(path) as log:
        run(work(log))


def test_a_token_deletes_over_a_connection_or_hides(guarded: Guarded) -> None:
    async def work(token: str) -> list[Removed]:
        with TransitConversationStore.open(guarded.url, token=token) as store:
            await turn(store, "c", "one")
            await store.fork("c", new_conversation_id="f")
            removed = [await store.remove(each, reason="asked for") for each in ("c", "f")]
            assert [await store.load(each) for each in ("c", "f")] == [None, None]
            assert told(await turn(store, "c", "again")) == ["again", "answer 1"]
            await store.delete("c")
            return removed

    c, f = "pydantic-ai/c", "pydantic-ai/f"
    assert run(work(guarded.recording)) == [Removed((), (c,)), Removed((), (f,))]
    assert not any(stream.deleted for stream in guarded.log.hidden())
    # What a fork needs is hidden, and goes with the fork.
    assert run(work(guarded.deleting)) == [Removed((), (c,)), Removed((f, c), ())]
    assert sorted(guarded.log.erase().streams) == [c, c, f]


def test_a_parent_that_a_token_may_not_delete_stays_hidden(path: Path, tmp_path: Path) -> None:
    tokens, rights = str(tmp_path / "tokens.toml"), ["read", "append", "branch"]
    secret = new_token(
        tokens, "agent", {"pydantic-ai/": rights, "pydantic-ai/f": [*rights, "admin"]}
    )

    async def work(url: str) -> None:
        with TransitConversationStore.open(url, token=secret) as store:
            await turn(store, "c", "one")
            await store.fork("c", new_conversation_id="f")
            assert await store.remove("c", reason="asked for") == ((), ("pydantic-ai/c",))
            assert await store.remove("f", reason="asked for") == (("pydantic-ai/f",), ())

    with transit.open(path) as log, serving(log, tokens=tokens) as running:
        run(work(running.url))
        assert {each.name: each.deleted for each in log.hidden()} == {
            "pydantic-ai/c": False, "pydantic-ai/f": True,
        }  # fmt: skip


def test_one_that_is_cancelled_has_saved_all_the_same(log: transit.Log) -> None:
    held = threading.Event()

    async def work() -> None:
        store = TransitConversationStore(log)
        conversation = store._conversation("c")
        write = conversation.write

        def slow(*given: Any) -> None:
            held.wait(60)
            write(*given)

        conversation.write = slow  # type: ignore[method-assign]
        entry = ConversationEntry(parent_id=None, message=request("one"))
        record = ConversationRecord(conversation_id="c", head_id=entry.id)
        task = asyncio.create_task(
            store.write_record(record, new_entries=[entry], expected_revision=None)
        )
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        held.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert told(await store.load("c")) == ["one"]

    run(work())


def test_a_child_made_by_fork_goes_on(path: Path) -> None:
    store = TransitConversationStore.open(path)
    run(turn(store, "c", "one"))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            run(turn(store, "c", "two"))
            store.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert told(run(turn(store, "c", "three"))) == [
        "one", "answer 1", "two", "answer 3", "three", "answer 5"
    ]  # fmt: skip
    store.close()


SEVERAL = """
import asyncio, sys
from pydantic_ai.conversation import Conversation
from pydantic_ai.conversation_store import ConversationConflict
from pydantic_ai.messages import ModelRequest, UserPromptPart
from transit.adapters.pydantic_ai import Removed, TransitConversationStore
from transit.server.run import serving
from transit.server.tokens import new_token
path, who = sys.argv[1:]

async def work():
    with TransitConversationStore.open(path, durability="os") as store:
        for n in range(15):
            while True:
                found = await store.load("c") or Conversation(conversation_id="c")
                found.messages.append(ModelRequest(parts=[UserPromptPart(f"{who} {n}")]))
                try:
                    await store.save(found)
                    break
                except ConversationConflict:
                    pass

asyncio.run(work())
"""


def test_processes_lose_no_message_of_one_another(path: Path, start: Any) -> None:
    children = [start(SEVERAL, path, who) for who in "xyz"]
    for child in children:
        _, error = child.communicate()
        assert child.returncode == 0, error
    with TransitConversationStore.open(path) as store:
        found = told(run(store.load("c")))
        assert sorted(found) == sorted(f"{who} {n}" for who in "xyz" for n in range(15))
        record = run(store.read_record("c"))
        assert record.branches == []


KILLED = """
import asyncio, sys
from pydantic_ai.conversation import Conversation
from pydantic_ai.messages import ModelRequest, UserPromptPart
from transit.adapters.pydantic_ai import Removed, TransitConversationStore
from transit.server.run import serving
from transit.server.tokens import new_token

async def work():
    store = TransitConversationStore.open(sys.argv[1], durability="os")
    found = Conversation(conversation_id="c")
    for n in range(10_000):
        found.messages += [ModelRequest(parts=[UserPromptPart(f"{n} {h}")]) for h in (0, 1)]
        await store.save(found)
        print(n, flush=True)

asyncio.run(work())
"""


def test_what_was_saved_survives_sigkill_whole(path: Path, start: Any) -> None:
    child = start(KILLED, path)
    for line in child.stdout:
        if int(line) >= 20:
            break
    child.send_signal(signal.SIGKILL)
    last = max([20, *rest_of(child)])
    with TransitConversationStore.open(path) as store:
        found = told(run(store.load("c")))
    saves = len(found) // 2
    assert found == [f"{n} {half}" for n in range(saves) for half in (0, 1)]
    assert saves - 1 in (last, last + 1)


def test_what_must_not_be_recorded_is_nowhere(path: Path, everything: Callable[[], str]) -> None:
    policy = trace.Redaction([r"CANARY\w*"], fields=["password"])

    async def work() -> None:
        with TransitConversationStore.open(path, redact=policy) as store:
            secret = BinaryContent(data=b"\xffCANARY1", media_type="application/x-thing")
            plain = BinaryContent(data=b"\xffopen", media_type="application/x-thing")
            given: list[Any] = [
                ModelRequest(parts=[UserPromptPart(content=["CANARY2", secret, plain])]),
                ModelResponse(parts=[TextPart("CANARY3")], metadata={"password": "hunter2"}),
            ]
            await store.save(
                Conversation(conversation_id="CANARY4", messages=given), scope="CANARY5"
            )
            found = await store.load("CANARY4")
            assert found is not None
            assert found.conversation_id == "CANARY4"
            words, hidden, shown = found.messages[0].parts[0].content
            assert (words, hidden.data, shown.data) == ("[redacted]", b"[redacted]", b"\xffopen")
            await store.fork("CANARY4", new_conversation_id="CANARY6")
            await store.save(await agent().run("CANARY7", conversation=found))
            await store.remove("CANARY6", reason="asked for")
            broken = TransitConversationStore(store.log, redact=trace.Redaction(["request"]))
            unsaved = Conversation(conversation_id="b", messages=[request("x")])
            with pytest.raises(InvalidInputError, match="it is no message any more"):
                await broken.save(unsaved)

    run(work())
    kept = everything()
    assert "CANARY" not in kept
    assert "Q0FOQVJZ" not in kept
    assert "hunter2" not in kept


def test_a_run_that_saw_the_last_messages_alone_loses_none(log: transit.Log) -> None:
    async def work() -> None:
        store = TransitConversationStore(log)
        for words in ("one", "two"):
            await turn(store, "c", words)
        last = await store.load("c", limit=2)
        assert last is not None
        assert told(last) == ["two", "answer 3"]
        await store.save(await agent().run("three", conversation=last))
        found = told(await TransitConversationStore(log).load("c"))
        assert found[:4] == ["one", "answer 1", "two", "answer 3"]
        assert found[4] == "three"
        record = await store.read_record("c")
        assert record is not None
        assert record.branches == []

    run(work())


def test_bytes_that_tools_gave_and_halves_of_characters_are_stored(log: transit.Log) -> None:
    async def work() -> None:
        store = TransitConversationStore(log)
        part = ToolReturnPart(tool_name="t", content=b"\xff\xfe", tool_call_id="c1")
        given: list[Any] = [ModelRequest(parts=[part]), request("\ud800")]
        await store.save(Conversation(conversation_id="c", messages=given))
        found = await TransitConversationStore(log).load("c")
        assert found is not None
        # As pydantic-ai tells bytes of any tool.
        assert found.messages[0].parts[0].content == "__4="
        assert found.messages[1] == given[1]
        paused = DeferredToolRequests(
            calls=[ToolCallPart("t", {"a": 1}, "c1")], metadata={"c1": {"blob": b"\xff\xfe"}}
        )
        record = ConversationRecord(
            conversation_id="d", head_id=None, deferred_tool_requests=paused
        )
        await store.write_record(record, expected_revision=None)
        again = await TransitConversationStore(log).read_record("d")
        assert again is not None
        assert again.deferred_tool_requests is not None
        assert again.deferred_tool_requests.calls == paused.calls

    run(work())


def test_a_save_that_comes_between_the_comparison_and_the_writing_is_seen(
    log: transit.Log,
) -> None:
    async def work() -> None:
        store, other = TransitConversationStore(log), TransitConversationStore(log)
        await turn(store, "c", "one")
        record = await store.read_record("c")
        assert record is not None
        mine = dataclasses.replace(record, revision="mine")
        theirs = dataclasses.replace(record, revision="theirs")
        conversation, late = store._conversation("c"), other._conversation("c")
        check = conversation._check

        def checked(*given: Any) -> None:
            check(*given)
            conversation._check = check  # type: ignore[method-assign]
            late.write(log, theirs, (), record.revision, None)

        conversation._check = checked  # type: ignore[method-assign]
        with pytest.raises(ConversationConflict):
            await store.write_record(mine, expected_revision=record.revision)
        found = await other.read_record("c")
        assert found is not None
        assert found.revision == "theirs"

    run(work())


def test_in_an_encrypted_store_a_canary_is_in_no_file(encrypted: EncryptedPlace) -> None:
    async def work() -> None:
        with TransitConversationStore.open(encrypted.store, **encrypted.how) as store:
            await turn(store, CANARY, CANARY * 50_000)
            assert not encrypted.clear(CANARY)
        assert not encrypted.clear(CANARY)
        assert encrypted.says(CANARY)
        with TransitConversationStore.open(encrypted.store, keyring=encrypted.keyring) as store:
            assert told(await store.load(CANARY))[0] == CANARY * 50_000

    run(work())
