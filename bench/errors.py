"""What ends a bench, or leaves one of its sides out."""


class BenchError(Exception):
    """An order did not go the way it should, so its figures would mean nothing."""


class SideMissing(Exception):
    """A side cannot be measured here, for the reason that it says; the others can."""
