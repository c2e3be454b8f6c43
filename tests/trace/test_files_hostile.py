"""Files that are made to do harm: refused with their place, within bounds of memory and time."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

import transit
from transit import trace
from transit.trace.files import source

Poor = Callable[..., str]

LINE = {"type": "user", "uuid": "u", "parentUuid": None, "sessionId": "s",
        "message": {"role": "user", "content": "x"}}  # fmt: skip


def refused(log: transit.Log, file: Path, match: str, **options: object) -> None:
    with pytest.raises(transit.InvalidInputError, match=match):
        trace.import_file(log, file, **options)  # type: ignore[arg-type]
    assert not list(log.streams())


@pytest.mark.parametrize("depth", [150, 10_000, 1_000_000])
def test_json_nested_deep_is_refused_with_its_place(
    depth: int, log: transit.Log, tmp_path: Path
) -> None:
    deep = '{"a":' * depth + "1" + "}" * depth
    file = tmp_path / "deep.jsonl"
    lines = [json.dumps(LINE), json.dumps(LINE).replace('"x"', f'[{{"b": {deep}}}]')]
    file.write_text("\n".join(lines))
    if depth < source.DEPTH_MAX:
        assert trace.import_file(log, file).skipped == 0
        return
    refused(log, file, r"deep\.jsonl, line 2: nested more than")
    assert trace.import_file(log, file, skip_bad=True).skipped == 1


def test_arguments_that_are_deep_json_in_a_text_stay_a_text(
    log: transit.Log, tmp_path: Path
) -> None:
    deep = "[" * 5000 + "]" * 5000
    call = {"id": "c", "function": {"name": "f", "arguments": deep}}
    file = tmp_path / "m.json"
    file.write_text(json.dumps([{"role": "assistant", "content": "", "tool_calls": [call]}]))
    trace.import_file(log, file)
    request = list(trace.read(log, "m"))[1].event
    assert isinstance(request, trace.ToolRequest)
    assert request.arguments == deep


def test_bytes_that_are_no_utf_8_are_refused_with_their_place(
    log: transit.Log, tmp_path: Path
) -> None:
    file = tmp_path / "latin.jsonl"
    good = json.dumps(LINE).encode()
    file.write_bytes(good + b"\n" + good.replace(b'"x"', b'"\xe9"') + b"\n" + good + b"\n")
    refused(log, file, r"latin\.jsonl, line 2: not UTF-8 at byte")
    assert trace.import_file(log, file, skip_bad=True).skipped == 1
    document = tmp_path / "latin.json"
    document.write_bytes(b'[{"role": "user", "content": "\xe9"}]')
    with pytest.raises(transit.InvalidInputError, match=r"latin\.json: not UTF-8"):
        trace.import_file(log, document)


def test_a_byte_order_mark_and_blank_lines_do_no_harm(log: transit.Log, tmp_path: Path) -> None:
    file = tmp_path / "mark.jsonl"
    good = json.dumps(LINE).encode()
    file.write_bytes(b"\xef\xbb\xbf" + good + b"\r\n\r\n" + good.replace(b'"u"', b'"v"'))
    assert trace.import_file(log, file).records == 2


def test_a_line_cut_short_is_named(log: transit.Log, tmp_path: Path) -> None:
    file = tmp_path / "cut.jsonl"
    good = json.dumps(LINE)
    file.write_text(f"{good}\n{good[:40]}")
    refused(log, file, r"cut\.jsonl, line 2: not JSON")


def test_huge_lines_and_documents_are_refused_before_memory_is_taken(
    poor: Poor, tmp_path: Path
) -> None:
    script = """
import sys, transit
from transit import trace
from transit.trace.files import source
line = b'{"type": "user", "uuid": "u", "parentUuid": null, "message": {"content": "x"}}\\n'
for name, size, start in (("line.jsonl", source.LINE_BYTES_MAX + 1, line),
                          ("document.json", source.DOCUMENT_BYTES_MAX + 1, b"[")):
    path = f"{sys.argv[1]}/{name}"
    with open(path, "wb") as file:
        file.write(start)
        file.truncate(size + len(start))
    with transit.open(sys.argv[1] + "/store") as log:
        try:
            trace.import_file(log, path, format="claude-code" if "line" in name else "messages")
        except transit.InvalidInputError as error:
            print(str(error).removeprefix(sys.argv[1] + "/"))
"""
    told = poor(script, tmp_path).splitlines()
    assert [each.split(":")[0] for each in told] == ["line.jsonl", "document.json"]
    assert "longer than" in told[0]
    assert "more than" in told[1]


def eval_zip(file: Path, member: bytes) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as opened:
        opened.writestr("header.json", b'{"eval": {"task": "t"}}')
        opened.writestr("samples/1_epoch_1.json", member)
    return file


def test_a_zip_that_becomes_too_much_is_refused(log: transit.Log, tmp_path: Path) -> None:
    file = eval_zip(tmp_path / "bomb.eval", b"{}")
    data = bytearray(file.read_bytes())
    # The directory says that the member is larger than any document may be.
    place = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1)
    data[place + 24 : place + 28] = struct.pack("<I", source.DOCUMENT_BYTES_MAX + 1)
    file.write_bytes(data)
    refused(log, file, r"bomb\.eval, member samples/1_epoch_1\.json: more than")
    data[place + 24 : place + 28] = struct.pack("<I", 2**32 - 2)
    file.write_bytes(data)
    refused(log, file, r"bomb\.eval: a zip of \d+ bytes that would become")


def test_a_member_larger_than_the_zip_says_is_refused(log: transit.Log, tmp_path: Path) -> None:
    file = eval_zip(tmp_path / "liar.eval", b"[" + b"0," * 500_000 + b"0]")
    data = bytearray(file.read_bytes())
    place = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1)
    data[place + 24 : place + 28] = struct.pack("<I", 10)
    file.write_bytes(data)
    refused(log, file, r"liar\.eval, member samples/1_epoch_1\.json: ")


@pytest.mark.parametrize("cut", [10, 60, 200])
def test_a_zip_that_was_cut_or_changed_is_refused(
    cut: int, log: transit.Log, tmp_path: Path
) -> None:
    file = eval_zip(tmp_path / "cut.eval", json.dumps({"events": []}).encode())
    file.write_bytes(file.read_bytes()[:-cut])
    refused(log, file, r"cut\.eval")


def test_a_member_that_is_no_json_is_named_and_can_be_left_out(
    log: transit.Log, tmp_path: Path
) -> None:
    file = eval_zip(tmp_path / "bad.eval", b"{")
    refused(log, file, r"bad\.eval, member samples/1_epoch_1\.json: not JSON")
    done = trace.import_file(log, file, skip_bad=True)
    assert (done.skipped, len(done.runs)) == (1, 2)


def test_a_document_names_no_file_elsewhere(log: transit.Log, tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text(json.dumps({"steps": [{"source": "user", "message": "secret"}]}))
    folder = tmp_path / "folder"
    folder.mkdir()
    paths = ["../secret.json", str(secret), "..\\secret.json", "", ".", "main.json"]
    results = [{"subagent_trajectory_ref": [{"trajectory_path": path}]} for path in paths]
    main = {
        "schema_version": "ATIF-v1.5", "agent": {},
        "steps": [{"source": "agent", "message": "x", "observation": {"results": results}}],
    }  # fmt: skip
    (folder / "main.json").write_text(json.dumps(main))
    assert trace.import_file(log, folder / "main.json").runs == ("main",)
    session = {**LINE, "isSidechain": True, "sessionId": "../s"}
    (folder / "agent-1.jsonl").write_text(json.dumps(session) + "\n" + json.dumps(session))
    (tmp_path / "s.jsonl").write_text(json.dumps(LINE))
    assert trace.import_file(log, folder / "agent-1.jsonl").runs == ("agent-1",)


def test_values_of_any_kind_in_any_place_are_refused_or_imported(
    log: transit.Log, tmp_path: Path
) -> None:
    """Every member of a real shape replaced by every kind of value: no other error comes out."""
    odd: list[object] = [None, True, -1.5, "text", [1], {"a": 1}, [{}], 2**63]
    shapes: dict[str, object] = {
        "m.json": {"messages": [{"role": "user", "content": [{"type": "tool_result"}], "id": 1}]},
        "a.json": {"schema_version": "ATIF-v1.5", "agent": {"name": "a"}, "steps": [
            {"source": "agent", "message": "x", "step_id": 1, "tool_calls": [{"tool_call_id": "c"}],
             "observation": {"results": [{"content": "x"}]}, "metrics": {"prompt_tokens": 1}}]},
        "t.traj": {"trajectory": [{"action": "x", "execution_time": 1}], "history": [], "info": {}},
        "i.json": {"eval": {"task": "t"}, "samples": [{"id": 1, "epoch": 1, "events": [
            {"event": "model", "timestamp": "x", "output": {"choices": [{"message": {}}]}},
            {"event": "tool", "function": "f", "events": []}, {"event": "score", "score": {}}]}]},
        "o.json": {"resourceSpans": [{"scopeSpans": [{"spans": [
            {"traceId": "a" * 32, "spanId": "b" * 16, "attributes": [{"key": "k", "value": {}}],
             "events": [{"name": "e"}], "status": {"code": 1}}]}]}]},
        "h.json": [{"id": 1, "source": "agent", "action": "run", "args": {"a": 1},
                    "tool_call_metadata": {"model_response": {"choices": [{"message": {}}]}}}],
    }  # fmt: skip
    formats = ("messages", "atif", "swe-agent", "inspect", "otlp", "openhands")
    count, told = 0, list[str]()
    for form, (name, shape) in zip(formats, shapes.items(), strict=True):
        for whole in variants(shape, odd):
            count += 1
            file = tmp_path / name
            file.write_text(json.dumps(whole))
            try:
                trace.import_file(log, file, format=form, prefix=f"{count}/")
            except transit.InvalidInputError as error:
                told.append(str(error))
    assert count > 300
    assert all(any(name in each for name in shapes) for each in told)


BLOCKS = [{"type": "text", "text": "x"}, {"type": "tool_use", "id": "c", "name": "f", "input": {}}]
LINES: dict[str, list[dict[str, Any]]] = {
    "claude-code": [
        {"type": "user", "uuid": "1", "parentUuid": None, "message": {"content": "x"}},
        {"type": "assistant", "uuid": "2", "parentUuid": "1", "agentId": "9",
         "message": {"id": "m", "model": "x", "content": BLOCKS, "usage": {"input_tokens": 1}}},
        {"type": "user", "uuid": "3", "parentUuid": "2", "isSidechain": True,
         "toolUseResult": {"agentId": "9"},
         "message": {"content": [{"type": "tool_result", "tool_use_id": "c", "content": "x"}]}},
        {"type": "progress", "uuid": "4", "parentUuid": "3", "parentToolUseID": "c",
         "data": {"agentId": "9"}},
    ],
    "codex": [
        {"type": "response_item", "payload": {"type": "function_call", "call_id": "c",
                                              "name": "f", "arguments": "{}"}},
        {"type": "response_item", "payload": {"type": "function_call_output", "call_id": "c",
                                              "output": "{}"}},
        {"type": "event_msg", "payload": {"type": "token_count", "info": {
            "total_token_usage": {"input_tokens": 1}}}},
        {"type": "response_item", "payload": {"type": "message", "role": "user",
                                              "content": [{"type": "input_text", "text": "x"}]}},
    ],
    "openhands": [
        {"id": 1, "source": "agent", "action": "delegate", "args": {"agent": "a"}},
        {"id": 2, "source": "agent", "observation": "run", "cause": 1, "content": "x",
         "extras": {"metadata": {"exit_code": 1}}},
        {"id": "e", "source": "agent", "timestamp": "x", "kind": "ObservationEvent",
         "tool_call_id": "c", "observation": {"content": [{"text": "x"}]}},
    ],
    "messages": [
        {"role": "assistant", "content": BLOCKS, "usage": {"input_tokens": 1}},
        {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "x"}]},
    ],
}  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_lines_changed_at_random_are_imported_refused_or_left_out(
    seed: int, log: transit.Log, tmp_path: Path
) -> None:
    """And what was imported is there the second time, and can be exported."""
    random = Random(seed)
    told: list[str] = []
    for number in range(40):
        form = random.choice(list(LINES))
        lines = [changed(line, random) for line in LINES[form] * 2]
        random.shuffle(lines)
        file = tmp_path / f"{number}.jsonl"
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        try:
            done = trace.import_file(log, file, format=form, skip_bad=True)
        except transit.InvalidInputError as error:
            told.append(str(error))
            continue
        assert trace.import_file(log, file, format=form, skip_bad=True).added == 0
        export = random.choice(["otlp", "openinference", "atif", "messages", "inspect"])
        trace.export_file(log, random.choice(done.runs), tmp_path / "out", format=export)
    assert all(".jsonl" in each for each in told)


def changed(value: Any, random: Random) -> Any:
    """`value` with some of its members replaced, left out or in another order."""
    if random.random() < 0.08:
        odd = [None, True, -1, 1e308, 2**64, "", "\ud800", [], [[]], [{}], {"a": {}}, "c", "1"]
        return random.choice(odd)
    if isinstance(value, dict):
        return {k: changed(v, random) for k, v in value.items() if random.random() > 0.03}
    if isinstance(value, list):
        return [changed(each, random) for each in value if random.random() > 0.03]
    return value


def variants(value: object, odd: list[object]) -> list[object]:
    """`value` with each of its members, at any depth, replaced by each odd one."""
    found: list[object] = []
    if isinstance(value, dict):
        for key, member in value.items():
            found += [{**value, key: each} for each in (*odd, *variants(member, odd))]
    elif isinstance(value, list):
        for number, member in enumerate(value):
            found += [
                [*value[:number], each, *value[number + 1 :]]
                for each in (*odd, *variants(member, odd))
            ]
    return found
