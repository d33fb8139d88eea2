"""Workers share arms: none is trained by two at a time, and what a worker leaves is taken by another."""

from pathlib import Path
from typing import Any

from mae_rad.sweep.arms import Arm
from mae_rad.sweep.shared_arms import SharedArms


def test_two_workers_take_different_arms(tmp_path: Path) -> None:
    arms: list[Arm[Any]] = [Arm(name, (), None) for name in "abc"]
    one, other = SharedArms(arms, tmp_path / "locks"), SharedArms(arms, tmp_path / "locks")
    first, second, third = one.take(), other.take(), one.take()
    assert first and second and third
    assert [arm.name for arm in (first, second, third)] == ["a", "b", "c"]
    assert other.take() is None and other.elsewhere == ["a", "c"] and one.elsewhere == ["b"]
    one.ended(first, None)
    one.ended(third, "it failed")
    assert one.failed == {"c": "it failed"}
    again = other.take()  # it ends at once, since its run folder says that it has finished
    assert again is not None and again.name == "a" and other.elsewhere == ["c"]
    other.stopped(second)
    last = one.take()
    assert last is not None and last.name == "b" and one.elsewhere == []
