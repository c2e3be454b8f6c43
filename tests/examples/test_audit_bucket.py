"""The auditor for cron: what it prints, what it remembers, what it exits with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import transit

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "examples" / "audit_bucket.py"


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", str(SCRIPT), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


def write(path: Path, count: int) -> str:
    """Publish `count` commits more; the root."""
    with transit.open(path / "store", remote=path / "bucket", durability="os") as log:
        for _ in range(count):
            log.create(f"s{log.status().streams}").append(b"x" * 100)
            log.seal()
        return log.publish().head


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    write(tmp_path, 3)
    return tmp_path / "bucket"


def test_without_arguments_it_shows_what_it_finds() -> None:
    done = run()
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("NOT SOUND") == 2
    assert "trusted root" in done.stderr
    assert ".seg" in done.stderr


@pytest.mark.parametrize("level", ["roots", "bodies", "sample:0.5"])
def test_a_sound_bucket_is_0_and_nothing_on_standard_error(bucket: Path, level: str) -> None:
    done = run(bucket, "--level", level)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"level {level}" in done.stdout
    assert "sound; head root " in done.stdout


def test_damage_is_7_and_named(bucket: Path) -> None:
    segment = next((bucket / "segments").iterdir())
    segment.write_bytes(segment.read_bytes()[:-1])
    done = run(bucket)
    assert done.returncode == 7
    assert segment.name in done.stderr
    assert "NOT SOUND" in done.stdout


def test_json_holds_the_whole_report(bucket: Path) -> None:
    (bucket / "FORMAT").write_bytes(b"?")
    done = run(bucket, "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 7
    assert not found["ok"]
    assert found["counts"]["commits"] == 3
    assert "FORMAT" in found["findings"][0]["place"]


def test_the_root_is_remembered_and_a_history_that_went_on_is_fine(
    bucket: Path, tmp_path: Path
) -> None:
    file = tmp_path / "kept" / "root"
    for count in (1, 2):
        head = write(tmp_path, count)
        assert run(bucket, "--trusted-root-file", file).returncode == 0
        assert file.read_text().strip() == head
    assert [entry.name for entry in file.parent.iterdir()] == ["root"]


@pytest.mark.slow
def test_a_rollback_is_7_and_the_root_stays(bucket: Path, tmp_path: Path) -> None:
    file = tmp_path / "root"
    assert run(bucket, "--trusted-root-file", file).returncode == 0
    before = file.read_text()
    sorted((bucket / "commits").iterdir())[-1].unlink()
    for _ in range(2):
        done = run(bucket, "--trusted-root-file", file)
        assert done.returncode == 7
        assert before.strip() in done.stderr
        assert file.read_text() == before
    assert run(bucket, "--trusted-root", before.strip()).returncode == 7
    assert run(bucket).returncode == 0


@pytest.mark.parametrize("text", ["", "12", "é" * 64])
def test_a_remembered_root_that_is_none_is_2_and_stays(
    bucket: Path, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "root"
    file.write_text(text, encoding="utf-8")
    done = run(bucket, "--trusted-root-file", file)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert file.read_text(encoding="utf-8") == text


def test_no_store_is_3_and_a_wrong_level_2(bucket: Path, tmp_path: Path) -> None:
    assert run(tmp_path / "nothing").returncode == 3
    assert run(bucket, "--level", "all").returncode == 2


@pytest.mark.slow
def test_a_remote_that_is_away_is_12() -> None:
    pytest.importorskip("s3fs")
    program = (
        "import sys, functools, transit\n"
        f"sys.path.insert(0, {str(SCRIPT.parent)!r})\n"
        "import audit_bucket\n"
        "short = transit.Settings(remote_timeout_s=0.5)\n"
        "transit.audit = functools.partial(transit.audit, settings=short)\n"
        "command = ['s3://nobody', '--endpoint', 'http://127.0.0.1:9']\n"
        "sys.exit(audit_bucket.main(command))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={
            **os.environ, "PYTHONPATH": str(ROOT), "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "secret-of-mine", "AWS_DEFAULT_REGION": "us-east-1",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 12, done.stderr
    assert "secret-of-mine" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
