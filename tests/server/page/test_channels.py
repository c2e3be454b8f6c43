"""Channels and threads on the page: live, by keyboard, and only what may be seen."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from html import unescape
from pathlib import Path

import pytest

import transit
from tests.chat.test_connected import AnswersLast, asked
from transit import chat
from transit.chat.folding import Folding
from transit.chat.index import Index
from transit.chat.records import (
    BACKLINK,
    EVIDENCE,
    BacklinkBody,
    DecisionBody,
    MessageBody,
    encode,
)
from transit.server.tokens import new_token

from .conftest import Open
from .runs import IMG, NAMES, SCRIPT
from .served import Site

ROWS = "document.querySelectorAll('tbody tr').length"


@pytest.fixture
def dev(log: transit.Log) -> chat.Channel:
    channel = chat.channel(log, "dev", purpose="how it is built")
    asked(channel)
    return channel


def seen(site: Site, address: str, **headers: str) -> str:
    """What a page says, without tags."""
    status, _, text = site.ask("GET", address, **headers)
    words = unescape(re.sub(r"<[^>]*>", " ", text.partition("<main")[2]))
    return f"{status} {' '.join(words.split())}"


def rows(site: Site, address: str) -> list[str]:
    """What the rows of a page say."""
    _, _, text = site.ask("GET", address)
    found = re.findall(r"<tr data-uid.*?</tr>", text, re.DOTALL)
    return [" ".join(unescape(re.sub(r"<[^>]*>", " ", each)).split()) for each in found]


def test_channels_are_listed_with_what_was_said_last(site: Site, dev: chat.Channel) -> None:
    ops = chat.channel(dev.log, "ops")
    dev.log.create("no-channel")
    said = ops.post("kim", "the disk is full", name="Kim")
    newest, oldest = rows(site, "channels")
    assert newest.startswith("ops 1 Kim the disk is full")
    assert oldest.startswith("dev how it is built 5 kim I do")
    assert "2 channels" in seen(site, "channels")
    assert len(rows(site, "channels?q=DE")) == 1
    ops.remove(said, by="kim")
    assert rows(site, "channels")[0].startswith("ops 1 Kim removed")
    ops.edit(ops.post("kim", "no"), "it is empty again", by="kim")
    assert "it is empty again" in rows(site, "channels")[0]


def test_a_message_says_its_thread_and_why(site: Site, dev: chat.Channel) -> None:
    dev.edit(1, "which python is it", by="bob")
    dev.react(1, "+1", by="eve")
    dev.react(1, "+1", by="kim")
    dev.remove(2, by="kim", reason="spam")
    dev.override(4, parent=0, by="kim", reason="the same matter")
    dev.threads().of(0).reply("bob", "use 3.12")
    first, second, third, _, fifth = rows(site, "channel?name=dev")
    assert "begins here 1 reply answers-last 0.90" in first
    assert "bob edited which python is it +1 2 why does the wheel not build?" in second
    assert "say which python" not in second
    assert "removed by kim: spam" in third
    assert "3.11" not in third
    assert "✓ kim said so: the same matter" in fifth
    dev.post("zoe", "maybe")
    list(chat.threading(dev, classifier=AnswersLast(score=0.6)).run())
    dev.post("zoe", "nobody looked at this")
    *_, sixth, last = rows(site, "channel?name=dev")
    assert "○ proposed answers @4 , by answers-last 0.60" in sixth
    assert "not decided" in last


def test_lines_of_the_platform_are_no_threads(site: Site, dev: chat.Channel) -> None:
    dev.join("zoe", "Zoe")
    list(chat.threading(dev, classifier=AnswersLast(score=0.6)).run())
    assert rows(site, "channel?name=dev")[-1].endswith("Zoe joined @5")
    assert len(rows(site, "threads?name=dev")) == 2
    dev.set_policy(by="kim", classifier="rule", decide_at=0.5)
    text = seen(site, "channel?name=dev")
    assert "Here: Zoe · threaded by rule from 0.50 on, as kim set it" in text


def test_threads_are_listed_by_state(site: Site, dev: chat.Channel) -> None:
    dev.threads().of(0).summarise("it is the python", by="kim")
    found = rows(site, "threads?name=dev")
    assert found[0].startswith("who brings lunch? eve · @3 ○ open 2")
    assert found[1].startswith("why does the wheel not build? ada · @0 ○ open 3")
    assert found[1].endswith("it is the python")
    dev.threads().of(0).reply("bob", "use 3.12")
    assert rows(site, "threads?name=dev")[1].endswith("○ stale it is the python")
    dev.threads().of(0).resolve(by="kim")
    assert len(rows(site, "threads?name=dev")) == 1
    assert "✓ resolved 3 1" in rows(site, "threads?name=dev&state=resolved")[0]
    assert "No thread is suppressed" in seen(site, "threads?name=dev&state=suppressed")
    assert seen(site, "threads?name=dev&state=other").startswith("400")


def test_a_thread_has_its_messages_replies_and_copies(site: Site, dev: chat.Channel) -> None:
    thread = dev.threads().of(0)
    dev.remove(thread.reply("eve", "never mind"), by="eve")
    thread.reply("bob", "use 3.12")
    thread.freeze(by="kim", reason="for the audit")
    thread.suppress(by="kim", reason="noise")
    text = seen(site, "thread?name=dev&at=2")
    for part in (
        "suppressed, 5 messages", "by kim: noise", "dev/t/0", "dev/frozen/0 10 records by kim",
        "answers-last 0.90 answers @0 · decision 1", "or a new thread 0.10",
    ):  # fmt: skip
        assert part in text, (part, text)
    found = rows(site, "thread?name=dev&at=0")
    assert [each.rpartition("@")[2].split()[0] for each in found[3:]] == ["1", "3"]
    assert "removed by eve" in found[3]
    assert "never mind" not in text
    merged = dev.merge_threads([thread, dev.threads().of(3)], by="kim")
    assert len(rows(site, "thread?name=dev&at=3")) == len(merged) == 7
    assert "merged" in seen(site, "thread?name=dev&at=3")


def test_what_is_no_channel_or_no_message_is_not_found(site: Site, dev: chat.Channel) -> None:
    dev.log.create("plain")
    uid = dev.stream.uid
    for address in (
        "channel?name=none", "channel?name=plain", "threads?name=plain", "thread?name=dev&at=99",
        "thread?name=plain&at=0", f"channel?name=$chat/decisions/{uid}",
    ):  # fmt: skip
        assert seen(site, address).startswith("404"), address
    for address in ("channel?name=dev&x=1", "thread?name=dev", "channel?name=dev&from=x"):
        assert seen(site, address).startswith("400"), address
    assert site.ask("GET", "live?list=other")[0] == 400
    assert site.ask("GET", "live?list=channel&name=plain")[0] in (200, 404)


def test_messages_come_in_pages(site: Site, dev: chat.Channel) -> None:
    for number in range(230):
        dev.post("ada", f"message {number}")
    assert rows(site, "channel?name=dev")[-1].split("message ")[1].startswith("229")
    found, address = [], "channel?name=dev&from=0"
    while True:
        page = rows(site, address)
        assert len(page) <= 100
        found += page
        _, _, text = site.ask("GET", address)
        following = re.search(r'rel="next" href="\?([^"]*)"', text)
        if not following:
            break
        address = f"channel?{unescape(following[1])}"
    assert len(found) == 235
    assert len({each.rpartition("@")[2] for each in found}) == 235
    _, _, text = site.ask("GET", "channel?name=dev")
    before = re.search(r'rel="prev" href="\?([^"]*)"', text)
    assert before
    assert len(rows(site, f"channel?{unescape(before[1])}")) == 100


def test_a_large_channel_is_folded_once_and_shown_in_bounded_pages(
    site: Site, log: transit.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 30_000
    dev = chat.channel(log, "dev")
    said = [encode(MessageBody(f"message {number}")) for number in range(count)]
    dev.stream.append_many(said, headers={"kind": "channel-message", "author_id": "ada"})
    bodies = [
        encode(DecisionBody(n, None if n % 3 == 0 else n - 1, 0.9, True, 0.8, [], "x", "1", "", 0))
        for n in range(count)
    ]
    decisions = dev.threads().writable()
    decisions.append_many(bodies, headers={"kind": EVIDENCE, "author_id": "x"})
    folded: list[int] = []
    indexed: list[int] = []
    take, index_take = Folding.take, Index._take_all

    def taken(self: Folding, channel: int, headers: Iterable[object], payloads: object) -> None:
        given = list(headers)
        folded.append(len(given))
        take(self, channel, given, payloads)  # type: ignore[arg-type]

    def looked(self: Index, offset: int, headers: Sequence[object], payloads: object) -> None:
        indexed.append(len(headers))
        index_take(self, offset, headers, payloads)  # type: ignore[arg-type]

    monkeypatch.setattr(Folding, "take", taken)
    monkeypatch.setattr(Index, "_take_all", looked)
    for _ in range(2):
        for address in (
            "channel?name=dev", "channel?name=dev&from=9000", "threads?name=dev",
            "threads?name=dev&page=50", "thread?name=dev&at=5",
        ):  # fmt: skip
            status, _, text = site.ask("GET", address)
            assert status == 200
            assert 0 < text.count("<tr data-uid") <= 100
            assert len(text) < 100_000
    assert (sum(folded), sum(indexed)) == (count, count)
    dev.post("bob", "one more")
    assert "30,001 messages" in seen(site, "channel?name=dev")
    assert sum(indexed) == count + 1


def test_hostile_text_is_text_and_is_cut(site: Site, look: Open, log: transit.Log) -> None:
    dev = chat.channel(log, f"dev {IMG}", purpose=f"{SCRIPT}\u202eevil")
    for name in (IMG, SCRIPT, *NAMES, "\u202egnp.exe", "מ" * 300):
        dev.post(name, f"{name} {SCRIPT}", name=name)
    first = dev.post("ada", "x" * 1_000_000)
    dev.edit(0, IMG * 10_000, by=IMG)
    for number in range(50):
        dev.react(first, f"{IMG}{number}", by=SCRIPT)
    dev.remove(1, by=IMG, reason=SCRIPT)
    list(chat.threading(dev, classifier=AnswersLast(name=IMG)).run())
    dev.override(2, parent=None, by=SCRIPT, reason=IMG)
    dev.threads().of(0).summarise(f"{IMG}\u202e", by=IMG)
    dev.threads().of(0).reply(IMG, SCRIPT)
    dev.threads().of(0).freeze(by=IMG, reason=SCRIPT)
    link = encode(BacklinkBody("other", "dev", "x", "reply", 3))
    dev.stream.append(link, headers={"kind": BACKLINK, "author_id": IMG})
    dev.stream.append(b"\xff\xfe<img>", headers={"kind": "channel-message"})
    tab = look("channels")
    name = f"name={tab.run('encodeURIComponent(document.querySelector(`th a`).textContent)')}"
    for address in ("channels", f"channel?{name}", f"threads?{name}", f"thread?{name}&at=0"):
        tab.go(address)
        tab.live()
        assert tab.run("document.images.length") == 0, address
        assert tab.run("document.querySelectorAll('body script').length") == 0
        assert tab.run("document.body.innerText.length") < 60_000
        assert tab.run("!document.body.innerText.includes('\\u202e')")
    tab.go(f"channel?{name}")
    tab.wait_for("characters more")
    assert "996,000" in tab.text("#content")


def test_a_post_is_seen_without_a_reload_and_who_is_at_the_end_stays_there(
    dev: chat.Channel, look: Open
) -> None:
    for number in range(60):
        dev.post("ada", f"message {number}")
    tab = look("channel?name=dev")
    tab.live()
    tab.wait("scrollY > 500")
    dev.post("zoe", f"just now {IMG}")
    tab.wait_for(f"just now {IMG}", "tbody tr:last-child")
    tab.wait("innerHeight + scrollY >= document.documentElement.scrollHeight - 2")
    assert tab.text("#count") == "66 messages"
    dev.edit(64, "edited now", by="ada")
    tab.wait_for("edited now", "tbody")
    dev.remove(63, by="kim")
    tab.wait_for("removed by kim", "tbody")
    list(chat.threading(dev, classifier=AnswersLast()).run())
    tab.wait("!document.querySelector('tbody').innerText.includes('not decided')")
    # Who reads further up is not moved.
    tab.run("scrollTo(0, 100)")
    tab.wait("scrollY === 100")
    dev.post("zoe", "and now")
    tab.wait_for("and now", "tbody tr:last-child")
    assert tab.run("scrollY") == 100
    assert tab.run("performance.getEntriesByType('navigation').length") == 1


def test_channels_are_used_by_keyboard(dev: chat.Channel, look: Open) -> None:
    tab = look()
    tab.press("g", "c")
    tab.wait_for("how it is built", "#content")
    tab.press("j", "Enter")
    tab.wait_for("5 messages", "#count")
    tab.press("t")
    tab.wait_for("2 threads", "#count")
    tab.press("j", "j", "Enter")
    tab.wait_for("open, 3 messages", "#count")
    assert tab.text("h1") == "why does the wheel not build?"
    dev.threads().of(0).reply("bob", "use 3.12")
    tab.wait_for("use 3.12", "tbody tr:last-child")
    tab.press("m")
    tab.wait_for("5 messages", "#count")
    tab.press("j", "Enter")
    tab.wait_for("Where, and why")


def test_without_javascript_it_is_as_it_was_when_it_was_asked_for(
    dev: chat.Channel, look: Open
) -> None:
    tab = look("channels", java_script_enabled=False)
    tab.tab.click("th a")
    tab.tab.click("td.in a")
    assert "why does the wheel not build?" in str(tab.tab.inner_text("h1"))
    tab.tab.click("text=Threads")
    assert tab.tab.locator("tbody tr").count() == 2


def test_a_token_sees_its_own_channels_and_threads(
    log: transit.Log, serve: Callable[..., Site], tmp_path: Path, dev: chat.Channel
) -> None:
    ops = chat.channel(log, "ops")
    asked(ops)
    # A branch that another channel's readers may not read.
    log.stream("dev").branch("secret", at=0).append(
        encode(MessageBody("hidden")), headers={"kind": "thread-reply", "author_id": "eve"}
    )
    link = encode(BacklinkBody("secret", "dev", "dev@0", "reply", 0))
    dev.stream.append(link, headers={"kind": BACKLINK, "author_id": "eve"})
    tokens = str(tmp_path / "tokens.toml")
    secret = new_token(tokens, "some", {"dev": ["read"]})
    whole = new_token(tokens, "all", {"": ["read"]})
    site = serve(tokens=tokens)

    def ask(token: str, address: str) -> str:
        return seen(site, address, cookie=f"transit-token={token}")

    assert "1 channel " in ask(secret, "channels")
    assert "2 channels" in ask(whole, "channels")
    assert ask(secret, "channel?name=dev").startswith("200")
    for address in ("channel?name=ops", "threads?name=ops", "thread?name=ops&at=0"):
        assert ask(secret, address).startswith("403")
        assert ask(whole, address).startswith("200")
    assert "hidden" not in ask(secret, "thread?name=dev&at=0")
    assert "hidden" in ask(whole, "thread?name=dev&at=0")
    assert "3 0" not in ask(secret, "threads?name=dev")
    for address in ("channels", "channel?name=dev", "threads?name=dev", "thread?name=dev&at=0"):
        status, headers, _ = site.ask("GET", address)
        assert status == 303
        assert headers["location"].startswith("login?next=")
    live = "live?list=channel&name=ops&since="
    assert site.ask("GET", live, cookie=f"transit-token={secret}")[0] == 403
