"""Tools about evidence: proofs and exhibits by address, and how long streams are kept."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError

import transit
from transit import Log
from transit.protocol.folders import unpack_zip
from transit.server.access import READ, Grant
from transit.server.mcp import evidence
from transit.trace.files.exhibits import check_exhibit

from .clients import READER, ask, client_of, opened, refused, run

SECRET = b"nobody else may read this"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with opened(tmp_path / "store") as log:
        yield log


@pytest.fixture
def key(log: Log) -> transit.SigningKey:
    key = transit.SigningKey.generate(f"example.com/{log.store_id}")
    log.create("secret").append_many([b"0", SECRET])
    log.stream("secret").branch("open/child", at=0).append(b"own")
    log.checkpoint(key)
    return key


def below(log: Log, prefix: str) -> Grant:
    return Grant("reader", ((prefix, frozenset((READ,))),), lambda uid: log.stream(uid=uid).name)


async def file(client: Client, address: str) -> bytes:
    (content,) = (await client.read_resource(address)).contents
    found: Any = content
    assert found.mime_type == "application/zip"
    return b64decode(found.blob)


def test_a_proof_is_told_of_and_given_by_its_address(log: Log, key: transit.SigningKey) -> None:
    async def work() -> None:
        async with client_of(log, READER) as client:
            told = await ask(client, "prove", stream="notes", offset=7)
            assert (told["records"], told["exhibit"]) == ([7, 8], None)
            assert told["checkpoint"]["commits"] == 1
            assert any("key" in each for each in told["not_shown"])
            files = unpack_zip(await file(client, told["proof"]))
            (record,) = transit.check_proof(files, key.verifying).records()
            assert record.payload == b"note 7"
            told = await ask(client, "prove", stream="notes")
            files = unpack_zip(await file(client, told["proof"]))
            assert transit.check_proof(files, key.verifying).shown.records == (30, 30)

    run(work())


def test_a_run_has_an_exhibit(log: Log, key: transit.SigningKey, tmp_path: Path) -> None:
    async def work() -> None:
        async with client_of(log, below(log, "build-")) as client:
            told = await ask(client, "prove", stream="build-1", offset=0)
            data = await file(client, told["exhibit"])
        (tmp_path / "run.zip").write_bytes(data)
        assert check_exhibit(tmp_path / "run.zip", key.verifying).proof.shown.stream == "build-1"

    run(work())


def test_nothing_of_a_stream_is_proved_that_the_caller_may_not_read(
    log: Log, key: transit.SigningKey
) -> None:
    async def work() -> None:
        async with client_of(log, below(log, "open/")) as client:
            for offset in (0, 1):
                said = await refused(client, "prove", stream="open/child", offset=offset)
                assert "does not allow" in said
                assert "secret" not in said
            for address in ("transit://proof/open/child@1", "transit://proof/open/child",
                            "transit://proof/secret@0", "transit://exhibit/build-1"):  # fmt: skip
                with pytest.raises(MCPError) as refusal:
                    await client.read_resource(address)
                assert "secret" not in str(refusal.value)
        async with client_of(log, READER) as client:
            told = await ask(client, "prove", stream="open/child", offset=0)
            # So it had to be refused: a chunk is whole.
            assert SECRET in b"".join(unpack_zip(await file(client, told["proof"])).values())

    run(work())


def test_a_store_without_a_checkpoint_says_so(log: Log) -> None:
    async def work() -> None:
        async with client_of(log, READER) as client:
            assert "no checkpoint" in await refused(client, "prove", stream="notes", offset=0)

    run(work())


def test_a_file_that_is_too_large_for_an_address_is_refused(
    log: Log, key: transit.SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "FILE_BYTES_MAX", 100)

    async def work() -> None:
        async with client_of(log, READER) as client:
            for address in ("transit://proof/notes@0", "transit://exhibit/build-1"):
                with pytest.raises(MCPError, match="/v1 has it"):
                    await client.read_resource(address)

    run(work())


def test_what_became_of_streams_is_told_to_who_may_read_them(log: Log) -> None:
    log.delete("notes/other", reason="wish")
    log.stream("notes").trim(before=3, reason="old", basis="retention", writer="ada")
    log.stream("notes").hold("case 7", writer="bob")
    log.stream("build-1").retain(transit.Retention(keep_for=60, expire_after=120))
    log.delete("build-2", reason="wish", basis="gdpr-17")

    async def work() -> None:
        async with client_of(log, READER) as client:
            told = await ask(client, "retention", stream="notes")
            assert (told["first_offset"], told["deleted"], told["limits"]) == (3, False, {})
            (hold,) = told["holds"]
            assert (hold["reason"], hold["by"]) == ("case 7", "bob")
            trimmed, held = told["changes"]
            assert trimmed == {
                "what": "trimmed", "time": trimmed["time"], "by": "ada", "reason": "old",
                "basis": "retention", "before": 3,
            }  # fmt: skip
            assert (held["what"], held["hold"]) == ("held", "case 7")
            listed = (await ask(client, "retention"))["streams"]
            assert [each["stream"] for each in listed] == [
                "notes",
                "notes/other",
                "build-1",
                "build-2",
            ]
            assert listed[2]["limits"] == {"keep_for_s": 60, "expire_after_s": 120}
            assert listed[2]["kept_until"] < listed[2]["expires"]
            assert (listed[3]["deleted"], listed[3]["hidden"]) == (True, True)
            page = await ask(client, "retention", limit=1)
            assert page["next"] == {"skip": 1}
        async with client_of(log, below(log, "build-")) as client:
            listed = (await ask(client, "retention"))["streams"]
            assert [each["stream"] for each in listed] == ["build-1", "build-2"]
            await refused(client, "retention", stream="notes")

    run(work())
