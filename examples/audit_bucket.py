"""Audit a published store, for an operator's cron: from its bytes alone, trusting nothing there.

    python examples/audit_bucket.py URL [--level L] [--trusted-root R | --trusted-root-file F]
                                        [--endpoint URL] [--json]

URL is s3://bucket/prefix, any address fsspec knows, or a folder. With --trusted-root-file the root
of each sound audit is remembered in F, and the next one must find it in the history: a bucket that
was set back or made anew is noticed. Keep F where no writer of the bucket can write.
Credentials come from the environment, as for any S3 tool.

Findings go to standard error. Exit status: 0 sound, 7 findings, 3 no store there, 12 the remote is
away, otherwise the error's own code. Without URL: a small store is made, damaged and set back.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import transit

FINDINGS = 7
ROOT = re.compile(r"[0-9a-f]{64}")


def trusted_root(arguments: argparse.Namespace) -> str | None:
    """The root that was given or remembered; None on the first run."""
    if arguments.trusted_root is not None:
        return str(arguments.trusted_root)
    file = arguments.trusted_root_file
    if file is None or not file.exists():
        return None
    root: str = file.read_text(encoding="ascii", errors="replace").strip()
    if not ROOT.fullmatch(root):
        # An attacker that empties the file must not hide a rollback: never taken for a first run.
        raise transit.InvalidInputError(f"{file}: holds no root; look why, then remove it")
    return root


def remember(file: Path, root: str) -> None:
    """Keep `root` in `file`: the old one or the new one is there, whatever happens."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "w", encoding="ascii") as new:
            new.write(root + "\n")
            new.flush()
            os.fsync(new.fileno())
        os.replace(name, file)
    except BaseException:
        os.unlink(name)
        raise


def show(report: transit.Report, url: str) -> None:
    """What was checked; findings on standard error."""
    for finding in report.findings:
        print(
            f"{finding.place}: expected {finding.expected}, found {finding.found}", file=sys.stderr
        )
    counts = {kind: count for kind, count in report.counts.items() if count}
    seed = counts.pop("sample_seed", None)
    checked = ", ".join(f"{count:,} {kind}" for kind, count in counts.items())
    checked += f", seed {seed}" if seed is not None else ""
    print(f"{url}: level {report.level}: {checked}")
    print(f"{'sound' if report.ok else 'NOT SOUND'}; head root {report.head or 'none'}")


def show_json(report: transit.Report, url: str) -> None:
    print(
        json.dumps(
            {
                "url": url,
                "ok": report.ok,
                "level": report.level,
                "head": report.head,
                "counts": dict(report.counts),
                "findings": [
                    {"place": f.place, "expected": f.expected, "found": f.found}
                    for f in report.findings
                ],
            }
        )
    )


def run(arguments: argparse.Namespace) -> int:
    options = {"endpoint_url": arguments.endpoint} if arguments.endpoint else None
    report = transit.audit(
        arguments.url,
        arguments.level,
        trusted_root=trusted_root(arguments),
        storage_options=options,
    )
    (show_json if arguments.json else show)(report, arguments.url)
    if not report.ok:
        return FINDINGS
    if arguments.trusted_root_file is not None and report.head:
        remember(arguments.trusted_root_file, report.head)
    return 0


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Audit a published store.")
    parser.add_argument("url", nargs="?", metavar="URL", help="none: a small store made for it")
    parser.add_argument("--level", default="bodies", help="roots, bodies (default) or sample:P")
    known = parser.add_mutually_exclusive_group()
    known.add_argument("--trusted-root", metavar="R", help="a root that was written down earlier")
    known.add_argument("--trusted-root-file", type=Path, metavar="F", help="where it is kept")
    parser.add_argument("--endpoint", metavar="URL", help="of an S3 server that is not Amazon's")
    parser.add_argument("--json", action="store_true", help="print the whole report as JSON")
    arguments = parser.parse_args(given)
    if arguments.url is None:
        with tempfile.TemporaryDirectory() as folder:
            return play(Path(folder))
    try:
        return run(arguments)
    except transit.TransitError as error:
        print(f"audit_bucket: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"audit_bucket: {arguments.trusted_root_file}: {error}", file=sys.stderr)
        return 1


def play(folder: Path) -> int:
    """A sound bucket, one flipped bit, and an older state put back."""
    bucket, remembered = folder / "bucket", folder / "trusted-root"
    command = [str(bucket), "--trusted-root-file", str(remembered)]
    with transit.open(folder / "store", remote=bucket, durability="os") as log:
        for number in range(3):
            task = log.create(f"task-{number}")
            task.append_many([b"step %d" % step for step in range(100)])
            log.merge(f"task-{number}/kept", [task, task.branch(f"{number}/b")], policy="append")
            log.seal()
        log.publish()
    print("# sound")
    statuses = [main(command)]

    print("# one bit of a segment flipped", flush=True)
    segment = sorted((bucket / "segments").iterdir())[0]
    whole = segment.read_bytes()
    segment.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    statuses.append(main(command))
    segment.write_bytes(whole)

    print("# the last commit taken away, which leaves a whole history", flush=True)
    sorted((bucket / "commits").iterdir())[-1].unlink()
    statuses.append(main(command))
    return 0 if statuses == [0, FINDINGS, FINDINGS] else 1


if __name__ == "__main__":
    sys.exit(main())
