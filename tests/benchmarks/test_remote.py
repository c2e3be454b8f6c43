"""The workloads of the remote run, say what requests cost, and leave nothing behind."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.prices import Prices, parse_prices
from benchmarks.remote import Bucket, Counter, Rig, Server, server_of, unreachable
from benchmarks.workloads import chosen_remote, names
from transit.store import open_store

ROOT = Path(__file__).resolve().parents[2]
Remote = tuple[str, dict[str, object]]


def run(endpoint: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=240,
        env={**os.environ, "TRANSIT_S3_ENDPOINT": endpoint},
    )  # fmt: skip


def closed_endpoint() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def server(remote: Remote) -> Server:
    options = remote[1]
    return Server(str(options["endpoint_url"]), str(options["key"]), str(options["secret"]))


@pytest.mark.slow
def test_without_a_server_its_workloads_are_left_out_with_a_reason(tmp_path: Path) -> None:
    endpoint, target = closed_endpoint(), tmp_path / "report.json"
    done = run(
        endpoint, "append-os", "tiered-", "--json", str(target), "--path", str(tmp_path)
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(target.read_bytes())
    left_out = [name for name in names() if name.startswith("tiered-")]
    assert [result["facts"]["name"] for result in report["results"]] == ["append-os"]
    assert list(report["left_out"]) == left_out
    for name in left_out:
        assert f"{name}: left out: no S3 server at {endpoint}" in done.stdout


def test_only_workloads_without_a_server_say_so_and_fail_nothing(tmp_path: Path) -> None:
    done = run(closed_endpoint(), "publish-", "--path", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("left out: no S3 server") == 3


def test_address_that_is_none_is_a_reason_too() -> None:
    assert "no S3 server" in unreachable(Server("nonsense", "", ""))


@pytest.mark.slow
def test_quick_run_against_a_server_says_requests_and_leaves_no_bucket(
    ceph_remote: Remote, tmp_path: Path
) -> None:
    given = server(ceph_remote)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--runs", "1", "--path", str(tmp_path),
         "--prices", "put=1000", "tiered-requests-1-thread"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=240,
        env={**os.environ, "TRANSIT_S3_ENDPOINT": given.endpoint, "AWS_ACCESS_KEY_ID": given.key,
             "AWS_SECRET_ACCESS_KEY": given.secret},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    remark = done.stdout.splitlines()[-1]
    # Twenty records are twenty segments and as many commits, each with a look at the one before,
    # and a hint now and then.
    requests = int(remark.split()[1])
    assert 60 <= requests <= 70
    dollars = (requests - 20) + 20 * 0.0004 / 1000
    assert f"${1e6 * dollars / 20:.2f} a million" in remark, "a PUT costs a dollar here"
    assert list(tmp_path.iterdir()) == []


def test_bucket_gives_back_what_was_put_and_goes_with_all_it_holds(
    ceph_remote: Remote, tmp_path: Path
) -> None:
    files = {f"part-{n}/file": str(tmp_path / f"{n}") for n in range(20)}
    for number, path in enumerate(files.values()):
        Path(path).write_bytes(bytes([number]) * 1_000)
    with Bucket(server(ceph_remote)) as bucket:
        place = bucket.new_place()
        assert bucket.upload(files, place) > 0
        assert sorted(bucket.names(place)) == sorted(files)
        assert bucket.download([*files], place, str(tmp_path / "back")) > 0
        for name, path in files.items():
            assert (tmp_path / "back" / name).read_bytes() == Path(path).read_bytes()
        found: list[bytes] = []
        bucket.read([*files], place, found.append)
        assert sorted(found) == sorted(Path(path).read_bytes() for path in files.values())
        assert bucket.new_place() != place
    with Bucket(server(ceph_remote)) as other:
        assert bucket.name not in other._s3.ls("")


def test_counter_counts_from_where_it_began_and_knows_the_price(tmp_path: Path) -> None:
    store = open_store(tmp_path / "remote")
    store.put("before", b"12345")
    counter = Counter(store.traffic)
    store.put("one", b"123")
    store.create("two", b"123")
    assert store.get("one", 10) == b"123"
    assert store.size("one") == 3
    store.delete("one")
    assert (counter.requests, counter["put"], counter["create"], counter.bytes) == (5, 1, 1, 9)
    prices = Prices(put=5.0, get=0.5, month=0.0)
    assert counter.dollars(prices) == pytest.approx((2 * 5.0 + 2 * 0.5) / 1_000)
    assert str(counter) == "5 requests (1 get, 1 put, 1 create, 1 size, 1 delete)"


def test_prices_are_those_given_and_the_list_prices_for_the_rest() -> None:
    assert parse_prices("") == Prices()
    assert parse_prices("put=1,get=2.5") == Prices(put=1.0, get=2.5)


@pytest.mark.parametrize("text", ["post=1", "put", "put=x", "put=-1", "put=inf", "put=nan"])
def test_prices_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"price|float"):
        parse_prices(text)


def test_environment_names_the_server_and_its_secret_is_not_shown() -> None:
    found = server_of(
        {"TRANSIT_S3_ENDPOINT": "http://h:1", "AWS_ACCESS_KEY_ID": "a",
         "AWS_SECRET_ACCESS_KEY": "hidden"}
    )  # fmt: skip
    assert found.options() == {"endpoint_url": "http://h:1", "key": "a", "secret": "hidden"}
    assert "hidden" not in repr(Rig(found, Prices()))


def test_full_asks_for_a_million_streams() -> None:
    for full, streams in ((False, 100_000), (True, 1_000_000)):
        makers = chosen_remote(["open-bucket"], Rig(server_of({}), Prices(), full))
        assert [make().facts.records for make in makers] == [streams] * 2
