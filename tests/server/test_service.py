"""Which thread does what: syncs that requests share."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import transit
from tests.server.calling import TEXT, call, served
from transit.server.service import Round


@pytest.mark.parametrize("durability", ["local", "tiered", "replicated"])
def test_an_answer_names_the_durability_that_was_reached(tmp_path: Path, durability: str) -> None:
    remotes = [str(tmp_path / "bucket"), str(tmp_path / "replica")]
    with served(tmp_path / "store", durability="os", remote=remotes) as caller:
        prefer = {"prefer": f'return=minimal, durability="{durability}"'}
        put = caller("PUT", "s", b"x", TEXT | prefer)
        assert put.headers["transit-durability"] == durability
        assert caller("POST", "s", b"y", TEXT).headers["transit-durability"] == "os"
        post = caller("POST", "s", b"z", TEXT | prefer)
        assert post.headers["transit-durability"] == durability
        if durability != "local":
            last = remotes[-1] if durability == "replicated" else remotes[0]
            transit.restore(last, tmp_path / "copy")
            with transit.open(tmp_path / "copy", mode="read") as copy:
                assert [record.payload for record in copy.stream("s")] == [b"x", b"y", b"z"]
        assert caller("POST", "s", b"z", TEXT | {"prefer": "durability=more"}).status == 400


def test_requests_that_come_while_a_sync_runs_share_the_next(tmp_path: Path) -> None:
    with served(tmp_path / "store", durability="local") as caller:
        caller("PUT", "s", headers=TEXT)
        count, release = 0, threading.Event()
        round_of_syncs = caller.app.service.syncs
        real = round_of_syncs._work

        def slow() -> object:
            nonlocal count
            count += 1
            release.wait()
            return real()

        round_of_syncs._work = slow

        async def many() -> Any:
            first = asyncio.create_task(call(caller.app, "POST", "s", b"0", TEXT))
            while not count:
                await asyncio.sleep(0.001)
            rest = [
                asyncio.create_task(call(caller.app, "POST", "s", b"x", TEXT)) for _ in range(50)
            ]
            await asyncio.sleep(0.01)
            assert not any(task.done() for task in (first, *rest))
            release.set()
            return await asyncio.gather(first, *rest)

        assert {answer.status for answer in caller.run(many())} == {204}
        assert count == 2


def test_an_error_of_a_sync_reaches_all_who_wait_for_it_and_none_who_come_later() -> None:
    errors: list[Exception | None] = [transit.SyncFailedError("the disk"), None]

    def work() -> None:
        error = errors.pop(0)
        if error is not None:
            raise error

    async def ask(round_: Round) -> list[Any]:
        both = await asyncio.gather(round_.reach(), round_.reach(), return_exceptions=True)
        # The second came before the call began, or shares the next one.
        return [*both, await asyncio.gather(round_.reach(), return_exceptions=True)]

    with ThreadPoolExecutor(1) as pool:
        errors.append(None)
        first, second, later = asyncio.run(ask(Round(pool, work)))
    assert isinstance(first, transit.SyncFailedError)
    assert second is None
    assert later == [None]


def test_who_gives_up_waiting_disturbs_nobody() -> None:
    release = threading.Event()

    async def ask(round_: Round) -> None:
        gone = asyncio.create_task(round_.reach())
        stays = asyncio.create_task(round_.reach())
        await asyncio.sleep(0.01)
        gone.cancel()
        release.set()
        await stays

    with ThreadPoolExecutor(1) as pool:
        asyncio.run(ask(Round(pool, release.wait)))
