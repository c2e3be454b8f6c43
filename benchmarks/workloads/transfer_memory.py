"""How much memory publishing and restoring take, however much there is to transfer."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from typing import Literal

import msgspec

import transit
from benchmarks.places import RANDOM_BYTES, sealed_store
from benchmarks.processes import measured
from benchmarks.remote import Bucket, Rig, files_below
from benchmarks.workload import Aim, Facts
from benchmarks.workloads.publish import PARTS

MIB = 1024 * 1024
Way = Literal["publish", "restore"]
# The server is in the environment. What is loaded and connected already is not counted.
BEGIN = """
import json, os, sys
import transit
from benchmarks.processes import forget_peak, peak_bytes
from benchmarks.remote import TIMEOUT_S, server_of
from transit.store import open_store
path, place = sys.argv[1:3]
options = server_of(os.environ).options()
"""
END = """
print('{"bytes": %d}' % (peak_bytes() - before))
"""
PUBLISH = f"""{BEGIN}
store = open_store(place, options, TIMEOUT_S)
with transit.open(path, remote=store) as log:
    forget_peak()
    before = peak_bytes()
    log.publish()
{END}"""
RESTORE = f"""{BEGIN}
store = open_store(place, options, TIMEOUT_S)
store.get("FORMAT", 4096)
forget_peak()
before = peak_bytes()
transit.restore(store, path)
{END}"""
RAW_BEGIN = f"""{BEGIN}
from benchmarks.remote import Bucket
with Bucket(server_of(os.environ)) as bucket:
    work = json.loads(sys.argv[3])
    forget_peak()
    before = peak_bytes()
"""
RAW: dict[Way, str] = {
    "publish": f"{RAW_BEGIN}    bucket.upload(work, place){END}",
    "restore": f"{RAW_BEGIN}    bucket.download(work, place, path){END}",
}


class TransferMemory:
    """Growth of the peak resident memory in a fresh process, from right before the transfer."""

    def __init__(self, rig: Rig, way: Way) -> None:
        self._rig = rig
        self._way = way
        self._open = ExitStack()
        self.remark = ""
        settings = transit.Settings()
        self.facts = Facts(
            name=f"{way}-memory",
            work=f"growth of the peak memory during {way}() in a fresh process",
            raw="s3fs: the same files, 8 at once, by "
            + ("_pipe_file" if way == "publish" else "_get_file"),
            unit="MiB",
            better="less",
            # The objects on their way, and blocks that were decoded.
            aim=Aim("value", (settings.transfer_bytes_max + settings.cache_bytes_max) / MIB),
            records=16_384,
            payload_bytes=RANDOM_BYTES,
            runs_max=1,
        )

    def setup(self, folder: str, records: int) -> None:
        self._folder = folder
        self._bucket = self._open.enter_context(Bucket(self._rig.server))
        self._path = sealed_store(folder, records, "random")
        self._files = dict(files_below(self._path, PARTS))
        size = sum(map(os.path.getsize, self._files.values()))
        self.remark = f"{size / 1e6:,.0f} MB in {len(self._files)} objects"
        if self._way == "restore":
            self._place = self._bucket.new_place()
            self._bucket.upload(
                {**self._files, "FORMAT": os.path.join(self._path, "FORMAT")}, self._place
            )
            shutil.rmtree(self._path)

    def raw(self) -> float:
        if self._way == "publish":
            return self._measured(RAW["publish"], self._path, msgspec.json.encode(self._files))
        return self._measured(
            RAW["restore"], os.path.join(self._folder, "raw"), msgspec.json.encode([*self._files])
        )

    def ours(self) -> float:
        if self._way == "publish":
            return self._measured(PUBLISH, self._path)
        return self._measured(RESTORE, os.path.join(self._folder, "restored"))

    def _measured(self, program: str, path: str, *more: bytes) -> float:
        given = [each.decode() for each in more]
        if self._way == "restore":
            found = measured(program, path, self._place, *given)
            shutil.rmtree(path)
        else:
            place = self._bucket.new_place()
            found = measured(program, path, place, *given)
            self._bucket.empty(place)
        return found["bytes"] / MIB

    def close(self) -> None:
        self._open.close()
