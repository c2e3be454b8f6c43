"""What attackers do with bytes alone: each row beside a control that holds, with its exact error.

The rows that need a store (a bucket rolled back, a fenced writer, an erased block) are tried where
there is one; rows are numbered as in that list.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final, NamedTuple

import pytest

from transit.errors import FencedError, InvalidInputError, ProofError, SplitViewError
from transit.proof.checkpoint import SignedCheckpoint, open_checkpoint
from transit.proof.cosignature import cosignature_message, sign_head
from transit.proof.files import ConsistencyFile, InclusionFile, check_pair
from transit.proof.keys import SigningKey, VerifyingKey
from transit.proof.notes import Note, NoteSignature, parse_note
from transit.proof.policy import Policy, name_and_id
from transit.proof.spellings import base64_of
from transit.proof.tiles import TileCounts, check_tiles, encode_bundle
from transit.proof.witness import Latest, decide, read_answer

from .logs import (
    ENTRIES,
    FORK,
    LEAVES,
    LOG,
    LOG_PQ,
    NOW,
    ORIGIN,
    OTHER_LOG,
    STRANGER,
    W1,
    W2,
    W_PQ,
    consistency,
    files_of,
    head,
    inclusion,
    key,
    note,
    policy,
)

SIZE: Final = 300
ID: Final = name_and_id(LOG.verifying)


class Row(NamedTuple):
    """An attack: what holds, what does not, and what is raised. `says` is empty where it holds."""

    number: int
    what: str
    control: Callable[[], object]
    attack: Callable[[], object]
    says: str
    error: type[Exception] = ProofError


def opened(data: bytes, *keys: SigningKey, **more: object) -> SignedCheckpoint:
    known = [each.verifying for each in keys or (LOG,)]
    return open_checkpoint(data, known, now=NOW, **more)  # type: ignore[arg-type]


def changed(data: bytes, old: str, new: str) -> bytes:
    assert data.count(old.encode()) >= 1
    return data.replace(old.encode(), new.encode(), 1)


def proved(file: InclusionFile, entry: bytes = ENTRIES[150], by: Policy | None = None) -> object:
    return InclusionFile.parse(file.encode()).check(entry, by or policy(), now=NOW)


def grown(file: ConsistencyFile, older: bytes) -> object:
    return ConsistencyFile.parse(file.encode()).check(older, policy(), now=NOW)


def witnessed(data: bytes, *witnesses: SigningKey, now: float = NOW) -> object:
    return policy(*(witnesses or (W1,))).check(data, now=now).require_quorum()


def with_line(data: bytes, line: NoteSignature) -> bytes:
    found = parse_note(data)
    return Note(found.text, (*found.signatures, line)).encode()


def line_of(signer: SigningKey, at_s: int = NOW, size: int = SIZE) -> NoteSignature:
    return sign_head(signer, head(size), at_s)


def without_check(signer: SigningKey, at_s: int) -> NoteSignature:
    """A cosignature that states any time, which `sign_head` does not make."""
    message = cosignature_message(head(SIZE).text(), at_s)
    data = at_s.to_bytes(8, "big") + signer.sign(message)
    return NoteSignature(signer.verifying.name, signer.verifying.key_id, data)


def tiles(size: int, files: dict[str, bytes], root: bytes | None = None) -> TileCounts:
    return check_tiles(size, root or LEAVES.root(size), sorted(files), files.__getitem__)


PROOF: Final = inclusion(150, SIZE)
GROWTH: Final = consistency(100, SIZE)
SIGNED: Final = note(SIZE)
WITNESSED: Final = note(SIZE, witnesses=[W1])
FILES: Final = files_of(SIZE)
BUNDLE_BYTES: Final = len(FILES["tile/entries/000"])
TEXT: Final = head(SIZE).text()
SWAPPED: Final = (PROOF.hashes[1], PROOF.hashes[0], *PROOF.hashes[2:])
ROOT64: Final = base64_of(LEAVES.root(SIZE))
W1_ID: Final = name_and_id(W1.verifying)


def renamed(line: NoteSignature, to: SigningKey) -> NoteSignature:
    return NoteSignature(to.verifying.name, to.verifying.key_id, line.data)


def signed_text(text: str, signer: SigningKey = LOG) -> bytes:
    """Any text, signed by the right key: what is refused is the text."""
    known = signer.verifying
    line = NoteSignature(known.name, known.key_id, signer.sign(text.encode()))
    return f"{text}\n".encode() + line.encode()


def origin_like(name: str) -> Callable[[], object]:
    """A checkpoint that its own key signed rightly, under a name that looks like ours."""
    return lambda: opened(signed_text(TEXT.replace(ORIGIN, name)), LOG, origin=ORIGIN)


def colliding() -> list[VerifyingKey]:
    """Two keys of one name and one id: made by giving one the other's id, as a search would."""

    class Collided(VerifyingKey):
        __slots__ = ()
        key_id = LOG.verifying.key_id  # type: ignore[assignment]

    return [LOG.verifying, Collided(ORIGIN, 1, STRANGER.verifying.public)]


def answered(
    body: bytes, status: int = 200, content_type: str = "text/plain", old: int = 100
) -> object:
    return read_answer(
        status, content_type, body,
        note=SIGNED, old=old, witness_keys=[W1.verifying], now=NOW,
    )  # fmt: skip


def asked(file: ConsistencyFile, size: int = 100) -> object:
    """What a witness that knows `size` answers; an error where it is no 200."""
    latest = {ORIGIN: Latest(size, LEAVES.root(size))}
    answer = decide(file.encode(), latest, logs={ORIGIN: [LOG.verifying]}, keys=[W1], now=NOW)
    if answer.status != 200:
        raise ProofError(f"{answer.status}: {answer.body.decode().strip()}")
    assert answer.new_state is not None
    return answer


def policy_text(*lines: str) -> Policy:
    vkeys = {"LOG": LOG, "W1": W1, "W2": W2, "PQ": W_PQ, "LOGPQ": LOG_PQ}
    text = "\n".join(lines)
    for word, each in vkeys.items():
        text = text.replace(f"<{word}>", each.verifying.to_text())
    return Policy.parse(text + "\n")


def under_another_name(signer: SigningKey, name: str, number: int) -> str:
    return VerifyingKey(name, number, signer.verifying.public).to_text()


def as_witness(signer: SigningKey) -> SigningKey:
    """The same Ed25519 key, signing as a witness does."""
    known = signer.verifying
    return SigningKey.from_callable(known.name, known.public, signer.sign, "ed25519", "witness")


def moved() -> SigningKey:
    """The key of the ML-DSA-44 witness under another name."""
    public = W_PQ.verifying.public
    return SigningKey.from_callable("other.example", public, W_PQ.sign, "ml-dsa-44", "witness")


def e_acute(letter: str) -> tuple[bytes, SigningKey]:
    signer = key(f"example.com/{letter}", 1)
    return note(SIZE, [signer]), signer


def stranger_line() -> bytes:
    return NoteSignature("stranger.example", b"\0\0\0\1", bytes(64)).encode()


def with_lines(data: bytes, count: int) -> bytes:
    return data + stranger_line() * count


def the_note() -> object:
    return opened(SIGNED)


def the_proof() -> object:
    return proved(PROOF)


def the_cosigned_note() -> object:
    return witnessed(WITNESSED)


SPELLED = "expected a decimal number up to 2^63 - 1 in its one spelling, found"
OTHER_ORIGIN = f"checkpoint: origin {{}}, not {ORIGIN!r}"
NOT_SIGNED = f"checkpoint of {ORIGIN!r}: not signed by a known key of its log"

ROWS = [
    Row(3, "split view: two roots of one size, both signed",
        lambda: check_pair(SIGNED, note(SIZE), policy(), now=NOW),
        lambda: check_pair(SIGNED, note(SIZE, tree=FORK), policy(), now=NOW),
        "pair: SPLIT VIEW, two roots for size 300", SplitViewError),
    Row(4, "split view: another history at another size",
        lambda: grown(consistency(200, 400), note(200)),
        lambda: grown(consistency(200, 400), note(200, tree=FORK)),
        "consistency: the path does not begin at the old root"),
    Row(5, "chain rewritten, signed by the right key, sent to a witness",
        lambda: asked(GROWTH),
        lambda: asked(consistency(200, SIZE, tree=FORK), 200),
        "422: consistency: the path does not begin at the old root"),
    Row(7, "index of another entry", the_proof,
        lambda: proved(replace(PROOF, index=151)), "inclusion: the path leads to another root"),
    Row(8, "one hash more", the_proof,
        lambda: proved(replace(PROOF, hashes=(*PROOF.hashes, bytes(32)))),
        "inclusion: the path is too long"),
    Row(8, "one hash less", the_proof,
        lambda: proved(replace(PROOF, hashes=PROOF.hashes[:-1])),
        "inclusion: the path is too short"),
    Row(8, "hashes swapped", the_proof,
        lambda: proved(replace(PROOF, hashes=SWAPPED)),
        "inclusion: the path leads to another root"),
    Row(9, "size changed, signature left", the_note,
        lambda: opened(changed(SIGNED, "\n300\n", "\n301\n")),
        f"signature of {ID}: it does not verify"),
    Row(10, "an inner node given as a leaf",
        the_proof,
        lambda: proved(
            replace(PROOF, index=75, hashes=PROOF.hashes[1:]),
            LEAVES.hash_at(0, 150) + LEAVES.hash_at(0, 151),
        ),
        "inclusion: the path is too short"),
    Row(16, "a key of another origin signs our text", the_note,
        lambda: opened(signed_text(TEXT, OTHER_LOG), LOG, OTHER_LOG), NOT_SIGNED),
    Row(16, "a stranger's key of our name signs our text", the_note,
        lambda: opened(signed_text(TEXT, STRANGER)), NOT_SIGNED),
    Row(20, "a checkpoint of another log", the_note,
        lambda: opened(note(SIZE, [OTHER_LOG]), LOG, OTHER_LOG, origin=ORIGIN),
        OTHER_ORIGIN.format("'example.com/other'")),
    Row(23, "rotation: only the new key signs, only the old one is known",
        lambda: opened(note(SIZE, [LOG, STRANGER])),
        lambda: opened(note(SIZE, [STRANGER])), NOT_SIGNED),
    Row(24, "rotation: the old key goes on signing",
        lambda: policy().with_retired({ID: SIZE}).check(SIGNED, now=NOW),
        lambda: policy().with_retired({ID: SIZE - 1}).check(SIGNED, now=NOW),
        f"checkpoint of size 300: the key {ID} is good up to size 299"),
    Row(25, "two keys of one name and one id, both configured",
        lambda: open_checkpoint(SIGNED, [LOG.verifying, STRANGER.verifying]),
        lambda: open_checkpoint(SIGNED, colliding()),
        f"two keys are {ID}: a signature line would not say which one", InvalidInputError),
    Row(25, "the line of a key that collides with the known one", the_note,
        lambda: opened(with_line(SIGNED, renamed(line_of(STRANGER, 0), LOG))),
        f"signature of {ID}: it does not verify"),
    Row(26, "one witness key under two names",
        lambda: policy_text("witness a <W1>", "witness b <W2>", "group q 2 a b", "quorum q"),
        lambda: policy_text(
            "witness a <W1>", f"witness b {under_another_name(W1, 'w2.example/witness', 4)}",
            "group q 2 a b", "quorum q",
        ),
        "policy, line 2: the public key of w2.example/witness+"
        f"{VerifyingKey('w2.example/witness', 4, W1.verifying.public).key_id.hex()} "
        f"has a part already, as {W1_ID}", InvalidInputError),
    Row(27, "the log's own key as its witness",
        lambda: policy_text("log <LOG>", "witness w <W1>", "quorum w"),
        lambda: policy_text(
            "log <LOG>", f"witness w {under_another_name(LOG, 'w.example', 4)}", "quorum w"
        ),
        "policy, line 2: the public key of w.example+"
        f"{VerifyingKey('w.example', 4, LOG.verifying.public).key_id.hex()} "
        f"has a part already, as {ID}", InvalidInputError),
    Row(27, "the log's own ML-DSA-44 key as its witness",
        lambda: policy_text("log <LOGPQ>", "witness w <PQ>", "quorum w"),
        lambda: policy_text("log <LOGPQ>", "witness w <LOGPQ>", "quorum w"),
        f"policy, line 2: the public key of {name_and_id(LOG_PQ.verifying)} has a part already, "
        f"as {name_and_id(LOG_PQ.verifying)}", InvalidInputError),
    Row(28, "cosignature of another checkpoint of one size", the_cosigned_note,
        lambda: witnessed(with_line(SIGNED, sign_head(W1, head(SIZE, FORK), NOW))),
        f"signature of {W1_ID}: it does not verify"),
    Row(29, "a witness signed in the future",
        lambda: witnessed(WITNESSED, now=NOW - 300),
        lambda: witnessed(WITNESSED, now=NOW - 301),
        f"signature of {W1_ID}: its time {NOW} is in the future"),
    Row(29, "a witness states no time", the_cosigned_note,
        lambda: witnessed(with_line(SIGNED, line_of(W1, 0))),
        f"signature of {W1_ID}: a witness that states no time"),
    Row(29, "a time beyond 2^63 - 1", the_cosigned_note,
        lambda: witnessed(with_line(SIGNED, without_check(W1, 1 << 63))),
        f"signature of {W1_ID}: its time is beyond 2^63 - 1"),
    Row(30, "the bytes of a cosignature as a signature of the text", the_note,
        lambda: opened(Note(TEXT, (
            NoteSignature(ORIGIN, LOG.verifying.key_id, line_of(as_witness(LOG)).data[8:]),
        )).encode()),
        f"signature of {ID}: it does not verify"),
    Row(30, "a signature of the text as a cosignature", the_cosigned_note,
        lambda: witnessed(with_line(SIGNED, NoteSignature(
            W1.verifying.name, W1.verifying.key_id,
            NOW.to_bytes(8, "big") + W1.sign(TEXT.encode()),
        ))),
        f"signature of {W1_ID}: it does not verify"),
    Row(31, "an ML-DSA-44 line moved to another cosigner's name",
        lambda: witnessed(note(SIZE, witnesses=[W_PQ]), W_PQ),
        lambda: witnessed(with_line(SIGNED, renamed(line_of(W_PQ), moved())), moved()),
        f"signature of {name_and_id(moved().verifying)}: it does not verify"),
    Row(32, "an extension line below a checkpoint that only ML-DSA-44 signed",
        lambda: opened(note(SIZE, [LOG_PQ]), LOG_PQ),
        lambda: opened(
            changed(note(SIZE, [LOG_PQ]), f"{ROOT64}\n", f"{ROOT64}\nmore\n"), LOG_PQ
        ),
        "checkpoint: more than three lines, which not every signature covers"),
    Row(33, "origin with a Cyrillic letter", the_note, origin_like("example.c\u043em/runs"),
        OTHER_ORIGIN.format(r"'example.c\u043em/runs'")),
    Row(33, "origin with a space at its end", the_note, origin_like(f"{ORIGIN} "),
        OTHER_ORIGIN.format(f"'{ORIGIN} '")),
    Row(33, "origin with a space of no width", the_note, origin_like(f"{ORIGIN}\u200b"),
        OTHER_ORIGIN.format(rf"'{ORIGIN}\u200b'")),
    Row(33, "origin in full-width letters", the_note, origin_like("example.com/\uff52uns"),
        OTHER_ORIGIN.format(r"'example.com/\uff52uns'")),
    Row(33, "origin in the other normal form",
        lambda: opened(*e_acute("\u00e9"), origin="example.com/\u00e9"),
        lambda: opened(*e_acute("e\u0301"), origin="example.com/\u00e9"),
        r"checkpoint: origin 'example.com/e\u0301', not 'example.com/\xe9'"),
    *(
        Row(34, f"origin {name[:12]!r} of a key",
            lambda: SigningKey.generate("x" * 255),
            lambda name=name: SigningKey.generate(name),
            "the name of a key is not empty and has no white space, control character, plus sign "
            f"or em dash, not {name!a}", InvalidInputError)
        for name in ("", "a\nb", "a\u2014b", "a+b", "a b", "\ufeffa")
    ),
    Row(34, "origin of 300 bytes of a key",
        lambda: SigningKey.generate("x" * 255),
        lambda: SigningKey.generate("x" * 300),
        "the name of a key has at most 255 bytes, not 300", InvalidInputError),
    *(
        Row(35, f"size {size!r}", the_note,
            lambda size=size: opened(signed_text(f"{ORIGIN}\n{size}\n{ROOT64}\n")),
            f"checkpoint: size: {SPELLED} {size!a}")
        for size in (
            "05", "+5", "-0", "0x5", " 5", "5 ", "5_0", "\u0665", "\uff15", "9223372036854775808",
            "1" * 60, "5e3",
        )
    ),
    Row(35, "root of 31 bytes", the_note,
        lambda: opened(signed_text(f"{ORIGIN}\n5\n{base64_of(bytes(31))}\n")),
        "checkpoint: root: expected 32 bytes, found 31"),
    *(
        Row(35, f"root {what}", the_note,
            lambda root=root: opened(signed_text(f"{ORIGIN}\n5\n{root}\n")),
            "checkpoint: root: expected base64 in its one spelling, found "
            f"{root!a}")
        for what, root in (
            ("with stray bits", "A" * 42 + "B="), ("with white space", " " + "A" * 43 + "="),
            ("without padding", "A" * 43), ("for URLs", "_" * 43 + "="),
            ("padded twice", "A" * 43 + "=="),
        )
    ),
    Row(35, "CR in the root", the_note,
        lambda: opened(signed_text(f"{ORIGIN}\n5\n{'A' * 43}=\r\n")),
        r"note: a control character, '\r'"),
    Row(35, "size 0 with a root", lambda: opened(note(0)),
        lambda: opened(signed_text(f"{ORIGIN}\n0\n{ROOT64}\n")),
        "checkpoint: size 0 with another root than that of no leaves"),
    Row(36, "CRLF", the_note, lambda: opened(SIGNED.replace(b"\n", b"\r\n")),
        r"note: a control character, '\r'"),
    Row(36, "a second empty line", the_note, lambda: opened(changed(SIGNED, "\n\n", "\n\n\n")),
        "checkpoint: more than three lines, which not every signature covers"),
    Row(36, "an empty line in the text", the_note,
        lambda: opened(changed(SIGNED, "\n300\n", "\n\n300\n")),
        "checkpoint: fewer than three lines, or an empty one"),
    Row(36, "a byte order mark", the_note, lambda: opened(b"\xef\xbb\xbf" + SIGNED),
        "checkpoint: it begins with a byte order mark"),
    Row(36, "no newline at its end", the_note, lambda: opened(SIGNED[:-1]),
        "note: no newline at its end"),
    Row(36, "200 signatures",
        lambda: opened(with_lines(SIGNED, 99)), lambda: opened(SIGNED + stranger_line() * 199),
        "note: more than 100 signatures"),
    Row(36, "a note of 5 MB", the_note, lambda: opened(b"x" * 5_000_000 + b"\n" + SIGNED),
        "note: more than 1000000 bytes"),
    Row(37, "16 signatures of strangers around the right one", the_note,
        lambda: opened(
            f"{TEXT}\n".encode()
            + stranger_line() * 8 + line_of(LOG, 0).encode() + stranger_line() * 8
        ), ""),
    Row(38, "a right and a wrong line of one known key", the_note,
        lambda: opened(with_line(SIGNED, NoteSignature(ORIGIN, LOG.verifying.key_id, bytes(64)))),
        f"signature of {ID}: it does not verify"),
    Row(38, "a wrong line of a known witness, the right one beside it", the_cosigned_note,
        lambda: witnessed(with_line(WITNESSED, NoteSignature(
            W1.verifying.name, W1.verifying.key_id, NOW.to_bytes(8, "big") + bytes(64)
        ))),
        f"signature of {W1_ID}: it does not verify"),
    Row(39, "a tile with one hash too many", lambda: tiles(SIZE, FILES),
        lambda: tiles(SIZE, {**FILES, "tile/0/001.p/44": FILES["tile/0/001.p/44"] + bytes(32)}),
        "tile/0/001.p/44: expected 1408 bytes, found 1440"),
    Row(39, "a tile with one hash too few", lambda: tiles(SIZE, FILES),
        lambda: tiles(SIZE, {**FILES, "tile/0/000": FILES["tile/0/000"][:-32]}),
        "tile/0/000: expected 8192 bytes, found 8160"),
    Row(39, "a partial tile served as the full one", lambda: tiles(SIZE, FILES),
        lambda: tiles(SIZE, {**FILES, "tile/0/000": files_of(200)["tile/0/000.p/200"]}),
        "tile/0/000: expected 8192 bytes, found 6400"),
    Row(39, "a full tile beside a partial one of another history",
        lambda: tiles(SIZE, {**FILES, "tile/0/000.p/200": files_of(200)["tile/0/000.p/200"]}),
        lambda: tiles(SIZE, {**FILES, "tile/0/000.p/200": bytes(32) * 200}),
        "tile/0/000.p/200: hash 0 is not that of the checkpoint"),
    Row(39, "a full tile of another history beside the partial one",
        lambda: tiles(SIZE, {**FILES, "tile/0/001": files_of(600)["tile/0/001"]}),
        lambda: tiles(SIZE, {**FILES, "tile/0/001": bytes(8192)}),
        "tile/0/001: hash 0 is not that of the checkpoint"),
    Row(39, "another hash in a full tile", lambda: tiles(SIZE, FILES),
        lambda: tiles(SIZE, {**FILES, "tile/0/000": bytes(32) + FILES["tile/0/000"][32:]}),
        "tile/0/000: its root is not the hash in the tile above it"),
    Row(39, "another hash in a partial tile", lambda: tiles(SIZE, FILES),
        lambda: tiles(SIZE, {**FILES, "tile/1/000.p/1": bytes(32)}),
        "tiles: their root is not that of the checkpoint of 300"),
    Row(40, "a bundle with bytes after its entries", lambda: tiles(SIZE, FILES),
        lambda: tiles(SIZE, {**FILES, "tile/entries/000": FILES["tile/entries/000"] + b"\0"}),
        "tile/entries/000: 1 bytes after its 256 entries"),
    Row(40, "a bundle whose entry is longer than it", lambda: tiles(SIZE, FILES),
        lambda: tiles(SIZE, {**FILES, "tile/entries/000": FILES["tile/entries/000"][:-1]}),
        f"tile/entries/000: entry 255 goes on beyond its {BUNDLE_BYTES - 1} bytes"),
    Row(40, "a bundle of the right entries in another order", lambda: tiles(SIZE, FILES),
        lambda: tiles(SIZE, {
            **FILES, "tile/entries/001.p/44": encode_bundle(ENTRIES[256:298] + ENTRIES[299:297:-1]),
        }),
        "tile/entries/001.p/44: entry 42 is not that of the checkpoint"),
    Row(41, "tiles of a larger tree than the checkpoint's",
        lambda: tiles(200, files_of(200)), lambda: tiles(200, {
            path: data for path, data in files_of(600).items() if "entries" not in path
        }),
        "tiles of a tree of 200: 'tile/entries/000'"),
    Row(42, "a proof of 20,000 hashes", the_proof,
        lambda: InclusionFile.parse(
            b"c2sp.org/tlog-proof@v1\nindex 1\n" + (b"A" * 43 + b"=\n") * 20_000 + b"\n" + SIGNED
        ),
        "proof: no empty line in its first 100000 bytes"),
    Row(42, "a proof of a million lines", the_proof,
        lambda: InclusionFile.parse(b"\n".join([b"c2sp.org/tlog-proof@v1", *[b"x"] * 1_000_000])),
        "proof: more than 1100000 bytes"),
    Row(42, "a proof of 64 hashes", the_proof,
        lambda: InclusionFile.parse(
            b"c2sp.org/tlog-proof@v1\nindex 1\n" + (b"A" * 43 + b"=\n") * 64 + b"\n" + SIGNED
        ),
        "proof: more than 63 hashes"),
    Row(42, "index 2^64", the_proof,
        lambda: InclusionFile.parse(changed(PROOF.encode(), "index 150", f"index {1 << 64}")),
        f"proof: index: {SPELLED} '18446744073709551616'"),
    Row(43, "extra changed", lambda: proved(replace(PROOF, extra=b"said")),
        lambda: proved(replace(PROOF, extra=b"something else")), ""),
    Row(44, "a witness answers 300 lines", lambda: answered(line_of(W1).encode()),
        lambda: answered(line_of(W1).encode() * 300),
        "witness: an answer of more than 32 lines"),
    Row(44, "a witness answers with another key", lambda: answered(line_of(W1).encode()),
        lambda: answered(line_of(W2).encode()),
        "witness: no cosignature of a known key of it"),
    Row(44, "a witness answers HTML", lambda: answered(line_of(W1).encode()),
        lambda: answered(b"<html>\n"),
        "witness: signature 1: expected an em dash, a name and base64, found '<html>'"),
    Row(44, "a witness answers with an error", lambda: answered(line_of(W1).encode()),
        lambda: answered(b"<html>\x1b[31m", 503, "text/html"),
        r"witness: it answered 503, '<html>\x1b[31m'"),
    Row(44, "a witness answers without end", lambda: answered(line_of(W1).encode()),
        lambda: answered(b"x" * 200_000),
        "witness: an answer of more than 131072 bytes"),
    Row(44, "a witness that is not heard: its quorum is not met", the_cosigned_note,
        lambda: witnessed(SIGNED),
        f"checkpoint of {ORIGIN!r}: cosigned by nobody, which is not the quorum 'witnesses'"),
    Row(45, "a witness knows a larger tree than ours",
        lambda: answered(b"200\n", 409, "text/x.tlog.size"),
        lambda: answered(b"301\n", 409, "text/x.tlog.size"),
        f"a witness has seen size 301 of {ORIGIN!r}, and ours is 300: somebody signed more with "
        "this key, so nothing more is signed here", FencedError),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.number}: {row.what}")
def test_an_attack_is_refused_with_its_reason_and_its_control_holds(row: Row) -> None:
    row.control()
    if not row.says:
        row.attack()
        return
    with pytest.raises(row.error) as refused:
        row.attack()
    assert type(refused.value) is row.error
    assert str(refused.value) == row.says


def test_every_row_that_needs_no_store_is_tried() -> None:
    pure = {3, 4, 5, *range(7, 11), 16, 20, *range(23, 46)}
    assert {row.number for row in ROWS} == pure
