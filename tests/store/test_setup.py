"""What waiting does not heal is said at once, with the client's words and what to look at."""

from __future__ import annotations

import contextlib
import datetime
import http.server
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from rigs.faults.simulated_s3 import Bucket, SimulatedS3
from rigs.faults.virtual_time import VirtualClock
from transit.cli.failures import describe
from transit.errors import (
    InvalidInputError,
    OutcomeUnknownError,
    RemoteSetupError,
    RemoteUnavailableError,
    StorePermissionError,
    TransitError,
)
from transit.store import causes, objects, open_store
from transit.store.answers import answer, error_of
from transit.store.s3 import S3Store
from transit.tier.conditional import put_if_absent

SECRET = "abcdef0123456789+very-secret"
# A call that waits this long hangs; the whole file takes seconds.
TIMEOUT_S = 600.0
KEYS: Mapping[str, object] = {"key": "AKIA-" + SECRET, "secret": SECRET, "token": SECRET}


class Servers(NamedTuple):
    """Ports of this machine, and the certificates of two, which are self-signed."""

    tls: int
    expired: int
    plain: int
    certificate: str
    old: str


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("tls")
    fresh, old = certificate(folder, "fresh", 2), certificate(folder, "old", -1)
    with serving(fresh) as tls, serving(old) as expired, serving(None) as plain:
        yield Servers(tls, expired, plain, str(fresh), str(old))


def certificate(folder: Path, name: str, days: int) -> Path:
    """A key and a certificate for 127.0.0.1 in one file, which ends `days` from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(who, who, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=9))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path = folder / f"{name}.pem"
    secret = key.private_bytes(pem, form, serialization.NoEncryption())
    path.write_bytes(secret + made.public_bytes(pem))
    return path


@contextlib.contextmanager
def serving(certificate: Path | None) -> Iterator[int]:
    """The port of a server that knows no method."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def refused(address: str, options: Mapping[str, object]) -> TransitError:
    """How a store with these options ends a read and a create: both alike, at once."""
    found: list[TransitError] = []
    for call in ("get", "create"):
        with pytest.raises(TransitError) as caught:
            ask(address, {**KEYS, **options}, call)
        found.append(caught.value)
        assert SECRET not in str(caught.value)
    assert type(found[0]) is type(found[1])
    return found[0]


def ask(address: str, options: Mapping[str, object], call: str) -> None:
    store = open_store(address, options, TIMEOUT_S)
    try:
        store.get("FORMAT", 10) if call == "get" else store.create("FORMAT", b"1")
    finally:
        store.close()


# Situation -> options, what is set in the environment, and what the message has.
SITUATIONS: dict[str, tuple[dict[str, object], dict[str, str], tuple[str, ...]]] = {
    "certificate nobody signed": (
        {"endpoint_url": "https://127.0.0.1:{tls}"}, {},
        ("TLS at https://127.0.0.1:", "self-signed certificate", "AWS_CA_BUNDLE"),
    ),
    "certificate of another host": (
        {"endpoint_url": "https://localhost:{tls}", "client_kwargs": {"verify": "{certificate}"}},
        {}, ("Hostname mismatch", "names another host"),
    ),
    "certificate that expired": (
        {"endpoint_url": "https://127.0.0.1:{expired}", "client_kwargs": {"verify": "{old}"}},
        {}, ("expired", "renewed", "clock"),
    ),
    "TLS to a plain port": (
        {"endpoint_url": "https://127.0.0.1:{plain}"}, {}, ("begins with http://",),
    ),
    "no CA file": (
        {"endpoint_url": "https://127.0.0.1:{tls}"}, {"AWS_CA_BUNDLE": "/none/ca.pem"},
        ("No such file or directory", "AWS_CA_BUNDLE"),
    ),
    "CA file that is none": (
        {"endpoint_url": "https://127.0.0.1:{tls}", "client_kwargs": {"verify": __file__}}, {},
        ("certificate", "AWS_CA_BUNDLE"),
    ),
    "unreachable proxy": (
        {"endpoint_url": "http://127.0.0.1:{plain}"},
        {"HTTP_PROXY": f"http://user:{SECRET}@127.0.0.1:9", "NO_PROXY": ""},
        ("***@127.0.0.1:9", "Connection refused", "HTTP_PROXY"),
    ),
    "unknown host": (
        {"endpoint_url": "http://no-such-host.invalid"}, {},
        ("no-such-host.invalid", "endpoint_url"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("situation", SITUATIONS)
def test_what_cannot_heal_is_said_at_once_with_a_hint(
    servers: Servers, situation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, environment, expected = SITUATIONS[situation]
    if situation == "unknown host" and resolves_nothing() is False:
        pytest.skip("no answer of a name service here")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
        monkeypatch.setenv(name.lower(), value)
    error = refused("s3://bucket/x", filled(options, servers))
    assert type(error) is RemoteSetupError
    for text in expected:
        assert text in str(error)


def resolves_nothing() -> bool:
    try:
        socket.getaddrinfo("no-such-host.invalid", 80)
    except socket.gaierror as error:
        return error.errno == socket.EAI_NONAME
    return False


def filled(options: Mapping[str, object], servers: Servers) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in options.items():
        if isinstance(value, dict):
            found[name] = filled(value, servers)
        else:
            found[name] = str(value).format(**servers._asdict()) if value != __file__ else value
    return found


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"endpoint_url": "http//x"}, "Invalid endpoint: http//x"),
        ({"endpoint_url": "127.0.0.1:9000"}, "Invalid endpoint: 127.0.0.1:9000"),
        ({"endpoint_url": "http://127.0.0.1:99999"}, "was not a valid URI"),
        ({"profile": "nobodys"}, "nobodys"),
    ],
)
def test_options_that_cannot_be_used_are_named(options: dict[str, object], text: str) -> None:
    error = refused("s3://bucket/x", options)
    assert type(error) is InvalidInputError
    assert text in str(error)


def test_missing_credentials_are_told_how_to_give_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(StorePermissionError, match=r"AWS_ACCESS_KEY_ID.*anon=True"):
        ask("s3://bucket/x", {"endpoint_url": "http://127.0.0.1:9"}, "get")


class Refusal(Exception):
    """An answer of a server, as botocore has it."""

    def __init__(self, code: str, status: int, headers: dict[str, str], **said: str) -> None:
        super().__init__(SECRET)
        self.response: dict[str, Any] = {
            "Error": {"Code": code, "Message": SECRET, **said},
            "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers},
        }


@pytest.mark.parametrize(
    ("refusal", "texts"),
    [
        (Refusal("RequestTimeTooSkewed", 403, {"date": "Sat, 28 Nov 2026 05:00:00 GMT"}),
         ("05:00:00 GMT", "clock")),
        (Refusal("AuthorizationHeaderMalformed", 400, {}, Region="eu-west-1"),
         ("AWS_DEFAULT_REGION=eu-west-1",)),
        (Refusal("PermanentRedirect", 301, {"x-amz-bucket-region": "us-west-2"}),
         ("AWS_DEFAULT_REGION=us-west-2",)),
        (Refusal("301", 301, {"x-amz-bucket-region": "us-west-2"}), ("region us-west-2",)),
        (Refusal("PermanentRedirect", 301, {"x-amz-bucket-region": f"a b {SECRET}"}),
         ("AWS_DEFAULT_REGION",)),
    ],
    ids=lambda value: value.response["Error"]["Code"] if isinstance(value, Refusal) else "",
)  # fmt: skip
def test_answer_that_says_what_is_wrong_is_passed_on(
    refusal: Refusal, texts: tuple[str, ...]
) -> None:
    error = error_of(answer(refusal), "s3://bucket/x")
    assert type(error) is RemoteSetupError
    assert all(text in str(error) for text in texts)
    assert SECRET not in str(error)


def test_what_may_pass_says_the_systems_reason() -> None:
    store = open_store("s3://b/x", {**KEYS, "endpoint_url": "http://127.0.0.1:9"}, 1.0)
    with pytest.raises(RemoteUnavailableError, match="Connection refused") as caught:
        store.get("FORMAT", 1)
    store.close()
    assert type(caught.value) is RemoteUnavailableError
    assert "http://127.0.0.1:9" in str(caught.value)


def test_an_error_that_the_caller_is_handling_decides_nothing() -> None:
    error = OSError("anything")
    error.__context__ = socket.gaierror(socket.EAI_NONAME, "the caller's own")
    assert type(error_of(answer(error), "place")) is RemoteUnavailableError


def test_the_command_does_not_say_to_try_again_later() -> None:
    assert "later" not in describe(RemoteSetupError("x")).hint
    assert "later" in describe(RemoteUnavailableError("x")).hint


# Put-if-absent


def faulty(fault: str, nth: int) -> tuple[S3Store, SimulatedS3]:
    """A store whose requests meet `fault` from the `nth` on."""
    server = SimulatedS3(Bucket(checks_md5=False), lambda r: fault if r.number >= nth else None)
    return S3Store(server, "bucket", "", 5.0), server


@pytest.mark.parametrize("fault", ["untrusted", "skewed_403"])
def test_a_create_that_could_not_be_made_says_so_and_one_in_doubt_is_unknown(fault: str) -> None:
    with VirtualClock().installed():
        store, server = faulty(fault, 0)
        with pytest.raises(RemoteSetupError):
            put_if_absent(store, "HEAD", b"1", 10, 5.0)
        assert len(server.seen) == 1
        store, _ = faulty(fault, 1)
        store._refuses_damage = False
        with pytest.raises(OutcomeUnknownError):
            put_if_absent(store, "HEAD", b"1", 10, 5.0)


# Bugs on purpose


def certificates_pass(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(causes, "_TLS_FINAL", ())


def final_is_tried_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(objects, "RemoteSetupError", ZeroDivisionError)


def any_tls_error_is_final(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(causes, "_TLS_FINAL", ("",))


@pytest.mark.parametrize("plant", [certificates_pass, final_is_tried_again, any_tls_error_is_final])
def test_bug_on_purpose_is_found(plant: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def once_each() -> list[int]:
        """How many requests a read takes that meets an untrusted, and a torn, handshake."""
        counts = []
        for fault in ("untrusted", "handshake_torn"):
            with VirtualClock().installed():
                store, server = faulty(fault, 0)
                with pytest.raises(RemoteUnavailableError):
                    store.get("HEAD", 1)
                counts.append(len(server.seen))
        return counts

    count, more = once_each()
    assert count == 1
    assert more > 1
    plant(monkeypatch)
    found = once_each()
    assert found[0] > 1 or found[1] == 1
