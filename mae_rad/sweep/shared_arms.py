"""Arms that several workers train, each arm by one of them at a time; also on several machines with a common disk."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from data_prep.runtime.folder_lock import locked
from mae_rad.sweep.arms import Arm
from mae_rad.sweep.train_arms import GivenArms


class SharedArms(GivenArms):
    """Arms of which a worker takes those that no other worker trains; what another has finished ends at once.

    Args:
        arms: with their run folders.
        locks: folder of a lock for each arm; created if missing.
    """

    def __init__(self, arms: Sequence[Arm[Any]], locks: Path) -> None:
        super().__init__(arms)
        self._folders, self._locks = locks, dict[str, ExitStack]()

    @property
    def elsewhere(self) -> list[str]:
        """Arms that are not taken: other workers train them."""
        return [arm.name for arm in self._waiting]

    def take(self) -> Arm[Any] | None:
        """Return the first arm in the order given that no other worker trains."""
        for arm in self._waiting:
            folder, stack = self._folders / arm.name, ExitStack()
            folder.mkdir(parents=True, exist_ok=True)
            try:
                stack.enter_context(locked(folder))
            except BlockingIOError:
                continue
            self._locks[arm.name] = stack
            self._waiting.remove(arm)
            return arm
        return None

    def ended(self, arm: Arm[Any], failure: str | None) -> None:
        """Keep why a training failed, and let go of the arm."""
        super().ended(arm, failure)
        self._locks.pop(arm.name).close()

    def stopped(self, arm: Arm[Any]) -> None:
        """Let go of an arm, which goes on later."""
        self._locks.pop(arm.name).close()
