"""The page of a run: what is in the file, read without a browser."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import re
import runpy
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

import transit
from transit import trace
from transit.trace.events import encode_json
from transit.trace.page import document as page_module
from transit.trace.page.values import VALUE_BYTES_MAX

from .page_data import PageData, data_of, page_of
from .shared_files import SHARED

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((Path(page_module.__file__).parent / "script").glob("*.js"))
HOSTILE = (
    "</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<!--<script>", "-->",
    "]]>", "&lt;b&gt;&amp;", "\x1b[31mred\x1b]0;title\x07", "\u202eevil\u2066\u2069\u200f",
    "nul\x00nul", "\u2028line\u2029", "lone \ud800 half \udfff", "%DATA% %SCRIPT% %TITLE%",
    '{"$": 0}', "__proto__", "a" * 300_000, "\r\n\t", "\ufeff", "\U0001d518\U0001d52b ÷ é",
)  # fmt: skip

# Values of all kinds that JSON has, and some that look like marks of the page's own.
VALUES: list[object] = [
    {"$": 1, "a": [True, None, 1.5, 1.0, 2**70, -(2**53), "x" * 100]},
    {"10": 1, "2": 2, "b": {}}, {"$": {"$": "list"}}, [[[], {}]], "text", "é" * 40, 0, -0.5,
    1e300, {"__proto__": {"a": 1}},
]  # fmt: skip


def hostile_run(log: transit.Log, *texts: str) -> str:
    """A run that says these wherever something can be said; its name."""
    name = texts[0].encode("utf-8", "surrogatepass")[:60].hex()
    # What a stream says of itself is Unicode, and short.
    said = "".join(texts).encode("utf-8", "replace").decode()[:1000]
    manifest = dict(zip(texts, texts, strict=True))
    task = trace.task(log, name, actor=said, reason=said, manifest=manifest, strict=True)
    for text in texts:
        hostile_events(task, text)
    with contextlib.suppress(ValueError), task:
        raise ValueError(*texts)
    for text in texts:
        log.stream(name).append(encode_json({"event": text, text: text}), headers={"a": "b"})
    return name


def hostile_events(task: trace.Task, text: str) -> None:
    task.message(text, text, **{text: text})
    task.message("user", [{"type": "text", "text": text}, {"type": text, text: [text]}])
    with task.tool(text, {text: text}, tool_call_id=text) as call:
        call.failure(text, text)
    with task.model(text, {"messages": [{"role": text, "content": text}], text: [text]}) as model:
        model.chunk(text)
        model.response({"content": text, "tool_calls": [{"function": {"name": text}}]})
    task.custom(text, {"$": text, "1": text})
    task.evaluate(text, decision=text, reason=text)
    task.artifact(b"x", kind=text, content_type=text, artifact_id=text)


# Structure


class Parts(HTMLParser):
    """The elements of a page, and the text in them."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.texts: dict[str, str] = {}
        self.attributes: dict[str, list[dict[str, str | None]]] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.setdefault(tag, []).append(dict(attrs))

    def handle_data(self, data: str) -> None:
        last = self.tags[-1] if self.tags else ""
        self.texts[last] = self.texts.get(last, "") + data


def test_the_page_is_a_document_of_its_own(log: transit.Log) -> None:
    with trace.task(log, "run") as task:
        task.message("user", "hello")
    text = page_of(log, "run").decode()
    parts = Parts(text)
    assert text.startswith("<!doctype html>\n")
    assert parts.attributes["html"] == [{"lang": "en"}]
    assert parts.attributes["meta"][0] == {"charset": "utf-8"}
    assert parts.texts["title"].strip() == "run"
    assert "JavaScript" in parts.texts["p"]
    assert len(parts.attributes["script"]) == 2
    assert len(parts.attributes["style"]) == 1
    # Nothing that a browser would fetch.
    for tag in ("img", "iframe", "object", "embed", "base", "form", "video", "audio", "source"):
        assert tag not in parts.tags
    assert parts.attributes["link"] == [{"rel": "icon", "href": "data:,"}]
    assert not re.search(r"https?://|//[a-z]+\.|@import|url\(", text)


def test_the_policy_names_the_digests_of_script_and_style(log: transit.Log) -> None:
    trace.task(log, "run").message("user", "hello")
    text = page_of(log, "run").decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy is not None

    def digest(pattern: str) -> str:
        (found,) = re.findall(pattern, text, re.DOTALL)
        return base64.b64encode(hashlib.sha256(found.encode()).digest()).decode()

    said = dict(each.strip().split(" ", 1) for each in policy[1].split(";"))
    assert said == {
        "default-src": "'none'",
        "script-src": f"'sha256-{digest('<script>(.*?)</script>')}'",
        "style-src": f"'sha256-{digest('<style>(.*?)</style>')}'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "require-trusted-types-for": "'script'",
    }
    # Before anything that it is about.
    assert text.index("Content-Security-Policy") < text.index("<style") < text.index("<script")


@pytest.mark.parametrize("file", SCRIPTS, ids=lambda file: file.name)
def test_scripts_make_text_of_what_was_recorded(file: Path) -> None:
    code = re.sub(r"//.*", "", file.read_text(encoding="utf-8"))
    forbidden = (
        "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(",
        "DOMParser", "createContextualFragment", "setHTML", "srcdoc", "fetch(", "XMLHttp",
        "import(", "WebSocket", "sendBeacon", "localStorage", ".href", ".src", "javascript:",
    )  # fmt: skip
    assert not [each for each in forbidden if each in code]
    assert len(code.splitlines()) <= 500


def test_all_scripts_are_in_the_page() -> None:
    assert sorted(page_module.SCRIPTS) == [file.name for file in SCRIPTS]


def test_colours_have_the_contrast_that_small_text_needs() -> None:
    style = page_module.resource("page.css")
    light, dark = [
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
        for block in re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    ]
    grounds = ("ground", "ground-2", "accent-ground")
    for colours in (light, dark):
        pairs = [(text, ground) for ground in grounds
                 for text in ("text", "quiet", "accent", "good", "bad", "open")]  # fmt: skip
        pairs += [("text", "ground-3"), ("text", "bad-ground"), ("found-text", "found")]
        for text, ground in pairs:
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)


def contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2."""

    def light(colour: str) -> float:
        parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        red, green, blue = (
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


# What is in it


def test_steps_are_in_order_with_how_deep_they_are(log: transit.Log) -> None:
    with trace.task(log, "run", actor="agent", reason="asked") as task:
        with task.tool("delegate", {"to": "child"}) as call:
            with trace.task(log, "run/child") as child, child.tool("bash", {"cmd": "ls"}) as inner:
                inner.failure("no such file")
            call.result("done")
        with task.model("some-model", [{"role": "user", "content": "hello"}]) as model:
            model.response(
                {"content": "hi"}, usage={"input_tokens": 3, "output_tokens": 1, "cost": 0.5}
            )
    data = data_of(log, "run")
    assert [(step.get("level", 0), step["kind"], step.get("name", "")) for step in data.steps] == [
        (0, "tool", "delegate"), (1, "run", "run/child"), (2, "tool", "bash"), (2, "end", ""),
        (0, "model", "some-model"), (0, "end", ""),
    ]  # fmt: skip
    assert [step.get("failed", 0) for step in data.steps] == [0, 0, 1, 0, 0, 0]
    assert data.steps[4]["tokens"] == [3, 1]
    assert data.steps[4]["cost"] == 0.5
    head = data.head
    assert (head["run"], head["status"], head["actor"], head["reason"]) == (
        "run", "completed", "agent", "asked",
    )  # fmt: skip
    assert (head["events"], head["children"], head["failures"], head["failures_inside"]) == (
        6,
        1,
        0,
        1,
    )
    assert (head["tokens"], head["cost"]) == ([3, 1], 0.5)
    records = [
        (data.runs[step.get("run", 0)], record[0])
        for step in data.steps for record in (step["first"], step.get("last")) if record
    ]  # fmt: skip
    assert records == [
        ("run", 0), ("run", 2), ("run", 1), ("run", 2), ("run/child", 0), ("run/child", 1),
        ("run/child", 2), ("run", 3), ("run", 4), ("run", 5),
    ]  # fmt: skip


def test_a_run_without_an_end_is_open(log: transit.Log) -> None:
    task = trace.task(log, "run")
    task.tool("bash", {"cmd": "sleep"})
    data = data_of(log, "run")
    assert (data.head["status"], data.steps[0]["status"]) == ("open", "open")
    assert "last" not in data.steps[0]


def test_a_run_without_events_has_a_page(log: transit.Log) -> None:
    trace.task(log, "run")
    assert data_of(log, "run").steps == []


def test_inherited_steps_say_where_they_were_recorded(log: transit.Log) -> None:
    with trace.task(log, "run") as task:
        task.message("user", "hello")
        with task.tool("bash") as call:
            call.result("ok")
    retry = task.retry(at=2, reason="again")
    retry.message("user", "other")
    data = data_of(log, retry.name)
    assert [step.get("inherited", 0) for step in data.steps] == [1, 1, 0]
    assert data.runs[data.steps[0]["first"][3][0]] == "run"
    assert data.head["parents"] == ["run@2"]
    assert data.head["kind"] == "retry"


def test_events_are_whole_as_they_were_recorded(log: transit.Log) -> None:
    task = trace.task(log, "run", strict=True)
    for value in VALUES:
        task.custom("value", value)
    messages = [{"role": "user", "content": value} for value in VALUES]
    request = {"messages": messages, "n": VALUES[0]}
    task.model_call(model="some-model", request=request, response=VALUES)
    data = data_of(log, "run")
    for step, record in zip(data.steps, trace.read(log, "run"), strict=True):
        found = data.value(step["first"][2])
        if isinstance(record.event, trace.Custom):
            assert same_json(found.get("data"), record.event.data)
        else:
            assert isinstance(record.event, trace.ModelCall)
            assert same_json(found["request"], record.event.request)
            assert same_json(found["response"], record.event.response)


def same_json(one: object, other: object) -> bool:
    """Equal with the same order of members, and 1 is not 1.0 or true."""
    return json.dumps(one) == json.dumps(other)


def test_a_value_that_equals_another_of_another_type_is_its_own(log: transit.Log) -> None:
    task = trace.task(log, "run")
    for value in (1, True, 1.0):
        task.model_call(model="m", request={"messages": [{"content": value, "role": "r" * 40}]})
    data = data_of(log, "run")
    found = [
        data.value(step["first"][2])["request"]["messages"][0]["content"] for step in data.steps
    ]
    assert json.dumps(found) == "[1, true, 1.0]"


def test_a_record_of_another_program_is_shown(log: transit.Log) -> None:
    stream = log.create("run")
    stream.append(b'{"event":"reflection","depth":2}')
    stream.append(b"\xff\x00 not JSON", headers={"kind": "noise"})
    data = data_of(log, "run")
    assert data.value(data.steps[0]["first"][2]) == {"event": "reflection", "depth": 2}
    assert data.value(data.steps[1]["first"][2]) == "\\xff\x00 not JSON"
    assert data.value(data.steps[1]["first"][4]) == {"kind": "noise"}


# Values that repeat


def conversation(log: transit.Log, turns: int) -> list[str]:
    """A run whose requests repeat all that was said before; the distinct texts."""
    task = trace.task(log, "run", strict=True)
    messages: list[dict[str, object]] = []
    texts = []
    for turn in range(turns):
        for role in ("user", "assistant"):
            text = f"{role} says in turn {turn} what takes some words to say " + "word " * 40
            texts.append(text)
            messages.append({"role": role, "content": text})
            if role == "user":
                task.model_call(model="some-model", request={"messages": messages}, response=None)
    return texts


def test_messages_that_repeat_are_there_once(log: transit.Log) -> None:
    texts = conversation(log, 60)
    page = page_of(log, "run").decode()
    assert all(page.count(text) == 1 for text in texts[:-1])
    data = PageData(page)
    for turn, step in enumerate(data.steps):
        messages = data.value(step["first"][2])["request"]["messages"]
        assert [each["content"] for each in messages] == texts[: turn * 2 + 1]


def test_a_page_grows_with_the_text_and_not_with_the_requests(log: transit.Log) -> None:
    texts = conversation(log, 200)
    empty = len(page_of(log, "run")) - len(data_of(log, "run").text)
    size = len(page_of(log, "run")) - empty
    assert size <= 3 * sum(len(text.encode()) for text in texts)


def test_no_value_is_there_twice(log: transit.Log) -> None:
    for name in ("run", "other"):
        # Equal messages, and other objects.
        messages = [{"role": "user", "content": f"message {n} {'word ' * 20}"} for n in range(9)]
        trace.task(log, name).model_call(model="some-model", request={"messages": messages})
    found = data_of(log, "run", beside="other").values
    # Each run has lists of its own: a page says which of its requests one goes on from.
    values = [json.dumps(each) for each in found if not (isinstance(each, dict) and "then" in each)]
    assert len(found) == len(values) + 2
    assert len(set(values)) == len(values)


def test_conversations_that_take_turns_go_on_from_their_own(log: transit.Log) -> None:
    task = trace.task(log, "run", strict=True)
    said: dict[str, list[dict[str, object]]] = {"one": [], "two": []}
    for turn in range(10):
        for name, messages in said.items():
            messages.append({"role": "user", "content": f"{name} in turn {turn} {'word ' * 20}"})
            task.model_call(model=name, request={"messages": messages})
    data = data_of(log, "run")
    lists = [value for value in data.values if isinstance(value, dict) and value.get("$") == "list"]
    assert [len(each["then"]) for each in lists] == [1] * 20
    last = data.value(data.steps[-1]["first"][2])["request"]["messages"]
    assert last == said["two"]


def test_a_request_that_leaves_messages_out_is_whole(log: transit.Log) -> None:
    task = trace.task(log, "run", strict=True)
    messages = [{"role": "user", "content": f"message {n} {'word ' * 20}"} for n in range(12)]
    requests = [messages[:8], messages[:3], messages[:3] + messages[6:], messages[4:], [], messages]
    for request in requests:
        task.model_call(model="some-model", request=request)
    data = data_of(log, "run")
    assert [data.value(step["first"][2]).get("request") for step in data.steps] == requests


# Values that are cut


@pytest.mark.parametrize("extra", [0, 1, 5_000_000])
def test_a_long_text_is_cut_with_its_size_and_digest(log: transit.Log, extra: int) -> None:
    text = "x" * (VALUE_BYTES_MAX + extra)
    with trace.task(log, "run").tool("bash") as call:
        call.result(text)
    data = data_of(log, "run")
    found = data.value(data.steps[0]["last"][2])["result"]
    if not extra:
        assert found == text
        return
    assert found["bytes"] == len(text)
    assert found["digest"] == blake3(text.encode()).hexdigest()
    assert text.startswith(found["head"])
    assert text.endswith(found["tail"])
    assert len(found["head"]) + len(found["tail"]) < VALUE_BYTES_MAX
    assert found["json"] is False


def test_a_text_is_cut_between_characters(log: transit.Log) -> None:
    for shift in range(4):
        task = trace.task(log, f"run-{shift}")
        task.custom("text", "a" * shift + "\U0001d518" * 40_000)
        data = data_of(log, task.name)
        found = data.value(data.steps[0]["first"][2])["data"]
        assert set(found["head"] + found["tail"]) <= {"a", "\U0001d518"}


def test_a_large_value_of_small_parts_is_cut_as_its_json(log: transit.Log) -> None:
    value = {
        "numbers": list(range(40_000)),
        "text": "kept nowhere else, and longer than a few words",
    }
    trace.task(log, "run").custom("numbers", value)
    data = data_of(log, "run")
    found = data.value(data.steps[0]["first"][2])["data"]
    whole = encode_json(value)
    assert (found["json"], found["bytes"]) == (True, len(whole))
    assert found["digest"] == blake3(whole).hexdigest()
    assert whole.decode().startswith(found["head"])
    assert data.values == [found], "parts of what is cut are left out"


def test_a_value_that_is_deep_is_shown_as_its_json(log: transit.Log) -> None:
    deep: object = "bottom"
    for _ in range(90):
        deep = [deep]
    log.create("run").append(encode_json({"event": "deep", "data": deep}))
    page = page_of(log, "run").decode()
    assert "bottom" in page


# Whatever is in it


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text)[1:24])
def test_no_text_gets_out_of_the_data(log: transit.Log, text: str) -> None:
    name = hostile_run(log, text)
    plain = page_of(log, name, title="plain").decode()
    plain = plain.replace(PageData(plain).text, "")
    for notes in ([], [{"name": text, "label": text, "comment": text, "at": text}]):
        page = page_of(log, name, title=text, notes=notes)
        whole = page.decode("utf-8")
        data = PageData(whole)
        assert not re.search(r"[<>&\u2028\u2029]", data.text)
        assert len(Parts(whole).attributes["script"]) == 2
        shell = whole.replace(data.text, "")
        (title,) = re.findall(r"<title>(.*?)</title>", shell, re.DOTALL)
        assert shell.replace(f"<title>{title}</title>", "<title>plain</title>") == plain
        assert re.fullmatch(r"[^<>\x00-\x1f\u200b-\u200f\u2028-\u202e\u2066-\u2069]*", title)


def test_hostile_texts_are_given_back(log: transit.Log) -> None:
    task = trace.task(log, "run", strict=True)
    texts = [text for text in HOSTILE if len(text) < VALUE_BYTES_MAX]
    for text in texts:
        task.custom("text", text)
    data = data_of(log, "run")
    assert [data.value(step["first"][2])["data"] for step in data.steps] == texts


# Notes, and two runs


class Note:
    name, score, label, comment, author = "quality", 0.5, "good", "well done", "Kim"
    timestamp, at = 1_764_000_000_000_000_000, transit.Position("run", 0)


def test_notes_are_objects_or_mappings(log: transit.Log) -> None:
    with trace.task(log, "run") as task:
        task.message("user", "hello")
    notes = [
        Note(),
        {"name": "b", "at": 1, "score": 0},
        {"comment": "c", "at": "x@2"},
        {"label": "d"},
    ]
    data = data_of(log, "run", notes=notes)
    assert [data.value(note) for note in data.notes] == [
        {
            "name": "quality", "score": 0.5, "label": "good", "comment": "well done",
            "author": "Kim", "timestamp": 1_764_000_000_000_000_000, "at": "run@0",
        },
        {"name": "b", "score": 0, "at": "run@1"}, {"comment": "c", "at": "x@2"}, {"label": "d"},
    ]  # fmt: skip


def test_notes_that_are_kept_in_the_store_are_taken(log: transit.Log) -> None:
    with trace.task(log, "run") as task:
        task.message("user", "hello")
    trace.annotate(
        log, "run", "right", score=False, comment="not so", author="Kim", at=0, metadata={"a": 1}
    )
    (note,) = data_of(log, "run", notes=trace.notes(log, "run")).notes
    assert note.pop("timestamp") is not None
    assert note == {
        "name": "right", "score": False, "comment": "not so", "author": "Kim", "at": "run@0",
        "metadata": {"a": 1},
    }  # fmt: skip


def test_two_runs_stand_beside_each_other(log: transit.Log) -> None:
    for name, answer in (("one", "yes"), ("two", "no")):
        with trace.task(log, name) as task:
            task.message("user", "is it so?")
            task.message("assistant", answer)
            if name == "two":
                task.custom("more", {})
    data = data_of(log, "one", beside="two")
    assert [side["run"] for side in data.sides] == ["one", "two"]
    assert [side["steps"] for side in data.sides] == [[0, 3], [3, 4]]
    assert data.title == "one and two"
    assert data.rows == [[0, 0, 3, 1], [0, 1, 4, 0], [0, -1, 5, 0], [0, 2, 6, 1]]


# The file


def test_the_same_run_gives_the_same_page(log: transit.Log) -> None:
    with trace.task(log, "run") as task, task.tool("bash", {"b": 1, "a": 2}) as call:
        call.result({"z": [1], "y": "text " * 20})
    assert page_of(log, "run") == page_of(log, "run")


def test_a_file_that_is_there_is_replaced(log: transit.Log, tmp_path: Path) -> None:
    trace.task(log, "run").message("user", "hello")
    file = tmp_path / "page.html"
    file.write_text("before")
    trace.write_page(log, "run", str(file))
    assert file.read_bytes() == page_of(log, "run")
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == ["page.html"]


@pytest.mark.parametrize("how", ["no run", "no other run", "bad data"])
def test_a_page_that_cannot_be_made_leaves_the_file_as_it_was(
    log: transit.Log, tmp_path: Path, how: str
) -> None:
    trace.task(log, "run").message("user", "hello")
    file = tmp_path / "page.html"
    file.write_text("before")
    with pytest.raises((transit.NotFoundError, RuntimeError)):
        trace.write_page(
            log, "none" if how == "no run" else "run", file,
            beside="none" if how == "no other run" else None,
            notes=broken() if how == "bad data" else (),
        )  # fmt: skip
    assert file.read_text() == "before"
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == ["page.html"]


def broken() -> Iterator[object]:
    yield {"name": "a"}
    raise RuntimeError("no more notes")


def test_a_file_that_cannot_be_written_leaves_nothing(log: transit.Log, tmp_path: Path) -> None:
    trace.task(log, "run").message("user", "hello")
    folder = tmp_path / "page.html"
    folder.mkdir()
    with pytest.raises(OSError, match=r"page\.html"):
        trace.write_page(log, "run", folder)
    with pytest.raises(FileNotFoundError):
        trace.write_page(log, "run", tmp_path / "none" / "page.html")
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == []


def test_what_is_no_file_is_refused(log: transit.Log) -> None:
    trace.task(log, "run").message("user", "hello")
    calls: list[Callable[[], Any]] = [
        lambda: trace.write_page(log, "run", 7),  # type: ignore[arg-type]
        lambda: trace.write_page(log, "run", io.BytesIO(), title=7),  # type: ignore[arg-type]
        lambda: trace.write_page(log, "run", io.StringIO()),  # type: ignore[arg-type]
    ]
    for call in calls:
        with pytest.raises(transit.InvalidInputError):
            call()


def test_the_example_is_what_its_script_makes(tmp_path: Path) -> None:
    script = ROOT / "docs" / "examples" / "make_page.py"
    made = tmp_path / "run.html"
    runpy.run_path(str(script))["main"](made)
    committed = (ROOT / "docs" / "examples" / "run.html").read_bytes()
    assert made.read_bytes() == committed, "run docs/examples/make_page.py again"
    assert len(committed) <= 200_000


def test_the_picture_of_a_terminal_is_what_its_script_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    script = ROOT / "docs" / "examples" / "make_picture.py"
    made = tmp_path / "show.svg"
    runpy.run_path(str(script))["main"](made)
    committed = (ROOT / "docs" / "examples" / "show.svg").read_bytes()
    assert made.read_bytes() == committed, "run docs/examples/make_picture.py again"


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(file, id=f"{file.parent.name}/{file.name}")
        for file in sorted(SHARED.glob("*/*")) if file.suffix != ".md" and file.parent.name != "irc"
    ] or [pytest.param(None, id="none")],
)  # fmt: skip
def test_runs_of_other_tools_have_pages(log: transit.Log, file: Path | None) -> None:
    if file is None:
        pytest.skip(f"no real files in {SHARED}")
    for run in trace.import_file(log, file, skip_bad=True).runs:
        data = data_of(log, run)
        count = sum(1 for step in trace.read(log, run).steps() for _ in step.walk())
        assert len(data.steps) == count
        for step in data.steps:
            data.value(step["first"][2])
