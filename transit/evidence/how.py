"""HOW.txt: how the tools of any Unix system check a proof, command by command.

Owns that text. It is a shell script that can be read: `sh HOW.txt 'VKEY'` in the proof's folder
runs it, and each command in it can be run by itself. It uses sha256sum, b3sum, xxd, base64,
openssl 3 and what POSIX has, and nothing of transit. Names and text of users are never in it, only
digests, numbers and file names made of these.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from transit.evidence.checking import ShownRecord
from transit.evidence.statement import (
    CHECKPOINT_FILE,
    PAYLOAD_FILE,
    Leaf,
    Statement,
    commit_file,
    inclusion_file,
    leaf_file,
    opened_file,
    secret_file,
)
from transit.format.envelope import TAG_BYTES, ZSTD, envelope_at, is_envelope
from transit.format.record import Chunk
from transit.proof.chunks import LEAF
from transit.proof.files import InclusionFile
from transit.proof.tree import leaf_hash, node_hash

_HEAD: Final = """\
# How to check this proof with standard tools only.
# Run `sh HOW.txt 'VKEY'` here, VKEY being the log's key that you trust (NAME+ID+BASE64, Ed25519):
# each step says what it shows, and the first that fails ends it. Needs sha256sum, b3sum, xxd,
# base64 and openssl 3. What it shows, and what nobody can show this way, is at the end.
set -eu
VKEY=${1:?the key that you trust}
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
leaf() { printf '00%s' "$1" | xxd -r -p | sha256sum | cut -c 1-64; }
node() { printf '01%s%s' "$1" "$2" | xxd -r -p | sha256sum | cut -c 1-64; }
is() { test "$1" = "$2" || { echo "DOES NOT HOLD: $3"; exit 1; }; echo "holds: $3"; }

# 1. The checkpoint is signed by the key: Ed25519 over its first three lines.
name=${VKEY%%+*}; key=${VKEY#*+}; key=${key#*+}
printf %s "$key" | base64 -d | tail -c +2 > "$work/raw"
{ printf 302a300506032b6570032100 | xxd -r -p; cat "$work/raw"; } > "$work/key.der"
head -n 3 CHECKPOINT > "$work/text"
is "$(head -n 1 CHECKPOINT)" "$name" 'the checkpoint is of the log that the key is named for'
id=$(printf '%s' "$key" | base64 -d | { printf '%s\\n' "$name"; cat; } | sha256sum | cut -c 1-8)
tail -n +5 CHECKPOINT | while read -r dash signer line; do
  printf %s "$line" | base64 -d | xxd -p | tr -d '\\n' > "$work/line"
  test "$signer" = "$name" && test "$(head -c 8 "$work/line")" = "$id" || continue
  tail -c +9 "$work/line" | xxd -r -p > "$work/signature"
done
openssl pkeyutl -verify -pubin -keyform DER -inkey "$work/key.der" -rawin -in "$work/text" \\
  -sigfile "$work/signature" > "$work/said" || { echo 'DOES NOT HOLD: the signature'; exit 1; }
echo 'holds: the signature of the key over the checkpoint'
root=$(sed -n 3p CHECKPOINT | base64 -d | xxd -p -c 64)
"""


_ENVELOPES: Final = """\
# Some leaves are encrypted. A secret opens one of them and no other: HKDF-SHA256 of it gives a key,
# a nonce and a commitment, which the leaf has from byte 73 on. The text is AES-256-GCM, which is
# AES-256-CTR counted from 2; its bytes are bound by the leaf's digest. Needs zstd, too.
opened() {
  info=$(printf 'transit envelope 1\\0' | xxd -p)STORE$(head -c 48 "leaves/$1" | xxd -p -c 96)
  secret=$(xxd -p -c 64 "secrets/$1")
  made=$(openssl kdf -keylen 76 -kdfopt digest:SHA2-256 -kdfopt mode:EXPAND_ONLY \\
    -kdfopt "hexkey:$secret" -kdfopt "hexinfo:$info" HKDF | tr -d ':\\n' | tr A-F a-f)
  stated=$(tail -c +73 "leaves/$1" | head -c 32 | xxd -p -c 64)
  is "$(echo "$made" | cut -c 89-152)" "$stated" 'the secret is that of the leaf'
  key=$(echo "$made" | cut -c 1-64) nonce=$(echo "$made" | cut -c 65-88)
  tail -c +105 "leaves/$1" | head -c "$2" |
    openssl enc -d -aes-256-ctr -K "$key" -iv "${nonce}00000002" | $3 > "$work/opened"
  cmp "$work/opened" "opened/$1" || { echo 'DOES NOT HOLD: what was encrypted'; exit 1; }
  echo 'holds: what was encrypted'
}"""


def how_text(
    statement: Statement, files: Mapping[str, bytes], record: ShownRecord | None = None
) -> bytes:
    """The text, UTF-8, for a proof that was checked. record: of the payload that is there."""
    lines = [_HEAD.replace("CHECKPOINT", CHECKPOINT_FILE)]
    lines += _commits(statement, files)
    lines += _leaves(statement, files)
    if record is not None:
        lines.append(_payload(record, files, statement.leaves))
    lines += _end(statement)
    return "\n".join(lines).encode()


def _commits(statement: Statement, files: Mapping[str, bytes]) -> Iterator[str]:
    yield "# 2. Each commit is in the checkpoint's tree: its leaf, then the hashes beside it."
    for number in sorted({leaf.commit for leaf in statement.leaves}):
        found = InclusionFile.parse(files[inclusion_file(number)])
        yield f"h=$({{ printf '\\0'; cat {commit_file(number)}; }} | sha256sum | cut -c 1-64)"
        steps = sides(number, statement.size, list(found.hashes))
        yield from _climb(steps)
        yield f"is $h \"$root\" 'commit {number} is in the tree'"
    yield ""


def _leaves(statement: Statement, files: Mapping[str, bytes]) -> Iterator[str]:
    yield (
        "# 3. Each leaf is in the tree of a segment that a commit names: stream id 8 bytes, first\n"
        "# offset 8, count 4, little-endian, and the BLAKE3 of the bytes it is about."
    )
    if any(secret_file(leaf.digest) in files for leaf in statement.leaves):
        yield _ENVELOPES.replace("STORE", statement.store)
    for leaf in statement.leaves:
        data = LEAF.pack(leaf.stream, leaf.first, leaf.count, bytes.fromhex(leaf.digest))
        steps = sides(leaf.index, leaf.size, [bytes.fromhex(each) for each in leaf.path])
        yield f"h=$(leaf {data.hex()})"
        yield from _climb(steps)
        said = f"leaf {leaf.index} of segment {leaf.segment} of commit {leaf.commit}"
        root, commit = _root(data, steps), commit_file(leaf.commit)
        yield f"is $h {root} 'the way up from {said}'"
        yield f'is "$(grep -c \'"chunks":"{root}"\' {commit})" 1 \'its commit names that root\''
        if leaf_file(leaf.digest) in files:
            yield (
                f'is "$(b3sum --no-names {leaf_file(leaf.digest)})" {leaf.digest} '
                "'the bytes of that leaf'"
            )
        if secret_file(leaf.digest) in files:
            envelope = envelope_at(files[leaf_file(leaf.digest)], 0, "leaf")
            tool = "zstd -dcq" if envelope.codec == ZSTD else "cat"
            size = len(envelope.body) - TAG_BYTES
            yield f"opened {leaf.digest} {size} '{tool}'"
    yield ""


def _root(data: bytes, steps: list[tuple[str, bytes]]) -> str:
    found = leaf_hash(data)
    for side, other in steps:
        found = node_hash(other, found) if side == "left" else node_hash(found, other)
    return found.hex()


def _climb(steps: list[tuple[str, bytes]]) -> Iterator[str]:
    for side, other in steps:
        yield f"h=$(node {other.hex()} $h)" if side == "left" else f"h=$(node $h {other.hex()})"


def sides(index: int, size: int, path: list[bytes]) -> list[tuple[str, bytes]]:
    """On which side of the way up each hash of an inclusion path is (RFC 9162, 2.1.3.2)."""
    found: list[tuple[str, bytes]] = []
    at, last = index, size - 1
    for other in path:
        if at & 1 or at == last:
            found.append(("left", other))
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            found.append(("right", other))
        at, last = at >> 1, last >> 1
    return found


def _payload(record: ShownRecord, files: Mapping[str, bytes], leaves: Iterable[Leaf]) -> str:
    """How the payload of one record is cut out of its chunk."""
    offset = record.origin_offset
    for leaf in leaves:
        name = leaf_file(leaf.digest)
        if leaf.stream == record.origin_id and leaf.first <= offset < leaf.stop and name in files:
            break
    if is_envelope(files[name], 0):
        name = opened_file(leaf.digest)
    chunk = Chunk(files[name], 0, name)
    at = chunk.payloads_at + sum(map(len, chunk.payloads(0, offset - chunk.first)))
    size = len(record.payload)
    return (
        f"# 4. The payload is that of record {offset} of stream {record.origin_id}: {size} bytes\n"
        f"# from byte {at + 1} of its chunk, after the chunk's columns.\n"
        f"head -c {at + size} {name} | tail -c {size} | cmp - {PAYLOAD_FILE}\n"
        "echo 'holds: the payload'\n"
    )


def _end(statement: Statement) -> Iterator[str]:
    stream, (first, stop) = statement.stream, statement.records
    yield "cat <<'END'"
    if stop > first:
        yield f"Shown: the records {first} to {stop - 1} of stream {stream}, byte for byte."
    if statement.end:
        yield (
            f"Shown: stream {stream} had no record {stop} or later when the checkpoint was made:\n"
            "of each later segment the two leaves that lie side by side around its place."
        )
    yield (
        "Not shown: that one stream alone has this name (an audit of the whole store shows it),\n"
        "that the key's holder shows everybody the same checkpoint (witnesses do), when a record\n"
        "was made (its time is the word of the program that wrote it), or anything later.\n"
        "END"
    )
