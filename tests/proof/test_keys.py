"""Keys: published texts and signatures, names that no key may have, keys that are elsewhere."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import transit
from transit.errors import InvalidInputError, ProofError
from transit.proof.keys import PUBLIC_BYTES, SIGNATURE_BYTES, SigningKey, VerifyingKey
from transit.proof.notes import Note, NoteSignature, parse_note
from transit.proof.primitives import ml_dsa_44
from transit.proof.spellings import base64_of

from .logs import LOG, LOG_PQ, ORIGIN, W1, W_PQ

# The example in the documentation of Go's package note.
GO_PRIVATE = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n\n"
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdng"
    "otpRZb6KE6RyyBwJnAM=\n"
)


def test_the_key_and_the_note_of_gos_documentation_are_made_byte_for_byte() -> None:
    key = SigningKey.from_text(GO_PRIVATE)
    assert key.to_text() == GO_PRIVATE
    assert key.verifying.to_text() == GO_VKEY
    assert VerifyingKey.from_text(GO_VKEY) == key.verifying
    text = GO_NOTE.partition("\n\n")[0] + "\n"
    line = NoteSignature("PeterNeumann", key.verifying.key_id, key.sign(text.encode()))
    assert Note(text, (line,)).encode() == GO_NOTE.encode()
    (read,) = parse_note(GO_NOTE.encode()).signatures
    key.verifying.verify(text.encode(), read.data)


def test_a_published_seed_of_ml_dsa_44_has_the_published_key_id() -> None:
    """Of a log in the tests of litewitness; the id is a digest over all of the key."""
    seed = bytes.fromhex("2886adc2b0eabfce67c0472939127998bf886cf256bfee8ba76a253fce1146e0")
    public, _ = ml_dsa_44(seed)
    key = VerifyingKey("example.com/mldsa-log", 6, public)
    assert key.key_id.hex() == "b5df45c5"
    text = f"PRIVATE+KEY+example.com/mldsa-log+b5df45c5+{base64_of(bytes((6,)) + seed)}"
    assert SigningKey.from_text(text).verifying == key


@pytest.mark.parametrize("kind", ["ed25519", "ml-dsa-44"])
@pytest.mark.parametrize("role", ["log", "witness"])
def test_a_new_key_signs_verifies_and_comes_back_from_its_texts(kind: str, role: str) -> None:
    key = SigningKey.generate("example.com/new", kind, role)  # type: ignore[arg-type]
    known = key.verifying
    assert known.type == {"ed25519": {"log": 1, "witness": 4}, "ml-dsa-44": {}}[kind].get(role, 6)
    assert len(known.public) == PUBLIC_BYTES[known.type]
    again = SigningKey.from_text(key.to_text())
    assert again.verifying == VerifyingKey.from_text(known.to_text()) == known
    signature = again.sign(b"message")
    assert len(signature) == SIGNATURE_BYTES[known.type]
    known.verify(b"message", signature)
    for message, wrong in ((b"Message", signature), (b"message", bytes(len(signature)))):
        with pytest.raises(ProofError, match=r"it does not verify$"):
            known.verify(message, wrong)
    with pytest.raises(ProofError, match=r"expected \d+ bytes, found \d+$"):
        known.verify(b"message", signature + b"\0")
    assert SigningKey.generate("example.com/new").verifying != known


@pytest.mark.parametrize(
    "name",
    [
        "", "two words", "tab\there", "line\nfeed", "nul\0", "a+b", "em\u2014dash", "no\u00a0break",
        "\u2028", "x" * 256, "é" * 128, "zero\u200bwidth", "\ud800", "\x7f", "\u3000",
    ],
)  # fmt: skip
def test_a_new_key_has_no_such_name(name: str) -> None:
    for make in (
        lambda: SigningKey.generate(name),
        lambda: SigningKey.from_callable(name, bytes(32), bytes),
    ):
        with pytest.raises(InvalidInputError, match="the name of a key"):
            make()


def test_a_name_of_255_bytes_is_taken() -> None:
    assert SigningKey.generate("x" * 255, "ml-dsa-44").verifying.name == "x" * 255


@pytest.mark.parametrize(
    "text",
    [
        "", "name", "name+00000000", "+00000000+AAAA",
        GO_VKEY + "\n", " " + GO_VKEY, GO_VKEY.replace("c74f20a3", "C74F20A3"),
        GO_VKEY.replace("c74f20a3", "c74f20a4"), GO_VKEY.replace("PeterNeumann", "Peterneumann"),
        GO_VKEY[:-1], GO_VKEY + "=", GO_VKEY[:-4] + "====", "name+00000000+AA==",
        GO_VKEY.replace("+ARpc", "+BRpc"), GO_VKEY.replace("+ARpc", "+/xpc"),
        "name+00000000+" + "A" * 5000, GO_PRIVATE,
    ],
)  # fmt: skip
def test_what_is_no_vkey_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        VerifyingKey.from_text(text)


def test_base64_of_a_vkey_may_hold_a_plus_sign() -> None:
    number = 0
    while "+" not in base64_of(bytes((1,)) + number.to_bytes(32, "big")):
        number += 0xFB << 7
    key = VerifyingKey("a.example/b", 1, number.to_bytes(32, "big"))
    assert key.to_text().count("+") > 2
    assert VerifyingKey.from_text(key.to_text()) == key


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.removeprefix("PRIVATE+KEY+"),
        lambda text: text.replace("c74f20a3", "c74f20a4"),
        lambda text: text[:-4],
        lambda text: text + "AAAA",
        lambda text: text.replace("+AYEK", "+BYEK"),
        lambda text: text.replace("Peter", "Pe ter"),
    ],
)
def test_what_is_no_signing_key_is_refused_and_its_secret_is_not_told(change: object) -> None:
    text = change(GO_PRIVATE)  # type: ignore[operator]
    with pytest.raises(InvalidInputError) as refused:
        SigningKey.from_text(text)
    assert text.rpartition("+")[2][:20] not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_vkey_is_not_confused_with_the_secret_one_and_does_not_tell_it() -> None:
    with pytest.raises(InvalidInputError) as refused:
        VerifyingKey.from_text(GO_PRIVATE)
    assert str(refused.value) == "this is a signing key, which is secret: give its vkey"


@pytest.mark.parametrize("key", [LOG, LOG_PQ, W1, W_PQ], ids=repr)
def test_a_secret_is_in_no_repr_and_no_pickle(key: SigningKey) -> None:
    assert repr(key) == f"SigningKey({key.verifying.name}+{key.verifying.key_id.hex()})"
    with pytest.raises(TypeError):
        pickle.dumps(key)
    assert pickle.loads(pickle.dumps(key.verifying)) == key.verifying


@pytest.mark.parametrize(("key", "kind"), [(LOG, "ed25519"), (LOG_PQ, "ml-dsa-44")], ids=repr)
def test_a_key_that_is_elsewhere_signs_and_is_verified(key: SigningKey, kind: str) -> None:
    asked = []

    def elsewhere(message: bytes) -> bytes:
        asked.append(message)
        return key.sign(message) if message != b"bad" else bytes(64)

    public = key.verifying.public
    known = SigningKey.from_callable(ORIGIN, public, elsewhere, kind)  # type: ignore[arg-type]
    assert known.verifying == key.verifying
    key.verifying.verify(b"message", known.sign(b"message"))
    with pytest.raises(ProofError):
        known.sign(b"bad")
    assert asked == [b"message", b"bad"]
    with pytest.raises(InvalidInputError, match="is elsewhere"):
        known.to_text()
    with pytest.raises(InvalidInputError, match="bytes, not 31"):
        SigningKey.from_callable(ORIGIN, bytes(31), elsewhere)


def test_a_kind_or_a_role_that_is_not_there_is_refused() -> None:
    for kind, role in (("rsa", "log"), ("ed25519", "mirror")):
        with pytest.raises(InvalidInputError, match="has role log or witness"):
            SigningKey.generate("a", kind, role)  # type: ignore[arg-type]


def test_bytes_that_are_no_point_of_the_curve_verify_nothing() -> None:
    key = VerifyingKey("a", 1, b"\xff" * 32)
    with pytest.raises(ProofError, match="it does not verify"):
        key.verify(b"message", bytes(64))


def test_without_the_extra_the_error_names_it() -> None:
    script = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from transit.proof import checkpoint, files, policy, tiles, witness\n"
        "from transit.proof.keys import SigningKey, VerifyingKey\n"
        f"key = VerifyingKey.from_text({GO_VKEY!r})\n"
        "for call in (lambda: key.verify(b'', bytes(64)), lambda: SigningKey.generate('a')):\n"
        "    try: call()\n"
        "    except Exception as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(transit.__file__).parents[1],
    )
    says = "InvalidInputError signatures need cryptography: pip install 'transit[proofs]'\n"
    assert done.stdout == says * 2
