"""Importing a file: what it does to a store, whatever the format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import transit
from transit import trace
from transit.trace.files.writing import RunWriter, StagedRun

from .shared_files import events_of, kinds

FRAME_BYTES = 16 * 1024


def claude_line(number: int, text: str, **more: object) -> dict[str, Any]:
    return {
        "type": "user", "uuid": f"u{number}", "parentUuid": f"u{number - 1}" if number else None,
        "sessionId": "s", "timestamp": f"2025-06-14T10:00:{number:02}.500Z",
        "message": {"role": "user", "content": text}, **more,
    }  # fmt: skip


def write_lines(file: Path, lines: list[Any]) -> Path:
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return file


def session(folder: Path, count: int = 5, name: str = "session.jsonl") -> Path:
    return write_lines(folder / name, [claude_line(n, f"message {n}") for n in range(count)])


def messages(folder: Path, given: object, name: str = "talk.json") -> Path:
    file = folder / name
    file.write_text(json.dumps(given), encoding="utf-8")
    return file


def test_a_file_that_has_grown_adds_what_is_new(log: transit.Log, tmp_path: Path) -> None:
    first = trace.import_file(log, session(tmp_path, 3))
    grown = trace.import_file(log, session(tmp_path, 5))
    assert (grown.there, grown.added) == (first.added, 2)
    said = [
        event.content for event in events_of(log, "session") if isinstance(event, trace.Message)
    ]
    assert said == [f"message {n}" for n in range(5)]
    shorter = trace.import_file(log, session(tmp_path, 2))
    assert shorter.added == 0, "an older copy of the file"


def test_a_file_that_was_changed_is_refused_and_changes_nothing(
    log: transit.Log, tmp_path: Path
) -> None:
    trace.import_file(log, session(tmp_path))
    before = [record.payload for record in log.stream("session")]
    write_lines(tmp_path / "session.jsonl", [claude_line(n, f"other {n}") for n in range(9)])
    with pytest.raises(transit.AlreadyExistsError, match=r"session\.jsonl: .*at offset 1"):
        trace.import_file(log, tmp_path / "session.jsonl")
    assert [record.payload for record in log.stream("session")] == before
    done = trace.import_file(log, tmp_path / "session.jsonl", prefix="second/")
    assert done.runs == ("second/session",)


def test_a_stream_of_that_name_that_was_not_imported_is_left_alone(
    log: transit.Log, tmp_path: Path
) -> None:
    trace.task(log, "session").message("user", "mine")
    with pytest.raises(transit.AlreadyExistsError, match="not imported"):
        trace.import_file(log, session(tmp_path))
    assert len(log.stream("session")) == 1


def test_what_was_recorded_after_an_import_stays_and_is_not_taken_for_the_file(
    log: transit.Log, tmp_path: Path
) -> None:
    trace.import_file(log, session(tmp_path, 3))
    trace.resume(log, "session").message("user", "mine")
    assert trace.import_file(log, session(tmp_path, 3)).added == 0
    with pytest.raises(transit.AlreadyExistsError, match="another record"):
        trace.import_file(log, session(tmp_path, 5))


def test_a_run_larger_than_a_frame_is_written_in_several(path: Path, tmp_path: Path) -> None:
    settings = transit.Settings(frame_bytes_max=FRAME_BYTES, record_bytes_max=FRAME_BYTES)
    lines = [claude_line(n, f"{n} " + "x" * 1000) for n in range(60)]
    file = write_lines(tmp_path / "long.jsonl", lines)
    with transit.open(path, settings=settings) as log:
        done = trace.import_file(log, file)
        assert done.added == 61
        assert len(log.stream("long")) == 61
        assert trace.import_file(log, file).added == 0


def test_an_import_cut_short_is_gone_on_with(path: Path, tmp_path: Path) -> None:
    settings = transit.Settings(frame_bytes_max=FRAME_BYTES, record_bytes_max=FRAME_BYTES)
    lines = [claude_line(n, f"{n} " + "x" * 1000) for n in range(60)]
    file = write_lines(tmp_path / "long.jsonl", lines)
    with transit.open(tmp_path / "whole", settings=settings) as whole:
        trace.import_file(whole, file)
        expected = [record.payload for record in whole.stream("long")]
        metadata = dict(whole.stream("long").metadata)
    with transit.open(path, settings=settings) as log:
        # What the first frame of that leaves.
        stream = log.create("long", metadata, codec="json")
        stream.append_many(expected[:9])
        assert trace.import_file(log, file).there == 9
        assert [record.payload for record in log.stream("long")] == expected


def test_a_stream_that_another_writer_appends_to_meanwhile_is_left_as_it_is(
    log: transit.Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace.import_file(log, session(tmp_path, 2))
    looked = RunWriter._held

    def overtaken(self: RunWriter, run: StagedRun) -> int | None:
        held = looked(self, run)
        log.stream(run.name).append(b'{"event":"custom","name":"mine"}')
        return held

    monkeypatch.setattr(RunWriter, "_held", overtaken)
    with pytest.raises(transit.ConflictError):
        trace.import_file(log, session(tmp_path, 4))
    assert len(log.stream("session")) == 4


def test_times_are_kept_and_gaps_take_the_time_before_them(
    log: transit.Log, tmp_path: Path
) -> None:
    lines = [claude_line(0, "a"), claude_line(1, "b", timestamp=None), claude_line(2, "c")]
    trace.import_file(log, write_lines(tmp_path / "t.jsonl", lines))
    base = 1749895200_500_000_000
    assert [record.timestamp - base for record in log.stream("t")] == [0, 0, 0, 2_000_000_000]
    assert trace.read(log, "t").created_at == base


def test_the_sources_ids_are_in_the_records_headers(log: transit.Log, tmp_path: Path) -> None:
    trace.import_file(log, session(tmp_path, 2))
    assert [record.headers.get("source_id") for record in log.stream("session")][1:] == ["u0", "u1"]


def test_streams_say_what_they_were_made_from(log: transit.Log, tmp_path: Path) -> None:
    trace.import_file(log, session(tmp_path, 2))
    metadata = log.stream("session").metadata
    assert metadata["source_format"] == "claude-code"
    assert metadata["source_file"] == "session.jsonl"
    assert metadata["source_events"] == 3
    assert len(str(metadata["source_digest"])) == 64
    assert trace.read(log, "session").trace_kind == "task"


def test_a_record_that_cannot_be_stored_is_refused_with_its_place_or_left_out(
    path: Path, tmp_path: Path
) -> None:
    settings = transit.Settings(frame_bytes_max=FRAME_BYTES, record_bytes_max=FRAME_BYTES)
    given = [{"role": "user", "content": "x" * size} for size in (10, 20_000, 10)]
    file = messages(tmp_path, given)
    with transit.open(path, settings=settings) as log:
        with pytest.raises(
            transit.InvalidInputError, match=r"talk\.json, message 1: .*record_bytes"
        ):
            trace.import_file(log, file)
        assert not list(log.streams())
        done = trace.import_file(log, file, skip_bad=True)
        assert (done.skipped, done.added) == (1, 3)
        assert kinds(events_of(log, "talk")) == ["Message", "Custom", "Message"]


def test_odd_values_are_kept(log: transit.Log, tmp_path: Path) -> None:
    odd = [2**70, float("nan"), "half \ud800", 1e300, "\x00", {"": None}]
    trace.import_file(log, messages(tmp_path, [{"role": "user", "content": odd}]))
    (event,) = events_of(log, "talk")
    assert event.content == [2**70, "NaN", *odd[2:]]


def test_the_format_can_be_said_and_must_be_one(log: transit.Log, tmp_path: Path) -> None:
    file = messages(tmp_path, [{"role": "user", "content": "x"}])
    with pytest.raises(transit.InvalidInputError, match="format must be one of"):
        trace.import_file(log, file, format="nobody")
    with pytest.raises(transit.InvalidInputError, match=r"talk\.json: "):
        trace.import_file(log, file, format="atif")
    assert trace.import_file(log, file, format="messages").format == "messages"


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", "[1, 2]", '"text"', "no json", "{\n}\n", "1\n2\n"]
)
def test_what_is_of_no_format_is_refused(content: str, log: transit.Log, tmp_path: Path) -> None:
    file = tmp_path / "file.json"
    file.write_text(content)
    with pytest.raises(transit.InvalidInputError, match=r"file\.json"):
        trace.import_file(log, file)
    assert not list(log.streams())


@pytest.mark.parametrize("name", trace.files.FORMATS)
def test_a_file_of_another_shape_is_refused_by_every_format(
    name: str, log: transit.Log, tmp_path: Path
) -> None:
    for content in (
        "",
        "[]",
        "{}",
        "7",
        "null",
        '[{"a": 1}]',
        '{"a": 1}\n{"a": 2}\n',
        "PK\x03\x04",
    ):
        file = tmp_path / "file.json"
        file.write_text(content)
        with pytest.raises(transit.InvalidInputError, match=r"file\.json"):
            trace.import_file(log, file, format=name)
    assert not list(log.streams())


def test_a_file_that_is_not_there_is_a_system_error(log: transit.Log, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        trace.import_file(log, tmp_path / "nowhere.json")
    with pytest.raises(transit.InvalidInputError, match="path"):
        trace.import_file(log, 3)  # type: ignore[arg-type]


def test_names_that_streams_cannot_have_are_made_such(log: transit.Log, tmp_path: Path) -> None:
    lines = [
        {"id": name, "messages": [{"role": "user", "content": "x"}]}
        for name in ("$store", "a\nb", " ", "same", "same", "\u202eturned", "y" * 900)
    ]
    done = trace.import_file(log, write_lines(tmp_path / "many.jsonl", lines))
    assert done.runs == (
        "many/store", "many/a-b", "many/run", "many/same", "many/same-2", "many/-turned",
        "many/" + "y" * 120,
    )  # fmt: skip


def test_names_are_as_long_as_streams_may_have_whatever_is_in_them(
    log: transit.Log, tmp_path: Path
) -> None:
    inner: dict[str, Any] = {"steps": [], "trajectory_id": "\U0001f600" * 200}
    for _ in range(12):
        steps = [{"source": "user", "message": "x"}]
        inner = {**inner, "steps": steps, "subagent_trajectories": [{**inner, "steps": steps}]}
    file = messages(tmp_path, {**inner, "schema_version": "ATIF-v1.7"}, "deep.json")
    done = trace.import_file(log, file)
    assert len(set(done.runs)) == 13
    assert max(len(name.encode()) for name in done.runs) <= 400
    with pytest.raises(transit.InvalidInputError, match=r"deep\.json: stream name is longer"):
        trace.import_file(log, file, prefix="p" * 200)
    for name in ("$cash", " blank", "\u202eturned"):
        other = messages(tmp_path, [{"role": "user", "content": "x"}], f"{name}.json")
        assert len(trace.import_file(log, other).runs) == 1
