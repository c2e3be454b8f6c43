"""The room on a store that is open here, and on one that a server has: one scenario on both."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

import transit
from rigs.server.serving import Serving
from transit import AlreadyExistsError, ConflictError, Log, NotFoundError, chat
from transit.chat.classifying import Candidate, Ranking, Said

Open = Callable[[], Log]


class _AnswersLast:
    """A decider: each message answers the one before it; what asks something starts a thread."""

    def __init__(self, score: float) -> None:
        self._score = score
        self._seen: list[Said] = []

    def see(self, said: Said) -> None:
        self._seen.append(said)

    def decide(self, said: Said) -> Ranking:
        if not self._seen or said.text.endswith("?"):
            return [Candidate(None, self._score)]
        return [Candidate(self._seen[-1].offset, self._score), Candidate(None, 1 - self._score)]


class AnswersLast:
    """The classifier of these."""

    version = "1"
    digest = "abc"

    def __init__(self, name: str = "answers-last", score: float = 0.9) -> None:
        self.name, self._score = name, score

    def decider(self) -> _AnswersLast:
        return _AnswersLast(self._score)


@pytest.fixture(params=["embedded", "connected"])
def opens(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """A function that gives the store: the same each time, or one more connection to its server."""
    with transit.open(tmp_path / "store", durability="os") as store:
        if request.param == "embedded":
            yield lambda: store
            return
        serving = Serving(store)
        connected: list[Log] = []

        def connect() -> Log:
            connected.append(transit.connect(serving.url, timeout_s=120))
            return connected[-1]

        yield connect
        for each in connected:
            each.close()
        serving.close()


@pytest.fixture
def log(opens: Open) -> Log:
    return opens()


@pytest.fixture
def dev(log: Log) -> chat.Channel:
    return chat.channel(log, "dev", purpose="how it is built")


def asked(dev: chat.Channel) -> Sequence[chat.Decision]:
    """Two conversations, and what a classifier decides of them."""
    for author, text in (
        ("ada", "why does the wheel not build?"), ("bob", "say which python"), ("ada", "3.11"),
        ("eve", "who brings lunch?"), ("kim", "I do"),
    ):  # fmt: skip
        dev.post(author, text)
    made = chat.threading(dev, classifier=AnswersLast()).run()
    return list(made)


def texts(messages: Iterator[chat.Message]) -> list[str]:
    return [message.text for message in messages]


def test_a_channel_is_made_once_and_found(opens: Open, log: Log, dev: chat.Channel) -> None:
    other = chat.channel(opens(), "dev", purpose="something else")
    assert (other.name, other.purpose) == ("dev", "how it is built")
    chat.channel(log, "ops")
    log.create("no-channel")
    assert [each.name for each in chat.channels(log)] == ["dev", "ops"]
    assert [each.name for each in chat.channels(log, "op")] == ["ops"]
    with pytest.raises(transit.InvalidInputError, match="no channel"):
        chat.channel(log, "no-channel")


def test_what_was_said_is_changed_by_records(opens: Open, dev: chat.Channel) -> None:
    said = dev.post("ada", "helo", name="Ada", data={"n": 1}, headers={"task": "t-1"})
    dev.post("bob", "hi", answers=said)
    dev.edit(said, "hello", by="ada")
    dev.react(said, "+1", by="bob")
    dev.react(said, "-1", by="bob")
    dev.withdraw(said, "-1", by="bob")
    dev.remove(1, by="ada", reason="spam")
    dev.join("ada", "Ada")
    dev.rename("ada", "Ada L.")
    other = chat.channel(opens(), "dev")
    first, second, *lines = other.messages()
    assert (first.text, first.name, first.data, first.edited) == ("hello", "Ada", {"n": 1}, True)
    assert (dict(first.reactions), dict(first.headers)) == ({"+1": ("bob",)}, {"task": "t-1"})
    assert (second.text, second.removed, second.removed_by) == ("", True, "ada")
    assert second.answers == 0
    assert [(each.text, each.system) for each in lines] == [
        ("joined", True), ("is now called Ada L.", True),
    ]  # fmt: skip
    assert other.participants == {"ada": "Ada L."}
    with pytest.raises(NotFoundError):
        other.message(2)


def test_a_post_with_an_id_is_there_once(opens: Open, dev: chat.Channel) -> None:
    first = dev.post("ada", "hello", id="m-1")
    assert dev.post("ada", "hello", id="m-1").offset == first.offset
    other = chat.channel(opens(), "dev")
    assert other.post("ada", "hello", id="m-1").offset == first.offset
    assert other.by_id("m-1").text == "hello"
    with pytest.raises(AlreadyExistsError):
        other.post("ada", "something else", id="m-1")
    assert len(dev.stream) == 1


def test_many_clients_post_the_same_ids_at_once(opens: Open, dev: chat.Channel) -> None:
    channels = [chat.channel(opens(), "dev") for _ in range(4)]
    barrier = threading.Barrier(len(channels))
    found: list[list[int]] = [[] for _ in channels]

    def post(number: int) -> None:
        barrier.wait(60)
        for each in range(10):
            receipt = channels[number].post("ada", f"message {each}", id=f"m-{each}")
            found[number].append(receipt.offset)

    threads = [threading.Thread(target=post, args=(number,)) for number in range(len(channels))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert all(each == found[0] for each in found)
    assert sorted(texts(dev.messages())) == sorted(f"message {each}" for each in range(10))


def test_a_classifier_decides_each_message_once(opens: Open, dev: chat.Channel) -> None:
    decisions = asked(dev)
    assert [each.parent for each in decisions] == [None, 0, 1, None, 3]
    other = chat.channel(opens(), "dev")
    again = chat.threading(other, classifier=AnswersLast())
    assert (list(again.run()), again.position) == ([], 5)
    assert [list(each.members) for each in other.threads()] == [[0, 1, 2], [3, 4]]
    why = other.threads().why(1)
    assert isinstance(why, chat.Decision)
    assert (why.classifier, why.score, why.alternatives[0].parent) == ("answers-last", 0.9, None)


def test_what_is_only_proposed_is_confirmed(opens: Open, dev: chat.Channel) -> None:
    dev.post("ada", "why?")
    dev.post("bob", "because")
    list(chat.threading(dev, classifier=AnswersLast(score=0.6)).run())
    threads = chat.channel(opens(), "dev").threads()
    assert [each.message for each in threads.undecided()] == [0, 1]
    threads.confirm(1, by="kim")
    assert dev.threads().of(1).root == 0
    assert [each.message for each in dev.threads().undecided()] == [0]


def test_people_say_otherwise(opens: Open, dev: chat.Channel) -> None:
    asked(dev)
    other = chat.channel(opens(), "dev")
    other.override(2, parent=None, by="kim", reason="another matter")
    assert [each.root for each in dev.threads()] == [0, 2, 3]
    why = dev.threads().why(2)
    assert isinstance(why, chat.Override)
    assert (why.action, why.by, why.reason) == ("reanchor", "kim", "another matter")
    assert why.supersedes_ref == f"$chat/decisions/{dev.stream.uid}@2"
    one = dev.merge_threads([dev.threads().of(0), dev.threads().of(3)], by="kim")
    assert list(one.members) == [0, 1, 3, 4]
    assert other.threads().of(4).root == 0
    assert list(other.threads().split(3, by="eve").members) == [3, 4]
    thread = other.threads().of(0)
    thread.resolve(by="kim")
    assert dev.threads().of(0).state == "resolved"
    dev.threads().of(0).reopen(by="kim")
    dev.threads().of(3).suppress(by="kim")
    assert [each.root for each in other.threads()] == [0, 2]
    assert [each.state for each in other.threads().all()] == ["open", "open", "suppressed"]


def test_replies_are_in_a_branch_that_the_channel_knows_of(opens: Open, dev: chat.Channel) -> None:
    asked(dev)
    receipt = dev.threads().of(0).reply("bob", "use 3.12", id="r-1")
    assert receipt.stream == "dev/t/0"
    other = chat.channel(opens(), "dev")
    thread = other.threads().of(receipt)
    assert thread.reply("bob", "use 3.12", id="r-1").offset == receipt.offset
    thread.reply("ada", "that is it")
    assert texts(dev.threads().of(0).read()) == [
        "why does the wheel not build?", "say which python", "3.11", "use 3.12", "that is it",
    ]  # fmt: skip
    assert len(thread) == 5
    assert thread.branches[0].metadata["anchor_ref"] == "dev@0"
    assert other.log.stream("dev").next_offset == 6
    other.react(receipt, "+1", by="ada")
    assert dict(dev.message(receipt).reactions) == {"+1": ("ada",)}


def test_first_replies_at_once_make_one_branch(opens: Open, dev: chat.Channel) -> None:
    dev.post("ada", "why?")
    channels = [chat.channel(opens(), "dev") for _ in range(4)]
    barrier = threading.Barrier(len(channels))
    wrong: list[BaseException] = []

    def reply(number: int) -> None:
        barrier.wait(60)
        try:
            channels[number].threads().of(0).reply(f"a-{number}", f"reply {number}")
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=reply, args=(number,)) for number in range(len(channels))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not wrong
    thread_of = dev.threads().of(0)
    assert len(thread_of.branches) == 1
    assert sorted(texts(thread_of.read())) == ["reply 0", "reply 1", "reply 2", "reply 3", "why?"]


def test_summaries_know_when_they_are_stale(opens: Open, dev: chat.Channel) -> None:
    asked(dev)
    dev.threads().of(0).summarise("it is the python", by="kim")
    other = chat.channel(opens(), "dev")
    (summary,) = other.threads().of(0).summaries
    assert (summary.text, summary.by, summary.stale) == ("it is the python", "kim", False)
    dev.threads().of(0).reply("bob", "use 3.12")
    (summary,) = other.threads().of(0).summaries
    assert summary.stale


def test_readers_are_durable(opens: Open, dev: chat.Channel) -> None:
    asked(dev)
    reader = dev.reader("zoe")
    assert reader.unread() == 5
    reader.seen(1)
    other = chat.channel(opens(), "dev")
    assert other.reader("zoe").counts() == {0: 1, 3: 2}
    other.reader("zoe").seen(other.threads().of(3))
    reply = other.threads().of(0).reply("bob", "use 3.12")
    assert reader.counts() == {0: 2}
    assert texts(reader.messages(dev.threads().of(0))) == ["3.11", "use 3.12"]
    reader.seen(reply)
    assert other.reader("zoe").unread() == 1
    assert list(chat.readers(other)) == ["zoe"]


def test_another_run_is_adopted(opens: Open, dev: chat.Channel) -> None:
    asked(dev)
    dev.override(4, parent=None, by="kim")
    run = chat.threading(dev, classifier=AnswersLast()).rerun(AnswersLast("other", 0.95))
    assert [each.classifier for each in run.run()] == ["other"] * 5
    late = chat.threading(dev, classifier=AnswersLast()).rerun(AnswersLast("late"))
    dev.post("ada", "thanks")
    stream = dev.adopt(run, by="kim", reason="it is better")
    assert stream.name == f"$chat/decisions/{dev.stream.uid}/1"
    other = chat.channel(opens(), "dev")
    threads = other.threads()
    assert threads.adoption == 1
    why = threads.why(1)
    assert isinstance(why, chat.Decision)
    assert why.classifier == "other"
    assert threads.of(4).root == 4
    going_on = chat.threading(other, classifier=AnswersLast("other", 0.95))
    assert [each.message for each in going_on.run()] == [5]
    with pytest.raises(ConflictError):
        dev.adopt(late, by="kim")


def test_a_thread_is_frozen_and_read(opens: Open, dev: chat.Channel) -> None:
    asked(dev)
    dev.edit(1, "which python is it?", by="bob")
    dev.threads().of(0).reply("bob", "use 3.12")
    frozen = dev.threads().of(0).freeze(reason="for the audit", by="kim")
    assert frozen.name == "dev/frozen/0"
    assert frozen.merge_plan is not None
    assert frozen.merge_plan.policy == "custom:chat-thread"
    other = opens()
    assert texts(chat.read_frozen(other.stream("dev/frozen/0"))) == [
        "why does the wheel not build?", "which python is it?", "3.11", "use 3.12",
    ]  # fmt: skip
    thread = chat.channel(other, "dev").threads().of(1)
    # Of the same heads it is the same merge.
    assert thread.freeze().name == "dev/frozen/0"
    thread.reply("ada", "thanks")
    assert thread.freeze().name == "dev/frozen/0-2"


def test_a_classifier_follows_what_is_said(opens: Open, dev: chat.Channel) -> None:
    dev.post("ada", "why?")
    follows = chat.threading(chat.channel(opens(), "dev"), classifier=AnswersLast())
    found = []
    for decision in follows.run(follow=True, timeout=60):
        found.append((decision.message, decision.parent))
        if len(found) == 1:
            dev.post("bob", "because")
        else:
            break
    assert found == [(0, None), (1, 0)]


def test_exports_are_imported_and_again(opens: Open, log: Log, tmp_path: Path) -> None:
    file = tmp_path / "dev.log"
    file.write_text(
        "2024-01-02T10:00:00 <ada> why does it not build?\n"
        "2024-01-02T10:00:05 *** eve joined\n"
        "2024-01-02T10:00:09 <bob> ada: which python?\n"
        "2024-01-02T10:01:00 <ada> bob: 3.11\n"
    )
    given = {"format": "irc", "channel": "dev"}
    first = chat.import_chat(log, file, **given, skip_bad=True)  # type: ignore[arg-type]
    assert first.new >= 3
    again = chat.import_chat(opens(), file, **given, skip_bad=True)  # type: ignore[arg-type]
    assert (again.new, again.known) == (0, first.new)
    dev = chat.channel(log, "dev")
    said = texts(dev.messages())
    assert said[0] == "why does it not build?"
    # With the classifier that comes along, and its policy.
    dev.set_policy(by="kim", decide_at=0.1)
    run = chat.threading(chat.channel(opens(), "dev"))
    assert run.decide_at == 0.1
    assert len(list(run.run())) == len(said)
    other = run.rerun(AnswersLast())
    list(other.run())
    assert 0 <= chat.compare(dev, other.threads).score.vi <= 1


def test_a_branch_of_a_channel_is_one_with_decisions_of_its_own(
    opens: Open, dev: chat.Channel
) -> None:
    asked(dev)
    dev.stream.branch("dev/try")
    apart = chat.Channel(dev.log, dev.log.stream("dev/try"))
    apart.post("ada", "and if not?")
    made = list(chat.threading(apart, classifier=AnswersLast()).run())
    assert [each.message for each in made] == [0, 1, 2, 3, 4, 5]
    other = opens()
    assert len(list(chat.channel(other, "dev").messages())) == 5
    again = chat.Channel(other, other.stream("dev/try"))
    assert again.threads().of(5).root == 5
    assert again.threads().stream != dev.threads().stream
