"""Exhibits: a run in one file, checked from it alone; what was changed in it is refused."""

from __future__ import annotations

import io
import json
import stat
import subprocess
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from blake3 import blake3

import transit
from transit import trace
from transit.trace.files.exhibits import checking, making, zipped
from transit.trace.page import write_page
from transit.trace.writing import RECORD_BYTES

LARGE = "a line of output\n" * (RECORD_BYTES // 16)
PATCH = b"--- a\n+++ b\n"


class Store:
    """A store with several runs, and a checkpoint over them."""

    def __init__(self, path: Path) -> None:
        self.log = transit.open(path, durability="os")
        self.key = transit.SigningKey.generate(f"example.com/runs/{self.log.store_id}")
        for name in ("alice", "bob"):
            with trace.task(self.log, name, actor="agent", reason="initial-request") as task:
                task.message("user", f"the secret of {name}")
                with task.tool("bash", {"cmd": "ls"}) as call:
                    call.result(LARGE)
                task.artifact(PATCH + name.encode(), kind="patch")
                with trace.task(self.log, f"{name}/child"):
                    pass
            trace.annotate(self.log, name, "correct", score=1, author=f"judge of {name}")
        with trace.task(self.log, "plain") as task:
            for n in range(5):
                task.message("user", f"{n}")
        self.log.seal()
        with trace.resume(self.log, "alice") as task:
            retry = task.retry(at=task.last, reason="timeout")
            plan = task.alternate(at=task.last, reason="idea")
        with retry:
            retry.message("assistant", "tried once more")
        with plan:
            plan.message("assistant", "otherwise")
        self.retry = retry.stream.name
        self.merge = trace.merge(self.log, [retry, plan], policy="interleave").stream.name
        self.selected = trace.merge(
            self.log, [retry, plan], policy="select", selected=plan
        ).stream.name
        self.log.create("empty", {"task_id": "empty"})
        self.checkpoint = self.log.checkpoint(self.key)

    def check(self, path: Path) -> trace.CheckedExhibit:
        return trace.check_exhibit(path, self.key.verifying)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    made = Store(tmp_path_factory.mktemp("exhibits") / "store")
    yield made
    made.log.close()


@pytest.fixture(scope="module")
def alice(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("alice") / "alice.zip"
    trace.exhibit(store.log, "alice", path)
    return path


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def written(path: Path, files: Mapping[str, bytes]) -> Path:
    with path.open("wb") as file:
        zipped.write_zip(file, files)
    return path


def test_an_exhibit_holds_and_says_what_it_shows(store: Store, alice: Path) -> None:
    checked = store.check(alice)
    shown = checked.proof.shown
    stream = store.log.stream("alice")
    assert (shown.stream, shown.uid) == ("alice", stream.uid)
    assert (shown.records, shown.end) == ((0, len(stream)), True)
    assert shown.checkpoint == store.checkpoint.checkpoint
    assert checked.not_made_again == ()
    assert set(checked.files) >= {"HOW.txt", "manifest.json", "transcript.html", "records.ndjson"}
    assert any("every note on the run" in said for said in checked.shown)
    assert any("child runs" in said for said in checked.not_shown)


def test_its_files_are_the_run_as_the_store_has_it(store: Store, alice: Path) -> None:
    files, stream = members(alice), store.log.stream("alice")
    lines = [json.loads(line) for line in files["records.ndjson"].splitlines()]
    assert [line["payload"].encode() for line in lines] == [r.payload for r in stream]
    assert [line["offset"] for line in lines] == [r.offset for r in stream]
    assert [line["origin"] for line in lines] == [list(r.origin) for r in stream]
    assert files["payloads.ndjson"] == b"".join(r.payload + b"\n" for r in stream)
    (note,) = files["notes.ndjson"].splitlines()
    assert json.loads(note)["author"] == "judge of alice"
    told = json.loads(files["manifest.json"])
    assert told["run"]["name"] == "alice"
    assert told["run"]["manifest"] == trace.read(store.log, "alice").manifest
    assert [child["run"] for child in told["children"]] == ["alice/child"]
    assert (told["notes"], told["artifacts_not_here"]) == (1, [])
    listed = {name: (said["blake3"], said["size"]) for name, said in told["files"].items()}
    assert listed == {
        name: (blake3(data).hexdigest(), len(data))
        for name, data in files.items()
        if name not in ("manifest.json", "HOW.txt")
    }
    kept = {
        stream.name.rpartition("/")[2]
        for stream in store.log.streams("$trace/artifact/")
        if stream.metadata["byte_length"] != len(PATCH) + len("bob")
    }
    assert {name.partition("/")[2] for name in files if name.startswith("artifacts/")} == kept
    assert len(kept) == 2


def test_its_page_is_that_of_the_store_but_for_child_runs(store: Store, tmp_path: Path) -> None:
    with trace.task(store.log, "lonely") as task:
        task.message("user", "nobody else")
    store.log.checkpoint(store.key)
    trace.exhibit(store.log, "lonely", tmp_path / "x.zip")
    page = io.BytesIO()
    write_page(store.log, "lonely", page)
    assert members(tmp_path / "x.zip")["transcript.html"] == page.getvalue()


def test_nothing_of_another_run_is_in_it(alice: Path) -> None:
    everything = b"\0".join(members(alice).values())
    assert b"the secret of alice" in everything
    for other in (b"secret of bob", b"judge of bob", PATCH + b"bob", b'"bob', b"tried once more"):
        assert other not in everything


def test_the_same_run_gives_the_same_bytes(store: Store, tmp_path: Path, alice: Path) -> None:
    trace.exhibit(
        store.log, store.log.stream("alice"), tmp_path / "x.zip", checkpoint=store.checkpoint
    )
    assert (tmp_path / "x.zip").read_bytes() == alice.read_bytes()


@pytest.mark.parametrize("which", ["retry", "merge", "selected"])
def test_branches_and_merges_have_exhibits_with_what_they_descend_from(
    store: Store, tmp_path: Path, which: str
) -> None:
    name = getattr(store, which)
    trace.exhibit(store.log, name, tmp_path / "x.zip", checkpoint=store.checkpoint)
    checked = store.check(tmp_path / "x.zip")
    stream = store.log.stream(name)
    assert [record.payload for record in checked.proof.records()] == [r.payload for r in stream]
    told = json.loads(members(tmp_path / "x.zip")["manifest.json"])
    assert [place["stream"] for place in told["run"]["parents"]] == [
        place.stream for place in stream.parents
    ]
    assert (told["run"]["kind"], told["run"]["policy"]) == (
        stream.kind,
        stream.merge_plan.policy if stream.merge_plan else None,
    )


def test_a_merge_that_leaves_out_what_its_records_refer_to_brings_that_along(
    path: Path, tmp_path: Path
) -> None:
    """A policy of one's own may take the second half of a conversation alone."""
    transit.register_policy("late", lambda suffixes, params: [r for s in suffixes for r in s[-3:]])
    with transit.open(path, durability="os") as log:
        key = transit.SigningKey.generate(f"x/{log.store_id}")
        said = [{"role": "user", "content": "a message that is long enough to be a part " * 3}]
        for name in ("a", "b"):
            with trace.task(log, name) as task:
                for n in range(3):
                    with task.model("gpt", {"messages": said, "n": n}) as call:
                        call.response({"role": "assistant", "content": f"{n} " * 40})
                    # In a chunk of its own: the merge has no record of the first.
                    log.seal()
        merged = trace.merge(log, ["a", "b"], policy="custom:late")
        log.checkpoint(key)
        trace.exhibit(log, merged, tmp_path / "x.zip")
        checked = trace.check_exhibit(tmp_path / "x.zip", key.verifying)
        assert set(checked.parts.parents) == {log.stream("a").uid, log.stream("b").uid}
        assert [r.payload for r in checked.proof.records()] == [r.payload for r in merged.stream]


def test_a_run_without_a_record_has_an_exhibit(store: Store, tmp_path: Path) -> None:
    trace.exhibit(store.log, "empty", tmp_path / "x.zip", checkpoint=store.checkpoint)
    checked = store.check(tmp_path / "x.zip")
    assert checked.proof.shown.records == (0, 0)
    assert any("nobody had written a note" in said for said in checked.not_shown)


def test_what_came_after_the_checkpoint_is_not_in_it(store: Store, tmp_path: Path) -> None:
    with trace.task(store.log, "late") as task:
        task.message("user", "in time")
    checkpoint = store.log.checkpoint(store.key)
    trace.annotate(store.log, "late", "correct", score=1)
    trace.exhibit(store.log, "late", tmp_path / "x.zip", checkpoint=checkpoint)
    assert "notes.ndjson" not in members(tmp_path / "x.zip")
    store.log.checkpoint(store.key)
    trace.exhibit(store.log, "late", tmp_path / "x.zip")
    assert "notes.ndjson" in members(tmp_path / "x.zip")


def test_an_artifact_that_the_store_lost_is_told(path: Path, tmp_path: Path) -> None:
    with transit.open(path, durability="os") as log:
        key = transit.SigningKey.generate(f"x/{log.store_id}")
        name = f"$trace/artifact/{'0' * 64}"
        log.create("run", {"task_id": "run"}).append(
            b'{"event":"artifact","artifact_id":"a","kind":"k","ref":"%b","content_type":"t",'
            b'"byte_length":1,"digest":"%b"}' % (name.encode(), b"0" * 64)
        )
        log.checkpoint(key)
        trace.exhibit(log, "run", tmp_path / "x.zip")
        trace.check_exhibit(tmp_path / "x.zip", key.verifying)
    told = json.loads(members(tmp_path / "x.zip")["manifest.json"])
    assert told["artifacts_not_here"] == [name]


# What does not hold


def test_any_file_that_was_changed_left_out_or_added_is_refused(
    store: Store, alice: Path, tmp_path: Path
) -> None:
    files = members(alice)
    for name, data in files.items():
        at = len(data) // 2
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        for some in ({**files, name: changed}, {n: d for n, d in files.items() if n != name}):
            with pytest.raises(transit.ProofError):
                store.check(written(tmp_path / "x.zip", some))
    extra = "0" * 64
    for name in (
        f"artifacts/{extra}", f"proof/leaves/{extra}", f"proof/commits/{9:020}.json",
        f"proof/artifacts/{extra}.json", f"proof/parents/{extra[:32]}.json",
        f"proof/how/artifact-{extra}.txt",
    ):  # fmt: skip
        with pytest.raises(transit.ProofError):
            store.check(written(tmp_path / "x.zip", {**files, name: b"x"}))
    store.check(written(tmp_path / "x.zip", files))


def test_a_page_that_was_made_to_fit_its_manifest_is_refused(
    store: Store, alice: Path, tmp_path: Path
) -> None:
    files = members(alice)
    page = files["transcript.html"].replace(b"the secret of alice", b"a secret of nobody")
    old, new = (blake3(data).hexdigest().encode() for data in (files["transcript.html"], page))
    files |= {
        "transcript.html": page,
        "manifest.json": files["manifest.json"].replace(old, new),
        "HOW.txt": files["HOW.txt"].replace(old, new),
    }
    with pytest.raises(transit.ProofError, match=r"transcript\.html: not what its proofs give"):
        store.check(written(tmp_path / "x.zip", files))


def test_a_page_of_another_version_is_not_compared_and_that_is_said(
    store: Store, alice: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "__version__", "99.0")
    checked = store.check(alice)
    assert "transcript.html" in checked.not_made_again
    assert not any("transcript.html" in said for said in checked.shown)
    assert any("another version" in said for said in checked.not_shown)
    files = members(alice)
    changed = {**files, "records.ndjson": files["records.ndjson"].replace(b"alice", b"aline")}
    with pytest.raises(transit.ProofError, match=r"records\.ndjson"):
        store.check(written(tmp_path / "x.zip", changed))
    changed = {**files, "transcript.html": b"<p>nothing</p>"}
    with pytest.raises(transit.ProofError, match=r"manifest\.json"):
        store.check(written(tmp_path / "x.zip", changed))


@pytest.mark.parametrize(
    ("records", "end"), [((0, 3), False), ((2, None), True), ((0, None), False)]
)
def test_an_exhibit_of_a_part_of_a_run_is_refused(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    records: tuple[int, int | None],
    end: bool,
) -> None:
    """Also one whose every file follows from the proof that it has."""
    part = store.log.prove("plain", records=records, end=end, checkpoint=store.checkpoint)
    with monkeypatch.context() as patch:
        patch.setattr(making, "check_parts", lambda parts: None)
        files = making._files({"run": part})
    with pytest.raises(transit.ProofError, match="does not show all records of the run"):
        store.check(written(tmp_path / "x.zip", files))


def test_an_exhibit_without_a_value_that_its_records_refer_to_is_refused(
    store: Store, tmp_path: Path
) -> None:
    run = store.log.prove("alice", records=(0, None), end=True, checkpoint=store.checkpoint)
    files = {f"proof/{name}": data for name, data in run.items() if name != "HOW.txt"}
    files["proof/run.json"] = files.pop("proof/proof.json")
    files["manifest.json"] = json.dumps(
        {"kind": "transit-exhibit", "version": 1, "made_with": transit.__version__}
    ).encode()
    with pytest.raises(transit.ProofError, match="no proof shows a stream"):
        store.check(written(tmp_path / "x.zip", files))


def test_the_notes_of_another_run_are_refused(store: Store, alice: Path, tmp_path: Path) -> None:
    bob = store.log.stream("bob").uid
    notes = store.log.prove(
        f"$trace/notes/{bob}", records=(0, None), end=True, checkpoint=store.checkpoint
    )
    files = members(alice) | {"proof/notes.json": notes["proof.json"]}
    files |= {f"proof/{name}": data for name, data in notes.items() if "/" in name}
    # Which of the two is looked at first depends on the commits that they share.
    with pytest.raises(transit.ProofError, match=r"not the notes on the run|about another commit"):
        store.check(written(tmp_path / "x.zip", files))


def test_another_key_does_not_vouch_for_it(store: Store, alice: Path) -> None:
    other = transit.SigningKey.generate(f"example.com/runs/{store.log.store_id}")
    with pytest.raises(transit.ProofError, match="not signed by a known key"):
        trace.check_exhibit(alice, other.verifying)


# Zips of anybody


def member(name: str, data: bytes = b"x", mode: int = stat.S_IFREG | 0o644) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        opened.writestr(info, data, zipfile.ZIP_DEFLATED)
    return file.getvalue()


def twice() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        opened.writestr("manifest.json", "1")
        with pytest.warns(UserWarning, match="Duplicate"):
            opened.writestr("manifest.json", "2")
    return file.getvalue()


def bomb() -> bytes:
    """Many members that each become as much as one may, of one that is packed once."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        for n in range(3):
            info = zipfile.ZipInfo(f"artifacts/{n:064}")
            opened.writestr(info, bytes(1024), zipfile.ZIP_DEFLATED)
    data = file.getvalue()
    # What they say they become, in the directory and before each.
    return data.replace((1024).to_bytes(4, "little"), (400 * 1024 * 1024).to_bytes(4, "little"))


def larger_than_said() -> bytes:
    data = member("manifest.json", bytes(100_000))
    return data.replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "a path out of the folder": (lambda: member("../HOW.txt"), "no exhibit has"),
    "an absolute path": (lambda: member("/HOW.txt"), "no exhibit has"),
    "a path of another system": (lambda: member("artifacts\\..\\x"), "no exhibit has"),
    "a name with a null": (lambda: member("HOW.txtAx").replace(b"A", b"\0"), "no exhibit has"),
    "a name that steers a terminal": (lambda: member("\x1b[2J"), r"\\x1b\[2J"),
    "a folder": (lambda: member("artifacts/"), "no exhibit has"),
    "a link": (lambda: member("HOW.txt", b"/etc/passwd", stat.S_IFLNK | 0o777), "no plain file"),
    "a device": (lambda: member("HOW.txt", b"", stat.S_IFCHR | 0o666), "no plain file"),
    "a name that is there twice": (twice, "is there twice"),
    "more than fits": (bomb, "would become more than"),
    "a checkpoint that is large": (
        lambda: member("proof/checkpoint", bytes(3 * 1024 * 1024)), "would become more than",
    ),
    "more than it says": (larger_than_said, r"manifest\.json"),
    "no manifest": (lambda: member("HOW.txt"), r"manifest\.json: no such file"),
    "another manifest": (lambda: member("manifest.json", b"[]"), "not a manifest"),
    "no zip": (lambda: b"PK\x03\x04 and no more", "not a whole zip"),
    "nothing": (lambda: b"", "not a whole zip"),
    "only a directory": (lambda: b"PK\x05\x06" + bytes(18), r"manifest\.json: no such file"),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_zip_is_refused(store: Store, tmp_path: Path, what: str) -> None:
    make, told = HOSTILE[what]
    path = tmp_path / "x.zip"
    path.write_bytes(make())
    with pytest.raises(transit.ProofError, match=told):
        store.check(path)


def test_a_zip_that_ends_early_is_refused_wherever_that_is(
    store: Store, alice: Path, tmp_path: Path
) -> None:
    data = alice.read_bytes()
    for stop in range(0, len(data), max(len(data) // 97, 1)):
        (tmp_path / "x.zip").write_bytes(data[:stop])
        with pytest.raises(transit.ProofError):
            store.check(tmp_path / "x.zip")


def test_what_is_no_file_is_told(store: Store, tmp_path: Path) -> None:
    with pytest.raises(transit.NotFoundError):
        store.check(tmp_path / "nothing")
    with pytest.raises(transit.NotFoundError):
        store.check(tmp_path)


# Standard tools


def by_hand(folder: Path, vkey: str) -> subprocess.CompletedProcess[str]:
    """Run HOW.txt with nothing of ours, and nothing of Python, in its environment."""
    return subprocess.run(
        ["sh", "HOW.txt", vkey], cwd=folder, env={"PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def test_standard_tools_check_an_exhibit_by_its_how_txt(
    store: Store, alice: Path, tmp_path: Path
) -> None:
    vkey = store.key.verifying.to_text()
    subprocess.run(["unzip", "-q", alice, "-d", tmp_path / "x"], check=True, timeout=60)
    done = by_hand(tmp_path / "x", vkey)
    assert (done.returncode, done.stderr) == (0, "")
    assert "DOES NOT HOLD" not in done.stdout
    for held in ("the payloads of the run", "the notes on the run", "its digest", "transcript"):
        assert any(
            line.startswith("holds: ") and held in line for line in done.stdout.splitlines()
        ), held
    other = transit.SigningKey.generate(f"example.com/runs/{store.log.store_id}")
    assert by_hand(tmp_path / "x", other.verifying.to_text()).returncode == 1
    artifact = max((tmp_path / "x" / "artifacts").iterdir())
    for path in (
        "payloads.ndjson",
        "notes.ndjson",
        "transcript.html",
        f"artifacts/{artifact.name}",
    ):
        whole = (tmp_path / "x" / path).read_bytes()
        (tmp_path / "x" / path).write_bytes(whole[:-3] + b"?" + whole[-2:])
        done = by_hand(tmp_path / "x", vkey)
        assert (done.returncode, "DOES NOT HOLD" in done.stdout) == (1, True), path
        (tmp_path / "x" / path).write_bytes(whole)
    assert by_hand(tmp_path / "x", vkey).returncode == 0
