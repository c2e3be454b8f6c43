"""Redaction for all processors: a span is changed while that is still possible.

It writes to internals of the SDK, for there is no public way: a span's attributes, events, links,
name and status, in the hook `_on_ending`, where the span is not frozen yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, Final

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import Link, Status

from transit import InvalidInputError
from transit.adapters.otel.encoding import items_of
from transit.adapters.otel.redacting import Rewriter
from transit.trace import Redaction
from transit.trace.failures import dropped

_RESOURCES_MAX: Final = 1024


class RedactingSpanProcessor(SpanProcessor):
    """Changes each span under a policy before it is frozen: for every other processor too.

    Add it before all others. What a span begins with is changed as it starts, all of it as it ends,
    and its resource. Ids, times and the scope's name stay. Where the policy fails, the span keeps a
    marker as its name and none of its content. Raises `InvalidInputError` for what is no policy.
    """

    def __init__(self, policy: Redaction) -> None:
        if not isinstance(policy, Redaction):
            raise InvalidInputError(f"policy must be a transit.trace.Redaction, not {policy!r}")
        self._policy = policy
        self._resources: dict[int, tuple[Any, Any]] = {}

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        """Change what it begins with."""
        self._change(span)

    def _on_ending(self, span: Any) -> None:
        self._change(span)

    def on_end(self, span: Any) -> None:
        """It is changed already."""

    def shutdown(self) -> None:
        """Nothing is open."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing waits."""
        return True

    def _change(self, span: Any) -> None:
        try:
            self._rewrite(span, Rewriter(self._policy))
        except Exception as error:
            dropped.errors.append(f"otel redaction: {error!r}")
            span._name = Rewriter.failed
            span._attributes = BoundedAttributes(immutable=False)
            span._events, span._links = span._new_events(), span._new_links(())
            span._status = Status(span._status.status_code)

    def _rewrite(self, span: Any, rewriter: Rewriter) -> None:
        name = rewriter.text(span._name)
        attributes = rewriter.members(items_of(span._attributes))
        events = [_event(each, rewriter) for each in span._events]
        links = [_link(each, rewriter) for each in span._links]
        status = span._status
        if status is not None and status.description:
            status = Status(status.status_code, rewriter.text(status.description))
        resource = self._resource(span._resource)
        span._name, span._status, span._resource = name, status, resource
        _set(span._attributes, attributes)
        _set_all(span._events, events)
        _set_all(span._links, links)

    def _resource(self, resource: Any) -> Any:
        known = self._resources.get(id(resource))
        if known is None:
            rewriter = Rewriter(self._policy)
            attributes = rewriter.members(items_of(resource.attributes))
            is_other = rewriter.count > 0
            changed = type(resource)(attributes, resource.schema_url) if is_other else resource
            if len(self._resources) >= _RESOURCES_MAX:
                self._resources.clear()
            # What was changed once stays as it is.
            self._resources[id(changed)] = (changed, changed)
            known = self._resources[id(resource)] = (resource, changed)
        return known[1]


def _event(event: Any, rewriter: Rewriter) -> Any:
    attributes = rewriter.members(items_of(event.attributes))
    made = type(event)(rewriter.text(event.name), event.attributes, event.timestamp)
    return _with(made, attributes)


def _link(link: Any, rewriter: Rewriter) -> Any:
    attributes = rewriter.members(items_of(link.attributes))
    return _with(Link(link.context, link.attributes), attributes)


def _with(made: Any, attributes: Mapping[str, object]) -> Any:
    """An event or link with other attributes; how many were dropped before stays told."""
    if made.attributes is not None:
        kept = copy(made.attributes)
        _set(kept, attributes)
        made._attributes = kept
    return made


def _set(attributes: Any, found: Mapping[str, object]) -> None:
    """Other content for attributes, frozen ones too."""
    attributes._dict = {
        key: tuple(value) if isinstance(value, list) else value for key, value in found.items()
    }


def _set_all(kept: Any, found: Sequence[Any]) -> None:
    """Other events or links."""
    kept._dq = type(kept._dq)(found, kept._dq.maxlen)
