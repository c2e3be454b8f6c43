"""A process that erases is killed at each of its calls to the system; the next one finishes it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import transit
from rigs.crash.erasures import check_erased

# Each child dies so many calls later than the one before.
STEP = 2
TIMEOUT_S = 120

CHILD = """
import os, signal, sys
import transit

folder, remote, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
log = transit.open(folder, remote=remote)
left = [number]

def deadly(call):
    def counted(*arguments, **options):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **options)
    return counted

for name in ("unlink", "replace", "link", "fsync", "fdatasync", "pwrite", "rmdir", "rename"):
    setattr(os, name, deadly(getattr(os, name)))
log.delete("secret", reason="kill", durability="os")
log.erase()
os._exit(0)
"""


def make(root: Path) -> dict[str, list[bytes]]:
    """A published store, partly evicted, with a stream that is to go; what the others hold."""
    with transit.open(root / "store", remote=root / "remote") as log:
        for part in range(3):
            for name in ("a", "secret", "b"):
                stream = log.stream(name) if part else log.create(name)
                word = name.upper().encode()
                stream.append_many([b"%s %d %d" % (word, part, n) for n in range(9)])
            log.publish()
            if part == 0:
                log.evict(bytes_max=0)
        log.cache("room").put("derived.bin", b"SECRET")
        return {name: [record.payload for record in log.stream(name)] for name in ("a", "b")}


def held(log: transit.Log) -> dict[str, list[bytes]]:
    return {stream.name: [record.payload for record in stream] for stream in log.streams()}


@pytest.mark.slow
def test_an_erasure_that_is_killed_anywhere_is_finished_by_the_next(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    others = make(whole)
    number = kills = 0
    while True:
        number += STEP
        root = tmp_path / str(number)
        shutil.copytree(whole, root)
        folders = [str(root / "store"), str(root / "remote")]
        child = subprocess.run(
            [sys.executable, "-c", CHILD, *folders, str(number)],
            timeout=TIMEOUT_S,
            check=False,
        )
        assert child.returncode in (0, -signal.SIGKILL)
        kills += child.returncode != 0
        with transit.open(root / "store", remote=root / "remote") as log:
            found = held(log)
            assert {name: found[name] for name in ("a", "b")} == others
            if "secret" in found:
                log.delete("secret", reason="again")
            check_erased(log, root, {"a", "b"})
            assert held(log) == others
            report = log.verify()
            assert report.findings == ()
            assert report.counts["erased_records"] == 27
        assert transit.audit(root / "remote").findings == ()
        shutil.rmtree(root)
        if child.returncode == 0:
            break
    assert kills > 20
