"""Tokens, cookies and other sites' pages."""

from __future__ import annotations

import hashlib
import http.client
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

import transit
from transit import trace
from transit.server.access import RIGHTS

from .conftest import Open
from .runs import record_run
from .served import Site

GRANTS = {
    "the-token": ("all", {"": list(RIGHTS)}),
    "reads-a": ("reader", {"a/": ["read"]}),
    "kim": ("kim", {"a/": ["read", "append"]}),
}


def write_tokens(path: Path, secrets: Iterable[str] = GRANTS) -> None:
    text = ""
    for secret in secrets:
        name, allow = GRANTS[secret]
        allowed = ", ".join(f"{json.dumps(key)} = {json.dumps(allow[key])}" for key in allow)
        digest = hashlib.sha256(secret.encode()).hexdigest()
        text += f'[tokens.{name}]\nsha256 = "{digest}"\nallow = {{ {allowed} }}\n'
    path.touch(mode=0o600)
    path.write_text(text)


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    write_tokens(tmp_path / "tokens.toml")
    return tmp_path / "tokens.toml"


@pytest.fixture
def site(serve: Callable[..., Site], tokens: Path) -> Site:
    return serve(tokens=str(tokens))


def own(site: Site, **more: str) -> dict[str, str]:
    """What a browser says of a form of the site's own."""
    return {"origin": f"http://{site.host}", "sec_fetch_site": "same-origin", **more}


def test_who_is_not_known_is_shown_a_form_and_then_what_was_asked_for(
    log: transit.Log, look: Open
) -> None:
    record_run(log, "a/run")
    tab = look("run?name=a%2Frun")
    tab.wait_for("Log in")
    assert "a/run" not in tab.text()
    tab.type("wrong")
    tab.press("Enter")
    tab.wait_for("No token like that is known")
    tab.complaints[:] = [each for each in tab.complaints if "401" not in each]
    tab.tab.locator("input[name=token]").focus()
    tab.type("the-token")
    tab.press("Enter")
    tab.wait_for("bash", "#rows")
    tab.live()
    cookie = tab.context.cookies()[0]
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert tab.run("document.cookie") == ""
    tab.tab.locator("text=Log out").click()
    tab.wait_for("Log in")
    assert tab.context.cookies() == []


def test_the_cookie_means_nothing_elsewhere(log: transit.Log, site: Site) -> None:
    record_run(log, "a/run")
    cookie = {"cookie": "transit-token=the-token"}
    assert site.ask("GET", "streams", **cookie)[0] == 200
    for path in ("v1/streams", "v1/stream/a/run", "v1/records/a/run", "metrics", "mcp"):
        assert site.ask("GET", path, **cookie)[0] == 401, path
        assert site.ask("POST", path, {}, **own(site, **cookie))[0] == 401, path


def test_a_token_in_the_head_is_looked_at_first(log: transit.Log, site: Site) -> None:
    record_run(log, "a/run")
    cookie = {"cookie": "transit-token=the-token"}
    assert site.ask("GET", "streams", authorization="Bearer the-token")[0] == 200
    assert site.ask("GET", "streams", authorization="Bearer wrong", **cookie)[0] == 401


def test_a_token_that_is_taken_back_ends_what_its_pages_are_told(
    log: transit.Log, site: Site, tokens: Path
) -> None:
    record_run(log, "a/run")
    cookie = {"cookie": "transit-token=kim"}
    connection = http.client.HTTPConnection(site.host, timeout=90)
    connection.request("GET", "/live?name=a/run", headers=cookie)
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.readline().startswith(b"retry")
    write_tokens(tokens, ["the-token"])
    ends = time.monotonic() + 90
    while site.ask("GET", "streams", **cookie)[0] != 303:
        assert time.monotonic() < ends
        time.sleep(0.05)
    # It would go on for minutes.
    answer.read()
    connection.close()


@pytest.mark.parametrize(
    "path",
    ["", "streams", "graph", "search?text=x", "run?name=a/run", "stream?name=a/run",
     "beside?left=a/run&right=a/run"],
)  # fmt: skip
def test_without_a_token_nothing_is_shown(log: transit.Log, site: Site, path: str) -> None:
    record_run(log, "a/run")
    for cookie in ("", "transit-token=wrong", "transit-token", 'transit-token="the"'):
        status, headers, text = site.ask("GET", path, cookie=cookie)
        assert (status, text) == (303, "")
        assert headers["location"].startswith("login?next=")
    assert site.ask("GET", "live?name=a/run")[0] == 401
    assert site.ask("POST", "notes", {"run": "a/run"}, **own(site))[0] == 401


def test_a_token_for_a_prefix_is_shown_what_it_may_read_alone(log: transit.Log, site: Site) -> None:
    record_run(log, "a/run", result="seen")
    record_run(log, "b/secret", result="hidden needle")
    with trace.task(log, "a/parent") as task:
        task.message("user", "begin")
        with trace.task(log, "b/child") as child:
            child.message("user", "hidden needle")
    cookie = {"cookie": "transit-token=reads-a"}
    for path in ("", "streams", "graph", "search?text=needle", "run?name=a/parent"):
        status, _, text = site.ask("GET", path, **cookie)
        assert status == 200, path
        assert "b/secret" not in text, path
        assert "hidden needle" not in text, path
    for path in (
        "run?name=b/secret", "stream?name=b/secret", "graph?name=b/secret",
        "beside?left=a/run&right=b/secret", "live?name=b/secret", "live?stream=b/secret",
    ):  # fmt: skip
        assert site.ask("GET", path, **cookie)[0] == 403, path
    note = {"run": "a/run", "name": "n", "comment": "c"}
    assert site.ask("POST", "notes", note, **own(site, **cookie))[0] == 403
    assert "Note</button>" not in site.ask("GET", "run?name=a/run", **cookie)[2]


def test_the_author_of_a_note_is_the_name_of_the_token(log: transit.Log, site: Site) -> None:
    record_run(log, "a/run")
    note = {"run": "a/run", "name": "n", "comment": "c", "author": "somebody else"}
    cookie = {"cookie": "transit-token=kim"}
    assert site.ask("POST", "notes", note, **own(site, **cookie))[0] == 201
    assert trace.notes(log, "a/run")[0].author == "kim"


def test_a_proxy_may_end_tls(site: Site) -> None:
    said = own(site, origin=f"https://{site.host}")
    status, headers, _ = site.ask("POST", "login", {"token": "the-token", "next": ""}, **said)
    assert status == 303
    assert headers["set-cookie"].endswith("; Secure")


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "none"},
        {"sec_fetch_site": "same-origin", "origin": "http://evil.example"},
    ],
)
def test_forms_of_other_sites_change_nothing(
    log: transit.Log, site: Site, said: dict[str, str]
) -> None:
    record_run(log, "a/run")
    note = {"run": "a/run", "name": "n", "comment": "c"}
    said = {**said, "cookie": "transit-token=the-token"}
    assert site.ask("POST", "notes", note, **said)[0] == 403
    assert trace.notes(log, "a/run") == ()
    assert "set-cookie" not in site.ask("POST", "login", {"token": "the-token"}, **said)[1]
    assert "set-cookie" not in site.ask("POST", "logout", {}, **said)[1]


@pytest.mark.parametrize(
    "form",
    [
        {"run": "a/run", "name": "n", "comment": "c", "more": "x"},
        {"run": "a/run", "name": "n", "comment": "c", "at": "-1"},
        {"run": "a/run", "name": "n", "comment": "c", "at": "99"},
        {"run": "a/run", "name": "n", "score": "much"},
        {"run": "a/run", "name": "n", "score": "nan"},
        {"run": "a/run", "name": "n"},
    ],
)
def test_notes_that_are_none_are_refused(
    log: transit.Log, site: Site, form: dict[str, str]
) -> None:
    record_run(log, "a/run")
    cookie = {"cookie": "transit-token=the-token"}
    assert site.ask("POST", "notes", form, **own(site, **cookie))[0] == 400
    assert trace.notes(log, "a/run") == ()


@pytest.mark.parametrize(
    ("asked", "there"),
    [
        ("run?name=a", "run?name=a"),
        ("//evil.example", "./"),
        ("https://evil.example", "./"),
        ("/\\evil.example", "./"),
        ("javascript:alert(1)", "./"),
        ("run?name=a\r\nset-cookie: x=y", "run?name=a%0D%0Aset-cookie:%20x=y"),
        ("login?next=login", "./"),
        ("", "./"),
    ],
)
def test_a_form_leads_nowhere_else(site: Site, asked: str, there: str) -> None:
    form = {"token": "the-token", "next": asked}
    status, headers, _ = site.ask("POST", "login", form, **own(site))
    assert (status, headers["location"]) == (303, there)


def test_every_page_says_what_may_run(log: transit.Log, site: Site) -> None:
    record_run(log, "a/run")
    cookie = {"cookie": "transit-token=the-token"}
    for path in ("", "streams", "graph", "search", "run?name=a/run", "stream?name=a/run", "run",
                 "run?name=none", "?nothing=like+that", "streams?page=-1"):  # fmt: skip
        _, headers, text = site.ask("GET", path, **cookie)
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert " style=" not in text
        assert "<style" not in text
        assert "the-token" not in text


def test_names_of_the_stores_own_streams_are_not_found(log: transit.Log, site: Site) -> None:
    record_run(log, "a/run")
    trace.annotate(log, "a/run", "n", comment="c")
    name = f"$trace/notes/{log.stream('a/run').uid}"
    cookie = {"cookie": "transit-token=the-token"}
    for path in ("run?name=", "stream?name=", "live?name=", "live?stream="):
        assert site.ask("GET", path + name.replace("$", "%24"), **cookie)[0] == 404
