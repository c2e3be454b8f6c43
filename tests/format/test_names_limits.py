"""Names whose one bad character stands at the very place where a limit is."""

from __future__ import annotations

import pytest

from transit.errors import InvalidInputError
from transit.format.names import check_name


@pytest.mark.parametrize("place", [1, 255, 510, 511])
@pytest.mark.parametrize("bad", ["\0", "\x7f", "\u202e"])
def test_a_control_character_is_found_at_any_place_of_a_name(place: int, bad: str) -> None:
    name = "a" * place + bad + "a" * (509 - place)
    assert check_name(name.replace(bad, "b"))
    with pytest.raises(InvalidInputError, match="contains") as caught:
        check_name(name)
    assert str(caught.value) == f"stream name {name[:64]!r} contains {bad!r}"


def test_what_is_wrong_with_a_name_is_said() -> None:
    said = {
        "": "stream name is empty",
        "a" * 513: "stream name is longer than 512 bytes of UTF-8",
        "é" * 257: "stream name is longer than 512 bytes of UTF-8",
        "$a": "stream name '$a': a leading '$' is kept for the store itself",
        " a": "stream name ' a' begins or ends with white space",
        "a ": "stream name 'a ' begins or ends with white space",
    }
    for name, problem in said.items():
        with pytest.raises(InvalidInputError) as caught:
            check_name(name)
        assert str(caught.value) == problem
    assert check_name("a" * 512) == "a" * 512
    assert check_name("#a") == "#a"
    assert check_name("%a") == "%a"
