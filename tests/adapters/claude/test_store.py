"""TransitSessionStore: the SDK's own suite, and what it does not ask."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import uuid
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

import transit
from tests.adapters.conftest import EncryptedPlace, Guarded, rest_of
from transit import InvalidInputError, trace

sdk = pytest.importorskip("claude_agent_sdk")

from claude_agent_sdk.testing import run_session_store_conformance  # noqa: E402

from transit.adapters.claude import Removed, TransitSessionStore  # noqa: E402
from transit.adapters.claude.transcript import Key  # noqa: E402

SESSION = "5f2c1b0e-6c0d-4b6e-9a53-0d6f4a1f2b11"
KEY: Any = {"project_key": "proj", "session_id": SESSION}


CANARY = "canary-51c0"


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def lines(count: int, size: int = 200) -> list[Any]:
    made: list[Any] = []
    for n in range(count):
        kind = "user" if n % 2 == 0 else "assistant"
        text = f"{n} " + "é" * size
        made.append(
            {
                "type": kind, "uuid": str(uuid.uuid4()), "sessionId": SESSION,
                "parentUuid": made[-1]["uuid"] if made else None, "isSidechain": False,
                "timestamp": f"2026-01-01T00:00:{n % 60:02d}.000Z", "cwd": "/srv/app",
                "message": {"role": kind, "content": [{"type": "text", "text": text}]},
            }
        )  # fmt: skip
    return made


def title(text: str) -> Any:
    return {"type": "custom-title", "customTitle": text, "sessionId": SESSION}


@pytest.mark.parametrize("kind", ["exclusive", "shared", "served"])
def test_the_suite_of_the_sdk_passes(kind: str, tmp_path: Path) -> None:
    from rigs.server.serving import Serving

    closing: list[Callable[[], None]] = []

    def make() -> TransitSessionStore:
        folder = tmp_path / str(len(closing))
        if kind != "served":
            store = TransitSessionStore.open(folder, mode=kind, durability="os")
            closing.append(store.close)
            return store
        log = transit.open(folder, durability="os")
        serving = Serving(log)
        store = TransitSessionStore.open(serving.url, durability="os")
        closing.extend([store.close, serving.close, log.close])
        return store

    try:
        run(run_session_store_conformance(make))
    finally:
        for close in closing:
            close()


def test_a_batch_that_is_sent_again_is_there_once(log: transit.Log) -> None:
    async def work() -> None:
        store, given = TransitSessionStore(log), lines(6)
        first = [given[0], title("one"), *given[1:4]]
        await store.append(KEY, first)
        await store.append(KEY, first)
        await store.append(KEY, given[2:])
        assert await store.load(KEY) == [*first, *given[4:]]
        again = TransitSessionStore(log)
        await again.append(KEY, first)
        await again.append(KEY, given)
        assert await again.load(KEY) == [*first, *given[4:]]
        # What has no uuid is no other line's double, unless the whole batch is.
        await again.append(KEY, [title("two")])
        await again.append(KEY, [title("two"), given[5]])
        assert (await again.load(KEY))[-2:] == [title("two"), title("two")]
        assert await store.load(KEY) == await again.load(KEY)

    run(work())


def test_lines_that_another_sends_between_comparing_and_writing_are_there_once(
    log: transit.Log,
) -> None:
    async def work() -> None:
        store, other, given = TransitSessionStore(log), TransitSessionStore(log), lines(4)
        await store.append(KEY, given[:1])
        transcript = store._transcript(Key("proj", SESSION))
        compare = transcript._new

        def compared(batch: Any) -> Any:
            found = compare(batch)
            transcript._new = compare  # type: ignore[method-assign]
            other._transcript(Key("proj", SESSION)).append(log, given[:3])
            return found

        transcript._new = compared  # type: ignore[method-assign]
        await store.append(KEY, given)
        assert await other.load(KEY) == given

    run(work())


def test_a_line_that_comes_twice_in_a_batch_is_there_once(log: transit.Log) -> None:
    async def work() -> None:
        store, (one, two) = TransitSessionStore(log), lines(2)
        await store.append(KEY, [one, two, one])
        assert await store.load(KEY) == [one, two]

    run(work())


def test_lines_come_back_as_they_were(log: transit.Log) -> None:
    async def work() -> None:
        store = TransitSessionStore(log)
        odd: list[Any] = [
            {"type": "x", "uuid": "1", "text": "\ud800", "n": 10**30, "f": float("inf"), "": None},
            {"type": "x", "uuid": "2", "text": "y" * 3_000_000},
            {"type": "x", "uuid": 3, "kind": "summary"},
        ]
        await store.append(KEY, odd)
        await store.append(KEY, odd[:2])
        assert await store.load(KEY) == odd
        await TransitSessionStore(log).append(KEY, odd[:2])
        assert await store.load(KEY) == odd
        with pytest.raises(InvalidInputError, match="a line is an object"):
            await store.append(KEY, [{"type": "x", "uuid": "4"}, "no object"])
        assert await store.load(KEY) == odd
        with pytest.raises(InvalidInputError, match="named by text"):
            await store.append({"project_key": "proj"}, odd)

    run(work())


def test_ids_that_could_be_taken_for_others_are_told_apart(log: transit.Log) -> None:
    keys: list[Any] = [
        {"project_key": "a", "session_id": "b"},
        {"project_key": "a", "session_id": "b", "subpath": "c"},
        {"project_key": "a", "session_id": "b/c"},
        {"project_key": "a/b", "session_id": "c"},
        {"project_key": "a", "session_id": "b", "subpath": "../c"},
        {"project_key": "-srv-" + "x" * 300, "session_id": "b"},
        {"project_key": "a", "session_id": "%2F"},
        {"project_key": "a", "session_id": "/"},
        {"project_key": "a", "session_id": "b", "subpath": "subagents/" + "d" * 300},
        {"project_key": "a", "session_id": "ünï 🙂\u202e"},
    ]

    async def work() -> None:
        store = TransitSessionStore(log)
        for n, key in enumerate(keys):
            await store.append(key, [{"type": "x", "n": n}])
        for n, key in enumerate(keys):
            assert await store.load(key) == [{"type": "x", "n": n}]
        listed = {each["session_id"] for each in await store.list_sessions("a")}
        assert listed == {"b", "b/c", "%2F", "/", "ünï 🙂\u202e"}
        subkeys = await store.list_subkeys(keys[0])
        assert sorted(subkeys) == ["../c", "c", "subagents/" + "d" * 300]

    run(work())


def test_what_the_sdk_does_through_a_store(log: transit.Log, tmp_path: Path) -> None:
    async def work() -> None:
        store, given = TransitSessionStore(log), lines(8)
        project = sdk.project_key_for_directory(str(tmp_path))
        key: Any = {"project_key": project, "session_id": SESSION}
        await store.append(key, given)
        await sdk.rename_session_via_store(store, SESSION, "renamed", directory=str(tmp_path))
        (info,) = await sdk.list_sessions_from_store(store, directory=str(tmp_path))
        assert (info.session_id, info.custom_title) == (SESSION, "renamed")
        made = await sdk.fork_session_via_store(store, SESSION, directory=str(tmp_path))
        copy = await store.load({**key, "session_id": made.session_id})
        assert sum(each["type"] in ("user", "assistant") for each in copy) == 8
        assert (await store.load(key))[:8] == given
        fork = log.stream(f"claude/{project}/{made.session_id}")
        assert fork.parents[0].stream == f"claude/{project}/{SESSION}"
        assert fork.fork_offset is None
        assert fork.metadata["forked_from_message"] == given[-1]["uuid"]
        messages = await sdk.get_session_messages_from_store(
            store, made.session_id, directory=str(tmp_path)
        )
        assert len(messages) == 8

    run(work())


def test_a_summary_is_what_folding_all_lines_gives(log: transit.Log) -> None:
    async def work() -> None:
        store, other = TransitSessionStore(log), TransitSessionStore(log)
        given = [*lines(40), title("a"), {"type": "tag", "tag": "t"}, *lines(41, 2000), title("b")]
        for n in range(0, len(given), 7):
            await (store, other)[n % 2].append(KEY, given[n : n + 7])
        (found,) = await TransitSessionStore(log).list_session_summaries("proj")
        assert found["data"] == sdk.fold_session_summary(None, KEY, given)["data"]
        (listed,) = await other.list_sessions("proj")
        assert found["mtime"] == listed["mtime"]
        stream = log.stream(f"claude/proj/{SESSION}")
        await store.append({**KEY, "subpath": "a"}, lines(2))
        of_subagent = log.stream(f"claude/proj/{SESSION}/a")
        assert [each.headers["kind"] for each in of_subagent] == ["entry", "entry"]
        # It is not written again for lines that do not change it.
        assert sum(each.headers["kind"] == "summary" for each in stream) < 7

    run(work())


def test_deleting_says_what_became_of_the_bytes(path: Path) -> None:
    async def work(log: transit.Log) -> None:
        store = TransitSessionStore(log)
        sub = {**KEY, "subpath": "subagents/agent-1"}
        await store.append(KEY, lines(2))
        await store.append(sub, lines(2))
        name = f"claude/proj/{SESSION}"
        removed = await store.remove(KEY, reason="asked for", basis="gdpr-17")
        assert removed == ((f"{name}/subagents%2Fagent-1", name), ())
        assert await store.load(KEY) is None
        assert await store.remove(KEY, reason="again") == ((), ())
        assert set(log.erase().streams) == set(removed.deleted)
        # A new life of the same session.
        given = lines(3)
        await store.append(KEY, given)
        assert await store.load(KEY) == given
        assert await store.list_subkeys(KEY) == []
        log.stream(name).branch("kept by somebody")
        with pytest.raises(transit.DependentsError):
            await store.delete(KEY)
        assert await store.load(KEY) == given

    with transit.open(path) as log:
        run(work(log))


def test_a_token_deletes_over_a_connection_or_hides_and_that_is_told(guarded: Guarded) -> None:
    name = f"claude/proj/{SESSION}"

    async def work(token: str) -> Removed:
        with TransitSessionStore.open(guarded.url, token=token) as store:
            await store.append(KEY, lines(2))
            await store.append({**KEY, "subpath": "a"}, lines(2))
            removed = await store.remove(KEY, reason="asked for", basis="gdpr-17")
            assert await store.load(KEY) is None
            given = lines(1)
            await store.append(KEY, given)
            assert await store.load(KEY) == given
            return removed

    assert run(work(guarded.recording)) == Removed((), (f"{name}/a", name))
    assert [stream.deleted for stream in guarded.log.hidden()] == [False, False]

    async def delete(token: str) -> None:
        with TransitSessionStore.open(guarded.url, token=token) as store:
            await store.delete(KEY)

    with pytest.warns(trace.TraceWarning, match=f"{name}: hidden, not deleted: the token lacks"):
        run(delete(guarded.recording))
    assert run(work(guarded.deleting)) == Removed((f"{name}/a", name), ())
    run(delete(guarded.deleting))
    # Nobody reads them; their bytes are there until the owner erases.
    assert [stream.deleted for stream in guarded.log.hidden()] == [False] * 3 + [True] * 3
    gone = guarded.log.erase().streams
    assert sorted(gone) == [name, name, f"{name}/a"]


def test_a_hold_is_told_over_a_connection(guarded: Guarded) -> None:
    async def work() -> None:
        with TransitSessionStore.open(guarded.url, token=guarded.deleting) as store:
            await store.append(KEY, lines(2))
            guarded.log.stream(f"claude/proj/{SESSION}").hold("case 17")
            with pytest.raises(transit.RetainedError, match="case 17"):
                await store.remove(KEY, reason="asked for")
            assert len(await store.load(KEY) or []) == 2

    run(work())


def test_one_that_is_cancelled_has_written_all_the_same(log: transit.Log) -> None:
    held, given = threading.Event(), lines(4)

    async def work() -> None:
        store = TransitSessionStore(log)
        transcript = store._transcript(Key("proj", SESSION))
        append = transcript.append

        def slow(*given: Any) -> None:
            held.wait(60)
            append(*given)

        transcript.append = slow  # type: ignore[method-assign]
        task = asyncio.create_task(store.append(KEY, given))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        held.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await store.load(KEY) == given

    run(work())


def test_it_works_under_trio(log: transit.Log) -> None:
    anyio = pytest.importorskip("anyio")
    pytest.importorskip("trio")

    async def work() -> None:
        store, given = TransitSessionStore(log), lines(4)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await store.append(KEY, given)
        assert await store.load(KEY) == given

    anyio.run(work, backend="trio")


def test_a_child_made_by_fork_goes_on(path: Path) -> None:
    given = lines(6)
    store = TransitSessionStore.open(path)
    run(store.append(KEY, given[:2]))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            run(store.append(KEY, given[:4]))
            assert run(store.load(KEY)) == given[:4]
            store.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    run(store.append(KEY, given))
    assert run(store.load(KEY)) == given
    store.close()
    # It is opened again when it is used again.
    run(store.append(KEY, given))
    assert run(store.load(KEY)) == given
    store.close()


SEVERAL = """
import asyncio, json, sys
from transit.adapters.claude import TransitSessionStore
path, key, given = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])

async def work():
    with TransitSessionStore.open(path, durability="os") as store:
        for n in range(0, len(given), 3):
            # Each sends what the others send, and the last batch again.
            await store.append(key, given[max(0, n - 3) : n + 3])

asyncio.run(work())
"""


def test_processes_that_send_the_same_lines_write_them_once(path: Path, start: Any) -> None:
    given = lines(60, 20)
    children = [start(SEVERAL, path, json.dumps(KEY), json.dumps(given)) for _ in range(3)]
    for child in children:
        _, error = child.communicate()
        assert child.returncode == 0, error
    with TransitSessionStore.open(path) as store:
        assert run(store.load(KEY)) == given
        (summary,) = run(store.list_session_summaries("proj"))
        assert summary["data"] == sdk.fold_session_summary(None, KEY, given)["data"]


KILLED = """
import asyncio, json, sys
from transit.adapters.claude import TransitSessionStore

async def work():
    store = TransitSessionStore.open(sys.argv[1], durability="os")
    key = json.loads(sys.argv[2])
    for n in range(10_000):
        batch = [{"type": "user", "uuid": f"{n}-{i}", "customTitle": f"{n}"} for i in range(3)]
        await store.append(key, batch)
        print(n, flush=True)

asyncio.run(work())
"""


def test_what_was_acknowledged_survives_sigkill_and_batches_are_whole(
    path: Path, start: Any
) -> None:
    child = start(KILLED, path, json.dumps(KEY))
    for line in child.stdout:
        if int(line) >= 30:
            break
    child.send_signal(signal.SIGKILL)
    told = max([30, *rest_of(child)])
    with TransitSessionStore.open(path) as store:
        found = run(store.load(KEY))
        (summary,) = run(store.list_session_summaries("proj"))
    numbers = [tuple(map(int, each["uuid"].split("-"))) for each in found]
    assert numbers == [(n, i) for n in range(len(found) // 3) for i in range(3)]
    assert len(found) // 3 - 1 in (told, told + 1)
    assert summary["data"]["custom_title"] == found[-1]["customTitle"]


def test_what_must_not_be_recorded_is_nowhere(path: Path, everything: Callable[[], str]) -> None:
    policy = trace.Redaction([r"CANARY\w*"], fields=["password"])
    key: Any = {"project_key": "CANARY1", "session_id": "CANARY2"}

    async def work() -> None:
        with TransitSessionStore.open(path, redact=policy) as store:
            given: list[Any] = [
                {"type": "user", "uuid": "CANARY3", "message": {"content": "CANARY4"}},
                {"type": "x", "uuid": "b", "customTitle": "CANARY5", "password": "hunter2"},
                {"type": "x", "uuid": "c", "CANARY6": ["CANARY7"], "large": "CANARY8" * 300_000},
            ]  # fmt: skip
            await store.append(key, given)
            await store.append({**key, "subpath": "CANARY9"}, given)
            await store.append(key, given)
            found = await store.load(key)
            assert len(found) == 3
            assert found[1] == {
                "type": "x", "uuid": "b", "customTitle": "[redacted]", "password": "[redacted]"
            }  # fmt: skip
            copied = [
                {"type": "x", "forkedFrom": {"sessionId": "CANARY2", "messageUuid": "CANARY"}}
            ]
            await store.append({**key, "session_id": "fork"}, copied)
            await store.remove({**key, "subpath": "CANARY9"}, reason="asked for")

    run(work())
    kept = everything()
    assert "CANARY" not in kept
    assert "hunter2" not in kept


def test_in_an_encrypted_store_a_canary_is_in_no_file(encrypted: EncryptedPlace) -> None:
    key: Any = {"project_key": CANARY, "session_id": CANARY}

    async def work() -> None:
        with TransitSessionStore.open(encrypted.store, **encrypted.how) as store:
            await store.append(key, [*lines(2), title(CANARY * 50_000)])
            assert not encrypted.clear(CANARY)
        assert not encrypted.clear(CANARY)
        assert encrypted.says(CANARY)
        with TransitSessionStore.open(encrypted.store, keyring=encrypted.keyring) as store:
            assert (await store.load(key) or [])[-1] == title(CANARY * 50_000)

    run(work())
