"""Keys that sign and verify, in the text forms that other programs read.

Owns the two texts and the key id; what a signature is made over is the business of
`transit.proof.cosignature`.

    verifying   NAME+ID+BASE64(type || public key)                      (C2SP signed-note, vkey)
    signing     PRIVATE+KEY+NAME+ID+BASE64(type || seed of 32 bytes)    (Go, x/mod/sumdb/note)

ID is the first 4 bytes of SHA-256(NAME || newline || type || public key), 8 lower hex digits. A
text is valid if and only if it falls apart into these parts (base64 may hold `+` itself), name and
base64 are in their one spelling, the id is that of the key, and the type is known:

    type  public  signature   who
    0x01      32         64   a log: Ed25519 over the text
    0x04      32     8 + 64   a witness: Ed25519, cosignature/v1
    0x06   1,312  8 + 2,420   a log or a witness: ML-DSA-44, subtree/v1

`sign` and `verify` make and check the bare signature, without the time before it. They, and reading
or generating a signing key, need the package `cryptography` (extra `proofs`); nothing else here
does. The seed is in no message and in no `repr`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from types import ModuleType
from typing import Final, Literal, NoReturn

from transit.errors import InvalidInputError, ProofError, UnpicklableError
from transit.proof.notes import KEY_ID_BYTES, is_key_name
from transit.proof.spellings import base64_of, shown, strict_base64

Kind = Literal["ed25519", "ml-dsa-44"]
Role = Literal["log", "witness"]

ED25519: Final = 0x01
COSIGNATURE_V1: Final = 0x04
ML_DSA_44: Final = 0x06
PUBLIC_BYTES: Final = {ED25519: 32, COSIGNATURE_V1: 32, ML_DSA_44: 1312}
SIGNATURE_BYTES: Final = {ED25519: 64, COSIGNATURE_V1: 64, ML_DSA_44: 2420}
"""Of the bare signature, without a time."""
TYPES: Final[dict[tuple[str, str], int]] = {
    ("ed25519", "log"): ED25519,
    ("ed25519", "witness"): COSIGNATURE_V1,
    ("ml-dsa-44", "log"): ML_DSA_44,
    ("ml-dsa-44", "witness"): ML_DSA_44,
}
LOG_TYPES: Final = frozenset((ED25519, ML_DSA_44))
WITNESS_TYPES: Final = frozenset((COSIGNATURE_V1, ML_DSA_44))
SEED_BYTES: Final = 32
NAME_BYTES_MAX: Final = 255
"""What a message signed with ML-DSA-44 has room for."""
TEXT_CHARS_MAX: Final = 4096
_PRIVATE: Final = "PRIVATE+KEY+"


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public key of a log or a witness: name, type and the key's bytes."""

    name: str
    type: int
    public: bytes

    @classmethod
    def from_text(cls, vkey: str) -> VerifyingKey:
        """The key that a vkey says. `InvalidInputError` says what makes it none."""
        if vkey.startswith(_PRIVATE):
            raise InvalidInputError("this is a signing key, which is secret: give its vkey")
        name, key_id, material = _parts(vkey, "vkey")
        kind, public = material[0], material[1:]
        if PUBLIC_BYTES.get(kind) != len(public):
            raise InvalidInputError(
                f"vkey of {shown(name)}: a key of type {kind:#04x} with {len(public)} bytes "
                "is not known here"
            )
        return _with_id(cls(name, kind, public), key_id, "vkey")

    def to_text(self) -> str:
        """The vkey, on one line without a newline."""
        return f"{self.name}+{self.key_id.hex()}+{base64_of(bytes((self.type,)) + self.public)}"

    @property
    def key_id(self) -> bytes:
        """The 4 bytes by which signature lines name the key, beside its name."""
        said = self.name.encode() + b"\n" + bytes((self.type,)) + self.public
        return sha256(said).digest()[:KEY_ID_BYTES]

    @property
    def id_text(self) -> str:
        """The key as messages name it: `NAME+ID`, in ASCII."""
        return f"{shown(self.name)[1:-1]}+{self.key_id.hex()}"

    def verify(self, message: bytes, signature: bytes) -> None:
        """The signature is this key's over `message`; else `ProofError`."""
        if len(signature) != SIGNATURE_BYTES[self.type]:
            raise ProofError(
                f"signature of {self.id_text}: expected {SIGNATURE_BYTES[self.type]} bytes, "
                f"found {len(signature)}"
            )
        known = _primitives()
        holds = known.ml_dsa_44_holds if self.type == ML_DSA_44 else known.ed25519_holds
        if not holds(self.public, message, signature):
            raise ProofError(f"signature of {self.id_text}: it does not verify")


class SigningKey:
    """A key that signs: its public half, and how a signature is made."""

    __slots__ = ("_seed", "_sign", "_verifying")

    def __init__(
        self, verifying: VerifyingKey, sign: Callable[[bytes], bytes], seed: bytes | None
    ) -> None:
        self._verifying = verifying
        self._sign = sign
        self._seed = seed

    @classmethod
    def generate(cls, name: str, kind: Kind = "ed25519", role: Role = "log") -> SigningKey:
        """A new key. `InvalidInputError` for a name that no key may have."""
        check_name(name)
        # Loaded here: most programs never make a key.
        from secrets import token_bytes

        return _from_seed(name, _type_of(kind, role), token_bytes(SEED_BYTES))

    @classmethod
    def from_text(cls, text: str) -> SigningKey:
        """The key of a `PRIVATE+KEY+…` text. `InvalidInputError`, without what the text says."""
        if not text.startswith(_PRIVATE):
            raise InvalidInputError("signing key: it does not begin with PRIVATE+KEY+")
        said = text[len(_PRIVATE) : len(_PRIVATE) + TEXT_CHARS_MAX + 1]
        name, key_id, material = _parts(said, "signing key")
        kind, seed = material[0], material[1:]
        if kind not in PUBLIC_BYTES or len(seed) != SEED_BYTES:
            raise InvalidInputError(
                f"signing key of {shown(name)}: a key of type {kind:#04x} with {len(seed)} bytes "
                "is not known here"
            )
        key = _from_seed(name, kind, seed)
        _with_id(key.verifying, key_id, "signing key")
        return key

    @classmethod
    def from_callable(
        cls,
        name: str,
        public_key: bytes,
        sign: Callable[[bytes], bytes],
        kind: Kind = "ed25519",
        role: Role = "log",
    ) -> SigningKey:
        """A key that is elsewhere: `sign(message)` gives the bare signature, 64 or 2,420 bytes.

        Each signature it gives is verified before it is used. `InvalidInputError` for a name that
        no key may have or a public key of another size.
        """
        check_name(name)
        number = _type_of(kind, role)
        if len(public_key) != PUBLIC_BYTES[number]:
            raise InvalidInputError(
                f"a public key of {kind} has {PUBLIC_BYTES[number]} bytes, not {len(public_key)}"
            )
        return cls(VerifyingKey(name, number, bytes(public_key)), sign, None)

    @property
    def verifying(self) -> VerifyingKey:
        """The public half."""
        return self._verifying

    def to_text(self) -> str:
        """The secret text, on one line; `InvalidInputError` where the key is elsewhere."""
        if self._seed is None:
            raise InvalidInputError(f"the key {self._verifying.id_text} is elsewhere")
        name, key_id = self._verifying.name, self._verifying.key_id.hex()
        return f"{_PRIVATE}{name}+{key_id}+{base64_of(bytes((self._verifying.type,)) + self._seed)}"

    def sign(self, message: bytes) -> bytes:
        """The bare signature over `message`.

        What a callable gave is verified: `ProofError` where it is no signature of this key.
        """
        signature = self._sign(message)
        if self._seed is None:
            self._verifying.verify(message, signature)
        return signature

    def __reduce__(self) -> NoReturn:
        raise UnpicklableError(
            f"{self!r} is secret, and is neither pickled nor copied: give the file it is in"
        )

    def __repr__(self) -> str:
        return f"SigningKey({self._verifying.id_text})"


def check_name(name: str) -> None:
    """A new key may have this name; else `InvalidInputError`.

    The name of a log's key is its origin. Stricter than what is read: an em dash in a name makes
    lines that people read wrongly, and more than 255 bytes cannot be cosigned with ML-DSA-44.
    """
    if not is_key_name(name) or "\u2014" in name or not name.isprintable():
        raise InvalidInputError(
            "the name of a key is not empty and has no white space, control character, plus sign "
            f"or em dash, not {shown(name)}"
        )
    if len(name.encode()) > NAME_BYTES_MAX:
        raise InvalidInputError(
            f"the name of a key has at most {NAME_BYTES_MAX} bytes, not {len(name.encode())}"
        )


def _type_of(kind: str, role: str) -> int:
    if (kind, role) not in TYPES:
        raise InvalidInputError(
            "a key is of kind ed25519 or ml-dsa-44 and has role log or witness, "
            f"not {kind!r} and {role!r}"
        )
    return TYPES[kind, role]


def _parts(text: str, place: str) -> tuple[str, str, bytes]:
    """Name, id and what is in base64, at least a byte; a message holds none of the latter."""
    parts = text.split("+", 2) if len(text) <= TEXT_CHARS_MAX else []
    if len(parts) != 3 or not is_key_name(parts[0]):
        raise InvalidInputError(f"{place}: expected NAME+8 hex digits+base64 on one line")
    name, key_id, encoded = parts
    material = strict_base64(encoded)
    if not material:
        raise InvalidInputError(f"{place} of {shown(name)}: its end is not base64")
    return name, key_id, material


def _with_id(key: VerifyingKey, key_id: str, place: str) -> VerifyingKey:
    if key.key_id.hex() != key_id:
        raise InvalidInputError(
            f"{place} of {shown(key.name)}: the id {shown(key_id)} is not that of name and key"
        )
    if key.type == ML_DSA_44 and len(key.name.encode()) > NAME_BYTES_MAX:
        raise InvalidInputError(f"{place}: a name of more than {NAME_BYTES_MAX} bytes")
    return key


def _from_seed(name: str, number: int, seed: bytes) -> SigningKey:
    known = _primitives()
    public, sign = (known.ml_dsa_44 if number == ML_DSA_44 else known.ed25519)(seed)
    return SigningKey(VerifyingKey(name, number, public), sign, seed)


def _primitives() -> ModuleType:
    try:
        # Loaded here: it loads `cryptography`, which is an extra.
        from transit.proof import primitives
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "cryptography":
            raise
        raise InvalidInputError(
            "signatures need cryptography: pip install 'transit[proofs]'"
        ) from None
    return primitives
