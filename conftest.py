"""Fixtures that every test may use are in ``tests/support/fixtures.py``, for the tests here and for the wheel's."""

pytest_plugins = ["support.fixtures"]
