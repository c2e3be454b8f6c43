"""An exhibit, believed by its checkpoint: every proof in it, and that all else follows from them.

Owns what is compared. The page is rendered again from the proved records and must be the same bytes
where this version made it; where another did, it is only the one that the manifest names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from transit import (
    CheckedProof,
    InvalidInputError,
    NotFoundError,
    Policy,
    ProofError,
    TransitError,
    VerifyingKey,
    __version__,
    check_proof,
    make_policy,
)
from transit.trace.files.exhibits.contents import (
    HOW,
    HOWS,
    KIND,
    MANIFEST,
    PROOF,
    TRANSCRIPT,
    VERSION,
    Files,
    Parts,
    check_parts,
    contents,
    hows,
    manifest,
)
from transit.trace.files.exhibits.how import how_text
from transit.trace.files.exhibits.making import SHARED, parts_of
from transit.trace.files.exhibits.zipped import Zipped

_STATEMENTS: Final = ("run", "notes", "artifacts/", "parents/")
_MANIFEST_BYTES_MAX: Final = 64 * 1024 * 1024


class _Made(msgspec.Struct, frozen=True):
    """What a manifest says of how it is to be read."""

    kind: str
    version: int
    made_with: str


class CheckedExhibit:
    """An exhibit that holds.

    proof: that of the run. parts: all proofs. files: of each file outside `proof/` its size.
    not_made_again: files that another version made, which are not compared with what is proved.
    """

    def __init__(
        self,
        proof: CheckedProof,
        parts: Parts,
        files: Mapping[str, int],
        not_made_again: Sequence[str],
    ) -> None:
        self.proof = proof
        self.parts = parts
        self.files = files
        self.not_made_again = tuple(not_made_again)

    @property
    def shown(self) -> tuple[str, ...]:
        """What it shows beside the records of the run, as sentences."""
        found = ["records.ndjson and payloads.ndjson are these records"]
        if TRANSCRIPT not in self.not_made_again:
            found.append("transcript.html is what these records give")
        if self.parts.notes is not None:
            count = self.parts.notes.shown.records[1]
            found.append(f"notes.ndjson has every note on the run, of which there were {count}")
        if self.parts.artifacts:
            count = len(self.parts.artifacts)
            found.append(f"artifacts/ has payloads that the run refers to: {count}")
        return tuple(found)

    @property
    def not_shown(self) -> tuple[str, ...]:
        """What it does not show, as sentences."""
        found = ["what child runs did: they are named, and in the page they stand open"]
        if self.parts.notes is None:
            found.append("that nobody had written a note on the run")
        if TRANSCRIPT in self.not_made_again:
            found.append(
                "that transcript.html is what the records give: another version of transit made it"
            )
        return tuple(found)


def check_exhibit(
    path: str | Path,
    keys: VerifyingKey | str | Sequence[VerifyingKey | str] | None = None,
    *,
    policy: Policy | None = None,
    now: float | None = None,
) -> CheckedExhibit:
    """Check an exhibit, without its store and without a network; returned, it holds.

    keys, policy, now: as of `transit.check_proof`. `ProofError` says what does not hold, also of a
    zip that no exhibit is; `NotFoundError` when there is no file.
    """
    if not isinstance(path, str | Path):
        raise InvalidInputError(f"path must be a path, not {path!r}")
    if not Path(path).is_file():
        raise NotFoundError(f"{path}: no such file")
    chosen = make_policy(keys) if policy is None else policy
    with Zipped(str(path)) as files:
        return _checked(files, chosen, now)


def _checked(files: Mapping[str, bytes], policy: Policy, now: float | None) -> CheckedExhibit:
    made = _made(files)
    shared = {
        name.removeprefix(PROOF): name
        for name in files
        if name.startswith(tuple(PROOF + part for part in (*SHARED, "checkpoint")))
    }
    proofs: dict[str, CheckedProof] = {}
    for name in _statements(files):
        mapping = _Among(files, {**shared, "proof.json": f"{PROOF}{name}.json"})
        proofs[name] = check_proof(mapping, policy=policy, now=now)
    if "run" not in proofs:
        raise ProofError("exhibit: no proof of a run")
    parts = parts_of(proofs)
    check_parts(parts)
    _check_needed(shared, proofs)
    again = made.made_with == __version__
    try:
        derived = contents(parts) | hows(parts)
    except ProofError:
        raise
    except TransitError as error:
        # What the records refer to is not there, or is something else.
        raise ProofError(f"exhibit: {error}") from error
    others = () if again else (TRANSCRIPT, *(name for name in derived if name.startswith(HOWS)))
    for name in others:
        derived[name] = _file(files, name)
    whole: Files = derived | {name: files[name] for name in files if _is_of_proof(name)}
    derived[MANIFEST] = manifest(parts, whole, made.made_with)
    derived[HOW] = how_text(parts, whole) if again else _file(files, HOW)
    for name, data in derived.items():
        if _file(files, name) != data:
            raise ProofError(f"{name}: not what its proofs give")
    for name in files:
        if name not in derived and name not in whole:
            raise ProofError(f"{name}: nothing in the exhibit needs it")
    sizes = {name: len(data) for name, data in derived.items() if not name.startswith(PROOF)}
    return CheckedExhibit(proofs["run"], parts, sizes, () if again else (*others, HOW))


class _Among(Mapping[str, bytes]):
    """Files under other names."""

    def __init__(self, files: Mapping[str, bytes], names: Mapping[str, str]) -> None:
        self._files = files
        self._names = names

    def __getitem__(self, name: str) -> bytes:
        return self._files[self._names[name]]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _is_of_proof(name: str) -> bool:
    return name.startswith(PROOF) and not name.startswith(HOWS)


def _statements(files: Mapping[str, bytes]) -> Iterator[str]:
    for name in files:
        stem = name.removeprefix(PROOF).removesuffix(".json")
        if name == f"{PROOF}{stem}.json" and stem.startswith(_STATEMENTS):
            yield stem


def _check_needed(shared: Mapping[str, str], proofs: Mapping[str, CheckedProof]) -> None:
    """No commit and no leaf is there that no proof has."""
    needed = {"checkpoint"}
    for proof in proofs.values():
        for leaf in proof.statement.leaves:
            needed |= {f"{part}/{leaf.digest}" for part in ("leaves", "secrets", "opened")}
            needed.add(f"commits/{leaf.commit:020}.json")
            needed.add(f"commits/{leaf.commit:020}.tlog-proof")
    for name, whole in shared.items():
        if name not in needed:
            raise ProofError(f"{whole}: no proof of the exhibit has it")


def _made(files: Mapping[str, bytes]) -> _Made:
    data = _file(files, MANIFEST)
    try:
        made = msgspec.json.decode(data, type=_Made)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProofError(f"{MANIFEST}: not a manifest: {error}") from None
    if len(data) > _MANIFEST_BYTES_MAX or made.kind != KIND or made.version != VERSION:
        raise ProofError(f"{MANIFEST}: not of an exhibit of version {VERSION}")
    return made


def _file(files: Mapping[str, bytes], name: str) -> bytes:
    try:
        return files[name]
    except KeyError:
        raise ProofError(f"{name}: no such file in the exhibit") from None
