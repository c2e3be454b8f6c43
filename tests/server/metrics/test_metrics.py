"""`/metrics`, `/healthz` and `/readyz`: true numbers, few labels, and no secrets in them."""

from __future__ import annotations

import asyncio
import http.client
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

import transit
from transit import Log, Settings
from transit.disk import File
from transit.server import access, counts
from transit.server.app import App
from transit.server.counts import Counts
from transit.server.exchange import Exchange, Served
from transit.server.gate import OPEN
from transit.server.run import serving
from transit.server.settings import ServerSettings
from transit.server.tokens import new_token

from ..asked import Answered, answer, ask

QUIET = Settings(flush_interval_ms=60_000)
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
SECRET = "s3cret-name"


@pytest.fixture
def log(path: Path) -> Iterator[Log]:
    opened = transit.open(path, durability="os", settings=QUIET)
    yield opened
    opened.close()


def samples(app: App) -> Samples:
    answered = answer(app, "GET", "/metrics")
    assert answered.status == 200
    assert answered.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answered.body.decode())
        for sample in family.samples
    }


def at(found: Samples, name: str, **labels: str) -> float:
    return found[f"transit_{name}", tuple(sorted(labels.items()))]


def put(app: App, name: str = "s") -> Answered:
    return answer(app, "PUT", f"/v1/stream/{name}", b"", {"content-type": "text/plain"})


def post(app: App, body: bytes, name: str = "s", **headers: str) -> Answered:
    return answer(
        app, "POST", f"/v1/stream/{name}", body, {"content-type": "text/plain", **headers}
    )


def test_requests_are_counted_by_route_method_and_status(log: Log) -> None:
    app = App(log)
    assert put(app).status == 201
    assert post(app, b"12345").status == 204
    assert answer(app, "GET", "/v1/stream/s").body == b"12345"
    assert answer(app, "GET", "/v1/stream/none").status == 404
    assert answer(app, "GET", "/nothing/here").status == 404
    found = samples(app)
    stream = {"route": "/v1/stream/{name}"}
    assert at(found, "http_requests_total", method="PUT", status="201", **stream) == 1
    assert at(found, "http_requests_total", method="POST", status="204", **stream) == 1
    assert at(found, "http_requests_total", method="GET", status="200", **stream) == 1
    assert at(found, "http_requests_total", method="GET", status="404", **stream) == 1
    assert at(found, "http_requests_total", method="GET", status="404", route="other") == 1
    assert at(found, "http_request_seconds_count", method="POST", **stream) == 1
    assert at(found, "http_request_seconds_bucket", method="POST", le="+Inf", **stream) == 1
    assert at(found, "http_bytes_total", direction="in") == 5
    assert at(found, "http_bytes_total", direction="out") >= 5
    assert at(found, "http_refused_total", reason="404") == 2
    # The request for the numbers.
    assert at(found, "http_active") == 1
    again = samples(app)
    assert at(again, "http_requests_total", method="GET", status="200", route="/metrics") == 1
    assert at(again, "http_active") == 1


def test_the_numbers_of_the_store_are_those_of_log_metrics(log: Log) -> None:
    app = App(log)
    put(app)
    for _ in range(3):
        post(app, b"x", prefer="durability=local")
    log.stream("s").cursor("c").advance(1)
    log.seal()
    found, expected = samples(app), log.metrics()
    assert at(found, "records_total") == expected.records
    assert at(found, "appends_total") == expected.appends
    assert at(found, "appended_bytes_total") == expected.bytes
    assert at(found, "sync_seconds_count") == expected.syncs.count
    assert at(found, "sync_seconds_sum") == pytest.approx(expected.syncs.sum_s)
    assert at(found, "seal_seconds_count") == 1
    assert at(found, "commits") == 1
    assert at(found, "cursors") == 1
    assert at(found, "cursor_lag_records") == 2
    assert at(found, "syncs_asked_total") == 3
    assert 1 <= at(found, "syncs_made_total") <= 3
    assert at(found, "refusing") == 0
    bucket = "transit_sync_seconds_bucket"
    buckets = [value for (name, _), value in found.items() if name == bucket]
    assert buckets == sorted(buckets)
    assert buckets[-1] == expected.syncs.count


def test_syncs_that_requests_shared_are_told(log: Log) -> None:
    app = App(log)
    put(app)

    async def many() -> None:
        headers = {"content-type": "text/plain", "prefer": "durability=local"}
        answers = [ask(app, "POST", "/v1/stream/s", b"x", headers) for _ in range(40)]
        assert {each.status for each in await asyncio.gather(*answers)} == {204}

    asyncio.run(many())
    found = samples(app)
    assert at(found, "syncs_asked_total") == 40
    assert at(found, "syncs_made_total") < 40


def test_a_remote_is_told_by_kind_with_its_lag(path: Path, tmp_path: Path) -> None:
    with transit.open(path, remote=str(tmp_path / "r"), durability="os", settings=QUIET) as log:
        log.create("s").append(b"x")
        log.publish()
        log.stream("s").append(b"y")
        found = samples(App(log))
        assert at(found, "publish_lag_records") == 1
        assert at(found, "publish_lag_seconds") >= 0
        assert at(found, "publish_seconds_count") == 1
        assert at(found, "remote_requests_total", kind="put") > 0
        assert at(found, "remote_request_seconds_count", kind="put") > 0
        assert at(found, "remote_bytes_total", direction="out") > 0
        assert at(found, "failures_total", kind="remote") == 0


def test_replicas_are_told_by_their_place_in_the_list(path: Path, tmp_path: Path) -> None:
    with transit.open(tmp_path / "other", remote=tmp_path / "third") as log:
        log.create("s")
        log.publish()
    remotes = [tmp_path / "first", tmp_path / "second", tmp_path / "third"]
    with transit.open(path, remote=remotes, durability="os", settings=QUIET) as log:
        log.create("s").append(b"x")
        log.publish()
        found = samples(App(log))
        assert at(found, "replica_behind_commits", replica="1") == 0
        assert at(found, "replica_behind_commits", replica="2") == 1
        assert at(found, "replica_failing", replica="1") == 0
        assert at(found, "replica_failing", replica="2") == 1


def _is_bounded(log: Log) -> bool:
    """Whether what clients make up is in no label, and adds none."""
    app = App(log, ServerSettings(cors=("*",)))

    def noise(number: int) -> None:
        name = f"{SECRET}-{number}"
        put(app, name)
        post(app, SECRET.encode(), name, authorization=f"Bearer {name}", **{"x-request-id": name})
        answer(app, f"{SECRET}{number}".upper(), f"/v1/stream/{name}")
        answer(app, f"{SECRET}{number}".upper(), f"/{name}")
        answer(app, "GET", f"/{name}/x")
        answer(app, "GET", f"/v1/traces/{name}")
        answer(app, "GET", f"/v1/stream/{name}", query=f"{name}={name}&offset={name}")
        answer(app, "POST", "/v1/traces", SECRET.encode(), {"content-type": name})

    noise(0)
    samples(app)
    # With those of the request for the numbers.
    first = len(samples(app))
    for number in range(1, 20):
        noise(number)
    text = answer(app, "GET", "/metrics").body.decode()
    return first == len(samples(app)) and SECRET not in text.lower()


def test_nothing_that_clients_make_up_is_a_label(log: Log) -> None:
    assert _is_bounded(log)


def _by_path(patch: pytest.MonkeyPatch) -> None:
    answered = Counts.answered

    def wrong(found: Counts, served: Served) -> None:
        template = f"{served.template}{len(found._routes)}"
        answered(found, msgspec.structs.replace(served, template=template))

    patch.setattr(Counts, "answered", wrong)


def _by_method(patch: pytest.MonkeyPatch) -> None:
    class Every:
        def __contains__(self, method: object) -> bool:
            return True

    patch.setattr(counts, "_METHODS", Every())


def _by_message(patch: pytest.MonkeyPatch) -> None:
    def wrong(exchange: Exchange, error: Exception) -> None:
        exchange._reason = str(error)

    patch.setattr(Exchange, "refuse", wrong)


@pytest.mark.parametrize("plant", [_by_path, _by_method, _by_message])
def test_planted_labels_that_clients_make_up_are_found(
    log: Log, monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None]
) -> None:
    plant(monkeypatch)
    assert not _is_bounded(log)


@pytest.mark.parametrize(
    ("rights", "status"),
    [((("", "read"),), 200), ((("", "admin"),), 200), ((("a/", "read"),), 403),
     ((("a/", "admin"),), 403), ((("", "append"),), 403), ((), 403)],
)  # fmt: skip
def test_metrics_take_a_token_for_all_streams(
    log: Log, monkeypatch: pytest.MonkeyPatch, rights: Any, status: int
) -> None:
    grant = access.Grant("one", tuple((prefix, frozenset((right,))) for prefix, right in rights))
    monkeypatch.setattr("transit.server.gate.EVERYTHING", grant)
    assert answer(App(log), "GET", "/metrics").status == status


def test_metrics_are_told_while_the_store_refuses_to_be_written_to(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(file: File) -> None:
        raise transit.SyncFailedError("planted")

    log = transit.open(path, durability="os", settings=QUIET)
    app = App(log)
    put(app)
    monkeypatch.setattr(File, "sync_data", fail)
    assert post(app, b"x", prefer="durability=local").status == 503
    monkeypatch.undo()
    found = samples(app)
    assert at(found, "refusing") == 1
    assert at(found, "http_refused_total", reason="OutcomeUnknownError") == 1
    answered = answer(app, "GET", "/readyz")
    assert answered.status == 503
    assert json.loads(answered.body)["status"] == "not ready"
    assert "planted" not in answered.body.decode()
    assert answer(app, "GET", "/healthz").status == 200
    with pytest.raises(transit.PoisonedError):
        log.close()


def test_a_server_is_ready_until_it_ends_or_its_store_is_closed(path: Path) -> None:
    log = transit.open(path)
    app = App(log)
    answered = answer(app, "GET", "/readyz")
    assert answered.status == 200
    assert json.loads(answered.body) == {"status": "ready", "mode": "exclusive", "writable": True}
    app.end()
    assert answer(app, "GET", "/readyz").status == 503
    assert answer(app, "HEAD", "/healthz").body == b""
    log.close()
    answered = answer(app, "GET", "/healthz")
    assert json.loads(answered.body) == {"status": "ok"}
    assert answer(app, "GET", "/readyz").status == 503


def test_a_read_only_server_is_ready_and_says_so(path: Path) -> None:
    transit.open(path).close()
    with transit.open(path, mode="read") as log:
        answered = answer(App(log), "GET", "/readyz")
        assert answered.status == 200
        assert json.loads(answered.body) == {"status": "ready", "mode": "read", "writable": False}


def test_health_needs_no_rights(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transit.server.gate.EVERYTHING", access.NOTHING)
    for path in OPEN:
        assert answer(App(log), "GET", path).status == 200
        assert answer(App(log), "POST", path).status == 405


def test_a_client_that_goes_away_is_counted_and_nothing_stays_active(log: Log) -> None:
    app = App(log)

    async def gone() -> None:
        scope = {
            "type": "http", "method": "POST", "path": "/v1/stream/s", "raw_path": b"/v1/stream/s",
            "query_string": b"",
            "headers": [(b"host", b"localhost"), (b"content-type", b"text/plain")],
        }  # fmt: skip

        async def receive() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            raise AssertionError("nobody is there")

        await app(scope, receive, send)

    put(app)
    asyncio.run(gone())
    found = samples(app)
    stream = {"route": "/v1/stream/{name}"}
    assert at(found, "http_requests_total", method="POST", status="499", **stream) == 1
    assert at(found, "http_active") == 1


def test_readers_that_wait_are_counted_apart_from_short_requests(log: Log) -> None:
    app = App(log, ServerSettings(long_poll_s=60))
    put(app)

    async def wait() -> Samples:
        reader = asyncio.create_task(
            ask(app, "GET", "/v1/stream/s", query="offset=now&live=long-poll")
        )
        while not app.streams.tails.count:
            await asyncio.sleep(0.01)
        during = (await ask(app, "GET", "/metrics")).body.decode()
        await ask(app, "POST", "/v1/stream/s", b"x", {"content-type": "text/plain"})
        assert (await reader).body == b"x"
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(during)
            for sample in family.samples
        }

    during = asyncio.run(wait())
    assert at(during, "http_readers") == 1
    assert at(during, "http_active") == 2
    after = samples(app)
    assert at(after, "http_readers") == 0
    live = {"route": "/v1/stream/{name}?live", "method": "GET"}
    assert at(after, "http_request_seconds_count", **live) == 1
    short = (("method", "GET"), ("route", "/v1/stream/{name}"))
    assert ("transit_http_request_seconds_count", short) not in after


def test_connections_are_told_where_they_are_counted(log: Log) -> None:
    app = App(log)
    assert ("transit_http_connections", ()) not in samples(app)
    app.counts.connections = lambda: 7
    assert at(samples(app), "http_connections") == 7


# OpenTelemetry


class _Meter:
    """Collects the instruments that are made, as an SDK's meter does."""

    def __init__(self) -> None:
        self.made: dict[str, Any] = {}

    def _make(self, name: str, callbacks: Any, unit: str, description: str) -> None:
        assert name not in self.made
        assert unit in {"1", "By", "s"}
        assert description.endswith(".")
        self.made[name] = callbacks[0]

    create_observable_gauge = create_observable_counter = _make


def test_instruments_of_opentelemetry_tell_the_same_numbers(log: Log) -> None:
    pytest.importorskip("opentelemetry.metrics")
    from transit.server import telemetry

    app = App(log)
    put(app)
    meter = _Meter()
    telemetry.observe(app.numbers, meter)  # type: ignore[arg-type]

    def observed(name: str) -> dict[tuple[tuple[str, str], ...], float]:
        found = meter.made[f"transit.{name}"](None)
        return {tuple(sorted(each.attributes.items())): each.value for each in found}

    assert observed("records") == {(): log.metrics().records}
    assert observed("http_requests") == {
        (("method", "PUT"), ("route", "/v1/stream/{name}"), ("status", "201")): 1
    }
    assert observed("sync.count") == {(): log.metrics().syncs.count}
    names = {number.name for number in app.numbers.now()}
    assert {name.split(".")[1] for name in meter.made} == names


def test_instruments_are_silent_once_the_store_is_closed(path: Path) -> None:
    pytest.importorskip("opentelemetry.metrics")
    from transit.server import telemetry

    log = transit.open(path)
    meter = _Meter()
    telemetry.observe(App(log).numbers, meter)  # type: ignore[arg-type]
    log.close()
    assert [list(each(None)) for each in meter.made.values()] == [[]] * len(meter.made)


def test_a_server_told_to_gives_its_numbers_to_the_global_provider(log: Log) -> None:
    pytest.importorskip("opentelemetry.metrics")
    # Without an SDK the provider takes them and tells nobody.
    assert answer(App(log, ServerSettings(telemetry=True)), "GET", "/healthz").status == 200


def test_without_the_package_the_error_says_what_to_install(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.metrics", None)
    with pytest.raises(transit.InvalidInputError, match="pip install opentelemetry-api"):
        App(log, ServerSettings(telemetry=True))


def test_a_server_on_a_socket_counts_its_connections(log: Log) -> None:
    with serving(log, "127.0.0.1:0") as running:
        host, port = running.address[:2]
        one, other = (http.client.HTTPConnection(host, port, timeout=60) for _ in range(2))
        for path in ("/healthz", "/readyz", "/metrics"):
            one.request("GET", path)
            assert one.getresponse().read()
        other.connect()
        other.request("GET", "/metrics")
        text = other.getresponse().read().decode()
        assert "transit_http_connections 2.0" in text
        assert 'status="200"' in text
        one.close()
        other.close()


def test_with_tokens_on_health_needs_none_and_metrics_one_for_all(log: Log, tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    every = new_token(str(file), "every", {"": ["read"]})
    some = new_token(str(file), "some", {"a/": ["read"]})
    app = App(log, None, str(file))
    assert [answer(app, "GET", path).status for path in OPEN] == [200, 200]
    asked = {"authorization": f"Bearer {every}"}
    assert answer(app, "GET", "/metrics").status == 401
    assert answer(app, "GET", "/metrics", b"", {"authorization": f"Bearer {some}"}).status == 403
    answered = answer(app, "GET", "/metrics", b"", asked)
    assert answered.status == 200
    for secret in (every, some, "some", "every"):
        assert secret not in answered.body.decode()
