"""Attacks on a saved proof: each is refused without store or network, beside the genuine one.

The numbers are those of the threat table in INTEGRITY.md.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

import transit
from transit.evidence.statement import (
    Statement,
    commit_file,
    decode_statement,
    encode_statement,
    inclusion_file,
)
from transit.proof.checkpoint import add_cosignature, add_signatures, sign
from transit.proof.cosignature import cosignature_message
from transit.proof.files import InclusionFile
from transit.proof.notes import Note, NoteSignature, parse_note

from .attempts import command
from .published import Published, commits_of, key_of

NOW = 1_800_000_000
Files = dict[str, bytes]


class Scene(NamedTuple):
    """A store, a proof of a record of it, and whom its checker trusts."""

    published: Published
    files: Files
    witness: transit.SigningKey

    @property
    def policy(self) -> transit.Policy:
        return transit.Policy.of([self.published.key.verifying], [self.witness.verifying], 1)

    @property
    def statement(self) -> Statement:
        return decode_statement(self.files["proof.json"])

    @property
    def note(self) -> Note:
        return parse_note(self.files["checkpoint"])

    @property
    def head(self) -> transit.Checkpoint:
        return transit.Checkpoint.parse(self.note.text)

    def stated(self, **fields: object) -> Files:
        changed = msgspec.structs.replace(self.statement, **fields)
        return {**self.files, "proof.json": encode_statement(changed)}

    def noted(self, note: Note | bytes) -> Files:
        """The proof with another checkpoint, in all its files."""
        data = note if isinstance(note, bytes) else note.encode()
        files = {**self.files, "checkpoint": data}
        for name, held in self.files.items():
            if name.endswith(".tlog-proof"):
                files[name] = held.partition(b"\n\n")[0] + b"\n\n" + data
        return files

    def inclusion(self, **fields: object) -> Files:
        """The proof with the first commit's way into the tree changed."""
        name = inclusion_file(self.statement.leaves[0].commit)
        found = InclusionFile.parse(self.files[name])
        kept = {"index": found.index, "hashes": found.hashes, "checkpoint": found.checkpoint}
        return {**self.files, name: InclusionFile(**{**kept, **fields}).encode()}  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    published = Published(tmp_path_factory.mktemp("proofs") / "made")
    witness = transit.SigningKey.generate("w.example/1", role="witness")
    note = add_cosignature(parse_note(published.kept), witness, NOW).encode()
    with transit.open(published.folder, mode="read") as log:
        proof = dict(log.prove("run-2", 3, checkpoint=note))
    return Scene(published, proof, witness)


def lines(note: Note) -> tuple[NoteSignature, NoteSignature]:
    log, witness = note.signatures
    return log, witness


def texted(scene: Scene, change: Callable[[bytes], bytes]) -> Files:
    """The proof with the checkpoint's bytes changed, in all its files."""
    data = scene.files["checkpoint"]
    changed = change(data)
    assert changed != data
    return scene.noted(changed)


def replaced(scene: Scene, old: bytes, new: bytes) -> Files:
    """The same, with these bytes in the place of others, once."""
    return texted(scene, lambda data: data.replace(old, new, 1))


# Rows: what is said of the refusal, and the changed files


def of_trees(scene: Scene) -> Iterator[tuple[str, str, Files]]:
    first = scene.statement.leaves[0].commit
    hashes = InclusionFile.parse(scene.files[inclusion_file(first)]).hashes
    yield "7 another index", "about another commit", scene.inclusion(index=first + 1)
    yield "8 one hash more", "too long", scene.inclusion(hashes=(*hashes, bytes(32)))
    yield "8 one hash less", "too short", scene.inclusion(hashes=hashes[:-1])
    yield "8 swapped", "another root", scene.inclusion(hashes=hashes[::-1])
    yield (
        "9 another size",
        "does not verify",
        texted(scene, lambda data: data.replace(b"\n6\n", b"\n7\n")),
    )
    yield "10 an inner node as a leaf", "not in the checkpoint", {
        **scene.files, commit_file(first): b"\x01" + hashes[0] + hashes[1],
    }  # fmt: skip
    commits = commits_of(scene.published.folder)
    yield "11 another commit's bytes", "not in the checkpoint", {
        **scene.files, commit_file(first): commits[first + 1],
    }  # fmt: skip
    leaf, *rest = scene.statement.leaves
    with transit.open(scene.published.folder, mode="read") as log:
        other = log.prove("run-4", 3, checkpoint=scene.files["checkpoint"])
    moved = msgspec.structs.replace(leaf, commit=4)
    yield "11 a leaf of another commit", "not in its segment", {
        **other, **scene.stated(leaves=(moved, *rest)),
    }  # fmt: skip


def of_records(scene: Scene) -> Iterator[tuple[str, str, Files]]:
    names = sorted(name for name in scene.files if name.startswith("leaves/"))
    chunk = max(names, key=lambda name: scene.files[name].count(b" of 2"))
    others = {**scene.files, chunk: scene.files[chunk].replace(b"3 of 2", b"4 of 2")}
    yield "12 another chunk of the same size", "other bytes than its name says", others
    yield "13 another stream", "", scene.stated(stream=scene.statement.stream + 1)
    yield "13 another offset", "not the payload", scene.stated(records=(4, 5))
    yield "13 an offset beyond", "", scene.stated(records=(5, 6))
    for place, what in ((20, "time"), (len(scene.files[chunk]) - 1, "payload")):
        data = bytearray(scene.files[chunk])
        data[place] ^= 1
        yield f"14 another {what}", "other bytes", {**scene.files, chunk: bytes(data)}
    yield "14 another payload beside", "not the payload", {**scene.files, "payload": b"9 of 2"}


def of_signatures(scene: Scene) -> Iterator[tuple[str, str, Files]]:
    note, head, witness = scene.note, scene.head, scene.witness
    log, cosigned = lines(note)
    other = transit.SigningKey.generate("example.com/other")
    stranger = sign(
        transit.Checkpoint("example.com/other", head.size, head.root), [other]
    ).signatures
    yield (
        "16 the key of another origin",
        "not signed by a known key",
        scene.noted(Note(note.text, (*stranger, cosigned))),
    )
    fresh = sign(head, [key_of(scene.published.store_id)]).signatures
    yield (
        "23 a new key, the old vkey",
        "not signed by a known key",
        scene.noted(Note(note.text, (*fresh, cosigned))),
    )
    older = scene.published.notes[-2]
    lent = add_cosignature(parse_note(older.note), witness, NOW).signatures[-1]
    yield (
        "28 a cosignature of another tree",
        "does not verify",
        scene.noted(Note(note.text, (log, lent))),
    )
    for at_s, said in ((NOW + 10_000, "in the future"), (2**63 + 5, "")):
        data = at_s.to_bytes(8, "big") + witness.sign(cosignature_message(note.text, at_s))
        line = NoteSignature(cosigned.name, cosigned.key_id, data)
        yield f"29 at {at_s}", said, scene.noted(Note(note.text, (log, line)))
    data = bytes(8) + witness.sign(cosignature_message(note.text, 0))
    line = NoteSignature(cosigned.name, cosigned.key_id, data)
    yield "29 at no time", "no time", scene.noted(Note(note.text, (log, line)))
    plain = NoteSignature(log.name, log.key_id, cosigned.data[8:])
    yield (
        "30 a cosignature as a signature",
        "does not verify",
        scene.noted(Note(note.text, (plain, cosigned))),
    )
    timed = NoteSignature(cosigned.name, cosigned.key_id, cosigned.data[:8] + log.data)
    yield (
        "30 a signature as a cosignature",
        "does not verify",
        scene.noted(Note(note.text, (log, timed))),
    )
    wrong = NoteSignature(log.name, log.key_id, log.data[::-1])
    yield (
        "38 a right and a wrong line",
        "does not verify",
        scene.noted(Note(note.text, (log, wrong, cosigned))),
    )
    yield "44 nobody witnessed it", "not the quorum", scene.noted(Note(note.text, (log,)))


def of_texts(scene: Scene) -> Iterator[tuple[str, str, Files]]:
    origin = scene.head.origin.encode()
    look_alikes = {
        "Cyrillic": origin.replace(b"o", "\u043e".encode(), 1),
        "a trailing space": origin + b" ",
        "no width": origin.replace(b"/", "/\u200b".encode(), 1),
        "full width": origin.replace(b"e", "\uff45".encode(), 1),
        "upper case": origin.replace(b"e", b"E", 1),
    }
    for what, other in look_alikes.items():
        yield (
            f"33 {what}",
            "",
            replaced(scene, origin + b"\n", other + b"\n"),
        )
    for size in ("05", "+5", "\u0665", str(2**63), "", "-1", "0x6"):
        yield (
            f"35 size {size!a}",
            "checkpoint",
            replaced(scene, b"\n6\n", f"\n{size}\n".encode()),
        )
    root = base64.b64encode(scene.head.root)
    for what, other in {
        "31 bytes": base64.b64encode(scene.head.root[:-1]),
        "stray bits": root[:-2] + bytes([root[-2] + 1]) + b"=",
        "no padding": root.rstrip(b"="),
        "white space": root[:10] + b" " + root[10:],
        "a CR": root + b"\r",
    }.items():
        yield (
            f"35 root of {what}",
            "",
            replaced(scene, root, other),
        )
    changes: dict[str, Callable[[bytes], bytes]] = {
        "CRLF": lambda data: data.replace(b"\n", b"\r\n"),
        "a second empty line": lambda data: data.replace(b"\n\n", b"\n\n\n", 1),
        "a byte order mark": lambda data: "\ufeff".encode() + data,
        "no last newline": lambda data: data[:-1],
        "200 signatures": lambda data: data + data.splitlines(keepends=True)[-1] * 200,
        "5 MB": lambda data: data + b"\xe2\x80\x94 a b\n" * 500_000,
        "an extension line": lambda data: data.replace(b"\n\n", b"\nmore\n\n", 1),
    }
    for what, change in changes.items():
        yield f"36 {what}", "", texted(scene, change)


def of_sizes(scene: Scene) -> Iterator[tuple[str, str, Files]]:
    name = inclusion_file(scene.statement.leaves[0].commit)
    head, _, note = scene.files[name].partition(b"\n\n")
    many = head + b"\n" + (base64.b64encode(bytes(32)) + b"\n") * 1_000_000 + b"\n" + note
    yield "42 a million lines", "", {**scene.files, name: many}
    some = head + (b"\n" + base64.b64encode(bytes(32))) * 70 + b"\n\n" + note
    yield "42 70 hashes", "more than 63 hashes", {**scene.files, name: some}
    first, _, rest = scene.files[name].partition(b"index ")
    number = b"%d" % 2**64 + rest[rest.index(b"\n") :]
    yield "42 index 2^64", "index", {**scene.files, name: first + b"index " + number}


GROUPS = {
    "trees": of_trees, "records": of_records, "signatures": of_signatures,
    "texts": of_texts, "sizes": of_sizes,
}  # fmt: skip


@pytest.mark.parametrize("group", GROUPS)
def test_an_attack_on_a_proof_is_refused(scene: Scene, group: str) -> None:
    transit.check_proof(scene.files, policy=scene.policy, now=NOW)
    for row, said, files in GROUPS[group](scene):
        assert files != scene.files, row
        with pytest.raises(transit.ProofError) as caught:
            transit.check_proof(files, policy=scene.policy, now=NOW)
        assert said in str(caught.value), row
        assert len(str(caught.value)) < 2_000, row


@pytest.mark.skipif(find_spec("transit.cli.verbs.proof") is None, reason="no such verb here")
@pytest.mark.parametrize("group", GROUPS)
def test_the_command_ends_with_14(
    scene: Scene, group: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    vkey = scene.published.vkey

    def ends(name: str, files: Files) -> int:
        for file, data in files.items():
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).write_bytes(data)
        return command("proof", "check", tmp_path / name, "--vkey", vkey)()

    assert ends("genuine", scene.files) == 0
    for number, (row, _, files) in enumerate(GROUPS[group](scene)):
        # These are only refused by whoever asks for witnesses.
        if not row.startswith(("28", "29", "44", "30 a signature")):
            assert ends(str(number), files) == 14, row


# What must be accepted, and what nobody may trust


def test_strangers_around_the_right_signatures_change_nothing(scene: Scene) -> None:
    note = scene.note
    strangers = [key_of(scene.published.store_id) for _ in range(16)]
    crowd = add_signatures(note, sign(scene.head, strangers).signatures)
    log, witness = lines(note)
    for order in (
        (*crowd.signatures[2:], log, witness),
        (log, *crowd.signatures[2:], witness),
    ):
        files = scene.noted(Note(note.text, order))
        checked = transit.check_proof(files, policy=scene.policy, now=NOW)
        assert checked.stage == "cosignature"


def test_extra_is_never_believed(scene: Scene) -> None:
    files = scene.inclusion(extra=b"all of this is true")
    shown = transit.check_proof(files, policy=scene.policy, now=NOW).shown
    assert shown == transit.check_proof(scene.files, policy=scene.policy, now=NOW).shown


def test_a_key_in_rotation(scene: Scene) -> None:
    """23, 24: both keys sign for a while; the old one is good up to a size."""
    old, new = scene.published.key, key_of(scene.published.store_id)
    both = scene.noted(add_signatures(scene.note, sign(scene.head, [new]).signatures))
    for key in (old, new):
        assert transit.check_proof(both, key.verifying, now=NOW).stage == "checkpoint"
    keys = [old.verifying, new.verifying]
    name = f"{old.verifying.name}+{old.verifying.key_id.hex()}"
    good = transit.Policy.of(keys, retired={name: 6})
    assert transit.check_proof(scene.files, policy=good, now=NOW).stage == "checkpoint"
    late = transit.Policy.of(keys, retired={name: 5})
    with pytest.raises(transit.ProofError, match="is good up to size 5"):
        transit.check_proof(scene.files, policy=late, now=NOW)
    report = scene.published.audit(policy=late)
    assert not report.ok
    assert scene.published.audit(policy=good).ok


def test_what_a_policy_may_not_say(scene: Scene) -> None:
    """25, 26, 27: keys that are told apart by nothing, or vouch for themselves."""
    log, witness = scene.published.key.verifying, scene.witness.verifying
    text = f"log {log.to_text()}\nwitness a {witness.to_text()}\n"
    transit.Policy.parse(f"{text}quorum a\n")
    for more in (
        f"witness b {witness.to_text()}\ngroup g all a b\nquorum g\n",
        f"witness b {transit.VerifyingKey('other', witness.type, witness.public).to_text()}\n"
        "quorum b\n",
        f"witness b {transit.VerifyingKey('self', witness.type, log.public).to_text()}\nquorum b\n",
        "quorum b\n",
        "quorum a\nquorum a\n",
    ):
        with pytest.raises(transit.InvalidInputError, match="policy, line"):
            transit.Policy.parse(text + more)


def test_names_that_no_new_key_gets() -> None:
    """34."""
    transit.SigningKey.generate("example.com/" + "a" * 240)
    for name in ("a\nb", "a\u2014b", "a+b", "", " ", "a" * 300, "a\u200bb", "a b"):
        with pytest.raises(transit.InvalidInputError, match="name of a key"):
            transit.SigningKey.generate(name)


def test_ml_dsa_lines_name_their_signer(scene: Scene) -> None:
    """31, 32: a line moved to another cosigner, and a line below that only some sign."""
    one = transit.SigningKey.generate("w.example/a", "ml-dsa-44", "witness")
    note = add_cosignature(parse_note(scene.published.kept), one, NOW)
    log, line = lines(note)
    other = transit.VerifyingKey("w.example/b", one.verifying.type, one.verifying.public)
    policy = transit.Policy.of([scene.published.key.verifying], [one.verifying], 1)
    assert policy.check(note.encode(), now=NOW).quorum_met
    moved = Note(note.text, (log, NoteSignature(other.name, other.key_id, line.data)))
    moved_policy = transit.Policy.of([scene.published.key.verifying], [other], 1)
    with pytest.raises(transit.ProofError, match="does not verify"):
        moved_policy.check(moved.encode(), now=NOW)
    longer = note.encode().replace(b"\n\n", b"\nmore\n\n", 1)
    with pytest.raises(transit.ProofError, match="more than three lines"):
        policy.check(longer, now=NOW)
