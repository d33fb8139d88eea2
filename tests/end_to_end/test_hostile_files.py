"""A small part of the fuzz of all readers, and of the kills of label and remove: see tests/benchmarks/sharding."""

from pathlib import Path

import pytest

from tests.benchmarks.sharding.fuzz_readers import fuzz
from tests.benchmarks.sharding.fuzz_targets import TARGETS, Target
from tests.benchmarks.sharding.step_kills import kill_at_each_change

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_mutated_files_of_strangers_are_read_or_refused(target: Target, tmp_path: Path) -> None:
    outcomes = fuzz(target, tmp_path, files=25, seed=3)
    assert not [outcome for outcome in outcomes if outcome.startswith("FAILED")], dict(outcomes)


@pytest.mark.parametrize("action", ["label", "remove"])
def test_a_kill_before_any_change_to_the_disk_is_made_good_by_the_same_command(action: str, tmp_path: Path) -> None:
    assert kill_at_each_change(action, tmp_path) > 5
