from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

import transit
from transit.log.keys import KeyIndex

segments = st.lists(st.lists(st.integers(0, 40), max_size=12), max_size=30)


@given(segments)
def test_every_id_is_found_under_its_key_however_many_segments_there_are(
    keys: list[list[int]],
) -> None:
    index = KeyIndex()
    expected: dict[int, list[int]] = {}
    number = 0
    for segment in keys:
        pairs = []
        for key in segment:
            pairs.append((key, number))
            expected.setdefault(key, []).append(number)
            number += 1
        pairs.sort()
        index.add([key for key, _ in pairs], [place for _, place in pairs])
    for key in range(42):
        assert sorted(index.find(key)) == expected.get(key, [])


def test_layers_stay_few_as_segments_come() -> None:
    index = KeyIndex()
    for number in range(1000):
        index.add([number], [number])
    assert len(index._layers) <= 10
    assert index.find(999) == [999]


def test_names_are_found_before_and_after_the_keys_are_sorted_into_one_index(
    tmp_path: Path,
) -> None:
    with transit.open(tmp_path / "s", durability="os") as log:
        for number in range(8):
            for n in range(5):
                log.create(f"{number}-{n}")
            log.seal()
    with transit.open(tmp_path / "s", mode="read") as log:
        catalog = log._handle.catalog
        seen = set()
        for _ in range(4):
            for number in range(8):
                assert f"{number}-3" in log
                assert f"{number}-5" not in log
                seen.add(catalog._keys._count)
        assert seen == {0, 8}
