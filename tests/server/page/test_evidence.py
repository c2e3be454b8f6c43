"""Evidence on the page of a run and of a stream: what is said, and the files to take along."""

from __future__ import annotations

import http.client
import io
import time
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import transit
from transit.proof.witness import decide
from transit.server.access import READ, Grant
from transit.server.page import evidence
from transit.server.page.answers import POLICY
from transit.server.page.evidence import gone
from transit.server.tokens import new_token
from transit.tier.checkpoints import RemoteCheckpoints
from transit.trace.files.exhibits import check_exhibit

from .conftest import Open
from .runs import IMG, SCRIPT, record_run
from .served import Site, Tab

SECRET = b"nobody else may read this"


@pytest.fixture
def key(log: transit.Log) -> transit.SigningKey:
    return transit.SigningKey.generate(f"example.com/runs/{log.store_id}")


def witnessed(log: transit.Log, key: transit.SigningKey) -> None:
    """Sign what there is, and have it cosigned."""
    own = transit.SigningKey.generate("witness.example/w", role="witness")

    def ask(body: bytes) -> tuple[int, str, bytes]:
        logs = {key.verifying.name: [key.verifying]}
        said = decide(body, {}, logs=logs, keys=[own], now=int(time.time()))
        return said.status, said.content_type, said.body

    assert log.checkpoint(key, witnesses=[transit.Witness(ask, own.verifying)]).witnesses


def downloaded(tab: Tab, link: str, place: Path) -> Path:
    """The file behind a link."""
    with tab.tab.expect_download() as waiting:
        tab.tab.get_by_role("link", name=link).click()
    waiting.value.save_as(place / waiting.value.suggested_filename)
    return place / str(waiting.value.suggested_filename)


def unpacked(file: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


@pytest.mark.slow
def test_a_run_says_what_covers_it_and_is_taken_along_as_an_exhibit(
    log: transit.Log, look: Open, key: transit.SigningKey, tmp_path: Path
) -> None:
    record_run(log, "case/1")
    witnessed(log, key)
    tab = look("run?name=case/1")
    tab.wait_for("make", "#rows")
    # By keyboard alone: the keys of the run leave this one to the browser.
    tab.run("document.querySelector('#evidence summary').focus()")
    tab.press("Enter")
    tab.wait("document.querySelector('#evidence').open")
    said = tab.text("#evidence")
    assert f"1 commit of example.com/runs/{log.store_id}" in said
    assert f"all {len(log.stream('case/1'))} records" in said
    assert "witness.example/w" in said
    assert "not verified here" in said
    assert "without limits or holds" in said
    file = downloaded(tab, "Exhibit of the run", tmp_path)
    assert file.name == "1.exhibit.zip"
    assert check_exhibit(file, key.verifying).proof.shown.stream == "case/1"
    proof = transit.check_proof(
        unpacked(downloaded(tab, "Proof of all records", tmp_path)), key.verifying
    )
    assert (proof.shown.records[0], proof.shown.end) == (0, True)


@pytest.mark.slow
def test_a_stream_says_how_long_it_is_kept_and_what_went(
    log: transit.Log, look: Open, key: transit.SigningKey, tmp_path: Path
) -> None:
    stream = log.create("plain")
    stream.append_many([b"0", b"1", b"2", b"3"])
    witnessed(log, key)
    stream.append(b"later")
    stream.trim(before=2, reason="too old", basis="retention", writer="ada")
    stream.hold("case 7", writer="bob")
    stream.retain(transit.Retention(keep_for=1000, expire_after=2000, count_max=5, bytes_max=4096))
    tab = look("stream?name=plain")
    assert tab.run("document.querySelector('#evidence').open")
    said = tab.text("#evidence")
    assert "the first 4 of 5 records" in said
    assert "by bob: case 7" in said
    assert "trimmed before @2" in said
    assert "by ada, by its limits: too old" in said
    for label in ("Kept until", "Expires", "5 records", "4.0 KiB of payloads"):
        assert label in said
    # What is gone is not asked for by any link.
    assert "2 to 4 of 5 records" in tab.text(".pager")
    proof = transit.check_proof(
        unpacked(downloaded(tab, "Proof of all records", tmp_path)), key.verifying
    )
    assert (proof.shown.records, proof.shown.end) == ((2, 4), True)
    tab.go("stream?name=plain&at=3")
    file = downloaded(tab, "Proof of record @3", tmp_path)
    assert file.name == "plain@3.proof.zip"
    (record,) = transit.check_proof(unpacked(file), key.verifying).records()
    assert record.payload == b"3"


@pytest.mark.slow
def test_a_small_screen_shows_all_of_it(
    log: transit.Log, look: Open, key: transit.SigningKey
) -> None:
    record_run(log, "case/1")
    log.stream("case/1").hold("a reason without any place to break it " * 5)
    witnessed(log, key)
    tab = look("run?name=case/1", size={"width": 390, "height": 700})
    tab.run("document.querySelector('#evidence').open = true")
    tab.settle()
    right, width = tab.run(
        "(() => { const panel = document.querySelector('#evidence .panel');"
        " return [panel.getBoundingClientRect().right, panel.scrollWidth - panel.clientWidth]; })()"
    )
    assert right <= 390
    assert width <= 0
    tab.go("stream?name=case/1")
    assert tab.run("document.documentElement.scrollWidth") <= 390
    assert tab.run("document.querySelector('.records').getBoundingClientRect().height") > 0


def test_a_deleted_stream_says_who_deleted_it_when_and_why(log: transit.Log, site: Site) -> None:
    log.create("old").append(b"x")
    log.delete("old", reason=f"asked {IMG}{SCRIPT}", basis="gdpr-17", writer="eve")
    log.erase()
    for path in ("stream", "run"):
        status, headers, text = site.ask("GET", f"{path}?name=old")
        assert status == 410
        assert headers["content-security-policy"] == POLICY
        assert "old was deleted" in text
        assert "by eve, by Art. 17 GDPR: asked &lt;img" in text
        assert "erased on" in text
        assert IMG not in text
    assert site.ask("GET", "stream?name=none")[0] == 404
    log.create("old").append(b"again")
    assert site.ask("GET", "stream?name=old")[0] == 200


def test_what_is_said_is_text(log: transit.Log, site: Site, key: transit.SigningKey) -> None:
    stream = log.create("plain")
    stream.append(b"x")
    stream.hold(IMG + SCRIPT, writer=IMG)
    log.checkpoint(key)
    text = site.ask("GET", "stream?name=plain")[2]
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    assert IMG not in text
    assert SCRIPT not in text


def test_a_store_without_checkpoints_says_how_to_make_one(log: transit.Log, site: Site) -> None:
    log.create("plain").append(b"x")
    text = site.ask("GET", "stream?name=plain")[2]
    assert "<code>transit checkpoint</code> signs one" in text
    assert 'href="proof' not in text
    assert site.ask("GET", "proof?name=plain")[0] == 400


def test_a_remote_is_asked_for_its_newest_checkpoint_once_for_many_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    honest = RemoteCheckpoints.newest

    def counted(checkpoints: RemoteCheckpoints) -> bytes | None:
        asked.append(checkpoints)
        return honest(checkpoints)

    monkeypatch.setattr(RemoteCheckpoints, "newest", counted)
    # As long as the test may take.
    monkeypatch.setattr(evidence, "NEWEST_S", 1e6)
    with transit.open(tmp_path / "far", remote=str(tmp_path / "remote")) as log:
        log.create("plain").append(b"x")
        site = Site(log)
        try:
            for _ in range(3):
                assert site.ask("GET", "stream?name=plain")[0] == 200
        finally:
            site.close()
    assert len(asked) == 1


# Rights


def cookie_of(tokens: Path, name: str, prefix: str) -> dict[str, str]:
    """The cookie of a new token that reads streams below a prefix."""
    secret = new_token(str(tokens), name, {prefix: ["read"]})
    return {"cookie": f"transit-token={secret}"}


def test_no_file_shows_a_stream_that_the_token_may_not_read(
    log: transit.Log, tmp_path: Path, serve: Callable[..., Site], key: transit.SigningKey
) -> None:
    log.create("secret").append_many([b"0", SECRET])
    log.stream("secret").branch("open/child", at=0, metadata={"task_id": "x"}).append(b"own")
    log.create("open/plain").append(b"own")
    log.checkpoint(key)
    tokens = tmp_path / "tokens.toml"
    some, all_of_it = cookie_of(tokens, "some", "open/"), cookie_of(tokens, "all", "")
    site = serve(tokens=str(tokens))
    for address in ("proof?name=open/child", "proof?name=open/child&at=1",
                    "exhibit?name=open/child", "proof?name=secret"):  # fmt: skip
        status, _, text = site.ask("GET", address, **some)
        assert status == 403
        assert SECRET.decode() not in text
    # It is not offered either.
    for name in ("open/child", "open/plain"):
        text = site.ask("GET", f"stream?name={name}", **some)[2]
        assert ('href="proof' in text) is (name == "open/plain")
        assert 'href="proof' in site.ask("GET", f"stream?name={name}", **all_of_it)[2]
    assert site.ask("GET", "stream?name=secret", **some)[0] == 403
    log.delete("open/child", reason="wish")
    log.delete("secret", reason="hidden reason")
    assert site.ask("GET", "stream?name=open/child", **some)[0] == 410
    # Whether there ever was one is not told.
    status, _, text = site.ask("GET", "stream?name=secret", **some)
    assert status == 403
    assert "hidden reason" not in text


def test_who_may_not_read_a_stream_is_not_told_that_it_was_deleted(log: transit.Log) -> None:
    log.create("secret").append(b"x")
    log.delete("secret", reason="wish")
    reading = frozenset((READ,))
    assert gone(log, Grant("some", (("open/", reading),)), "secret") is None
    assert gone(log, Grant("all", (("", reading),)), "$secret") is None
    found = gone(log, Grant("all", (("", reading),)), "secret")
    assert found is not None
    assert found.deleted


def fetch(url: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    """Status, header fields and bytes of an answer."""
    parts = urlsplit(url)
    with closing(http.client.HTTPConnection(parts.netloc, timeout=90)) as connection:
        connection.request("GET", f"{parts.path}?{parts.query}", headers=headers)
        answer = connection.getresponse()
        fields = {key.lower(): value for key, value in answer.getheaders()}
        return answer.status, fields, answer.read()


def test_the_cookie_of_the_page_opens_its_files_and_no_route_beside_it(
    log: transit.Log, tmp_path: Path, serve: Callable[..., Site], key: transit.SigningKey
) -> None:
    record_run(log, "case")
    log.checkpoint(key)
    tokens = tmp_path / "tokens.toml"
    mine = cookie_of(tokens, "mine", "")
    url = serve(tokens=str(tokens)).url
    for address, status in (("proof?name=case", 200), ("exhibit?name=case", 200),
                            ("v1/proofs/case", 401), ("v1/exhibits/case", 401)):  # fmt: skip
        found, headers, data = fetch(url + address, mine)
        assert found == status, address
        if status == 200:
            assert zipfile.is_zipfile(io.BytesIO(data))
            assert headers["content-security-policy"] == "default-src 'none'"
        # Without a token a form is shown, and nothing else.
        assert fetch(url + address, {})[0] in (303, 401)
