"""How the figures of the overhead bench are put side by side."""

from bench.overhead import BARE, COMPARISONS, Turn, sheet
from orderflow.settings import Settings


def test_each_round_is_compared_with_the_bare_stack_of_the_same_round() -> None:
    """The machine was twice as fast in the second round: nobody's merit."""
    table = sheet({"bare": [Turn(10, 200), Turn(20, 100)], "all traces": [Turn(9, 220), Turn(19, 120)]}, "two rounds")
    assert table.rows[0] == ("bare", "15.0", "1.000", "1.00 to 1.00", "150", "1.000", "1.00 to 1.00")
    assert table.rows[1] == ("all traces", "14.0", "0.925", "0.90 to 0.95", "170", "1.150", "1.10 to 1.20")


def test_the_variants_are_settings_that_there_are() -> None:
    for comparison in COMPARISONS.values():
        assert BARE in comparison.variants
        for variant in comparison.variants.values():
            Settings(_env_file=None, **variant.settings)
            assert variant.settings.keys() <= Settings.model_fields.keys()
