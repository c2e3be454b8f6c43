"""The events of one sample of an Inspect log.

Owns what each kind of Inspect's events becomes, and the putting together of what they refer to.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from transit import InvalidInputError
from transit.trace.events import Message, ToolStatus
from transit.trace.files.conversations import add_message
from transit.trace.files.judgements import ABOUT, NOTE, note_in
from transit.trace.files.runs import (
    Events,
    ImportedEvent,
    in_order,
    list_of,
    member,
    object_of,
    objects_of,
    plain_text,
    read_time,
    text_of,
)
from transit.trace.files.source import MIB, JsonObject, Source

_ATTACHMENT: Final = "attachment://"
_OLD_ATTACHMENT: Final = "tc://"
# What one event may become by what it refers to.
_REFERRED_BYTES_MAX: Final = 128 * MIB
_REFERRED_ITEMS_MAX: Final = 1_000_000
_SECOND_NS: Final = 1_000_000_000
# Members of every event that the records themselves say, or that only order the others.
_OF_ALL: Final = ("event", "timestamp", "uuid", "span_id", "pending", "working_start")


def sample_events(
    source: Source, place: str, sample: JsonObject, model: str
) -> Iterator[ImportedEvent]:
    """The events of a sample, in the order in which they happened."""
    reading = _Sample(source, place, sample, model)
    reading.read()
    yield from in_order(reading.events.take())
    yield from reading.ending()


class _Resolver:
    """Puts attachments and pooled messages where an event refers to them, within bounds."""

    def __init__(self, sample: JsonObject) -> None:
        older = member(sample, "transcript", "content")
        self._attachments = object_of(sample.get("attachments")) or object_of(older)
        pools = object_of(sample.get("events_data"))
        self._messages, self._calls = list_of(pools.get("messages")), list_of(pools.get("calls"))
        self._left = 0

    def resolved(self, event: JsonObject) -> JsonObject:
        """An event with all it refers to; `InvalidInputError` when that is too much."""
        self._left = _REFERRED_BYTES_MAX
        if isinstance(refs := event.get("input_refs"), list):
            event = {k: v for k, v in event.items() if k != "input_refs"}
            event["input"] = self._items(refs, self._messages)
        call = event.get("call")
        if isinstance(call, dict) and isinstance(refs := call.get("call_refs"), list):
            key = text_of(call.get("call_key")) or "messages"
            request = {**object_of(call.get("request")), key: self._items(refs, self._calls)}
            rest = {k: v for k, v in call.items() if k not in ("call_refs", "call_key")}
            event = {**event, "call": {**rest, "request": request}}
        if self._attachments:
            event = object_of(self._attached(event))
        return event

    def _items(self, refs: list[object], pool: list[object]) -> list[object]:
        found: list[object] = []
        for ref in refs:
            if not isinstance(ref, list) or len(ref) != 2 or not all(type(n) is int for n in ref):
                raise InvalidInputError("a reference that is not a range")
            found += pool[ref[0] : ref[1]]
            if len(found) > _REFERRED_ITEMS_MAX:
                raise InvalidInputError(f"refers to more than {_REFERRED_ITEMS_MAX} messages")
        return found

    def _attached(self, value: object) -> object:
        if isinstance(value, str):
            if not value.startswith((_ATTACHMENT, _OLD_ATTACHMENT)):
                return value
            key = value.removeprefix(_ATTACHMENT).removeprefix(_OLD_ATTACHMENT)
            found = self._attachments.get(key, value)
            self._left -= len(found) if isinstance(found, str) else 0
            if self._left < 0:
                raise InvalidInputError(f"refers to more than {_REFERRED_BYTES_MAX} bytes")
            return found
        if isinstance(value, dict):
            return {key: self._attached(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self._attached(each) for each in value]
        return value


class _Sample:
    """One sample being read."""

    def __init__(self, source: Source, place: str, sample: JsonObject, model: str) -> None:
        self._source = source
        self._place = place
        self._sample = sample
        self._model = model
        self._resolver = _Resolver(sample)
        self.events = Events("inspect")
        # Steps and spans that are open: id, name, and what changed within each.
        self._open: list[tuple[str, str, list[object]]] = []
        self._steps = 0
        self._has_scores = self._has_input = False

    def read(self) -> None:
        """Collect what the sample's events become."""
        # In 2024 the events were in a transcript of their own.
        events = self._sample.get("events") or member(self._sample, "transcript", "events")
        for number, event in enumerate(list_of(events)):
            self._event(event, f"{self._place}, event {number}")
        for identity, name, changes in reversed(self._open):
            if changes:
                # It never ended: a sample that was cut short.
                self.events.call_end(identity, name, {"state": changes}, error="did not end")
        if not events:
            self._messages()

    def _event(self, event: object, place: str) -> None:
        self._source.tally.records += 1
        if not isinstance(event, dict) or not isinstance(event.get("event"), str):
            self._source.bad(place, "not an event")
            return
        try:
            event = self._resolver.resolved(event)
        except InvalidInputError as error:
            self._source.bad(place, str(error))
            return
        self.events.at(place, read_time(event.get("timestamp")), text_of(event.get("uuid")))
        take = getattr(self, f"_take_{event['event']}", None)
        if take is None:
            self._keep(event)
        else:
            take(event)

    def _keep(self, event: JsonObject) -> None:
        self._source.tally.raw += 1
        self.events.custom(str(event["event"]), event)

    # What each kind becomes: `_take_` and its name

    def _take_sample_init(self, event: JsonObject) -> None:
        sample = object_of(event.get("sample"))
        self._input(sample.get("input"))
        self.events.context({k: v for k, v in sample.items() if k != "input"}, "sample")

    def _input(self, given: object) -> None:
        self._has_input = True
        if isinstance(given, str):
            self.events.message("user", given)
        for message in objects_of(given):
            self.events.add(Message(message=message))

    def _take_step(self, event: JsonObject) -> None:
        name = ":".join(filter(None, (text_of(event.get("type")), text_of(event.get("name")))))
        if event.get("action") == "begin":
            self._steps += 1
            self._begin(f"step-{self._steps}", name, None)
        elif self._open:
            self._end(self._open[-1][0])
        else:
            self._keep(event)

    def _take_span_begin(self, event: JsonObject) -> None:
        name = ":".join(filter(None, (text_of(event.get("type")), text_of(event.get("name")))))
        known = ("id", "type", "name", *_OF_ALL)
        more = {k: v for k, v in event.items() if k not in known and v is not None}
        self._begin(text_of(event.get("id")), name, more or None)

    def _take_span_end(self, event: JsonObject) -> None:
        identity = text_of(event.get("id"))
        if any(each[0] == identity for each in self._open):
            self._end(identity)
        else:
            self._keep(event)

    def _begin(self, identity: str, name: str, arguments: object) -> None:
        self.events.call_begin(identity, name, arguments)
        self._open.append((identity, name, []))

    def _end(self, identity: str) -> None:
        """End a span, which need not be the innermost one: spans of tasks overlap."""
        number = next(n for n, each in enumerate(self._open) if each[0] == identity)
        _, name, changes = self._open.pop(number)
        self.events.call_end(identity, name, {"state": changes} if changes else None)

    def _take_state(self, event: JsonObject) -> None:
        span = event.get("span_id")
        within = next((each for each in reversed(self._open) if each[0] == span), None)
        if within is None and self._open:
            within = self._open[-1]
        if within is None:
            self._keep(event)
        else:
            within[2].append(event)

    _take_store = _take_state

    def _take_subtask(self, event: JsonObject) -> None:
        self._steps += 1
        identity, name = f"subtask-{self._steps}", text_of(event.get("name")) or "subtask"
        self.events.call_begin(identity, name, event.get("input"))
        self._nested(event)
        self._at_end(event)
        self.events.call_end(identity, name, event.get("result"))

    def _take_sandbox(self, event: JsonObject) -> None:
        self._steps += 1
        identity, name = f"sandbox-{self._steps}", f"sandbox:{text_of(event.get('action'))}"
        keys = ("cmd", "options", "file", "input")
        given = {key: event[key] for key in keys if event.get(key) is not None}
        self.events.call_begin(identity, name, given)
        self._at_end(event)
        code = event.get("result")
        error = f"exit code {code}" if code else None
        self.events.call_end(identity, name, event.get("output"), error=error)

    def _take_model(self, event: JsonObject) -> None:
        output = object_of(event.get("output"))
        choice = next(iter(objects_of(output.get("choices"))), {})
        keys = ("input", "tools", "tool_choice", "config")
        request = {key: event[key] for key in keys if event.get(key)}
        if "input" in request:
            request["messages"] = request.pop("input")
        response = choice.get("message")
        if isinstance(response, dict) and output.get("model"):
            response = {**response, "model": output["model"]}
        self.events.model_call(
            model=text_of(event.get("model")) or self._model,
            request=request,
            response=response,
            usage=output.get("usage"),
            finish_reason=choice.get("stop_reason"),
            response_id=member(event, "call", "response", "id"),
            time=self._ended(event, output.get("time")),
        )
        self.events.time = self._ended(event, output.get("time"))
        known = (*_OF_ALL, *keys, "model", "completed", "working_time")
        left = {key: value for key, value in output.items() if key not in ("model", "usage")}
        if len(list_of(output.get("choices"))) <= 1:
            left.pop("choices", None)
        self.events.rest({**event, "output": left or None}, known)

    def _take_tool(self, event: JsonObject) -> None:
        call = self.events.tool_request(
            event.get("id"), event.get("function"), event.get("arguments")
        )
        self._nested(event)
        begun, ended = self.events.time, self._ended(event, event.get("working_time"))
        error = object_of(event.get("error"))
        status: ToolStatus = "success"
        if error or event.get("failed"):
            status = "timeout" if error.get("type") == "timeout" else "failure"
        self.events.time = ended
        self.events.tool_result(
            call,
            event.get("result"),
            status=status,
            error=plain_text(error.get("message")),
            duration_ns=max(0, (ended or 0) - (begun or 0)) if ended and begun else 0,
        )
        known = ("id", "type", "function", "arguments", "result", "error", "events", "failed")
        self.events.rest(event, (*_OF_ALL, *known, "completed", "working_time"))

    def _take_score(self, event: JsonObject) -> None:
        score = object_of(event.get("score"))
        self._has_scores = self._has_scores or not event.get("intermediate")
        self._score(text_of(event.get("scorer")) or self._scorer(), score)
        self.events.rest(score, ("value", "explanation"))
        self.events.rest(event, (*_OF_ALL, "score", "scorer", "target"))

    def _score(self, evaluator: str, score: JsonObject) -> None:
        value = score.get("value")
        self.events.evaluation(evaluator, value, score=value, reason=score.get("explanation"))

    def _scorer(self) -> str:
        """The scorer in whose step or span this is."""
        for _, name, _ in reversed(self._open):
            if name.startswith("scorer:"):
                return name.removeprefix("scorer:")
        return next(iter(object_of(self._sample.get("scores"))), "score")

    def _take_approval(self, event: JsonObject) -> None:
        self.events.evaluation(
            event.get("approver"), event.get("decision"), reason=event.get("explanation")
        )
        self.events.rest(event, (*_OF_ALL, "approver", "decision", "explanation"))

    def _take_input(self, event: JsonObject) -> None:
        self.events.message("user", event.get("input"))
        self.events.rest(event, (*_OF_ALL, "input", "input_ansi"))

    def _take_error(self, event: JsonObject) -> None:
        reason = text_of(member(event, "error", "message"))
        self.events.checkpoint("intermediate", "failed", reason)
        self.events.rest(object_of(event.get("error")), ("message",))

    def _take_sample_limit(self, event: JsonObject) -> None:
        reason = text_of(event.get("message")) or text_of(event.get("type"))
        self.events.checkpoint("intermediate", "incomplete", reason)
        self.events.rest(event, (*_OF_ALL, "message"))

    def _take_info(self, event: JsonObject) -> None:
        data = object_of(event.get("data"))
        if (note := note_in(data.get(NOTE))) is not None:
            self.events.note(note, text_of(data.get(ABOUT)))
            return
        # An event of the program's own, which is what these are for.
        self.events.custom("info", {k: v for k, v in event.items() if k not in _OF_ALL})

    def _nested(self, event: JsonObject) -> None:
        """Events within an event, as logs had them before 2025."""
        at = (self.events.place, self.events.time, self.events.source_id)
        for number, each in enumerate(list_of(event.get("events"))):
            self._event(each, f"{at[0]}.{number}")
        self.events.at(*at)

    def _at_end(self, event: JsonObject) -> None:
        self.events.time = self._ended(event, None)

    def _ended(self, event: JsonObject, seconds: object) -> int | None:
        """When an event that takes a while ended."""
        completed = read_time(event.get("completed"))
        if completed is not None:
            return completed
        begun = self.events.time
        if begun is None or not isinstance(seconds, int | float) or not 0 <= seconds < 10**9:
            return begun
        return begun + round(seconds * _SECOND_NS)

    # Around the events

    def _messages(self) -> None:
        """A sample whose events were left out of the log still has its conversation."""
        self.events.at(f"{self._place}, messages")
        for message in objects_of(self._sample.get("messages")):
            self._source.tally.records += 1
            add_message(self.events, message)

    def ending(self) -> Iterator[ImportedEvent]:
        """Scores that no event tells of, notes, and how the sample ended."""
        sample, events = self._sample, self.events
        events.at(self._place, read_time(sample.get("completed_at")))
        # And the score was one.
        one = sample.get("score")
        scores = object_of(sample.get("scores")) or ({"score": one} if one else {})
        for name, score in scores.items():
            if (note := note_in(member(score, "metadata", NOTE))) is not None:
                events.note(note, "")
            elif not self._has_scores:
                self._score(name, object_of(score))
        keys = ("id", "epoch", "uuid", "target", "choices", "metadata", "store", "model_usage",
                "error_retries", "limit", "total_time", "working_time", "sandbox")  # fmt: skip
        if left := {key: sample[key] for key in keys if sample.get(key)}:
            events.context(left, "sample")
        error = text_of(member(sample, "error", "message"))
        events.end("failed" if sample.get("error") else "completed", error)
        yield from events.take()
