"""Checks of shards take no processes of their own, where a test does not ask for them."""

import pytest


@pytest.fixture(autouse=True)
def _checks(checks_in_this_process: None) -> None:
    """For all tests of data preparation."""
