"""How a channel is threaded, for all who run a classifier."""

from __future__ import annotations

from pathlib import Path

import pytest

import transit
from transit import chat

from .talking import a_channel, say


def test_what_was_set_counts_for_all_runs(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        assert dev.policy == chat.ChannelPolicy("linear", 0.8)
        dev.set_policy(by="ada", classifier="rule", decide_at=0.5)
        again = chat.channel(dev.log, "dev")
        assert (again.policy.classifier, again.policy.decide_at, again.policy.by) == (
            "rule",
            0.5,
            "ada",
        )
        going = chat.threading(again)
        assert (going.classifier.name, going.decide_at) == ("rule", 0.5)
        assert chat.threading(again, decide_at=0).decide_at == 0
        dev.set_policy(by="eve", decide_at=0.9)
        assert (dev.policy.classifier, dev.policy.decide_at, dev.policy.by) == ("rule", 0.9, "eve")


def test_what_cannot_be_set_is_refused(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        for wrong in ({"classifier": "best"}, {"decide_at": 2}, {"decide_at": "0"}, {"by": ""}):
            with pytest.raises(transit.InvalidInputError):
                dev.set_policy(**{"by": "ada", **wrong})  # type: ignore[arg-type]
        assert dev.policy == chat.ChannelPolicy()


@pytest.mark.parametrize(
    "payload", [b"x", b"{}", b'{"classifier":"best","decide_at":0}', b'{"classifier":"rule"}']
)
def test_a_record_that_is_no_policy_is_passed_over(tmp_path: Path, payload: bytes) -> None:
    with a_channel(tmp_path) as dev:
        say(dev, "a")
        dev.set_policy(by="ada", decide_at=0.7)
        stream = dev.log.layer("chat").stream(f"policy/{dev.stream.uid}")
        stream.append(payload, headers={"kind": "channel-policy"})
        stream.append(payload)
        assert dev.policy.decide_at == 0.7
