"""`transit mcp` as a child process, on its standard input and output."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from mcp.client import Client

import transit
from transit.server.mcp.standard import LINE_BYTES_MAX

from .clients import DEADLINE_S, LONG_S, ROOT, ask, child, opened, refused, run

PING = b'{"jsonrpc":"2.0","id":7,"method":"ping"}\n'
HELLO = (
    b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18",'
    b'"capabilities":{},"clientInfo":{"name":"t","version":"1"}}}\n'
    b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n'
)


def started(store: Path, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "transit", "mcp", "--store", str(store), *words],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=store.parent,
    )  # fmt: skip


def line(process: subprocess.Popen[bytes]) -> dict[str, object]:
    assert process.stdout is not None
    found: dict[str, object] = json.loads(process.stdout.readline())
    return found


@pytest.fixture
def store(tmp_path: Path) -> Path:
    opened(tmp_path / "store").close()
    return tmp_path / "store"


@pytest.mark.slow
def test_without_write_it_reads_what_another_process_writes(store: Path) -> None:
    async def work() -> None:
        async with Client(child(store)) as client:
            names = [tool.name for tool in (await client.list_tools()).tools]
            assert "read" in names
            assert "append" not in names
            with transit.open(store, durability="os") as log:
                log.stream("notes").append(b"from outside")
                found = await ask(client, "wait", stream="notes", after=29, timeout_s=LONG_S)
                assert [each["text"] for each in found["records"]] == ["from outside"]

    run(work())


def test_with_write_it_appends_and_the_records_name_their_writer(store: Path) -> None:
    async def work() -> None:
        async with Client(child(store, "--write"), mode="legacy") as client:
            await ask(client, "append", stream="notes", text="hello")
            await ask(client, "fork_here", stream="notes", at=30, name="fork")
            assert "LockedError" not in await refused(client, "read", stream="none")
        with transit.open(store) as log:
            assert (log.stream("fork")[30].payload, log.stream("fork")[30].writer) == (
                b"hello",
                "mcp",
            )

    run(work())


@pytest.mark.slow
def test_a_prefix_is_all_there_is(store: Path) -> None:
    async def work() -> None:
        async with Client(child(store, "--prefix", "build-")) as client:
            assert len((await ask(client, "list_runs"))["runs"]) == 2
            assert "does not allow" in await refused(client, "read", stream="notes")

    run(work())


@pytest.mark.slow
def test_a_line_that_is_no_message_costs_only_itself(store: Path) -> None:
    with started(store) as process:
        assert process.stdin is not None
        process.stdin.write(HELLO)
        process.stdin.flush()
        assert line(process)["id"] == 1
        endless = b'{"a":"' + b"x" * (LINE_BYTES_MAX + 100_000) + b'"}\n'
        for sent in (b"not json\n", b"\xff\xfe\n", b"[]\n", b"{}\n", b"\n", endless):
            process.stdin.write(sent + PING)
            process.stdin.flush()
            while (answer := line(process)).get("id") != 7:
                assert "error" in answer
            assert answer["result"] == {}
        process.stdin.close()
        assert process.wait(DEADLINE_S) == 0


@pytest.mark.slow
def test_it_ends_with_its_input_also_while_a_call_waits(store: Path) -> None:
    call = {
        "jsonrpc": "2.0", "id": 2, "method": "tools/call",
        "params": {"name": "wait", "arguments": {"stream": "notes", "timeout_s": LONG_S}},
    }  # fmt: skip
    with started(store, "--write") as process:
        assert process.stdin is not None
        process.stdin.write(HELLO + json.dumps(call).encode() + b"\n")
        process.stdin.flush()
        assert line(process)["id"] == 1
        process.stdin.close()
        assert process.wait(DEADLINE_S) == 0
    # The lock is free.
    transit.open(store).close()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -15)])
def test_a_signal_ends_it_though_its_input_stays_open(
    store: Path, number: signal.Signals, code: int
) -> None:
    with started(store, "--write") as process:
        assert process.stdin is not None
        process.stdin.write(HELLO)
        process.stdin.flush()
        assert line(process)["id"] == 1
        process.send_signal(number)
        assert process.wait(DEADLINE_S) == code
        process.stdin.close()
    transit.open(store).close()


@pytest.mark.slow
def test_when_nobody_reads_its_answers_it_ends(store: Path) -> None:
    with started(store, "--write") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.close()
        process.stdin.write(HELLO)
        process.stdin.flush()
        assert process.wait(DEADLINE_S) == 141
        process.stdin.close()
    transit.open(store).close()


def test_where_no_store_is_it_says_so_and_ends(tmp_path: Path) -> None:
    with started(tmp_path / "none") as process:
        out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 3
    assert out == b""
    assert json.loads(err)["error"]["type"] == "NotFoundError"
