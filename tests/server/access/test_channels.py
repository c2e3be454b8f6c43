"""What of the layer of channels a token reaches: that of its own channels, each right apart."""

from __future__ import annotations

import pytest

from transit.server.access import RIGHTS, Grant, right_to_create

OWN, OTHER, LAYER = "a" * 32, "b" * 32, "c" * 32
_NAMES = {OWN: "dev", OTHER: "ops", LAYER: "$chat/decisions/" + OWN}


def _grant(*rights: tuple[str, str]) -> Grant:
    pairs = tuple((prefix, frozenset(given.split())) for prefix, given in rights)
    return Grant("t", pairs, _NAMES.get)


def _reached(grant: Grant, stream: str) -> set[str]:
    return {right for right in RIGHTS if grant.allows(right, stream)}


OF_A_CHANNEL = {
    "$chat/decisions/U": {"read", "append"},
    "$chat/decisions/U/1": {"read", "append", "merge"},
    "$chat/decisions/U/12": {"read", "append", "merge"},
    "$chat/reruns/U/a%2Fb": {"read", "append", "branch"},
    "$chat/readers/U/zoe": {"read", "append"},
    "$chat/policy/U": {"read", "append"},
}


@pytest.mark.parametrize("name", OF_A_CHANNEL)
def test_each_right_on_a_channel_is_that_right_on_what_is_about_it(name: str) -> None:
    own, other = name.replace("U", OWN), name.replace("U", OTHER)
    whole = _grant(("dev", " ".join(RIGHTS)))
    assert _reached(whole, own) == OF_A_CHANNEL[name]
    assert _reached(whole, other) == set()
    for right in RIGHTS:
        assert _reached(_grant(("dev", right)), own) == OF_A_CHANNEL[name] & {right}
        assert _reached(_grant(("de", right), ("x", "read append")), own) == (
            OF_A_CHANNEL[name] & {right}
        )
        # Replies in threads are not the channel.
        assert _reached(_grant(("dev/", right)), own) == set()
    assert _reached(_grant(("$chat/", "read"), ("ops", "append")), own) == {"read"}
    assert _reached(_grant(("", " ".join(RIGHTS))), own) == set(RIGHTS)


@pytest.mark.parametrize(
    "name",
    [
        "$chat", "$chat/", "$chat/decisions", "$chat/decisions/", "$chat/decisions/U/",
        "$chat/decisions/U/0", "$chat/decisions/U/01", "$chat/decisions/U/x",
        "$chat/decisions/U/1/2",
        "$chat/decisions/U/1\n", "$chat/decisions/U\n", "$chat/decisions/U/\u0661",
        "$chat/reruns/U", "$chat/reruns/U/", "$chat/reruns/U/a/b", "$chat/readers/U",
        "$chat/readers/U/", "$chat/readers/U/a/b", "$chat/policy/U/x", "$chat/other/U",
        "$chat/dev", "$chats/decisions/U", "$chat/decisions/dev", "$chat/decisions/uid",
    ],
)  # fmt: skip
def test_nothing_else_of_the_layer_is_reached(name: str) -> None:
    assert _reached(_grant(("dev", " ".join(RIGHTS))), name.replace("U", OWN)) == set()


def test_what_is_about_a_stream_of_a_layer_or_of_none_is_nobodys() -> None:
    grant = _grant(("dev", " ".join(RIGHTS)))
    for uid in (LAYER, "d" * 32, OWN.upper(), OWN[:-1], OWN + "a"):
        assert _reached(grant, f"$chat/decisions/{uid}") == set()


def test_roots_in_place_of_merges_and_branches_need_the_same_right() -> None:
    assert right_to_create(f"$chat/decisions/{OWN}") == "append"
    assert right_to_create(f"$chat/decisions/{OWN}/1") == "merge"
    assert right_to_create(f"$chat/reruns/{OWN}/x") == "branch"
    assert right_to_create(f"$chat/readers/{OWN}/x") == "append"
    assert right_to_create("dev") == "append"
