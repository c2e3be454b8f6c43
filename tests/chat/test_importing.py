"""Items of exports become records of channels, each once."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import transit
from transit import chat
from transit.chat import importing, known
from transit.chat.importing import import_items, unresolved
from transit.chat.imports.items import (
    Bad,
    Edited,
    Item,
    Member,
    Place,
    Reacted,
    Removed,
    Said,
)

from .talking import shape, texts

HERE = Place("f", 1)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[transit.Log]:
    with transit.open(tmp_path / "s", durability="os") as made:
        yield made


def said(id: str, text: str, **more: Any) -> Said:
    given = {"author": "u1", "name": "Ada", "channel": "dev", "time": 1_000, **more}
    return Said(place=HERE, id=id, text=text, **given)


def about(kind: type[Any], id: str, message: str, **more: Any) -> Any:
    given = {"author": "u2", "channel": "dev", "time": 2_000, **more}
    return kind(place=HERE, id=id, message=message, **given)


def items() -> list[Item]:
    return [
        said("m1", "one", starts=True, source={"team": "T"}),
        said("m2", "two", answers="m1"),
        about(Reacted, "r1", "m1", reaction="+1"),
        about(Edited, "e1", "m2", text="TWO"),
        about(Removed, "d1", "m1", reason="spam"),
        Member(
            place=HERE, channel="dev", id="j1", author="u3", name="Eve", change="joined", time=3_000
        ),
        said("m3", "a line of the platform", system=True, author=""),
        said("o1", "elsewhere", channel="ops"),
    ]


def test_items_become_records_with_all_that_they_say(log: transit.Log) -> None:
    done = import_items(log, items())
    assert (done.new, done.known, done.channels) == (8, 0, {"dev": 7, "ops": 1})
    dev = chat.channel(log, "dev")
    one, two, joined, told = dev.messages()
    assert one.removed
    assert one.removed_reason == "spam"
    assert dict(one.reactions) == {"+1": ("u2",)}
    assert (two.text, two.edits[0].text, two.answers, two.id) == ("TWO", "TWO", 0, "m2")
    assert (two.author, two.name, two.time) == ("u1", "Ada", 1_000)
    assert told.system
    assert (joined.text, joined.name, joined.system) == ("joined", "Eve", True)
    assert dev.participants == {"u3": "Eve"}
    assert json.loads(dev.stream[0].payload)["source"] == {"team": "T"}


def test_importing_again_adds_nothing(log: transit.Log) -> None:
    import_items(log, items())
    before = len(log.stream("dev"))
    done = import_items(log, items())
    assert (done.new, done.known, len(log.stream("dev"))) == (0, 8, before)


def test_a_longer_export_adds_what_is_new(log: transit.Log) -> None:
    import_items(log, items()[:2])
    chat.channel(log, "dev").post("bob", "said here meanwhile")
    done = import_items(log, [*items(), said("m4", "four", answers="m2")])
    assert (done.new, done.known) == (7, 2)
    dev = chat.channel(log, "dev")
    assert texts(dev.messages())[2] == "said here meanwhile"
    assert dev.by_id("m4").answers == 1


def test_a_text_that_changed_since_is_an_edit(log: transit.Log) -> None:
    import_items(log, [said("m1", "one")])
    assert import_items(log, [said("m1", "ONE")]).edited == 1
    assert import_items(log, [said("m1", "ONE")]).new == 0
    assert import_items(log, [said("m1", "one")]).edited == 1
    message = chat.channel(log, "dev").by_id("m1")
    assert [edit.text for edit in message.edits] == ["ONE", "one"]
    assert log.stream("dev")[0].payload == b'{"text":"one","name":"Ada"}'


def test_a_first_text_beside_its_edits_is_no_new_one(log: transit.Log) -> None:
    export = [said("m1", "one"), about(Edited, "e1", "m1", text="ONE")]
    import_items(log, export)
    assert import_items(log, export).new == 0
    assert chat.channel(log, "dev").by_id("m1").text == "ONE"


def test_what_names_a_message_that_is_not_there_is_kept_and_told(log: transit.Log) -> None:
    export = [
        said("m1", "reply", answers="gone"),
        about(Edited, "e1", "gone", text="x"),
        about(Reacted, "r1", "gone", reaction="+1"),
    ]
    done = import_items(log, export)
    assert done.unresolved_count == 3
    assert [each.message for each in done.unresolved] == ["gone"] * 3
    dev = chat.channel(log, "dev")
    assert dev.by_id("m1").source == {"answers": "gone"}
    assert [each["item"] for each in unresolved(dev)] == ["edited", "reacted"]
    assert import_items(log, export).new == 0


def test_a_bad_record_stops_the_import_behind_what_came_before(log: transit.Log) -> None:
    bad = Bad(Place("export.json", 7), "no timestamp", "{}")
    export = [said("m1", "one"), bad, said("m2", "two")]
    with pytest.raises(transit.InvalidInputError, match=r"export\.json:7: no timestamp"):
        import_items(log, export)
    assert texts(chat.channel(log, "dev").messages()) == ["one"]
    done = import_items(log, export, skip_bad=True)
    assert (done.new, done.known, done.bad_count, done.bad) == (1, 1, 1, [bad])


@pytest.mark.parametrize("time", [-1, 1 << 63])
def test_a_time_that_cannot_be_kept_is_a_bad_record(log: transit.Log, time: int) -> None:
    done = import_items(log, [said("m1", "one", time=time)], skip_bad=True)
    assert (done.new, done.bad_count) == (0, 1)


def test_many_items_come_in_frames_and_many_channels_at_once(
    log: transit.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "FRAME", 10)
    export = [said(f"m{n}", str(n), channel=f"c{n % 20}") for n in range(1000)]
    seen: list[int] = []
    done = import_items(log, export, prefix="slack/", progress=lambda d: seen.append(d.new))
    assert done.new == 1000
    assert seen[-1] == 1000
    assert len(done.channels) == 20
    got = texts(chat.channel(log, "slack/c3").messages())
    assert got == [str(n) for n in range(3, 1000, 20)]


def test_many_items_are_known_again_in_any_order(
    log: transit.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "FRAME", 10)
    monkeypatch.setattr(known, "RUN", 7)
    export = [said(f"m{n}", str(n), answers=f"m{n // 3}" if n else None) for n in range(300)]
    import_items(log, export)
    shuffled = random.Random(1).sample(export, len(export))
    chat.channel(log, "dev").edit(150, "EDITED", by="u1")
    # Its text differs from the export's, so it is told once.
    for again, told in ((export, 1), (export[::-1], 0), (shuffled, 0), (export[40:], 0)):
        done = import_items(log, again)
        assert (done.known, done.new, done.edited) == (len(again), told, told)
    longer = [said("n1", "new"), *shuffled[:20], said("m7", "SEVEN"), said("n2", "new")]
    done = import_items(log, longer)
    assert (done.known, done.new, done.edited) == (21, 3, 1)
    assert chat.channel(log, "dev").by_id("m7").text == "SEVEN"
    assert chat.channel(log, "dev").by_id("m8").answers == 2


def test_an_id_of_another_record_with_the_same_hash_is_another(
    log: transit.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transit.chat.index.hash_of", lambda _: 1)
    monkeypatch.setattr("transit.chat.known.hash_of", lambda _: 1)
    monkeypatch.setattr(importing, "FRAME", 3)
    export = [said(f"m{n}", str(n), answers="m1") for n in range(10)]
    assert import_items(log, export).new == 10
    assert import_items(log, export).new == 0
    assert [each.answers for each in chat.channel(log, "dev").messages()][2:] == [1] * 8


def test_two_imports_at_once_double_nothing(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with (
        transit.open(tmp_path / "s", mode="shared", durability="os") as log,
        ThreadPoolExecutor(4) as pool,
    ):
        export = [said(f"m{n}", str(n)) for n in range(3000)]
        done = list(pool.map(lambda _: import_items(log, export), range(4)))
        assert sum(each.new for each in done) == 3000
        assert texts(chat.channel(log, "dev").messages()) == [str(n) for n in range(3000)]


@pytest.mark.parametrize("name", ["$x", "", " a", "a\nb", "\u202ex"])
def test_any_name_of_a_channel_becomes_one(log: transit.Log, name: str) -> None:
    done = import_items(log, [said("m1", "one", channel=name)])
    (made,) = done.channels
    assert texts(chat.channel(log, made).messages()) == ["one"]


def test_the_platforms_own_threads_are_decisions(log: transit.Log) -> None:
    import_items(
        log,
        [said("m1", "one", starts=True), said("m2", "two"), said("m3", "three", answers="m1")],
    )
    dev = chat.channel(log, "dev")
    decided = list(chat.threading(dev, classifier=chat.source("source:slack")).run())
    assert [each.decided for each in decided] == [True, False, True]
    assert decided[2].classifier == "source:slack"
    assert decided[2].score == 1.0
    assert shape(dev.threads()) == {0: [0, 2]}


DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "irc"


@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not here")
def test_a_real_log_is_imported_line_by_line(log: transit.Log) -> None:
    path = DATA / "2016-12-19_20.ascii.txt"
    done = chat.import_chat(log, path)
    lines = path.read_text().splitlines()
    (name,) = done.channels
    stream = log.stream(name)
    assert (done.new, done.bad_count, len(stream)) == (len(lines), 0, len(lines))
    assert chat.import_chat(log, path).new == 0
    list(chat.threading(chat.channel(log, name), classifier=chat.rule(), decide_at=0).run())
    gold = DATA / "2016-12-19_20.annotation.txt"
    compared = chat.compare(chat.channel(log, name), gold=gold)
    assert (compared.messages, compared.score.missing) == (250, 0)
    assert compared.score.link.f1 > 0.6
    assert compared.answers >= len(compared.differing) > 0
    assert 0 < compared.threads < 250
    # All that was said before is context, too, when it is asked for.
    assert chat.compare(chat.channel(log, name), gold=gold, context=1100).messages == 150
