"""No side is always the first, or always behind the same other."""

from itertools import permutations

import pytest

from bench.rounds import turned


@pytest.mark.parametrize("sides", ["ab", "abc", "abcd"])
def test_in_a_pair_of_rounds_each_side_comes_before_and_behind_each_other(sides: str) -> None:
    first, second = turned(sides, 2), turned(sides, 3)

    for one, other in permutations(sides, 2):
        assert (first.index(one) < first.index(other)) != (second.index(one) < second.index(other))


@pytest.mark.parametrize("sides", ["abc", "abcd"])
def test_every_side_comes_first_now_and_then(sides: str) -> None:
    assert {turned(sides, number)[0] for number in range(2 * len(sides))} == set(sides)
