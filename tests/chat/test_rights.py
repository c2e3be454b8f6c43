"""What a token allows of channels: each right there and not there, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import transit
from transit import Log, NotFoundError, StorePermissionError, chat
from transit.server.run import serving
from transit.server.tokens import new_token

from .test_connected import AnswersLast, asked

Connect = Callable[..., Log]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Log]:
    """A store with two channels, each with decisions, a reply, a reader and a run."""
    with transit.open(tmp_path / "store", durability="os") as log:
        for name in ("dev", "ops"):
            channel = chat.channel(log, name)
            asked(channel)
            channel.threads().of(0).reply("bob", "use 3.12")
            channel.reader("zoe").seen(1)
            list(chat.threading(channel, classifier=AnswersLast()).rerun(name="first").run())
        yield log


@pytest.fixture
def connect(store: Log, tmp_path: Path) -> Iterator[Connect]:
    """A function that connects with a token for `dev` that has these rights."""
    tokens = str(tmp_path / "tokens.toml")
    new_token(tokens, "nobody", {"x/": ["read"]})
    with ExitStack() as stack:
        running = stack.enter_context(serving(store, tokens=tokens))

        def connected(*rights: str, prefix: str = "dev") -> Log:
            secret = new_token(tokens, f"t{len(rights)}-{os.urandom(4).hex()}", {prefix: [*rights]})
            log = transit.connect(running.url, token=secret, timeout_s=120)
            stack.callback(log.close)
            return log

        yield connected


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of tokens is looked at for each request."""
    monkeypatch.setattr("transit.server.tokens.LOOK_S", 0.0)


def _adopt(dev: chat.Channel) -> object:
    run = chat.threading(dev, classifier=AnswersLast()).rerun(name="first")
    return dev.adopt(run, by="kim")


WRITES: dict[str, tuple[Callable[[chat.Channel], object], set[str]]] = {
    "post": (lambda dev: dev.post("ada", "hello"), {"append"}),
    "post-with-id": (lambda dev: dev.post("ada", "hello", id="m-1"), {"append"}),
    "edit": (lambda dev: dev.edit(0, "hello", by="ada"), {"append"}),
    "override": (lambda dev: dev.override(2, parent=None, by="kim"), {"append"}),
    "decide": (lambda dev: list(_posted(dev)), {"append"}),
    "reader": (lambda dev: dev.reader("zoe").seen(4), {"append"}),
    "new-reader": (lambda dev: dev.reader("eve").seen(4), {"append"}),
    "reply": (lambda dev: dev.threads().of(0).reply("kim", "yes"), {"append"}),
    "first-reply": (lambda dev: dev.threads().of(3).reply("kim", "me"), {"append", "branch"}),
    "run": (lambda dev: chat.threading(dev, classifier=AnswersLast()).rerun(name="2"), {"branch"}),
    "policy": (lambda dev: dev.set_policy(by="kim", decide_at=0.5), {"append"}),
    "adopt": (_adopt, {"append", "merge"}),
    "freeze": (lambda dev: dev.threads().of(0).freeze(), {"merge"}),
}


def _posted(dev: chat.Channel) -> list[chat.Decision]:
    dev.post("ada", "hello")
    return list(chat.threading(dev, classifier=AnswersLast()).run())


@pytest.mark.parametrize("what", WRITES)
def test_each_change_needs_its_rights_and_no_other(connect: Connect, what: str) -> None:
    change, needed = WRITES[what]
    for missing in sorted(needed):
        with pytest.raises(StorePermissionError):
            change(chat.channel(connect("read", *(needed - {missing})), "dev"))
    log = connect("read", *needed)
    change(chat.channel(log, "dev"))


def test_the_right_to_read_shows_all_of_its_channel_and_nothing_of_others(
    store: Log, connect: Connect
) -> None:
    log = connect("read")
    assert [each.name for each in chat.channels(log)] == ["dev"]
    dev = chat.channel(log, "dev")
    assert [list(each.members) for each in dev.threads()] == [[0, 1, 2], [3, 4]]
    assert dev.threads().why(1) is not None
    assert len(list(dev.threads().of(0).read())) == 4
    assert (list(chat.readers(dev)), dev.reader("zoe").unread()) == (["zoe"], 4)
    uid = store.stream("dev").uid
    seen = [each.name for each in log.layer("chat").streams()]
    assert seen == [
        f"$chat/decisions/{uid}",
        f"$chat/readers/{uid}/zoe",
        f"$chat/reruns/{uid}/first",
    ]


def test_without_the_channels_prefix_nothing_of_it_is_there(store: Log, connect: Connect) -> None:
    rights = ("read", "append", "branch", "merge", "admin")
    log, uid = connect(*rights), store.stream("ops").uid
    layer = log.layer("chat")
    for name in (f"decisions/{uid}", f"readers/{uid}/zoe", f"reruns/{uid}/first", "decisions/x"):
        with pytest.raises(NotFoundError):
            layer.stream(name)
        with pytest.raises(StorePermissionError):
            layer.create(name)
    with pytest.raises(NotFoundError) as told:
        log.stream(uid=store.layer("chat").stream(f"decisions/{uid}").uid)
    assert "decisions" not in str(told.value)
    other = connect(*rights, prefix="x/")
    assert list(other.layer("chat").streams()) == []
    assert list(chat.channels(other)) == []


def test_the_right_to_append_makes_no_adoption_and_no_run(store: Log, connect: Connect) -> None:
    layer, uid = connect("read", "append").layer("chat"), store.stream("dev").uid
    for name in (f"decisions/{uid}/1", f"reruns/{uid}/mine"):
        with pytest.raises(StorePermissionError):
            layer.create(name)
    layer.create(f"policy/{uid}")


@pytest.mark.slow
def test_a_server_in_a_process_of_its_own_loads_the_policy_when_a_thread_is_frozen(
    tmp_path: Path,
) -> None:
    with transit.open(tmp_path / "store", durability="os") as log:
        asked(chat.channel(log, "dev"))
    root = Path(transit.__file__).parents[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "transit", "serve", "--store", str(tmp_path / "store"),
         "--bind", "127.0.0.1:0"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        with transit.connect(url, timeout_s=120) as log:
            frozen = chat.channel(log, "dev").threads().of(0).freeze(by="kim")
            assert [each.text for each in chat.read_frozen(frozen)][1:] == [
                "say which python", "3.11",
            ]  # fmt: skip
    finally:
        process.terminate()
        process.communicate(timeout=120)
