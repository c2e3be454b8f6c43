"""What we make holds for Go's x/mod/sumdb, and what it refuses we refuse."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.proof.logs import (
    ENTRIES,
    FORK,
    LEAVES,
    LOG,
    LOG_PQ,
    NOW,
    STRANGER,
    W1,
    W_PQ,
    consistency,
    files_of,
    inclusion,
    note,
    policy,
)
from transit.errors import ProofError
from transit.proof.files import ConsistencyFile, InclusionFile
from transit.proof.paths import consistency_path, inclusion_path
from transit.proof.spellings import base64_of

SOURCE = Path(__file__).with_name("judge.go")
GOPATH = Path("/usr/share/gocode")
VKEY = LOG.verifying.to_text()
CHANGES = 500

Judge = Callable[[Sequence[dict[str, object]]], list[dict[str, object]]]

pytestmark = pytest.mark.skipif(
    shutil.which("go") is None or not (GOPATH / "src/golang.org/x/mod/sumdb/tlog").is_dir(),
    reason="needs golang-go and golang-golang-x-mod-dev",
)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    folder = tmp_path_factory.mktemp("go")
    program = folder / "judge"
    settings = {"GO111MODULE": "off", "GOPATH": str(GOPATH), "GOCACHE": str(folder / "cache")}
    subprocess.run(
        ["go", "build", "-o", str(program), str(SOURCE)],
        env={**os.environ, **settings}, check=True, timeout=600, cwd=folder,
    )  # fmt: skip

    def ask(questions: Sequence[dict[str, object]]) -> list[dict[str, object]]:
        lines = "".join(f"{json.dumps(each)}\n" for each in questions)
        done = subprocess.run(
            [str(program)], input=lines, capture_output=True, text=True, check=True, timeout=600
        )
        said = [json.loads(line) for line in done.stdout.splitlines()]
        assert len(said) == len(questions), done.stderr
        return said

    return ask


def asked(verb: str, file: bytes, **more: object) -> dict[str, object]:
    shown = {key: text(value) for key, value in more.items()}
    return {"verb": verb, "vkey": VKEY, "file": text(file), **shown}


def text(value: object) -> object:
    return b64encode(value).decode() if isinstance(value, bytes) else value


def test_checkpoints_hold_with_lines_of_witnesses_and_other_kinds_beside(judge: Judge) -> None:
    questions = [
        asked("checkpoint", note(size, keys, witnesses))
        for size in (1, 256, 300, 700)
        for keys in ([LOG], [LOG, LOG_PQ], [LOG_PQ, LOG], [STRANGER, LOG])
        for witnesses in ([], [W1, W_PQ])
    ]
    said = judge(questions)
    assert [each["why"] for each in said] == [""] * len(questions)
    assert [each["size"] for each in said][::8] == [1, 256, 300, 700]
    refused = judge([asked("checkpoint", note(300, [key])) for key in (STRANGER, LOG_PQ)])
    assert [each["holds"] for each in refused] == [False, False]


def test_proof_files_of_every_entry_hold_and_of_another_entry_do_not(judge: Judge) -> None:
    places = [(index, size) for size in (1, 2, 255, 256, 257, 300) for index in range(0, size, 7)]
    files = [inclusion(index, size).encode() for index, size in places]
    right = [
        asked("inclusion", file, entry=ENTRIES[index])
        for file, (index, _) in zip(files, places, strict=True)
    ]
    wrong = [asked("inclusion", file, entry=b"another") for file in files]
    assert {each["why"] for each in judge(right)} == {""}
    assert not any(each["holds"] for each in judge(wrong))


def test_consistency_files_hold_and_of_another_history_do_not(judge: Judge) -> None:
    pairs = [(old, new) for new in (1, 2, 255, 256, 300, 700) for old in range(1, new + 1, 13)]
    files = [consistency(old, new).encode() for old, new in pairs]
    for tree, holds in ((LEAVES, True), (FORK, False)):
        questions = [
            asked("consistency", file, older=note(old, tree=tree))
            for file, (old, _) in zip(files, pairs, strict=True)
            if holds or old > 150
        ]
        assert {each["holds"] for each in judge(questions)} == {holds}


@pytest.mark.parametrize("size", [1, 255, 256, 257, 600])
def test_all_entries_are_proved_through_our_tiles_and_paths_are_the_same(
    tmp_path: Path, judge: Judge, size: int
) -> None:
    for name, data in files_of(size).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    index, old = size // 2, size // 3 + 1
    more: dict[str, object] = {"folder": str(tmp_path), "index": index, "old": old}
    (said,) = judge([asked("tiles", note(size), **more)])
    assert (said["why"], said["size"]) == ("", size)
    ours = inclusion_path(index, size, LEAVES.hash_at), consistency_path(old, size, LEAVES.hash_at)
    assert said["inclusion"] == [base64_of(each) for each in ours[0]]
    assert said["consistency"] == [base64_of(each) for each in ours[1]]
    (said,) = judge([asked("tiles", note(size, tree=FORK), **more)])
    assert said["holds"] is (size <= 150)


def test_of_files_changed_at_random_we_believe_none_that_go_refuses(judge: Judge) -> None:
    """And refuse what it believes only for a spelling: it takes CR and stray bits in base64."""
    rng = random.Random(18)
    whole, older, entry = inclusion(150, 300).encode(), note(100), ENTRIES[150]
    growth = consistency(100, 300).encode()
    files = [(changed(rng, whole), changed(rng, growth)) for _ in range(CHANGES)]
    by_go = [
        judge([asked("inclusion", file, entry=entry) for file, _ in files]),
        judge([asked("consistency", file, older=older) for _, file in files]),
    ]
    by_us = [
        [holds(lambda file=file: included(file, entry)) for file, _ in files],
        [holds(lambda file=file: grown(file, older)) for _, file in files],
    ]
    for kind, original in enumerate((whole, growth)):
        for pair, go, us in zip(files, by_go[kind], by_us[kind], strict=True):
            if go["holds"] != us:
                assert not us, pair[kind]
                assert respelled(pair[kind]) == original, pair[kind]
    assert not all(each["holds"] for each in by_go[0])


def changed(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    byte = bytes((rng.choice([data[at] ^ 1 << rng.randrange(8), *b"\r\n =+0A\xff"]),))
    kind = rng.randrange(3)
    return data[:at] + (b"" if kind == 0 else byte) + data[at + (kind < 2) :]


def respelled(data: bytes) -> bytes:
    """The file with base64 in its one spelling, where it is decoded at all."""
    lines = []
    for line in data.replace(b"\r", b"").split(b"\n"):
        before, space, word = line.rpartition(b" ")
        try:
            again = b64encode(b64decode(word))
        except Error:
            again = word
        lines.append(before + space + (again if len(word) > 40 else word))
    return b"\n".join(lines)


def holds(call: Callable[[], object]) -> bool:
    try:
        call()
    except ProofError:
        return False
    return True


def included(file: bytes, entry: bytes) -> object:
    return InclusionFile.parse(file).check(entry, policy(), now=NOW)


def grown(file: bytes, older: bytes) -> object:
    return ConsistencyFile.parse(file).check(older, policy(), now=NOW)
