"""What ends a bench."""


class BenchError(Exception):
    """An order did not go the way it should, so its figures would mean nothing."""
