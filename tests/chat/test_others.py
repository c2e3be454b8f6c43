"""Records and streams that other programs made, in the room's names: nothing hangs or breaks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import transit
from transit import AlreadyExistsError, Log, StreamFinishedError, chat
from transit.chat.records import BACKLINK, EVIDENCE, BacklinkBody, DecisionBody

from .test_connected import AnswersLast, asked


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with transit.open(tmp_path / "store", durability="os") as opened:
        yield opened


@pytest.fixture
def dev(log: Log) -> chat.Channel:
    channel = chat.channel(log, "dev")
    asked(channel)
    return channel


@pytest.mark.parametrize("name", ["ops", "none", "", "$x", "a" * 600, "dev", "\x00"])
def test_a_link_to_what_is_no_branch_is_passed_over(log: Log, dev: chat.Channel, name: str) -> None:
    log.create("ops")
    link = BacklinkBody(name, "dev", "dev@0", "reply", 0)
    dev.stream.append(msgspec.json.encode(link), headers={"kind": BACKLINK, "author_id": "x"})
    assert [len(thread) for thread in dev.threads()] == [3, 2]
    assert [message.offset for message in dev.threads().of(0)] == [0, 1, 2]


def test_a_decision_about_no_message_shows_no_message(dev: chat.Channel) -> None:
    edit = dev.edit(1, "what was removed", by="bob")
    dev.remove(1, by="bob")
    body = DecisionBody(edit.offset, 0, 0.9, True, 0.8, [], "other", "1", "", 0)
    headers = {"kind": EVIDENCE, "author_id": "other"}
    dev.threads().writable().append(msgspec.json.encode(body), headers=headers)
    assert [message.text for message in dev.threads().of(0)] == [
        "why does the wheel not build?", "", "3.11",
    ]  # fmt: skip


def test_decisions_that_were_finished_are_told_of(dev: chat.Channel) -> None:
    dev.post("ada", "thanks")
    dev.threads().writable().finish()
    with pytest.raises(StreamFinishedError):
        dev.override(1, parent=None, by="kim")
    with pytest.raises(StreamFinishedError):
        list(chat.threading(dev, classifier=AnswersLast()).run())


def test_a_stream_in_the_place_of_an_adoption_is_told_of(log: Log, dev: chat.Channel) -> None:
    log.layer("chat").create(f"decisions/{dev.stream.uid}/1")
    run = chat.threading(dev, classifier=AnswersLast()).rerun(AnswersLast("other"))
    with pytest.raises(AlreadyExistsError):
        dev.adopt(run, by="kim")
