"""Stores below one prefix: made, found, looked at, audited, retired."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import transit
from transit import fleet


@pytest.fixture
def url(tmp_path: Path) -> str:
    return str(tmp_path / "fleet")


@pytest.fixture
def agents(url: str) -> Iterator[fleet.Fleet]:
    with fleet.create(url) as made:
        yield made


def write(agents: fleet.Fleet, folder: Path, streams: int = 2, **how: object) -> str:
    """A member with some streams, published; its id."""
    with agents.record(folder, **how) as log:  # type: ignore[arg-type]
        for number in range(streams):
            log.create(f"s{number}").append_many([b"%d" % n for n in range(3)])
        log.publish()
        return log.store_id


def test_a_fleet_is_made_once(url: str) -> None:
    with pytest.raises(transit.NotFoundError, match="is no fleet"):
        fleet.open(url)
    with fleet.create(url), fleet.create(url), fleet.open(url):
        pass
    kind = Path(url, "fleet.json")
    assert json.loads(kind.read_bytes()) == {"format": 1, "kind": "transit-fleet"}
    kind.write_bytes(b'{"format":2,"kind":"transit-fleet"}')
    with pytest.raises(transit.UnsupportedVersionError):
        fleet.open(url)
    kind.write_bytes(b'{"format":1,"kind":"other"}')
    with pytest.raises(transit.InvalidInputError, match="no fleet's"):
        fleet.create(url)
    kind.write_bytes(b"no json")
    with pytest.raises(transit.CorruptError):
        fleet.open(url)


def test_a_store_that_is_recorded_is_a_member_with_its_name_and_labels(
    agents: fleet.Fleet, tmp_path: Path
) -> None:
    store = write(agents, tmp_path / "a", name="host-7", labels={"zone": "eu"})
    other = write(agents, tmp_path / "b", labels={"zone": "us"})
    members = {member.store: member for member in agents.members()}
    assert members.keys() == {store, other}
    assert (members[store].name, dict(members[store].labels)) == ("host-7", {"zone": "eu"})
    assert members[other].name == members[other].host
    assert [each.store for each in agents.members(labels={"zone": "us"})] == [other]
    assert agents.member("host-7") == agents.member(store) == members[store]
    # It is a store as any other: opened again, it goes on, and is the same member.
    with agents.record(tmp_path / "a", name="another name") as log:
        assert log.store_id == store
        log.stream("s0").append(b"more", durability="tiered")
    assert agents.member(store).name == "host-7"
    with agents.open("host-7") as log:
        assert [record.payload for record in log.stream("s0")][-1] == b"more"
        assert log.mode == "read"


def test_a_name_that_two_have_is_nobodys(agents: fleet.Fleet, tmp_path: Path) -> None:
    write(agents, tmp_path / "a", name="same")
    write(agents, tmp_path / "b", name="same")
    with pytest.raises(transit.NotFoundError, match="2 members 'same'"):
        agents.member("same")
    with pytest.raises(transit.NotFoundError, match="no member 'none'"):
        agents.open("none")


def test_stores_that_join_at_once_are_all_there(agents: fleet.Fleet, tmp_path: Path) -> None:
    barrier = threading.Barrier(8)

    def join(number: int) -> str:
        barrier.wait()
        return write(agents, tmp_path / f"s{number}", name=f"host-{number}")

    with ThreadPoolExecutor(8) as pool:
        stores = set(pool.map(join, range(8)))
    assert {member.store for member in agents.members()} == stores
    assert {each.records for each in agents.status()} == {agents.status()[0].records}


def test_status_find_and_cut_are_of_what_is_published(agents: fleet.Fleet, tmp_path: Path) -> None:
    one = write(agents, tmp_path / "a", streams=1)
    two = write(agents, tmp_path / "b", streams=2)
    status = {each.member.store: each for each in agents.status()}
    assert (status[one].streams, status[two].streams) == (1, 2)
    assert all(each.error is None for each in status.values())
    assert {each.member.store for each in agents.find("s0")} == {one, two}
    assert [(each.member.store, each.records) for each in agents.find("s1")] == [(two, 3)]
    assert agents.find("none") == ()
    cut = agents.cut()
    assert cut.stores[one] == transit.Head(status[one].commits, status[one].root)
    assert fleet.Cut.decode(cut.encode()) == cut
    assert agents.cut().encode() == cut.encode()
    with agents.record(tmp_path / "a") as log:
        log.stream("s0").append(b"x", durability="tiered")
    after = agents.cut()
    assert after.stores[two] == cut.stores[two]
    assert after.stores[one] != cut.stores[one]


def test_a_store_that_is_damaged_hides_no_other(
    agents: fleet.Fleet, url: str, tmp_path: Path
) -> None:
    bad, good = write(agents, tmp_path / "a"), write(agents, tmp_path / "b")
    gone = write(agents, tmp_path / "c")
    (segment,) = Path(url, "stores", bad, "segments").iterdir()
    segment.chmod(0o600)
    segment.write_bytes(segment.read_bytes()[:-40] + b"\0" * 40)
    shutil.rmtree(Path(url, "stores", gone))
    report = agents.audit()
    told = {each.member.store: each for each in report.stores}
    assert not report.ok
    assert told[good].ok
    assert told[bad].report is not None
    assert told[bad].report.findings
    assert isinstance(told[gone].error, transit.NotFoundError)
    status = {each.member.store: each for each in agents.status()}
    assert status[good].error is None
    assert isinstance(status[gone].error, transit.TransitError)
    cut = agents.cut()
    assert good in cut.stores
    assert gone in cut.missing
    assert any(each.error for each in agents.find("s0"))


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'{"store":"other","name":"x","host":"h","made":1}', b"\xff" * 100]
)
def test_a_member_that_says_nothing_is_told_by_audits(
    agents: fleet.Fleet, url: str, tmp_path: Path, data: bytes
) -> None:
    store, good = write(agents, tmp_path / "a"), write(agents, tmp_path / "b")
    Path(url, "members", f"{store}.json").write_bytes(data)
    for name in ("no id.json", "0" * 31 + ".json", "A" * 32 + ".json"):
        Path(url, "members", name).write_bytes(b"x")
    assert [each.store for each in agents.members()] == [good]
    report = agents.audit("roots")
    assert [each.store for each in report.unreadable] == [store]
    assert not report.ok


def test_a_retired_store_is_left_out_and_read_on_request(
    agents: fleet.Fleet, tmp_path: Path
) -> None:
    old, new = write(agents, tmp_path / "a", name="old"), write(agents, tmp_path / "b")
    retired = agents.retire("old", by="ada", reason="the host is gone")
    assert retired.retired is not None
    assert (retired.retired.by, retired.retired.reason) == ("ada", "the host is gone")
    assert agents.retire(old, by="eve") == retired
    assert [each.store for each in agents.members()] == [new]
    assert len(list(agents.members(retired=True))) == 2
    assert [each.member.store for each in agents.status()] == [new]
    assert len(agents.audit("roots").stores) == 2
    with agents.open("old") as log:
        assert "s0" in log
    with pytest.raises(transit.InvalidInputError, match="is retired"):
        agents.record(tmp_path / "a")


def test_a_store_that_was_there_before_becomes_a_member(
    agents: fleet.Fleet, tmp_path: Path
) -> None:
    with transit.open(tmp_path / "a", durability="os") as log:
        log.create("s0").append(b"before")
        store = log.store_id
    with agents.record(tmp_path / "a", durability="os") as log:
        log.publish()
    (found,) = agents.find("s0")
    assert (found.member.store, found.records) == (store, 1)


@pytest.mark.parametrize(
    "how",
    [
        {"labels": {"a": 1}},
        {"labels": {str(n): "x" for n in range(65)}},
        {"name": "x" * 2000},
        {"name": 7},
    ],
)
def test_what_is_no_name_or_label_makes_no_member(
    agents: fleet.Fleet, tmp_path: Path, how: dict[str, object]
) -> None:
    with pytest.raises(transit.InvalidInputError):
        agents.record(tmp_path / "a", **how)  # type: ignore[arg-type]
    assert not list(agents.members())


def test_an_answer_that_is_lost_is_looked_for(agents: fleet.Fleet, tmp_path: Path) -> None:
    """The object was written, and the store could not say so."""
    objects = agents._objects
    create = objects.create

    def lost(key: str, data: bytes) -> None:
        create(key, data)
        raise transit.RemoteUnavailableError("no answer")

    objects.create = lost  # type: ignore[method-assign]
    store = write(agents, tmp_path / "a", name="host-7")
    assert agents.member("host-7").store == store


def test_an_encrypted_fleet_is_looked_at_with_and_without_its_keys(tmp_path: Path) -> None:
    keyring = transit.Keyring.create(tmp_path / "keys", passphrase="p")
    url = str(tmp_path / "fleet")
    with fleet.create(url, keyring=keyring) as agents:
        write(agents, tmp_path / "a", encrypt="remote")
        assert agents.audit().ok
        assert len(agents.find("s0")) == 1
    with fleet.open(url) as sealed:
        assert sealed.audit().ok
        assert len(sealed.cut().stores) == 1
