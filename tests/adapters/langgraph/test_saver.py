"""What a saver records, how little it takes, and what becomes of it when values change in place."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, InvalidToolCall
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

import transit
from tests.adapters.conftest import EncryptedPlace
from tests.engine.canary import places_with
from transit import InvalidInputError, UnsupportedVersionError
from transit.adapters.langgraph import TransitSaver, TransitStore

from .making import agent, calls, config, put, texts, values_of

CANARY = "canary-51c0"


def sealed_bytes(folder: Path) -> int:
    """What the segments of a store take."""
    return sum(each.stat().st_size for each in (folder / "segments").iterdir())


def words(number: int, size: int) -> str:
    """Text that is not the same twice."""
    return " ".join(f"{(number * 7919 + n * 104729) % 999983:x}" for n in range(size // 6))


def conversation(steps: int) -> list[Any]:
    """What a model says in so many steps, each about 1 KB."""
    said: list[Any] = []
    for number in range(steps):
        call = {"name": "bash", "args": {"cmd": words(number, 40)}, "id": f"call-{number}"}
        said.append(AIMessage(words(number, 1000), tool_calls=[call], id=f"ai-{number}"))
    return [*said, AIMessage("done", id="end")]


def run(folder: Path, steps: int) -> tuple[int, int]:
    """Bytes that the run of an agent takes, and those of its messages written once."""
    with TransitSaver.open(folder, durability="os") as saver:
        app = agent(saver, conversation(steps))
        where = {**config("t"), "recursion_limit": 10_000}
        app.invoke({"messages": [HumanMessage("go", id="h")]}, where)
        messages = app.get_state(where).values["messages"]
        saver.log.seal()
    serde = JsonPlusSerializer()
    return sealed_bytes(folder), sum(len(serde.dumps_typed(each)[1]) for each in messages)


def test_what_is_said_once_is_stored_once(tmp_path: Path) -> None:
    few, unique = run(tmp_path / "few", 25)
    many, more = run(tmp_path / "many", 100)
    assert few < 0.6 * unique
    # Not with the square of the steps.
    assert many / more < 1.1 * few / unique


def test_a_reopened_store_goes_on(tmp_path: Path) -> None:
    for number in range(3):
        with TransitSaver.open(tmp_path / "store") as saver:
            app = agent(saver, [AIMessage(f"answer {number}")])
            app.invoke({"messages": [HumanMessage(f"question {number}")]}, config("t"))
            found = texts(app.get_state(config("t")))
    assert found == [f"{who} {n}" for n in range(3) for who in ("question", "answer")]


def test_values_that_change_in_place_are_recorded_as_they_are(saver: TransitSaver) -> None:
    message = AIMessage("one", id="a", response_metadata={"parts": [{"n": 1}]})
    state: list[Any] = [HumanMessage("go", id="h"), message, {"role": "user", "n": 1}]
    where = put(saver, config("t"), {"messages": state})
    changes: list[Any] = [
        lambda: setattr(message, "content", "two"),
        lambda: message.response_metadata["parts"][0].update(n=2),
        lambda: message.response_metadata["parts"][0].update(n=2.0),
        lambda: message.response_metadata["parts"][0].update(n=True),
        lambda: message.additional_kwargs.update(new="x"),
        lambda: message.invalid_tool_calls.append(
            InvalidToolCall(type="invalid_tool_call", id=None, name="n", args=None, error=None)
        ),
        lambda: setattr(message, "more", "extra"),
        lambda: state[2].update(n=True),
        lambda: state[2].pop("role"),
        lambda: state[2].update(rôle="user"),
    ]
    for change in changes:
        change()
        kept = repr([dict(each) for each in state])
        where = put(saver, where, {"messages": list(state)})
        found = values_of(saver, where)["messages"]
        assert repr([dict(each) for each in found]) == kept


def test_what_was_loaded_and_changed_in_place_is_recorded_as_it_is(saver: TransitSaver) -> None:
    where = put(saver, config("t"), {"messages": [AIMessage("one", id="a"), {"n": 1}]})
    found = values_of(saver, config("t"))["messages"]
    found[0].content, found[1]["n"] = "two", 2
    after = put(saver, where, {"messages": found})
    assert [values_of(saver, after)["messages"][0].content, found[1]["n"]] == ["two", 2]
    assert values_of(saver, where)["messages"][1] == {"n": 1}


def test_messages_alone_that_change_in_place_are_recorded_as_they_are(saver: TransitSaver) -> None:
    message = AIMessage("one", id="a")
    state = [HumanMessage("go", id="h"), message]
    where = put(saver, config("t"), {"messages": state})
    changes: list[Any] = [
        lambda: setattr(message, "content", "two"),
        lambda: message.response_metadata.update(new="x"),
        lambda: setattr(message, "more", "extra"),
    ]
    for change in changes:
        change()
        where = put(saver, where, {"messages": list(state)})
        assert values_of(saver, where)["messages"] == state


def test_each_value_of_a_record_is_found_again(saver: TransitSaver) -> None:
    where = put(saver, config("t"), {"a": words(1, 500), "b": words(2, 500), "c": 3})
    where = put(saver, where, {"d": 3, "e": words(2, 500), "f": words(1, 500)})
    assert values_of(saver, where) == {"d": 3, "e": words(2, 500), "f": words(1, 500)}
    assert len(saver.log.stream("langgraph/t")[-1].payload) < 500


def test_what_changes_between_a_write_and_its_checkpoint_is_recorded_as_it_is(
    saver: TransitSaver,
) -> None:
    where = put(saver, config("t"), {"messages": []})
    messages = [AIMessage("one", id="a"), AIMessage("one", id="b"), AIMessage("one", id="c")]
    saver.put_writes(where, [("messages", messages)], "task")
    messages[0].content = "two"
    messages[1].response_metadata["new"] = "x"
    after = put(saver, where, {"messages": messages})
    assert values_of(saver, after)["messages"] == messages
    written = saver.get_tuple(where).pending_writes[0][2]
    assert [each.content for each in written] == ["one"] * 3
    assert not any(each.response_metadata for each in written)


def test_a_message_said_again_is_not_serialized_again(saver: TransitSaver) -> None:
    counted: list[object] = []

    class Counting(JsonPlusSerializer):
        def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
            counted.append(obj)
            return super().dumps_typed(obj)

    saver.serde = Counting()
    state: list[Any] = []
    where = config("t")
    for number in range(20):
        new = HumanMessage(f"{number}", id=f"m{number}", additional_kwargs={"n": number})
        state = [*state, new]
        where = put(saver, where, {"messages": state})
    assert [each for each in counted if isinstance(each, HumanMessage)] == state


def test_lists_that_lose_items_keep_what_stays(saver: TransitSaver) -> None:
    state = [HumanMessage(words(n, 3000), id=f"{n}") for n in range(50)]
    where = put(saver, config("t"), {"messages": state})
    before = len(saver.log.stream("langgraph/t")[-1].payload)
    where = put(saver, where, {"messages": [*state[10:20], *state[30:]]})
    assert len(saver.log.stream("langgraph/t")[-1].payload) < before / 50
    assert values_of(saver, where)["messages"] == [*state[10:20], *state[30:]]


def test_a_list_of_numbers_grows_by_what_is_new(saver: TransitSaver) -> None:
    numbers = [n * 0.5 for n in range(10_000)]
    where = put(saver, config("t"), {"seen": numbers})
    where = put(saver, where, {"seen": [*numbers, 1, True, None]})
    assert len(saver.log.stream("langgraph/t")[-1].payload) < 1000
    assert repr(values_of(saver, where)["seen"][-4:]) == "[4999.5, 1, True, None]"


def test_large_values_are_read_from_the_store(saver: TransitSaver) -> None:
    large = "x" * 300_000
    where = put(saver, config("t"), {"a": large, "b": [large, {"c": large}]})
    assert values_of(saver, where) == {"a": large, "b": [large, {"c": large}]}


def test_forks_are_branches_that_copy_nothing(saver: TransitSaver) -> None:
    root = put(saver, config("t"), {"a": 1})
    tip = put(saver, root, {"a": 2})
    left, right = put(saver, root, {"a": 3}), put(saver, root, {"a": 4})
    names = [stream.name for stream in saver.log.streams("langgraph/")]
    assert names == ["langgraph/t", "langgraph/t~1", "langgraph/t~2"]
    fork = saver.log.stream("langgraph/t~1")
    assert (fork.kind, fork.fork_offset, len(fork)) == ("branch", 0, 2)
    assert [values_of(saver, each)["a"] for each in (root, tip, left, right)] == [1, 2, 3, 4]
    # What goes on from a fork stays in its branch.
    put(saver, left, {"a": 5})
    assert len(fork) == 3


def test_a_name_that_is_none_is_told_by_its_digest(saver: TransitSaver) -> None:
    ids = ["~", "a~1", "a\nb", " a", "x" * 600, "ü/ö", "\ud800"]
    for thread in ids:
        put(saver, config(thread), {"a": thread.encode("utf-8", "replace")})
    for thread in ids:
        assert values_of(saver, config(thread)) == {"a": thread.encode("utf-8", "replace")}
    put(saver, config("a"), {"a": 1})
    assert len({stream.name for stream in saver.log.streams("langgraph/")}) == len(ids) + 1


def test_a_cipher_leaves_nothing_to_read(tmp_path: Path) -> None:
    class Cipher:
        def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
            return "xor", bytes(each ^ 0x5A for each in plaintext)

        def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
            return bytes(each ^ 0x5A for each in ciphertext)

    with TransitSaver.open(tmp_path / "store", serde=EncryptedSerializer(Cipher())) as saver:
        app = agent(saver, [calls("canary", 1), AIMessage("canary")])
        app.invoke({"messages": [HumanMessage("canary")]}, config("t"))
        assert texts(app.get_state(config("t"))) == ["canary", "", "ran canary", "canary"]
        saver.log.seal()
    assert not places_with(tmp_path / "store", b"canary")


def test_pending_writes_are_in_the_order_of_the_run(saver: TransitSaver) -> None:
    where = put(saver, config("t"), {"a": 1})
    saver.put_writes(where, [("a", 1)], "task-z", "~2")
    saver.put_writes(where, [("a", 2), ("__error__", "first")], "task-a", "~1")
    saver.put_writes(where, [("a", "ignored"), ("__error__", "second")], "task-a", "~1")
    saver.put_writes(where, [("a", 0)], "task-b")
    found = saver.get_tuple(where).pending_writes
    assert found == [
        ("task-b", "a", 0), ("task-a", "__error__", "second"), ("task-a", "a", 2),
        ("task-z", "a", 1),
    ]  # fmt: skip


def test_writes_may_come_before_their_checkpoint(saver: TransitSaver) -> None:
    where = put(saver, config("t"), {"a": 1})
    coming = config("t", checkpoint="f" * 32)
    saver.put_writes(coming, [("a", 2)], "task")
    assert saver.get_tuple(coming) is None
    made = {
        "v": 4, "id": "f" * 32, "ts": "", "channel_values": {}, "channel_versions": {},
        "versions_seen": {},
    }  # fmt: skip
    saver.put(where, made, {}, {})
    assert saver.get_tuple(coming).pending_writes == [("task", "a", 2)]


def test_versions_go_on_from_those_of_other_savers(saver: TransitSaver) -> None:
    assert saver.get_next_version(None, None) == 1
    assert saver.get_next_version(1, None) == 2
    later = saver.get_next_version("00000000000000000000000000000009.0.25", None)
    assert later > "00000000000000000000000000000009.0.99"
    assert later.startswith("00000000000000000000000000000010.")


def test_a_clone_with_another_allowlist_shares_the_threads(saver: TransitSaver) -> None:
    if not hasattr(saver, "with_allowlist"):
        pytest.skip("this version has none")
    saver.serde = JsonPlusSerializer(allowed_msgpack_modules=None)
    clone = saver.with_allowlist([("decimal", "Decimal")])
    assert clone is not saver
    where = put(clone, config("t"), {"a": [1]})
    assert values_of(saver, where) == {"a": [1]}


def test_a_configuration_that_names_nothing_is_refused(saver: TransitSaver) -> None:
    with pytest.raises(InvalidInputError, match="thread_id"):
        saver.get_tuple({"configurable": {}})
    with pytest.raises(InvalidInputError, match="checkpoint_id"):
        saver.put_writes(config("t"), [("a", 1)], "task")


def test_what_a_newer_version_wrote_is_refused(saver: TransitSaver) -> None:
    saver.log.create("langgraph/new", {"adapter": "langgraph", "adapter_format": 2})
    with pytest.raises(UnsupportedVersionError):
        saver.get_tuple(config("new"))


def test_a_value_that_cannot_be_serialized_leaves_nothing(saver: TransitSaver) -> None:
    where = put(saver, config("t"), {"a": [1]})
    with pytest.raises(Exception, match="serializable"):
        put(saver, where, {"a": [1, threading.Lock()]})
    assert len(saver.log.stream("langgraph/t")) == 1
    assert values_of(saver, put(saver, where, {"a": [1, 2]})) == {"a": [1, 2]}


def test_asynchronous_calls_do_not_run_on_the_loop(
    saver: TransitSaver, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[int] = set()
    for name in ("get_tuple", "put", "put_writes", "delete_thread", "copy_thread", "_listed"):
        whole = getattr(saver, name)

        def noted(*args: Any, _whole: Any = whole, **kwargs: Any) -> Any:
            threads.add(threading.get_ident())
            return _whole(*args, **kwargs)

        monkeypatch.setattr(saver, name, noted)

    async def main() -> None:
        app = agent(saver, [AIMessage("done")])
        await app.ainvoke({"messages": [HumanMessage("go")]}, config("t"))
        assert texts(await app.aget_state(config("t"))) == ["go", "done"]
        await saver.acopy_thread("t", "u")
        assert len([each async for each in saver.alist(config("u"))]) == 3
        await saver.adelete_thread("t")
        assert threading.get_ident() not in threads

    asyncio.run(main())
    assert threads


def test_a_given_store_stays_open(tmp_path: Path) -> None:
    with transit.open(tmp_path / "store") as log:
        with TransitSaver(log) as saver:
            put(saver, config("t"), {"a": 1})
        assert values_of(TransitSaver(log), config("t")) == {"a": 1}


def test_two_savers_on_one_store_see_each_other(saver: TransitSaver) -> None:
    other = TransitSaver(saver.log)
    where = put(saver, config("t"), {"a": [1]})
    where = put(other, where, {"a": [1, 2]})
    where = put(saver, where, {"a": [1, 2, 3]})
    assert values_of(other, where) == {"a": [1, 2, 3]}
    assert [stream.name for stream in saver.log.streams("langgraph/")] == ["langgraph/t"]


def test_a_put_is_as_durable_as_the_store_is_opened_for(tmp_path: Path) -> None:
    with TransitSaver.open(tmp_path / "store", mode="exclusive") as saver:
        where = put(saver, config("t"), {"a": 1})
        assert saver.log.status().unsynced_bytes == 0
        saver.put_writes(where, [("a", 1)], "task")
        saver.put_writes(where, [("__interrupt__", 1)], "task")
        assert saver.log.status().unsynced_bytes == 0


def test_in_an_encrypted_store_a_canary_is_in_no_file(
    encrypted: EncryptedPlace, caplog: pytest.LogCaptureFixture
) -> None:
    with TransitSaver.open(encrypted.store, **encrypted.how) as saver:
        app = agent(saver, [AIMessage(CANARY)])
        app.invoke({"messages": [HumanMessage(CANARY)]}, config(CANARY))
        assert not encrypted.clear(CANARY)
    with TransitStore.open(encrypted.store, **encrypted.how) as items:
        items.put((CANARY,), CANARY, {"said": CANARY})
        assert not encrypted.clear(CANARY)
    with TransitSaver.open(encrypted.store, keyring=encrypted.keyring) as saver:
        assert texts(agent(saver, []).get_state(config(CANARY))) == [CANARY, CANARY]
        # Its bytes are freed when it is closed: the keyring is there then too.
        assert saver.delete_thread(CANARY).state == "deleted"
    with TransitStore.open(encrypted.store, keyring=encrypted.keyring) as items:
        assert items.get((CANARY,), CANARY).value == {"said": CANARY}
    assert not caplog.records
    assert not encrypted.clear(CANARY)
