"""Each request of a fleet fails, before or after it was carried out, and is done again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import transit
from transit import fleet
from transit.fleet import opening


class Failing:
    """An object store of which one request fails."""

    def __init__(self, inner: Any, number: int, *, carried_out: bool) -> None:
        self._inner, self._left, self._carried_out = inner, number, carried_out
        self.failed = False

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return self._one(found) if name in ("get", "create", "list", "delete", "size") else found

    def _one(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def asked(*given: Any) -> Any:
            self._left -= 1
            if self._left:
                return call(*given)
            self.failed = True
            if self._carried_out:
                call(*given)
            raise transit.RemoteUnavailableError("no answer")

        return asked


def do_all(url: str, folder: Path) -> None:
    """A fleet, a member, a look at it, and its end; as if none of it were there yet."""
    with fleet.create(url) as agents:
        if not any(agents.members(retired=True)):
            with agents.record(folder, name="host-7", durability="os") as log:
                store = log.store_id
        else:
            (member,) = agents.members(retired=True)
            store = member.store
        agents.retire(store, by="ada")
        agents.snapshot()
    with fleet.open(url) as agents:
        list(agents.members())
        assert agents.newest_snapshot() is not None


def cases() -> Iterator[tuple[int, bool]]:
    for number in range(1, 25):
        yield number, False
        yield number, True


@pytest.mark.parametrize(("number", "carried_out"), list(cases()))
def test_a_request_that_fails_is_told_and_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, carried_out: bool
) -> None:
    url, folder = str(tmp_path / "fleet"), tmp_path / "a"
    made: list[Failing] = []
    open_store = opening.open_store

    def failing(*given: Any) -> Any:
        left = number - sum(number - each._left for each in made)
        made.append(Failing(open_store(*given), left, carried_out=carried_out))
        return made[-1]

    with monkeypatch.context() as patch:
        patch.setattr(opening, "open_store", failing)
        try:
            do_all(url, folder)
        except transit.RemoteUnavailableError:
            assert any(each.failed for each in made)
    do_all(url, folder)
    with fleet.open(url) as agents:
        (member,) = agents.members(retired=True)
        assert (member.name, member.retired is not None) == ("host-7", True)
        assert agents.audit().ok
        snapshot = agents.newest_snapshot()
        assert snapshot is not None
        assert [table.store for table in snapshot.tables] == [member.store]
