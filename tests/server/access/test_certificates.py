"""TLS: what is spoken, and what is done with certificates and keys."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import transit
from transit import InvalidInputError
from transit.server import run
from transit.server.certificate import Certificate
from transit.server.run import Running, serving
from transit.server.settings import ServerSettings

from .raw import WAIT_S, Client, until

pytest.importorskip("cryptography")

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def _make(folder: Path, password: bytes | None = None) -> tuple[str, str]:
    """A certificate for localhost, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
        .sign(key, hashes.SHA256())
    )
    certificate, secret = folder / "cert.pem", folder / "key.pem"
    locked = (
        serialization.NoEncryption()
        if password is None
        else serialization.BestAvailableEncryption(password)
    )
    kinds = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    secret.touch(0o600)
    secret.write_bytes(key.private_bytes(*kinds, locked))
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return str(certificate), str(secret)


@contextmanager
def _served(folder: Path, **settings: object) -> Iterator[Running]:
    certificate = Certificate(*_make(folder))
    wanted = ServerSettings(**settings)  # type: ignore[arg-type]
    with (
        transit.open(folder / "store", durability="os") as log,
        serving(log, settings=wanted, certificate=certificate) as running,
    ):
        yield running


def _context(folder: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(folder / "cert.pem"))


def _hello(address: tuple[str, int], context: ssl.SSLContext) -> tuple[str | None, bytes | None]:
    """The version that is spoken, and the certificate that is shown."""
    with (
        socket.create_connection(address, WAIT_S) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secret,
    ):
        return secret.version(), secret.getpeercert(binary_form=True)


@pytest.mark.slow
def test_it_is_served_over_tls(tmp_path: Path) -> None:
    with _served(tmp_path) as running, Client(running.address) as client:
        assert running.url.startswith("https://")
        plain = client.socket
        client.socket = _context(tmp_path).wrap_socket(plain, server_hostname="localhost")
        fields = {"content-type": "text/plain"}
        reply = client.ask("PUT", "/v1/stream/a", fields, b"hi")
        assert reply.status == 201
        assert reply.headers["location"].startswith("https://")
        # What is closed in steps is closed over TLS too.
        client.begin("POST", "/v1/stream/a", fields | {"content-length": "999999999"})
        assert client.reply().status == 413
        assert client.is_closed()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_versions_are_refused(tmp_path: Path) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with _served(tmp_path) as running:
        assert _hello(running.address, _context(tmp_path))[0] in ("TLSv1.2", "TLSv1.3")
        # Whether the server says why before it closes is a matter of OpenSSL's version.
        with pytest.raises(ssl.SSLError, match=r"(?i)protocol|version|closed \(EOF\)"):
            _hello(running.address, old)


def test_a_handshake_that_does_not_go_on_is_cut(tmp_path: Path) -> None:
    with _served(tmp_path, head_s=0.3) as running:
        for begun in (b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"):
            with Client(running.address) as client:
                client.send(begun)
                assert client.is_closed()


def test_a_renewed_certificate_is_shown_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "_LOOK_TICKS", 1)
    with _served(tmp_path) as running:
        before = _hello(running.address, _context(tmp_path))[1]
        _make(tmp_path)

        def is_new() -> bool:
            try:
                return _hello(running.address, _context(tmp_path))[1] != before
            except ssl.SSLError:
                # The client trusts the new one alone.
                return False

        until(is_new)


def test_half_a_renewal_spoils_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    certificate = Certificate(*_make(tmp_path))
    other = tmp_path / "other"
    other.mkdir()
    _make(other)
    (tmp_path / "key.pem").write_bytes((other / "key.pem").read_bytes())
    certificate.look()
    assert "stays in use" in caplog.text
    left, right = socket.socketpair()
    served = threading.Thread(
        target=lambda: certificate.context.wrap_socket(left, server_side=True).close()
    )
    served.start()
    with _context(tmp_path).wrap_socket(right, server_hostname="localhost") as client:
        assert client.version() is not None
    served.join(WAIT_S)


def test_files_that_are_no_pair_are_refused(tmp_path: Path) -> None:
    certificate, key = _make(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(InvalidInputError, match="TLS"):
        Certificate(certificate, _make(other)[1])
    with pytest.raises(InvalidInputError, match="TLS"):
        Certificate(certificate, None)
    with pytest.raises(InvalidInputError, match="not-there"):
        Certificate(certificate, str(tmp_path / "not-there"))
    with pytest.raises(InvalidInputError, match="encrypted"):
        Certificate(*_make(other, b"secret"))
    Certificate(certificate, key)


def test_a_key_that_others_may_read_is_told(tmp_path: Path) -> None:
    certificate, key = _make(tmp_path)
    found = Certificate(certificate, key)
    assert not found.is_exposed
    for mode in (0o604, 0o644, 0o620, 0o602):
        Path(key).chmod(mode)
        assert found.is_exposed
    Path(key).chmod(0o640)
    assert not found.is_exposed
