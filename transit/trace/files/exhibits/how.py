"""HOW.txt of an exhibit: how the tools of any Unix system check it, command by command.

Owns that text: which scripts of proofs it runs, and how the files outside `proof/` are compared
with what these proofs show. No name or text of a user is in it, only digests, numbers and the names
of files made of these.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from blake3 import blake3

from transit import Checked
from transit.trace.files.exhibits.contents import (
    PROOF,
    TRANSCRIPT,
    Parts,
    how_name,
)

_HEAD: Final = """\
# How to check this exhibit with standard tools only.
# Unpack it (unzip FILE -d FOLDER), go there (cd FOLDER) and run `sh HOW.txt 'VKEY'`, VKEY being the
# key of the log that you trust (NAME+ID+BASE64, Ed25519). Each step says what holds, and the first
# that does not ends it. Needs sha256sum, b3sum, xxd, base64 and openssl 3. Each proof has a script
# of its own in proof/how/, which can be read; what this does not show is at the end.
set -eu
VKEY=${1:?the key that you trust}
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
is() { test "$1" = "$2" || { echo "DOES NOT HOLD: $3"; exit 1; }; echo "holds: $3"; }
same() { cmp "$1" "$2" || { echo "DOES NOT HOLD: $3"; exit 1; }; echo "holds: $3"; }
# Payloads lie one behind the other at the end of a chunk. Of file $1, from byte $2 on (the first is
# 1), pieces of so many bytes, each followed by $END: in hexadecimal digits, as all is on the way.
pieces() { file=$1; from=$2; shift 2; { echo "$*"; tail -c "+$from" "$file" | xxd -p | tr -d '\\n'
  echo; } | awk -v end="$END" 'NR == 1 { count = split($0, size, " "); next }
  { at = 1; for (n = 1; n <= count; n++) { printf "%s%s", substr($0, at, 2 * size[n]), end
    at += 2 * size[n] } }' | xxd -r -p; }
"""
_TAIL: Final = """\
cat <<'END'
Not shown this way: the times, headers and writers in records.ndjson, and that transcript.html shows
these records: `transit proof check FILE` shows both. Not shown by anything: that what was recorded
is true, or all that happened; what child runs did, which are named and no more; anything later than
the checkpoint.
END
"""


def how_text(parts: Parts, files: Mapping[str, bytes]) -> bytes:
    """The text, for an exhibit with these files."""
    lines = [_HEAD, *_proofs(parts), *_payloads(parts), *_artifacts(parts)]
    digest = blake3(files[TRANSCRIPT]).hexdigest()
    lines += [
        "# 4. The page, as far as this goes: it is the one that the manifest names.",
        f"is \"$(b3sum --no-names {TRANSCRIPT})\" {digest} 'the digest of {TRANSCRIPT}'",
        f'is "$(grep -c \'"blake3": "{digest}"\' manifest.json)" 1 \'the manifest names it\'\n',
        _TAIL,
    ]
    return "\n".join(lines).encode()


def _proofs(parts: Parts) -> Iterator[str]:
    yield "# 1. Every proof, from the checkpoint down to the bytes that hold the records."
    for name, _ in parts.by_name():
        script = how_name(name).removeprefix(PROOF)
        yield f"(cd {PROOF} && sh {script} \"$VKEY\") || {{ echo 'DOES NOT HOLD'; exit 1; }}"
    yield ""


def _payloads(parts: Parts) -> Iterator[str]:
    yield "# 2. The payloads of the run, and of the notes on it, are in those bytes: each cut out."
    yield from _compared(parts.run, "payloads.ndjson", "0a", "the payloads of the run")
    if parts.notes is not None:
        yield from _compared(parts.notes, "notes.ndjson", "0a", "the notes on the run")
    yield ""


def _artifacts(parts: Parts) -> Iterator[str]:
    yield "# 3. Each artifact is in those bytes, and has the digest that it is named by."
    for digest, proof in sorted(parts.artifacts.items()):
        name = f"artifacts/{digest}"
        yield from _compared(proof, name, "", f"artifact {digest}")
        yield f"is \"$(b3sum --no-names {name})\" {digest} 'its digest'"
    yield ""


def _compared(proof: Checked, name: str, end: str, said: str) -> Iterator[str]:
    """Commands that cut payloads out of leaves, and compare them with a file."""
    yield f': > "$work/all"; END={end}'
    for leaf, at, sizes in _runs(proof):
        yield f'pieces {PROOF}{leaf} {at + 1} {" ".join(map(str, sizes))} >> "$work/all"'
    yield f"same \"$work/all\" {name} '{said}'"


def _runs(proof: Checked) -> Iterator[tuple[str, int, list[int]]]:
    """Payloads that lie one behind the other: their file, where the first is, their sizes."""
    leaf, begin, stop, sizes = "", 0, 0, list[int]()
    for name, at, size in proof.payload_places():
        if name != leaf or at != stop:
            if sizes:
                yield leaf, begin, sizes
            leaf, begin, sizes = name, at, []
        sizes.append(size)
        stop = at + size
    if sizes:
        yield leaf, begin, sizes
