"""Ten real logs: imported, threaded, judged by what is not ours, overridden, frozen, restored."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import transit
from transit import chat

from .talking import shape

SHARED = Path(__file__).resolve().parents[3] / "shared"
DATA, SCORER = SHARED / "data" / "irc", SHARED / "tools" / "threads" / "score.py"


def imported(log: transit.Log) -> dict[str, chat.Channel]:
    """The channels, by the names of the logs."""
    found = {}
    for path in sorted(DATA.glob("*.ascii.txt")):
        name = path.name.split(".")[0]
        done = chat.import_chat(log, path, channel=name, prefix="irc/")
        assert (done.new, done.bad_count, done.unresolved_count) == (1250, 0, 0)
        found[name] = chat.channel(log, f"irc/{name}")
    return found


def judged(channels: dict[str, chat.Channel], folder: Path) -> dict[str, float]:
    """What the scorer says of the threads in force, percent."""
    lines = []
    for name, channel in channels.items():
        fold = channel.threads().fold
        for offset in channel.index.messages(1000):
            parent = fold.parent(offset)
            lines.append(f"{name}:{offset if parent is None else parent} {offset} -")
    (folder / "links.txt").write_text("\n".join(lines))
    command = [sys.executable, SCORER, "--json", DATA, folder / "links.txt"]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(said.stdout)
    return found


@pytest.mark.slow
@pytest.mark.skipif(not SCORER.is_file(), reason="../shared/tools is not here")
def test_ten_real_logs_from_import_to_audit(tmp_path: Path) -> None:
    remote = str(tmp_path / "bucket")
    with transit.open(tmp_path / "s", remote=remote, durability="os") as log:
        channels = imported(log)
        for channel in channels.values():
            going = chat.threading(channel, classifier=chat.linear(), decide_at=0)
            assert sum(1 for _ in going.run()) == 1250
        scored = judged(channels, tmp_path)
        print(scored)
        # On the logs that the weights are from; by other logs it is in docs/guide/chat.md.
        ours = chat.compare(channels["2016-12-19_20"], gold=DATA / "2016-12-19_20.annotation.txt")
        assert ours.score.missing == 0
        assert ours.score.link.f1 > 0.6

        # Ten decisions are overridden, as one would who looks at the least sure ones.
        channel = channels["2011-05-29_19"]
        decided = [
            each for each in channel.threads().decisions() if isinstance(each, chat.Decision)
        ]
        unsure = sorted(decided, key=lambda each: each.score)[:10]
        for each in unsure:
            parent = each.alternatives[0].parent if each.alternatives else None
            channel.override(each.message, parent=parent, by="ada", reason="the second guess")
        fold = channel.threads().fold
        for each in unsure:
            wanted = each.alternatives[0].parent if each.alternatives else None
            assert fold.parent(each.message) == wanted

        thread = max(channel.threads(), key=len)
        frozen = thread.freeze(reason="kept", by="ada")
        held = [message.text for message in chat.read_frozen(frozen)]
        assert held == [message.text for message in thread]
        before = {name: shape(each.threads()) for name, each in channels.items()}
        log.publish()
        assert log.verify().ok

    report = transit.audit(remote, level="bodies")
    assert report.ok
    assert report.counts["merges"] == 1
    assert not report.counts.get("merges_not_rerun")
    transit.restore(remote, tmp_path / "t")
    with transit.open(tmp_path / "t", mode="read") as log:
        for name, threads in before.items():
            assert shape(chat.channel(log, f"irc/{name}").threads()) == threads
        again = [message.text for message in chat.read_frozen(log.stream(frozen.name))]
        assert again == held
