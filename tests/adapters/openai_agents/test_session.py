"""TransitSession: conversations that runs continue, and what was taken back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import transit
from tests.adapters.conftest import EncryptedPlace, Guarded
from tests.adapters.openai_agents.items import many, run, said
from transit import AlreadyExistsError, InvalidInputError, NotFoundError, trace

agents = pytest.importorskip("agents")

from agents.memory import Session, SessionSettings  # noqa: E402
from agents.testing import ScriptedModel, assistant_message, function_call  # noqa: E402

from transit.adapters.openai_agents import Removed, TransitSession  # noqa: E402

CANARY = "canary-51c0"


def test_it_is_a_session_and_keeps_items_in_order(log: transit.Log) -> None:
    async def work() -> None:
        session = TransitSession("a", log)
        assert isinstance(session, Session)
        assert await session.get_items() == []
        await session.add_items([])
        assert "agents/session/a" not in log
        await session.add_items(many(0, 1))
        await session.add_items(many(2))
        assert await session.get_items() == many(0, 1, 2)
        for limit, found in ((0, ()), (1, (2,)), (2, (1, 2)), (9, (0, 1, 2)), (-1, (0, 1, 2))):
            assert await session.get_items(limit) == many(*found)
        session.session_settings = SessionSettings(limit=1)
        assert await session.get_items() == many(2)
        assert await TransitSession("a", log).get_items() == many(0, 1, 2)
        with pytest.raises(InvalidInputError, match="a session's id is text"):
            TransitSession("", log)

    run(work())


def test_what_was_taken_back_is_in_the_branch_that_was_left(log: transit.Log) -> None:
    async def work() -> None:
        session = TransitSession("a", log)
        assert await session.pop_item() is None
        await session.add_items(many(0, 1, 2, 3))
        assert [await session.pop_item(), await session.pop_item()] == many(3, 2)
        assert await session.get_items() == many(0, 1)
        assert [s.name for s in log.streams()] == ["agents/session/a"]
        await session.add_items(many(4))
        assert await session.get_items() == many(0, 1, 4)
        assert await TransitSession("a", log).get_items() == many(0, 1, 4)
        left, now = log.streams()
        assert now.name == "agents/session/a/2"
        assert now.parents == (transit.Position("agents/session/a", 1),)
        assert left.finished
        assert [each.headers["kind"] for each in left] == [
            "item", "item", "item", "item", "pop", "pop", "moved"
        ]  # fmt: skip
        assert await session.pop_item() == said(4)
        assert await session.pop_item() == said(1)
        assert await session.pop_item() == said(0)
        assert await session.pop_item() is None
        await session.add_items(many(5))
        assert await TransitSession("a", log).get_items() == many(5)

    run(work())


def test_a_cleared_conversation_begins_anew(log: transit.Log) -> None:
    async def work() -> None:
        session, other = TransitSession("a", log), TransitSession("b", log)
        await session.clear_session()
        await session.add_items(many(0, 1))
        await other.add_items(many(7))
        await session.clear_session()
        assert await session.get_items() == [] == await TransitSession("a", log).get_items()
        assert await other.get_items() == many(7)
        await session.add_items(many(2))
        assert await TransitSession("a", log).get_items() == many(2)
        assert log.stream("agents/session/a/2").fork_offset is None

    run(work())


def test_a_branch_begins_before_a_turn_and_copies_nothing(log: transit.Log) -> None:
    async def work() -> None:
        session = TransitSession("a", log)
        with pytest.raises(NotFoundError, match="there is no such session"):
            await session.branch_from_turn(1, "b")
        await session.add_items(many(0, 1, 2, 3, 4))
        second = await session.branch_from_turn(2, "second")
        assert await second.get_items() == many(0, 1)
        await second.add_items(many(8))
        assert await second.get_items() == many(0, 1, 8)
        assert await session.get_items() == many(0, 1, 2, 3, 4)
        assert await (await session.branch_from_turn(1, "first")).get_items() == []
        whole = await session.branch_from_turn(None, "whole")
        assert await whole.get_items() == many(0, 1, 2, 3, 4)
        stream = await second.stream()
        assert stream is not None
        assert stream.parents == (transit.Position("agents/session/a", 1),)
        assert await whole.pop_item() == said(4)
        await whole.add_items(many(6))
        assert await TransitSession("whole", log).get_items() == many(0, 1, 2, 3, 6)
        with pytest.raises(InvalidInputError, match="no turn 4; the user said something 3 times"):
            await session.branch_from_turn(4, "c")
        with pytest.raises(AlreadyExistsError):
            await session.branch_from_turn(1, "second")

    run(work())


def test_runs_continue_it(log: transit.Log) -> None:
    @agents.function_tool
    def weather(city: str) -> str:
        """What the weather is like."""
        return f"sunny in {city}"

    async def work() -> None:
        session = TransitSession("run", log, about=lambda wrapper: wrapper.context)
        calls = [function_call("weather", {"city": "Oslo"}, call_id="c1")]
        model = ScriptedModel([calls, [assistant_message("sunny")], [assistant_message("yes")]])
        agent = agents.Agent(name="s", model=model, tools=[weather])
        config = agents.RunConfig(tracing_disabled=True)
        context = {"tenant": "t1", "user": 7}
        for words in ("weather?", "sure?"):
            await agents.Runner.run(
                agent, words, session=session, run_config=config, context=context
            )
        kinds = [each.get("type") or each["role"] for each in await session.get_items()]
        assert kinds == [
            "user", "function_call", "function_call_output", "message", "user", "message"
        ]  # fmt: skip
        stream = await session.stream()
        assert stream is not None
        assert {each.headers["about_tenant"] for each in stream} == {"t1"}
        assert {each.headers["about_user"] for each in stream} == {"7"}

    run(work())


class Compacting:
    """Stands for the service that makes one item of many."""

    def __init__(self) -> None:
        self.responses = SimpleNamespace(compact=self._compact)

    async def _compact(self, **given: Any) -> Any:
        return SimpleNamespace(
            output=[{"type": "compaction", "encrypted_content": f"{len(given['input'])} items"}],
            usage=None,
        )


def test_compaction_is_a_branch(log: transit.Log) -> None:
    from agents.memory import OpenAIResponsesCompactionSession

    async def work() -> None:
        inner = TransitSession("a", log)
        session = OpenAIResponsesCompactionSession("a", inner, client=Compacting())
        await session.add_items(many(0, 1, 2, 3))
        await session.run_compaction({"force": True, "compaction_mode": "input"})
        (item,) = await inner.get_items()
        assert item["encrypted_content"] == "4 items"
        assert await TransitSession("a", log).get_items() == [item]
        assert [each.name for each in log.streams()] == ["agents/session/a", "agents/session/a/2"]
        assert len(log.stream("agents/session/a")) == 5

    run(work())


def test_the_end_is_replaced_only_while_it_is_what_it_was(log: transit.Log) -> None:
    import agents.memory.session

    if not hasattr(agents.memory.session, "_CompactionSnapshot"):
        pytest.skip("this version of the SDK replaces no end")

    async def work() -> None:
        session, other = TransitSession("a", log), TransitSession("a", log)
        await session.add_items(many(0, 1, 2, 3))
        snapshot = await session._get_compaction_snapshot(3)
        assert snapshot.items == many(1, 2, 3)
        assert not snapshot.complete
        assert (await session._get_compaction_snapshot(5)).complete
        assert await snapshot.replace_suffix(1, many(9))
        assert await other.get_items() == many(0, 1, 9)
        assert not await snapshot.replace_suffix(1, many(8))
        late = await session._get_compaction_snapshot(2)
        await other.add_items(many(5))
        assert not await late.replace_suffix(0, many(8))
        assert await session.get_items() == many(0, 1, 9, 5)

    run(work())


def test_one_that_is_cancelled_has_added_all_the_same(log: transit.Log) -> None:
    held = threading.Event()

    async def work() -> None:
        session = TransitSession("a", log)
        add = session._history.add

        def slow(*given: Any) -> None:
            held.wait(60)
            add(*given)

        session._history.add = slow  # type: ignore[method-assign]
        task = asyncio.create_task(session.add_items(many(0, 1)))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        task.cancel()
        held.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await session.get_items() == many(0, 1)

    run(work())


def test_the_loop_goes_on_while_the_store_does_not(path: Path) -> None:
    """Another process that has its turn, and stops."""

    async def work(log: transit.Log) -> None:
        session = TransitSession("a", log)
        await session.add_items(many(0))
        held = threading.Event()
        blocked = asyncio.create_task(session._change(lambda: held.wait(60)))
        waiting = asyncio.create_task(session.add_items(many(1)))
        for _ in range(50):
            await asyncio.sleep(0)
        assert not waiting.done()
        other = TransitSession("b", log)
        await other.add_items(many(5))
        held.set()
        await blocked
        await waiting
        assert await session.get_items() == many(0, 1)

    with transit.open(path) as log:
        run(work(log))


def test_items_that_are_no_json_are_refused_and_none_is_added(log: transit.Log) -> None:
    async def work() -> None:
        session = TransitSession("a", log)
        with pytest.raises(InvalidInputError, match="not a value that JSON has"):
            await session.add_items([said(0), {"content": object()}])  # type: ignore[list-item]
        odd = [{"role": "user", "content": "\ud800"}, {"n": float("inf"), "big": 10**30}]
        await session.add_items(odd)  # type: ignore[arg-type]
        assert await TransitSession("a", log).get_items() == odd

    run(work())


def test_what_is_given_back_is_the_callers(log: transit.Log) -> None:
    async def work() -> None:
        session = TransitSession("a", log)
        given = many(0)
        await session.add_items(given)
        given[0]["content"] = "changed"
        found = await session.get_items()
        found[0]["content"] = "changed too"  # type: ignore[typeddict-unknown-key]
        assert await session.get_items() == many(0)

    run(work())


def test_what_must_not_be_recorded_is_nowhere(path: Path, everything: Callable[[], str]) -> None:
    policy = trace.Redaction([r"CANARY\w*"], fields=["password"])

    async def work() -> None:
        session = TransitSession(
            "CANARY1", path, redact=policy, about=lambda _: {"CANARY2": "CANARY3", "password": "p"}
        )
        items: Any = [
            {"role": "user", "content": "CANARY4" * 300_000},
            {"role": "assistant", "content": [{"CANARY5": "CANARY6", "password": "hunter2"}]},
        ]
        await session.add_items(items, wrapper=SimpleNamespace(context=None))  # type: ignore[arg-type]
        assert (await session.get_items())[1]["content"] == [
            {"[redacted]": "[redacted]", "password": "[redacted]"}
        ]
        await session.pop_item()
        await session.add_items(many(1))
        again = await session.branch_from_turn(None, "CANARY7")
        await session.clear_session()
        again.close()
        session.close()

    run(work())
    kept = everything()
    assert "CANARY" not in kept
    assert "hunter2" not in kept


def test_deleting_takes_all_that_was_ever_said(path: Path) -> None:
    async def work(log: transit.Log) -> None:
        session = TransitSession("a", log)
        await session.add_items(many(0, 1))
        await session.pop_item()
        await session.add_items(many(2))
        branch = await session.branch_from_turn(None, "b")
        await session.clear_session()
        await session.add_items(many(3))
        stays = await session.get_items()
        with pytest.raises(transit.DependentsError):
            await session.delete(reason="asked for")
        assert await session.get_items() == stays
        await branch.delete(reason="asked for")
        gone, hidden = await session.delete(reason="asked for", basis="gdpr-17")
        assert (len(gone), hidden) == (3, ())
        assert await session.get_items() == []
        await session.add_items(many(4))
        assert await session.get_items() == many(4)
        assert {*gone, "agents/session/b"} == set(log.erase().streams)

    with transit.open(path) as log:
        run(work(log))


def test_a_token_deletes_over_a_connection_or_hides(guarded: Guarded) -> None:
    async def work(token: str) -> Removed:
        with TransitSession.open("a", guarded.url, token=token) as session:
            assert await session.delete(reason="nothing was said") == Removed((), ())
            await session.add_items(many(0, 1))
            await session.pop_item()
            await session.add_items(many(2))
            removed = await session.delete(reason="asked for", basis="gdpr-17")
            assert await session.get_items() == []
            await session.add_items(many(3))
            assert await session.get_items() == many(3)
            await session.delete(reason="asked for")
            return removed

    name = "agents/session/a"
    hidden = run(work(guarded.recording))
    assert hidden.deleted == ()
    assert hidden.hidden[0] == name
    assert len(hidden.hidden) == 2
    assert not any(stream.deleted for stream in guarded.log.hidden())
    gone = run(work(guarded.deleting))
    assert gone == Removed(hidden.hidden[::-1], ())
    assert sorted(guarded.log.erase().streams) == sorted([*gone.deleted, name])


def test_over_a_connection_a_branch_is_in_the_way_of_a_deletion(guarded: Guarded) -> None:
    async def work() -> None:
        with TransitSession.open("a", guarded.url, token=guarded.deleting) as session:
            await session.add_items(many(0, 1))
            branch = await session.branch_from_turn(None, "b")
            with pytest.raises(transit.DependentsError):
                await session.delete(reason="asked for")
            assert await session.get_items() == many(0, 1) == await branch.get_items()

    run(work())


def test_an_item_is_taken_back_by_one_caller_alone(log: transit.Log) -> None:
    async def work() -> None:
        sessions = [TransitSession("a", log) for _ in range(4)]
        await sessions[0].add_items([{"n": n} for n in range(24)])  # type: ignore[list-item]
        found: Any = await asyncio.gather(*(s.pop_item() for _ in range(7) for s in sessions))
        assert sorted(each["n"] for each in found if each is not None) == list(range(24))
        assert await sessions[1].get_items() == []

    run(work())


def test_what_a_limit_leaves_out_is_not_lost_by_going_on(log: transit.Log) -> None:
    async def work() -> None:
        session = TransitSession("a", log, session_settings={"limit": 2})
        await session.add_items(many(0, 1, 2, 3, 4, 5))
        model = ScriptedModel([[assistant_message("yes")]])
        config = agents.RunConfig(tracing_disabled=True)
        await agents.Runner.run(
            agents.Agent(name="s", model=model), "sure?", session=session, run_config=config
        )
        assert len(model.last_call.input) == 3
        found = await session.get_items(limit=100)
        assert found[:6] == many(0, 1, 2, 3, 4, 5)
        assert len(found) == 8

    run(work())


def test_a_session_is_used_in_several_loops_at_once(log: transit.Log) -> None:
    session = TransitSession("a", log)

    def one(n: int) -> None:
        run(session.add_items([{"n": n}, {"n": n}]))  # type: ignore[list-item]

    threads = [threading.Thread(target=one, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found: Any = run(session.get_items())
    numbers = [each["n"] for each in found]
    assert numbers[::2] == numbers[1::2]
    assert sorted(numbers[::2]) == list(range(12))


def test_a_session_that_somebody_deleted_begins_anew(path: Path) -> None:
    async def work(log: transit.Log) -> None:
        session, other = TransitSession("a", log), TransitSession("a", log)
        await session.add_items(many(0))
        assert await other.get_items() == many(0)
        await session.delete(reason="asked for")
        await other.add_items(many(1))
        assert await session.get_items() == many(1) == await other.get_items()
        await other.pop_item()
        await other.add_items(many(2))
        log.hide("agents/session/a")
        assert await session.get_items() == []
        assert await other.pop_item() is None
        await session.clear_session()
        await session.add_items(many(3))
        assert await other.get_items() == many(3)

    with transit.open(path) as log:
        run(work(log))


def test_a_compaction_that_fails_leaves_the_conversation(log: transit.Log) -> None:
    async def work() -> None:
        session = TransitSession("a", log)
        await session.add_items(many(0, 1))
        with pytest.raises(InvalidInputError):
            await session._atomic_replace_items([{"content": object()}])  # type: ignore[list-item]
        assert await session.get_items() == many(0, 1)
        assert await TransitSession("a", log).get_items() == many(0, 1)
        await session.add_items(many(2))
        assert await session.get_items() == many(0, 1, 2)

    run(work())


def test_in_an_encrypted_store_a_canary_is_in_no_file(encrypted: EncryptedPlace) -> None:
    items: Any = [{"role": "user", "content": CANARY * 50_000}]

    async def work() -> None:
        with TransitSession.open(CANARY, encrypted.store, **encrypted.how) as session:
            await session.add_items(items)
            assert not encrypted.clear(CANARY)
        assert not encrypted.clear(CANARY)
        assert encrypted.says(CANARY)
        with TransitSession.open(CANARY, encrypted.store, keyring=encrypted.keyring) as session:
            assert await session.get_items() == items

    run(work())
