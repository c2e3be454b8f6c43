"""Whom to believe: the logs, the witnesses, and how many of these are enough (C2SP tlog-policy).

    log VKEY [URL]
    witness NAME VKEY [URL]
    group NAME K|any|all MEMBER…        of witnesses and groups defined above
    quorum NAME|none                    exactly one line
    # a comment; empty lines are allowed

Words are separated by spaces and tabs. Text is octets: what is no ASCII is opaque, and no control
character but tab and newline is allowed. A name is defined once, `none` never, and is a member of
one group at most. Stricter than the standard in one thing: one public key has one part in the whole
policy, so that no log is its own witness and no witness counts twice.

A key that a log retired is good up to a size (`Retired`). The standard has no line for that, and
other programs refuse lines they do not know: so it is a text of its own, JSON, beside the policy:

    {"example.com/runs+5f2a…": 150}     by NAME+ID of the key, the largest size it may have signed

A policy is of people who decide, so what is wrong with it is `InvalidInputError`; what is wrong
with a checkpoint is `ProofError`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from msgspec import DecodeError, ValidationError, json

from transit.errors import InvalidInputError, ProofError
from transit.proof.checkpoint import SKEW_S, Checkpoint, SignedCheckpoint, open_checkpoint
from transit.proof.keys import LOG_TYPES, WITNESS_TYPES, VerifyingKey
from transit.proof.spellings import NUMBER_MAX, shown, strict_number

POLICY_BYTES_MAX: Final = 1 << 20
NONE: Final = "none"
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class PolicyLog:
    """A log: its key, whose name is its origin, and where it is, or nothing."""

    key: VerifyingKey
    url: str = ""


@dataclass(frozen=True, slots=True)
class PolicyWitness:
    """A witness: its name in this policy, its key, and where checkpoints are sent, or nothing."""

    name: str
    key: VerifyingKey
    url: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Witnesses and groups of which `least` must have witnessed."""

    name: str
    least: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a policy says of a checkpoint whose signatures all hold.

    log: a key of its log that signed it
    witnesses: by their names in the policy, the times they state, seconds since 1970
    quorum_met: whether these witnesses are enough. Only then is the checkpoint to be believed:
        `require_quorum` raises otherwise.
    """

    signed: SignedCheckpoint
    log: VerifyingKey
    witnesses: Mapping[str, int]
    quorum: str
    quorum_met: bool

    @property
    def checkpoint(self) -> Checkpoint:
        """Origin, size and root."""
        return self.signed.checkpoint

    def require_quorum(self) -> Verdict:
        """Itself; `ProofError` where the witnesses are not enough."""
        if not self.quorum_met:
            by = ", ".join(shown(each) for each in sorted(self.witnesses)) or "nobody"
            raise ProofError(
                f"checkpoint of {shown(self.checkpoint.origin)}: cosigned by {by}, which is not "
                f"the quorum {shown(self.quorum)}"
            )
        return self


@dataclass(frozen=True, slots=True)
class Policy:
    """Logs, witnesses, groups in their order, and the name of the quorum."""

    logs: tuple[PolicyLog, ...]
    witnesses: tuple[PolicyWitness, ...] = ()
    groups: tuple[Group, ...] = ()
    quorum: str = NONE
    retired: Mapping[str, int] = field(default_factory=dict)
    """By NAME+ID of a log's key, the largest size that it may have signed."""

    @classmethod
    def parse(cls, text: str | bytes, *, retired: Mapping[str, int] | None = None) -> Policy:
        """The policy of a text. `InvalidInputError` names the line that is wrong."""
        reader = _Reader()
        for number, line in enumerate(_lines_of(text), 1):
            try:
                reader.take(line)
            except InvalidInputError as error:
                raise InvalidInputError(f"policy, line {number}: {error}") from None
        if reader.quorum is None:
            raise InvalidInputError("policy: no quorum line")
        return cls(
            tuple(reader.logs),
            tuple(reader.witnesses),
            tuple(reader.groups),
            reader.quorum,
        ).with_retired(retired or {})

    @classmethod
    def of(
        cls,
        logs: Sequence[VerifyingKey],
        witnesses: Sequence[VerifyingKey] = (),
        least: int = 0,
        *,
        retired: Mapping[str, int] | None = None,
    ) -> Policy:
        """The policy that `least` of these witnesses cosigned; errors as of `parse`."""
        if not 0 <= least <= len(witnesses):
            raise InvalidInputError(f"a quorum of {least} of {len(witnesses)} witnesses")
        lines = [f"log {key.to_text()}" for key in logs]
        lines += [f"witness w{n} {key.to_text()}" for n, key in enumerate(witnesses, 1)]
        if least:
            members = " ".join(f"w{n}" for n in range(1, len(witnesses) + 1))
            lines.append(f"group witnesses {least} {members}")
        lines.append("quorum witnesses" if least else "quorum none")
        return cls.parse("\n".join(lines) + "\n", retired=retired)

    def with_retired(self, retired: Mapping[str, int]) -> Policy:
        """The policy with keys that are good up to a size; `InvalidInputError` for no log's key."""
        known = {name_and_id(each.key) for each in self.logs}
        for key, size in retired.items():
            if key not in known:
                raise InvalidInputError(f"retired key {shown(key)}: no log of the policy has it")
            if not 0 <= size <= NUMBER_MAX:
                raise InvalidInputError(f"retired key {shown(key)}: no tree has size {size}")
        return Policy(self.logs, self.witnesses, self.groups, self.quorum, dict(retired))

    def check(
        self,
        note: bytes,
        *,
        now: float,
        skew_s: float = SKEW_S,
        origin: str | None = None,
    ) -> Verdict:
        """What the policy says of a checkpoint.

        now: seconds since 1970; witnesses may be at most `skew_s` ahead of it
        origin: the log that it must be of, where that is known

        `ProofError` as `transit.proof.checkpoint.open_checkpoint` raises it, and where a retired
        key signed a larger tree. A quorum that is not met is told in the verdict.
        """
        signed = open_checkpoint(
            note,
            [each.key for each in self.logs],
            witness_keys=[each.key for each in self.witnesses],
            origin=origin,
            now=now,
            skew_s=skew_s,
        )
        self._check_retired(signed)
        times = {each.key: each.at_s for each in signed.witnesses}
        by = {each.name: times[each.key] for each in self.witnesses if each.key in times}
        return Verdict(signed, signed.logs[0].key, by, self.quorum, self._met(by))

    def _check_retired(self, signed: SignedCheckpoint) -> None:
        for each in signed.logs:
            good = self.retired.get(name_and_id(each.key))
            if good is not None and signed.checkpoint.size > good:
                raise ProofError(
                    f"checkpoint of size {signed.checkpoint.size}: the key {each.key.id_text} "
                    f"is good up to size {good}"
                )

    def _met(self, by: Mapping[str, int]) -> bool:
        # Groups name what is above them: one pass in their order, however deep they nest.
        met = {NONE, *by}
        for group in self.groups:
            if sum(each in met for each in group.members) >= group.least:
                met.add(group.name)
        return self.quorum in met


def name_and_id(key: VerifyingKey) -> str:
    """How a key is named in a list of retired ones: `NAME+ID`."""
    return f"{key.name}+{key.key_id.hex()}"


def parse_retired(text: str | bytes) -> dict[str, int]:
    """The sizes up to which keys are good, by NAME+ID, out of JSON; else `InvalidInputError`."""
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(data) > POLICY_BYTES_MAX:
        raise InvalidInputError(f"retired keys: more than {POLICY_BYTES_MAX} bytes")
    try:
        return json.decode(data, type=dict[str, int], strict=True)
    except (DecodeError, ValidationError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f'retired keys: expected JSON {{"NAME+ID": size}}: {error}'
        ) from None


class _Reader:
    """Takes the lines of a policy, in their order."""

    def __init__(self) -> None:
        self.logs: list[PolicyLog] = []
        self.witnesses: list[PolicyWitness] = []
        self.groups: list[Group] = []
        self.quorum: str | None = None
        self._names: set[str] = set()
        self._members: set[str] = set()
        self._publics: dict[bytes, str] = {}

    def take(self, line: str) -> None:
        words = line.replace("\t", " ").split(" ")
        match [word for word in words if word]:
            case []:
                return
            case [first, *_] if first.startswith("#"):
                return
            case ["log", vkey, *url] if len(url) <= 1:
                key = self._key(vkey, LOG_TYPES, "a log")
                self.logs.append(PolicyLog(key, "".join(url)))
            case ["witness", name, vkey, *url] if len(url) <= 1:
                self._define(name)
                key = self._key(vkey, WITNESS_TYPES, "a witness")
                self.witnesses.append(PolicyWitness(name, key, "".join(url)))
            case ["group", name, least, *members] if members:
                self._group(name, least, tuple(members))
            case ["quorum", name]:
                if self.quorum is not None:
                    raise InvalidInputError("a second quorum line")
                if name != NONE:
                    self._defined(name)
                self.quorum = name
            case _:
                raise InvalidInputError(f"expected log, witness, group or quorum: {shown(line)}")

    def _group(self, name: str, least: str, members: tuple[str, ...]) -> None:
        for each in members:
            self._defined(each)
            if each in self._members:
                raise InvalidInputError(f"{shown(each)} is a member of a group already")
            self._members.add(each)
        self._define(name)
        words = {"any": 1, "all": len(members)}
        count = words[least] if least in words else strict_number(least)
        if count is None or not 1 <= count <= len(members):
            raise InvalidInputError(f"a group of {shown(least)} of {len(members)}")
        self.groups.append(Group(name, count, members))

    def _define(self, name: str) -> None:
        if name == NONE or name in self._names:
            raise InvalidInputError(f"the name {shown(name)} is taken")
        self._names.add(name)

    def _defined(self, name: str) -> None:
        if name not in self._names:
            raise InvalidInputError(f"{shown(name)} is not defined above")

    def _key(self, vkey: str, types: frozenset[int], part: str) -> VerifyingKey:
        key = VerifyingKey.from_text(vkey)
        if key.type not in types:
            raise InvalidInputError(f"a key of type {key.type:#04x} cannot be that of {part}")
        if key.public in self._publics:
            raise InvalidInputError(
                f"the public key of {key.id_text} has a part already, as "
                f"{self._publics[key.public]}"
            )
        self._publics[key.public] = key.id_text
        return key


def _lines_of(text: str | bytes) -> list[str]:
    if len(text) > POLICY_BYTES_MAX:
        raise InvalidInputError(f"policy: more than {POLICY_BYTES_MAX} bytes")
    said = text if isinstance(text, str) else text.decode("utf-8", "surrogateescape")
    control = _CONTROL.search(said)
    if control:
        raise InvalidInputError(f"policy: a control character, {shown(control[0])}")
    return said.split("\n")
