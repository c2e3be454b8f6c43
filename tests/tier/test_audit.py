"""An audit finds every change to a bucket, and calls a bucket sound that is.

What only a trusted root can show, a history made anew or an older one, is shown with and without.
"""

from __future__ import annotations

import random
import shutil
import threading
from pathlib import Path

import blake3
import msgspec
import pytest

import transit
from rigs.hostile.hostile import Bucket, Shelf, rebuilt
from transit.format.commit import Commit
from transit.format.names import commit_name
from transit.format.segment import TAIL, decode_tail
from transit.replay import Record
from transit.store import open_store
from transit.testing.doors import FaultDoor

COMMITS = 18
LEVELS = ("roots", "bodies", "sample:0.4", "sample:1")
Objects = dict[str, bytes]


def by_payload(suffixes: tuple[tuple[Record, ...], ...], params: object) -> list[Record]:
    every = [record for part in suffixes for record in part]
    return sorted(every, key=lambda record: (record.payload, record.offset), reverse=True)


def fill(log: transit.Log, commits: int) -> None:
    """Roots, branches, a merge by every policy, cursors and headers in each commit."""
    for number in range(commits):
        task = log.create(f"t{number}", {"n": number})
        task.append_many([b"%d/%d" % (number, n) * 9 for n in range(6)], headers={"k": str(number)})
        retry = task.branch(f"t{number}/retry", at=3)
        retry.append_many([b"again", b"and again"])
        ahead = retry.branch(f"t{number}/ahead")
        ahead.append(b"further")
        for policy in ("append", "interleave", "base", "custom:by-payload"):
            log.merge(f"t{number}/{policy}", [task, retry], policy=policy)
        log.merge(f"t{number}/forward", [retry, ahead], policy="fast-forward")
        log.merge(
            f"t{number}/chosen", [task, retry], policy="select", params={"selected": task.name}
        )
        both = [log.stream(f"t{number}/append"), log.stream(f"t{number}/interleave")]
        log.merge(f"t{number}/of-merges", both, policy="append")
        task.cursor("reader").advance(2)
        log.seal()


def contents_of(folder: Path) -> Objects:
    store = open_store(folder)
    names = ["FORMAT", "HEAD"]
    for prefix in ("commits/", "segments/", "index/"):
        names += [key for key, _ in store.list(prefix)]
    found = {key: store.get(key, 2**30) for key in names}
    return {key: data for key, data in found.items() if data is not None}


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store `local`, its remote `remote`, and `small`, a remote of two commits."""
    transit.register_policy("by-payload", by_payload)
    path = tmp_path_factory.mktemp("made")
    with transit.open(path / "local", remote=path / "remote", durability="os") as log:
        fill(log, COMMITS)
        log.publish()
    with transit.open(path / "few", remote=path / "small", durability="os") as log:
        task = log.create("a")
        task.append_many([b"one", b"two"], headers={"k": "v"})
        retry = task.branch("b", at=0)
        retry.append(b"other")
        log.seal()
        log.merge("c", [task, retry], policy="interleave")
        log.publish()
    return path


@pytest.fixture
def objects(made: Path) -> Objects:
    return contents_of(made / "remote")


@pytest.fixture
def small(made: Path) -> Objects:
    return contents_of(made / "small")


def audit(objects: Objects, level: str = "bodies", **options: object) -> transit.Report:
    return transit.audit(Shelf(objects), level, **options)  # type: ignore[arg-type]


def keys(objects: Objects, prefix: str) -> list[str]:
    return sorted(key for key in objects if key.startswith(prefix))


# Sound buckets


@pytest.mark.parametrize("level", LEVELS)
def test_a_sound_bucket_is_ok_at_each_level(objects: Objects, level: str) -> None:
    shelf = Shelf(objects)
    report = transit.audit(shelf, level)
    assert report.ok, report.findings
    assert report.level == level
    assert report.counts["commits"] == COMMITS
    assert report.counts["segments"] == COMMITS
    assert report.counts["unnamed_objects"] == report.counts["head_hint_stale"] == 0
    assert report.head == blake3.blake3(objects[f"commits/{commit_name(COMMITS - 1)}"]).hexdigest()
    assert shelf.writes == 0


def test_an_audit_reads_all_there_is(objects: Objects, made: Path) -> None:
    counts = audit(objects).counts
    assert counts["index_snapshots"] == len(keys(objects, "index/")) == 2
    bodies = keys(objects, "segments/") + keys(objects, "index/")
    assert counts["bytes"] == sum(len(objects[key]) for key in bodies)
    assert counts["merges"] == COMMITS * 7
    assert counts["merges_not_rerun"] == 0
    with transit.open(made / "local", mode="read") as log:
        status, verified = log.status(), log.verify()
    assert counts["records"] == status.records
    for kind in ("streams", "blocks", "chunks", "records", "merges"):
        assert counts[kind] == verified.counts[kind], kind


def test_a_local_store_is_audited_where_it_lies(made: Path, objects: Objects) -> None:
    report = transit.audit(made / "local")
    assert report.ok, report.findings
    assert report.head == audit(objects).head
    assert report.counts["wal_files_not_audited"] == 1
    with transit.open(made / "local", mode="read") as log:
        assert report.head == log.status().head == log.verify().head


def test_each_segment_has_the_name_that_b3sum_gives_it(objects: Objects) -> None:
    for key in keys(objects, "segments/"):
        assert key == f"segments/{blake3.blake3(objects[key]).hexdigest()}.seg"


def test_a_bucket_in_memory_is_audited_by_its_address(objects: Objects) -> None:
    store = open_store("memory://audited")
    for key, data in objects.items():
        store.put(key, data)
    assert transit.audit("memory://audited").ok


def test_nothing_is_written_where_nothing_is(tmp_path: Path) -> None:
    with pytest.raises(transit.NotFoundError):
        transit.audit(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_a_store_that_was_given_stays_open(objects: Objects) -> None:
    closed: list[bool] = []
    shelf = Shelf(objects)
    shelf.close = lambda: closed.append(True)  # type: ignore[method-assign]
    transit.audit(shelf, "roots")
    assert not closed


def test_progress_ends_with_everything_done(objects: Objects) -> None:
    seen: list[transit.Progress] = []
    transit.audit(Shelf(objects), progress=seen.append)
    assert (seen[-1].objects, seen[-1].bytes) == (COMMITS, seen[-1].bytes_total)


def test_segments_larger_than_the_memory_for_them_are_read_in_ranges(tmp_path: Path) -> None:
    payloads = [random.Random(n).randbytes(9_000) for n in range(400)]
    with transit.open(tmp_path / "a", remote=tmp_path / "r", durability="os") as log:
        streams = [log.create(f"s{n}") for n in range(2)]
        for n, payload in enumerate(payloads):
            streams[n % 2].append(payload)
        log.merge("both", streams, policy="interleave")
        log.publish()
    little = transit.Settings(transfer_bytes_max=1024 * 1024)
    report = transit.audit(tmp_path / "r", settings=little)
    assert report.ok, report.findings
    assert report.counts == transit.audit(tmp_path / "r").counts
    found = contents_of(tmp_path / "r")
    (key,) = keys(found, "segments/")
    for place in (20, 2_000_000, len(found[key]) - 60, len(found[key]) - 1):
        report = audit({**found, key: flipped(found[key], place)}, settings=little)
        assert any(key in finding.place for finding in report.findings)
    assert not audit({**found, key: found[key][:-1]}, settings=little).ok
    assert not audit({k: v for k, v in found.items() if k != key}, settings=little).ok


# What is asked for


@pytest.mark.parametrize(
    "level",
    ["", "all", "sample", "sample:", "sample:0", "sample:1.1", "sample:-1", "sample:1e9", 3],
)
def test_a_level_that_is_none_is_refused(objects: Objects, level: str) -> None:
    with pytest.raises(transit.InvalidInputError, match="level must be"):
        audit(objects, level)


@pytest.mark.parametrize("options", [{"trusted_root": "12"}, {"trusted_root": 7}, {"seed": -1}])
def test_arguments_that_are_no_use_are_refused(
    objects: Objects, options: dict[str, object]
) -> None:
    with pytest.raises(transit.InvalidInputError):
        audit(objects, **options)


def test_a_sample_reads_its_share_and_says_how_to_read_it_again(objects: Objects) -> None:
    counts = audit(objects, "sample:0.2").counts
    assert counts["segments_sampled"] == 4
    assert audit(objects, "sample:0.2", seed=counts["sample_seed"]).counts == counts
    assert audit(objects, "sample:0.001").counts["segments_sampled"] == 1


@pytest.mark.slow
def test_samples_find_what_is_in_them_in_the_end(objects: Objects) -> None:
    key = keys(objects, "segments/")[5]
    damaged = {**objects, key: flipped(objects[key], 500)}
    reports = [audit(damaged, "sample:0.2", seed=seed) for seed in range(60)]
    assert {report.ok for report in reports} == {True, False}
    assert audit(damaged, "roots").ok


# Damage


def flipped(data: bytes, place: int, bit: int = 3) -> bytes:
    changed = bytearray(data)
    changed[place] ^= 1 << bit
    return bytes(changed)


@pytest.mark.slow
def test_every_flipped_byte_of_a_small_bucket_is_found(small: Objects) -> None:
    assert audit(small).ok
    wanted = ["FORMAT", keys(small, "commits/")[0], keys(small, "segments/")[0]]
    for key in wanted:
        for place in range(len(small[key])):
            report = audit({**small, key: flipped(small[key], place, place % 8)})
            assert not report.ok, (key, place)
            assert any(finding.place for finding in report.findings)


@pytest.mark.slow
def test_a_flipped_bit_is_found_wherever_it_is(objects: Objects) -> None:
    rng = random.Random(5)
    for key, data in objects.items():
        for _ in range(6 if key != "HEAD" else 0):
            place, bit = rng.randrange(len(data)), rng.randrange(8)
            report = audit({**objects, key: flipped(data, place, bit)})
            assert not report.ok, (key, place, bit)
            if not key.startswith("FORMAT"):
                assert any(key in finding.place for finding in report.findings), (key, place, bit)


def test_a_damaged_footer_is_named_before_the_sizes_in_it_are_believed(small: Objects) -> None:
    for key in keys(small, "segments/"):
        data = small[key]
        _, size = decode_tail(data[-TAIL.size :], key)
        stop = len(data) - TAIL.size
        for place in range(stop - size, stop):
            report = audit({**small, key: flipped(data, place, bit=7)})
            assert any(each.place.endswith(f"{key}, footer") for each in report.findings), place


def test_a_flipped_bit_in_head_harms_nothing(objects: Objects) -> None:
    for place in range(len(objects["HEAD"])):
        report = audit({**objects, "HEAD": flipped(objects["HEAD"], place)}, "roots")
        assert report.ok
        assert report.counts["head_hint_stale"] == 1


@pytest.mark.parametrize("prefix", ["FORMAT", "commits/", "segments/", "index/"])
def test_an_object_cut_short_or_grown_or_gone_is_found(objects: Objects, prefix: str) -> None:
    key = keys(objects, prefix)[0]
    for data in (b"", objects[key][:-1], objects[key][: len(objects[key]) // 2]):
        assert not audit({**objects, key: data}).ok, len(data)
    assert not audit({**objects, key: objects[key] + b"\0"}).ok
    without = {name: data for name, data in objects.items() if name != key}
    assert not audit(without).ok
    if prefix != "FORMAT":
        assert any(key in finding.place for finding in audit(without).findings)


@pytest.mark.parametrize("prefix", ["segments/", "index/"])
def test_roots_alone_find_what_is_gone_or_of_another_size(objects: Objects, prefix: str) -> None:
    key = keys(objects, prefix)[0]
    for data in (objects[key][:-1], objects[key] + b"\0"):
        (finding,) = audit({**objects, key: data}, "roots").findings
        assert finding.place.endswith(key)
    (finding,) = audit(
        {name: data for name, data in objects.items() if name != key}, "roots"
    ).findings
    assert finding.found == "no object"


@pytest.mark.parametrize("prefix", ["commits/", "segments/", "index/"])
def test_two_objects_in_each_others_place_are_found(objects: Objects, prefix: str) -> None:
    one, two = keys(objects, prefix)[:2]
    report = audit({**objects, one: objects[two], two: objects[one]})
    for key in (one, two):
        assert any(key in finding.place for finding in report.findings)


def test_damage_stops_nothing(objects: Objects) -> None:
    commits = keys(objects, "commits/")
    named = [msgspec.json.decode(objects[commits[number]], type=Commit) for number in (1, 4, 7)]
    chosen = {f"segments/{commit.segments[0].digest}.seg" for commit in named}
    commit = commits[9]
    damaged = {
        key: flipped(data, 40) if key in chosen or key == commit else data
        for key, data in objects.items()
    }
    report = audit(damaged)
    for key in (*chosen, commit):
        assert any(key in finding.place for finding in report.findings), key
    assert report.counts["lineage_not_checked"] == 1
    assert report.counts["commits_not_linked"] == COMMITS - 10
    assert report.counts["commits"] == COMMITS
    assert report.head == blake3.blake3(objects[f"commits/{commit_name(8)}"]).hexdigest()


def test_one_missing_segment_is_one_finding(objects: Objects) -> None:
    key = keys(objects, "segments/")[3]
    report = audit({name: data for name, data in objects.items() if name != key})
    assert [finding.place.endswith(key) for finding in report.findings] == [True]


def test_a_damaged_commit_is_not_told_again_by_each_stream(objects: Objects) -> None:
    key = keys(objects, "commits/")[9]
    report = audit({**objects, key: flipped(objects[key], 40)})
    told = [finding.place.split("bucket/")[1] for finding in report.findings]
    assert told[0] == key
    # The snapshot that covers it has segments that no commit is known to name.
    assert [place.partition("/")[0] for place in told] == ["commits", "index"]


def test_a_commit_missing_between_others_is_found(objects: Objects) -> None:
    key = keys(objects, "commits/")[4]
    report = audit({name: data for name, data in objects.items() if name != key})
    assert report.counts["commits"] == 4
    assert any(
        finding.place.endswith(key) and f"there is commit {COMMITS - 1}" in finding.expected
        for finding in report.findings
    )


def test_a_gap_is_found_where_nothing_may_be_listed(objects: Objects) -> None:
    class Unlistable(Shelf):
        def list(self, prefix: str) -> object:  # type: ignore[override]
            raise transit.StorePermissionError("no")

    key = keys(objects, "commits/")[10]
    del objects[key]
    report = transit.audit(Unlistable(objects))  # type: ignore[arg-type]
    assert any(finding.place.endswith(key) for finding in report.findings)
    assert report.counts["listings_refused"] == 6


def test_what_nobody_names_is_counted(objects: Objects) -> None:
    more = {f"segments/{'ab' * 32}.seg": b"x", f"index/{'cd' * 32}.idx": b"y", "commits/notes": b""}
    report = audit({**objects, **more})
    assert report.ok
    assert report.counts["unnamed_objects"] == 3


# What only a trusted root shows


def rewritten_commit(commit: Commit) -> Commit:
    """Another write id: the smallest lie there is."""
    return msgspec.structs.replace(commit, write_id="0" * 32)


def test_a_chain_rewritten_from_the_middle_is_shown_by_a_trusted_root_only(
    objects: Objects,
) -> None:
    honest = audit(objects, "roots").head
    rewritten = dict(objects)
    rebuilt(rewritten, 5, rewritten_commit)
    without = audit(rewritten)
    assert without.ok
    assert without.head != honest
    report = audit(rewritten, trusted_root=honest)
    (finding,) = report.findings
    assert finding.place.endswith("/HEAD")
    assert honest in finding.expected
    before = blake3.blake3(objects[f"commits/{commit_name(4)}"]).hexdigest()
    assert audit(rewritten, trusted_root=before).ok


def test_a_rollback_to_an_older_head_is_shown_by_a_trusted_root_only(objects: Objects) -> None:
    honest = audit(objects, "roots").head
    older = {
        key: data
        for key, data in objects.items()
        if key not in [f"commits/{commit_name(number)}" for number in (16, 17)]
    }
    without = audit(older)
    assert without.ok
    assert without.counts["head_hint_stale"] == 1
    assert without.counts["unnamed_objects"] == 3
    for level in LEVELS:
        report = audit(older, level, trusted_root=honest)
        assert [finding.place.endswith("/HEAD") for finding in report.findings] == [True]
        assert "16 commits" in report.findings[0].found


def test_every_root_of_the_history_may_be_the_trusted_one(objects: Objects) -> None:
    for key in keys(objects, "commits/"):
        assert audit(objects, "roots", trusted_root=blake3.blake3(objects[key]).hexdigest()).ok


def test_another_store_in_its_place_is_shown_by_a_trusted_root_only(objects: Objects) -> None:
    honest = audit(objects, "roots").head
    other = Bucket().begin().grow(COMMITS - 1)
    assert audit(other.objects).ok
    assert not audit(other.objects, trusted_root=honest).ok


def test_a_trusted_root_beyond_a_broken_link_is_none(objects: Objects) -> None:
    honest = audit(objects, "roots").head
    key = f"commits/{commit_name(6)}"
    report = audit({**objects, key: flipped(objects[key], 200)}, trusted_root=honest)
    assert any(finding.place.endswith("/HEAD") for finding in report.findings)


# Merges


def test_a_merge_by_a_policy_nobody_registered_is_counted(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transit.engine import plans

    monkeypatch.setattr(plans, "_custom", {})
    report = audit(objects)
    assert report.ok, report.findings
    assert report.counts["merges_not_rerun"] == COMMITS


def test_a_policy_that_orders_otherwise_now_is_found(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transit.engine import plans

    as_they_come = plans._Registered(1, lambda parts, _: [r for p in parts for r in p], None)
    monkeypatch.setattr(plans, "_custom", {"by-payload": as_they_come})
    report = audit(objects)
    assert {finding.found for finding in report.findings} == {"another plan"}


# Remotes that are away, or change


def test_a_remote_that_does_not_answer_is_no_finding(objects: Objects) -> None:
    class Away(Shelf):
        def get(self, key: str, bytes_max: int) -> bytes | None:
            if key.startswith("segments/"):
                raise transit.RemoteUnavailableError("no answer")
            return super().get(key, bytes_max)

    threads = set(threading.enumerate())
    with pytest.raises(transit.RemoteUnavailableError):
        transit.audit(Away(objects))
    assert set(threading.enumerate()) - threads == set()


def test_what_was_damaged_on_its_way_only_is_no_finding(objects: Objects) -> None:
    class Noisy(Shelf):
        """Each object is damaged the first time it is read."""

        def __init__(self, objects: Objects) -> None:
            super().__init__(objects)
            self.seen: set[str] = set()

        def get(self, key: str, bytes_max: int) -> bytes | None:
            data = super().get(key, bytes_max)
            if data is None or key in self.seen or key == "FORMAT":
                return data
            self.seen.add(key)
            return flipped(data, len(data) // 2)

    assert transit.audit(Noisy(objects)).ok


def test_a_file_in_the_place_of_a_folder_is_a_finding(tmp_path: Path, made: Path) -> None:
    shutil.copytree(made / "small", tmp_path / "r")
    shutil.rmtree(tmp_path / "r" / "segments")
    (tmp_path / "r" / "segments").write_bytes(b"")
    assert not transit.audit(tmp_path / "r").ok


def test_commits_made_meanwhile_are_no_finding(objects: Objects) -> None:
    last = keys(objects, "commits/")[-1]

    class Growing(Shelf):
        """The last commit appears after its absence was seen."""

        asked = 0

        def get(self, key: str, bytes_max: int) -> bytes | None:
            if key == last:
                self.asked += 1
                return None if self.asked == 1 else super().get(key, bytes_max)
            return super().get(key, bytes_max)

    report = transit.audit(Growing(objects))
    assert report.ok, report.findings
    assert report.counts["commits_appeared"] == 1


def test_the_doors_of_other_tests_serve_an_audit(made: Path) -> None:
    door = FaultDoor(open_store(made / "remote"), None)
    assert transit.audit(door).ok
