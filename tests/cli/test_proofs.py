"""Keys, checkpoints, proofs and exhibits as the command makes and checks them."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest

import transit
from transit.proof.checkpoint import Checkpoint, sign

from ..client.test_witnesses import Cosigner, served
from .conftest import Command
from .shell import at_terminal

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "agent-trajectories"


class Made:
    """A store with a stream, a key and a checkpoint, in files of the working directory."""

    def __init__(self, command: Command, folder: Path) -> None:
        self.folder = folder
        assert command("append", "s", "1", "2", "3", "--create").code == 0
        assert command("key", "new", "example.com/runs", "-o", "key").code == 0
        self.vkey = command("key", "show", "key").out.decode().strip()
        (folder / "vkey").write_text(self.vkey + "\n")
        (facts,) = command("checkpoint", "--key", "key", "-o", "note").rows
        self.facts = facts
        self.note = (folder / "note").read_bytes()

    def key(self) -> transit.SigningKey:
        return transit.SigningKey.from_text((self.folder / "key").read_text().strip())


@pytest.fixture
def made(command: Command, tmp_path: Path) -> Made:
    return Made(command, tmp_path)


# Keys


@pytest.mark.parametrize("kind", ["ed25519", "ml-dsa-44"])
@pytest.mark.parametrize("role", ["log", "witness"])
def test_a_key_is_a_file_that_only_its_owner_reads(
    command: Command, tmp_path: Path, kind: str, role: str
) -> None:
    assert command("create", "s").code == 0
    option = ("--witness",) if role == "witness" else ()
    before = os.umask(0)
    try:
        done = command("key", "new", "example.com/x", "--kind", kind, *option, "-o", "key")
    finally:
        os.umask(before)
    (row,) = done.rows
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    key = transit.SigningKey.from_text((tmp_path / "key").read_text().strip())
    with transit.open(tmp_path / "store", mode="read") as log:
        name = "example.com/x" if role == "witness" else f"example.com/x/{log.store_id}"
    assert (row["name"], row["kind"], row["role"]) == (name, kind, role)
    assert row["vkey"] == key.verifying.to_text()
    secret = key.to_text().split("+", 4)[4].encode()
    shown = command("key", "show", "key")
    assert shown.out.decode() == row["vkey"] + "\n"
    (as_json,) = command("key", "show", "key", "--format", "json").rows
    assert as_json["vkey"] == row["vkey"]
    for each in (done, shown):
        assert secret not in each.out + each.err


def test_a_key_is_never_overwritten_nor_printed(command: Command, tmp_path: Path) -> None:
    done = command("key", "new", "x", "-o", "key")
    assert (done.code, "make the store first" in done.error["hint"]) == (3, True)
    assert command("create", "s").code == 0
    (tmp_path / "key").write_text("mine")
    done = command("key", "new", "x", "-o", "key")
    assert (done.code, done.error["kind"]) == (4, "already_exists")
    assert (tmp_path / "key").read_text() == "mine"
    os.symlink(tmp_path / "elsewhere", tmp_path / "link")
    assert command("key", "new", "x", "-o", "link").code == 4
    assert not (tmp_path / "elsewhere").exists()
    done = command("key", "new", "x", "-o", "-")
    assert (done.code, done.out) == (2, b"")
    assert command("key", "new", "x").code == 2
    assert command("key", "new", "x", "-o", "no/where").code == 3


@pytest.mark.parametrize("name", ["a b", "a+b", "", "a\nb", "a\u200b\u2014", "\u202ea", "x" * 300])
def test_a_name_that_no_key_may_have_is_refused(
    command: Command, tmp_path: Path, name: str
) -> None:
    assert command("create", "s").code == 0
    done = command("key", "new", name, "-o", "key")
    assert (done.code, done.error["kind"]) == (2, "invalid_input")
    assert done.err.isascii()
    assert not (tmp_path / "key").exists()


def test_without_a_store_a_key_has_the_name_alone(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRANSIT_STORE")
    (row,) = command("key", "new", "example.com/x", "-o", "key").rows
    assert row["name"] == "example.com/x"


def test_a_name_that_has_the_store_already_does_not_get_it_twice(
    command: Command, made: Made
) -> None:
    name = made.facts["origin"]
    assert command("key", "new", name, "-o", "other").rows[0]["name"] == name


@pytest.mark.parametrize("data", [b"", b"nonsense", b"\xff\xfe", b"PRIVATE+KEY+x", b"x" * 20_000])
def test_what_is_no_key_is_refused_and_nothing_of_it_is_shown(
    command: Command, made: Made, tmp_path: Path, data: bytes
) -> None:
    (tmp_path / "bad").write_bytes(data)
    for words in (
        ("key", "show", "bad"),
        ("checkpoint", "--key", "bad"),
        ("proof", "check", "note", "--vkey", "@bad"),
    ):
        done = command(*words)
        assert (done.code, done.error["kind"]) == (2, "invalid_input")
        assert not data or data[:30] not in done.err


def test_a_signing_key_is_not_taken_for_a_vkey(command: Command, made: Made) -> None:
    secret = made.key().to_text()
    for given in ("@key", secret):
        done = command("proof", "check", "note", "--vkey", given)
        assert done.code == 2
        assert secret.split("+", 4)[4].encode() not in done.err
        assert "secret" in done.error["message"]


# Checkpoints


def test_a_checkpoint_is_the_same_one_until_something_is_new(
    command: Command, made: Made, tmp_path: Path
) -> None:
    assert made.facts["note"].encode() == made.note
    assert made.facts["signed_by"] == ["+".join(made.vkey.split("+")[:2])]
    assert command("checkpoint", "--key", "key").rows == [made.facts]
    done = command("checkpoint", "--key", "key", "-o", "note")
    assert (done.code, (tmp_path / "note").read_bytes()) == (4, made.note)
    assert command("append", "s", "4").code == 0
    (newer,) = command("checkpoint", "--key", "key").rows
    assert newer["size"] == made.facts["size"] + 1
    assert command("checkpoint").code == 2


def test_two_kinds_of_keys_sign_together(command: Command, made: Made) -> None:
    name = made.facts["origin"]
    assert command("key", "new", name, "--kind", "ml-dsa-44", "-o", "key2").code == 0
    (facts,) = command("checkpoint", "--key", "key", "--key", "key2").rows
    assert len(facts["signed_by"]) == 2


def test_a_key_of_another_store_is_refused(command: Command, made: Made) -> None:
    assert command("--store", "other", "create", "s").code == 0
    done = command("--store", "other", "checkpoint", "--key", "key")
    assert (done.code, done.error["kind"]) == (2, "invalid_input")


def test_a_store_that_is_not_there_is_not_made(command: Command, made: Made) -> None:
    assert command("--store", "none", "checkpoint", "--key", "key").code == 3
    assert not (made.folder / "none").exists()


def test_publish_signs_what_it_published(command: Command, made: Made, tmp_path: Path) -> None:
    remote = ("--remote", tmp_path / "bucket")
    assert command(*remote, "publish", "--key", "key").code == 2
    assert command(*remote, "publish", "--checkpoint").code == 2
    (row,) = command(*remote, "publish", "--checkpoint", "--key", "key").rows
    size = row["checkpoint"]["size"]
    note = (tmp_path / "bucket" / "checkpoint").read_bytes()
    assert note == (tmp_path / "bucket" / "checkpoints" / f"{size:020}").read_bytes()
    (found,) = command("proof", "check", tmp_path / "bucket/checkpoint", "--vkey", "@vkey").rows
    assert (found["kind"], found["size"], found["stage"]) == ("checkpoint", size, "checkpoint")


def test_an_older_copy_of_the_store_signs_nothing(
    command: Command, made: Made, tmp_path: Path
) -> None:
    subprocess.run(["cp", "-r", "store", "older"], cwd=tmp_path, check=True, timeout=60)
    remote = ("--remote", tmp_path / "bucket")
    assert command("append", "s", "4").code == 0
    assert command(*remote, "publish", "--checkpoint", "--key", "key").code == 0
    assert command("--store", "older", "append", "s", "5").code == 0
    done = command("--store", "older", *remote, "checkpoint", "--key", "key")
    assert done.code in (11, 14), done
    assert done.out == b""


# Proofs


def test_a_proof_is_made_and_checked_without_the_store(
    command: Command, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (row,) = command("proof", "make", "s@1", "-o", "p").rows
    assert (row["stream"], row["records"], row["end"]) == ("s", [1, 2], False)
    assert (tmp_path / "p" / "payload").read_bytes() == b"2"
    subprocess.run(["rm", "-r", tmp_path / "store"], check=True, timeout=60)
    monkeypatch.delenv("TRANSIT_STORE")
    (found,) = command("proof", "check", "p", "--vkey", made.vkey).rows
    assert (found["holds"], found["kind"], found["stream"]) == (True, "proof", "s")
    assert (found["records"], found["end"], found["stage"]) == ([1, 2], False, "checkpoint")
    assert found["signed_by"] == made.facts["signed_by"]
    assert any("witnesses do" in said for said in found["not_shown"])
    _, record = command("proof", "check", "p", "--vkey", "@vkey", "--records").rows
    assert (record["offset"], record["payload"]) == (1, "2")


@pytest.mark.parametrize(
    ("words", "records", "end"),
    [
        (("s",), [3, 3], False),
        (("s@-1",), [2, 3], False),
        (("s@0:2",), [0, 2], False),
        (("s", "--records", "1:"), [1, 3], False),
        (("s", "--records", "0:3", "--end"), [0, 3], True),
        (("s", "--end"), [3, 3], True),
    ],
)
def test_what_a_proof_is_about(
    command: Command, made: Made, words: tuple[str, ...], records: list[int], end: bool
) -> None:
    assert command("proof", "make", *words, "-o", "p").code == 0
    (found,) = command("proof", "check", "p", "--vkey", "@vkey").rows
    assert (found["records"], found["end"]) == (records, end)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("s@9",), 2),
        (("s@-9",), 2),
        (("s", "--records", "2"), 2),
        (("s", "--records", "0:2", "--end"), 2),
        (("s@1", "--records", "0:2"), 2),
        (("s@0:1", "--records", "0:2"), 2),
        (("none",), 3),
        (("s", "--checkpoint", "nothing"), 3),
        (("s", "--checkpoint", "vkey"), 14),
    ],
)
def test_what_cannot_be_proved_is_told(
    command: Command, made: Made, words: tuple[str, ...], code: int
) -> None:
    done = command("proof", "make", *words, "-o", "p")
    assert (done.code, done.out) == (code, b"")
    assert not (made.folder / "p").exists()


def test_a_proof_is_not_written_over_anything(command: Command, made: Made, tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "mine").write_text("mine")
    assert command("proof", "make", "s", "-o", "p").code == 4
    assert [path.name for path in (tmp_path / "p").iterdir()] == ["mine"]


def test_a_proof_that_was_changed_ends_with_14(
    command: Command, made: Made, tmp_path: Path
) -> None:
    assert command("proof", "make", "s@1", "-o", "p").code == 0
    (tmp_path / "p" / "payload").write_bytes(b"3")
    done = command("proof", "check", "p", "--vkey", "@vkey")
    assert (done.code, done.error["kind"], done.out) == (14, "proof", b"")
    assert "payload" in done.error["message"]


def test_whom_to_trust_must_be_said_once(command: Command, made: Made, tmp_path: Path) -> None:
    (tmp_path / "policy").write_text(f"log {made.vkey}\nquorum none\n")
    assert command("proof", "check", "note").code == 2
    assert command("proof", "check", "note", "--vkey", "@vkey", "--policy", "policy").code == 2
    assert command("proof", "check", "note", "--policy", "policy").code == 0
    (tmp_path / "policy").write_text("log nonsense\n")
    assert command("proof", "check", "note", "--policy", "policy").code == 2
    assert command("proof", "check", "note", "--policy", "nothing").code == 3


def test_what_is_there_is_told_by_what_it_is(command: Command, made: Made, tmp_path: Path) -> None:
    check = ("--vkey", "@vkey")
    assert command("proof", "check", "nothing", *check).code == 3
    (tmp_path / "empty").mkdir()
    assert command("proof", "check", "empty", *check).code == 14
    (tmp_path / "file").write_bytes(b"hello")
    assert command("proof", "check", "file", *check).code == 14
    (tmp_path / "file").write_bytes(b"old 1\n")
    assert command("proof", "check", "file", *check).code == 2
    assert command("proof", "check", "file", *check, "--old", "note").code == 14
    assert command("proof", "check", "note", *check, "--old", "note").code == 2
    assert command("proof", "check", "note", *check, "--records").code == 2


# Growth, and two views


def test_growth_is_proved_and_checked(command: Command, made: Made, tmp_path: Path) -> None:
    assert command("append", "s", "4").code == 0
    assert command("checkpoint", "--key", "key", "-o", "newer").code == 0
    assert command("proof", "growth", "note", "-o", "g").code == 0
    (found,) = command("proof", "check", "g", "--old", "note", "--vkey", "@vkey").rows
    assert (found["kind"], found["old_size"], found["size"]) == (
        "growth", made.facts["size"], made.facts["size"] + 1,
    )  # fmt: skip
    assert command("proof", "growth", "note", "newer", "-o", "g").code == 4
    assert command("proof", "growth", "note", "newer", "-o", "g2").code == 0
    assert (tmp_path / "g2").read_bytes() == (tmp_path / "g").read_bytes()
    assert command("proof", "growth", "newer", "note", "-o", "g3").code == 2
    data = (tmp_path / "g").read_bytes()
    (tmp_path / "g").write_bytes(data.replace(b"old 1", b"old 2"))
    assert command("proof", "check", "g", "--old", "note", "--vkey", "@vkey").code == 14


def test_a_split_view_is_called_one(command: Command, made: Made, tmp_path: Path) -> None:
    check = ("--vkey", "@vkey")
    (row,) = command("proof", "pair", "note", "note", *check).rows
    assert row["same"] is True
    head = Checkpoint(made.facts["origin"], made.facts["size"], bytes(32))
    (tmp_path / "other").write_bytes(sign(head, [made.key()]).encode())
    done = command("proof", "pair", "note", "other", *check)
    assert (done.code, done.error["kind"], done.out) == (14, "split_view", b"")
    assert "SPLIT VIEW" in done.error["message"]
    assert "evidence" in done.error["hint"]
    assert command("append", "s", "4").code == 0
    assert command("checkpoint", "--key", "key", "-o", "newer").code == 0
    (row,) = command("proof", "pair", "note", "newer", *check).rows
    assert row["same"] is False
    assert "not decided" in row["says"]


# Witnesses, replaced keys, envelopes


def test_the_witnesses_of_a_policy_are_asked_and_its_quorum_is_kept_to(
    command: Command, made: Made, tmp_path: Path
) -> None:
    cosigner = Cosigner(made.key().verifying)
    text = f"log {made.vkey}\nwitness w {cosigner.key.verifying.to_text()} {{}}\nquorum w\n"
    with served(cosigner) as url:
        (tmp_path / "policy").write_text(text.format(url))
        (facts,) = command("checkpoint", "--key", "key", "--policy", "policy", "-o", "n").rows
        assert list(facts["cosigned_by"]) == ["w"]
        assert command("append", "s", "4").code == 0
    done = command("checkpoint", "--key", "key", "--policy", "policy")
    assert done.code == 14
    assert list(done.error["not_cosigned_by"]) == ["w"]
    assert "not published" in done.error["hint"]
    (found,) = command("proof", "check", "n", "--policy", "policy").rows
    assert (found["stage"], list(found["cosigned_by"])) == ("cosignature", ["w"])
    assert not any("witnesses do" in said for said in found["not_shown"])
    assert command("proof", "finality", "s", "-o", "f", "--checkpoint", "n").code == 0
    (found,) = command("proof", "check", "f", "--policy", "policy").rows
    assert found["kind"] == "transit.finality.v1"
    assert set(found["envelope"]["non_claims"]) <= set(found["not_shown"])
    assert command("proof", "check", "f", "--vkey", "@vkey").code == 14
    assert command("proof", "check", "note", "--policy", "policy").code == 14


def test_a_key_that_was_replaced_is_good_up_to_its_size(
    command: Command, made: Made, tmp_path: Path
) -> None:
    (signer,), size = made.facts["signed_by"], made.facts["size"]
    for good, code in ((size, 0), (size - 1, 14)):
        (tmp_path / "retired").write_text(json.dumps({signer: good}))
        done = command("proof", "check", "note", "--vkey", "@vkey", "--retired", "retired")
        assert done.code == code
    (tmp_path / "retired").write_text("[]")
    assert command("proof", "check", "note", "--vkey", "@vkey", "--retired", "retired").code == 2


def test_a_choice_is_told_with_what_it_does_not_claim(command: Command, made: Made) -> None:
    for name in ("a", "b"):
        assert command("branch", "s@1", name).code == 0
        assert command("append", name, name, "--input", "lines").code == 0
    assert (
        command("merge", "chosen", "a", "b", "--policy", "select", "--param", "selected=b").code
        == 0
    )
    assert command("checkpoint", "--key", "key").code == 0
    (row,) = command("proof", "fork-choice", "chosen", "-o", "c").rows
    assert [head.split()[1] for head in row["parent_heads"]] == ["superseded", "selected"]
    (found,) = command("proof", "check", "c", "--vkey", "@vkey").rows
    assert found["kind"] == "transit.fork-choice.v1"
    assert any("consensus" in said for said in found["not_shown"])
    assert command("proof", "fork-choice", "s", "-o", "d").code == 2


# What is shown


def test_names_that_look_like_others_are_shown_as_they_are_spelt(
    command: Command, made: Made, tmp_path: Path
) -> None:
    with transit.open(tmp_path / "store", mode="read") as log:
        name = f"ex\u0430mple.com/\u202eruns/{log.store_id}"
    # No key of ours may have such a name; somebody else's may.
    key = transit.VerifyingKey(name, 1, made.key().verifying.public)
    signing = transit.SigningKey(key, made.key().sign, None)
    head = Checkpoint(name, 1, bytes(32))
    (tmp_path / "note2").write_bytes(sign(head, [signing]).encode())
    (tmp_path / "vkey2").write_text(key.to_text())
    for words in (
        ("proof", "check", "note2", "--vkey", "@vkey2"),
        ("proof", "check", "note2", "--vkey", "@vkey2", "--format", "table"),
        ("proof", "check", "note2", "--vkey", "@vkey"),
        ("proof", "pair", "note2", "note", "--vkey", "@vkey2", "--vkey", "@vkey"),
    ):
        done = command(*words)
        assert (done.out + done.err).isascii(), words
        assert b"\\u0430" in done.out + done.err
        assert b"\\u202e" in done.out + done.err


def test_at_a_terminal_a_proof_is_told_in_sentences(made: Made, command: Command) -> None:
    assert command("proof", "make", "s@1", "--end", "-o", "p").code == 2
    assert command("proof", "make", "s", "--records", "1:", "--end", "-o", "p").code == 0
    done = at_terminal(made.folder / "store", "proof", "check", "p", "--vkey", "@vkey")
    text = done.out.decode()
    assert done.code == 0
    assert "its records 1 to 2 are what the proof holds, byte for byte" in text
    assert "it had 3 records and no more when the checkpoint was made" in text
    done = at_terminal(made.folder / "store", "checkpoint", "--key", "key", "--no-color")
    assert made.note.decode() in done.out.decode()
    done = at_terminal(made.folder / "store", "proof", "check", "vkey", "--vkey", "@vkey")
    assert (done.code, done.out.startswith(b"\x1b")) == (14, True)
    assert b"hint:" in done.out


# Real input


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real runs")
def test_a_real_run_is_published_exhibited_and_checked_by_hand_elsewhere(
    command: Command, tmp_path: Path
) -> None:
    runs = sorted(SHARED.glob("*.traj"))
    assert command("import", *runs).code == 0
    assert command("note", "rock", "correct", "--score", "1", "--author", "judge").code == 0
    assert command("key", "new", "example.com/agents", "-o", "key").code == 0
    vkey = command("key", "show", "key").out.decode().strip()
    remote = ("--remote", tmp_path / "bucket")
    assert command(*remote, "publish", "--checkpoint", "--key", "key").code == 0
    (row,) = command("exhibit", "rock", "-o", "rock.zip").rows
    assert row["bytes"] == (tmp_path / "rock.zip").stat().st_size
    # The published folder alone gives the same.
    bucket = ("--store", f"file://{tmp_path / 'bucket'}")
    assert command(*bucket, "exhibit", "rock", "-o", "again.zip").code == 0
    assert (tmp_path / "again.zip").read_bytes() == (tmp_path / "rock.zip").read_bytes()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "rock.zip").rename(elsewhere / "rock.zip")
    subprocess.run(["rm", "-r", "store", "bucket", "key"], cwd=tmp_path, check=True, timeout=60)
    (found,) = command("proof", "check", elsewhere / "rock.zip", "--vkey", vkey).rows
    assert (found["kind"], found["stream"], found["end"]) == ("exhibit", "rock", True)
    assert found["files"]["transcript.html"] > 1000
    assert found["not_rendered"] == []
    clean = {"PATH": "/usr/bin:/bin"}
    subprocess.run(["unzip", "-q", "rock.zip"], cwd=elsewhere, env=clean, check=True, timeout=60)
    done = subprocess.run(
        ["sh", "HOW.txt", vkey], cwd=elsewhere, env=clean, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "holds: the payloads of the run" in done.stdout
    assert "DOES NOT HOLD" not in done.stdout
    for other in ("flash", "warmup", "marshmallow"):
        found_in = subprocess.run(
            ["grep", "-rl", other, "--include=*", "."], cwd=elsewhere, capture_output=True,
            timeout=60, check=False,
        )  # fmt: skip
        assert found_in.stdout == b"", other


def test_what_is_no_run_has_no_exhibit(command: Command, made: Made) -> None:
    done = command("exhibit", "s", "-o", "x.zip")
    assert (done.code, done.error["kind"]) == (2, "usage")
    assert command("exhibit", "none", "-o", "x.zip").code == 3
    assert not (made.folder / "x.zip").exists()
