"""The description of the routes, and requests that are made from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate

import transit
from tests.server.api.calling import Server, routes_of
from tests.server.api.describing import Fuzz, seed
from tests.server.views.declared import DECLARED, count, event
from transit import Log, views

# What can be asked of some streams alone.
NAMES = {"/v1/exhibits": "t", "/v1/fork-choice": "s"}


def described(document: dict[str, Any]) -> set[tuple[str, str]]:
    return {
        (method.upper(), path) for path, methods in document["paths"].items() for method in methods
    }


def test_the_description_is_valid_and_names_every_route_there_is(server: Server) -> None:
    document = server.get("/v1/openapi.json").value
    validate(document)
    assert described(document) == set(routes_of(server.app))


def test_every_parameter_that_is_described_is_taken_and_no_other(server: Server, log: Log) -> None:
    seed(log)
    log.create("r").append(event("run-1"))
    views.reconcilers(log).register(count)
    values = {
        "of": "a", "a": "a", "b": "b", "stream": "r", "offset": "0", "where": "{}", "labels": "{}",
        "subscriber": "s", "old_size": "1",
    }  # fmt: skip
    document = server.get("/v1/openapi.json").value
    for path, methods in document["paths"].items():
        if "get" not in methods or path.endswith("/changes"):
            continue
        name = NAMES.get(path.removesuffix("/{name}"), "a")
        url = path.replace("{name}", name).replace("{view}", "tally").replace("{table}", "runs")
        url = url.replace("{reconciler}", "count")
        required, optional = {}, {}
        for parameter in methods["get"]["parameters"]:
            if parameter["in"] == "query":
                part = required if parameter.get("required") else optional
                part[parameter["name"]] = values.get(parameter["name"], "1")
        if path == "/v1/growth":
            # Which of two says which older checkpoint is meant.
            required["old_size"] = optional.pop("old_size")
        assert server.get(url, **required).status == 200, path
        assert server.get(url, **required, unknown="1").status == 400, path
        for name, value in optional.items():
            reply = server.get(url, **required, **{name: value})
            assert "unknown field" not in str(reply.body), (path, name)
        for name in required:
            left = {key: value for key, value in required.items() if key != name}
            assert server.get(url, **left).status == 400, path


def test_what_events_say_is_described(server: Server) -> None:
    methods = server.get("/v1/openapi.json").value["paths"]["/v1/changes"]
    content = server.get("/v1/openapi.json").value["paths"]["/v1/views/{view}/changes"]["get"]
    event = content["responses"]["200"]["content"]["text/event-stream"]["schema"]["x-event"]
    assert event == {"$ref": "#/components/schemas/ChangeEvent"}
    for method, kind in (("get", "Changes"), ("post", "Told")):
        content = methods[method]["responses"]["200"]["content"]["text/event-stream"]
        assert content["schema"]["x-event"] == {"$ref": f"#/components/schemas/{kind}"}
    body = methods["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/WatchRequest"}


@pytest.fixture
def server(log: Log) -> Iterator[Server]:
    server = Server(log, declared=DECLARED)
    yield server
    server.close()


@pytest.fixture
def fuzz(tmp_path: Path) -> Iterator[Fuzz]:
    with transit.open(tmp_path / "store", durability="os") as log:
        seed(log)
        fuzz = Fuzz(log)
        yield fuzz
        fuzz.close()


def test_no_request_made_from_the_description_is_answered_by_500(fuzz: Fuzz) -> None:
    fuzz.check(examples=2)


def test_no_sequence_of_requests_is_answered_by_500(fuzz: Fuzz) -> None:
    fuzz.check_sequences(examples=1)
